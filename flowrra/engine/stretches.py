"""Runs of a map that have returned together, on their way to the backend and in it."""

from __future__ import annotations

from typing import overload

from flowrra.core.tuples import NamedTuple
from flowrra.engine.columns import Columns
from flowrra.interfaces import Stored, StoredSpan


class Stretch(NamedTuple):
    """Neighbours in the columns that have returned and are yet to be saved."""

    columns: Columns
    first: int
    length: int

    def stored(self) -> StoredStretch:
        return StoredStretch(self.columns, self.first, self.length)


class StoredStretch(StoredSpan):
    """A stretch as a backend keeps it."""

    __slots__ = ("_columns", "_first", "_length")

    def __init__(self, columns: Columns, first: int, length: int) -> None:
        self._columns, self._first, self._length = columns, first, length

    @property
    def numbers(self) -> range:
        return self._columns.numbers[self._first : self._first + self._length]

    def index_of(self, run_id: str) -> int | None:
        position = self._columns.position_of(run_id)
        if position is None or not self._first <= position < self._first + self._length:
            return None
        return position - self._first

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Stored: ...
    @overload
    def __getitem__(self, index: slice) -> list[Stored]: ...
    def __getitem__(self, index: int | slice) -> Stored | list[Stored]:
        chosen = range(self._first, self._first + self._length)[index]
        if isinstance(chosen, range):
            return [self._columns.stored(position) for position in chosen]
        return self._columns.stored(chosen)

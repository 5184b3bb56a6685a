"""The arguments of a map, kept as the columns they came in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload


class Rows(Sequence[tuple[Any, ...]]):
    """Row *n* has the *n*-th value of each column; a tuple is made when it is asked for. Columns are equally long."""

    __slots__ = ("columns",)

    def __init__(self, columns: Sequence[Sequence[Any]]) -> None:
        self.columns = tuple(columns)

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, index: int) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> tuple[Any, ...] | Rows:
        if isinstance(index, slice):
            return Rows([column[index] for column in self.columns])
        return tuple(column[index] for column in self.columns)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return zip(*self.columns, strict=True)

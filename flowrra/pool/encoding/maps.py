"""The calls of one map as a few compact chunks, instead of an object per call."""

from __future__ import annotations

import marshal
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, overload

from flowrra.core.tuples import NamedTuple
from flowrra.pool.encoding.payloads import BUILTIN, Payload, plain_pickle
from flowrra.rows import Rows

ROWS = 1024
"""In a chunk, at most."""
CHUNK = 16 * 1024
"""Bytes of a chunk, at most."""
LONGEST = 1000
"""Characters or bytes of a value in a chunk; longer ones travel alone."""
_VERSION = 2
"""Of marshal: without references, so that what is equal in two rows does not become one object."""

FIXED = frozenset({int, float, complex, bool, type(None)})
SIZED = frozenset({str, bytes})
ATOMS = FIXED | SIZED
"""Exact types that nobody can change and that need no pickle."""

Encode = Callable[[tuple[Any, ...]], Payload]


class Stretch(NamedTuple):
    """Neighbouring calls that are all of one sort."""

    first: int
    length: int
    together: bool
    """They travel as columns; otherwise each has a payload of its own."""
    size: int
    """Bytes of one row, about; of those that travel as columns."""


class EncodedRows(Sequence[Payload]):
    """The arguments of each row. Rows of atoms lie in chunks, whatever else has been encoded row by row.

    Immutable, so that any thread may read it.
    """

    __slots__ = ("_chunks", "_ends")

    def __init__(self, rows: Sequence[tuple[Any, ...]], encode: Encode) -> None:
        """Raises what *encode* raises for a row that cannot travel."""
        self._chunks: list[bytes | list[Payload]] = []
        self._ends: list[int] = []
        """Position behind each chunk."""
        for first in range(0, len(rows), ROWS):
            self._add(rows[first : first + ROWS], encode)

    def _add(self, part: Sequence[tuple[Any, ...]], encode: Encode) -> None:
        columns = _columns(part)
        if columns is None:
            self._append([encode(row) for row in part], len(part))
            return
        chunk = marshal.dumps(columns, _VERSION)
        if len(chunk) <= CHUNK:
            self._append(chunk, len(part))
        elif len(part) == 1:
            self._append([encode(part[0])], 1)
        else:
            half = len(part) // 2
            self._add(part[:half], encode)
            self._add(part[half:], encode)

    def _append(self, chunk: bytes | list[Payload], length: int) -> None:
        self._chunks.append(chunk)
        self._ends.append(len(self) + length)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, position: int) -> Payload: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Payload]: ...
    def __getitem__(self, position: int | slice) -> Payload | Sequence[Payload]:
        if isinstance(position, slice):
            return [self[at] for at in range(*position.indices(len(self)))]
        at = range(len(self))[position]
        number = bisect_right(self._ends, at)
        chunk = self._chunks[number]
        within = at - self._start(number)
        if isinstance(chunk, list):
            return chunk[within]
        row = tuple(column[within] for column in marshal.loads(chunk))
        return Payload(BUILTIN, plain_pickle((row, {}), lambda _: True))

    def _start(self, number: int) -> int:
        return self._ends[number - 1] if number else 0

    def columns(self, first: int, length: int) -> tuple[bytes, ...]:
        """*length* rows from *first* on, all of them in chunks: pieces for :func:`rows_of`."""
        pieces: list[bytes] = []
        number = bisect_right(self._ends, first)
        while length:
            start, end = self._start(number), self._ends[number]
            chunk = self._chunks[number]
            assert isinstance(chunk, bytes), "rows with a payload of their own do not travel as columns"
            taken = min(length, end - first)
            if taken < end - start:
                within = slice(first - start, first - start + taken)
                chunk = marshal.dumps(tuple([column[within] for column in marshal.loads(chunk)]), _VERSION)
            pieces.append(chunk)
            first, length, number = first + taken, length - taken, number + 1
        return tuple(pieces)

    def stretches(self, first: int, length: int) -> list[Stretch]:
        """Cut *length* rows from *first* on by the way they travel."""
        found: list[Stretch] = []
        number = bisect_right(self._ends, first)
        while length:
            start, end = self._start(number), self._ends[number]
            chunk = self._chunks[number]
            taken = min(length, end - first)
            together = isinstance(chunk, bytes)
            size = -(-len(chunk) // (end - start)) if together else 0
            if found and found[-1].together is together:
                last = found[-1]
                found[-1] = Stretch(last.first, last.length + taken, together, max(last.size, size))
            else:
                found.append(Stretch(first, taken, together, size))
            first, length, number = first + taken, length - taken, number + 1
        return found


def rows_of(pieces: Sequence[bytes], start: int = 0) -> Iterator[tuple[Any, ...]]:
    """The rows in what :meth:`EncodedRows.columns` returned, from the one at *start* on."""
    rows = chain.from_iterable(zip(*marshal.loads(piece), strict=True) for piece in pieces)
    return islice(rows, start, None) if start else rows


def _columns(part: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...] | None:
    """The columns of *part*, if everything in it is an atom of bounded size."""
    if isinstance(part, Rows):
        columns = tuple(list(column) for column in part.columns)
    else:
        if len({len(row) for row in part}) != 1:
            return None
        columns = tuple(list(column) for column in zip(*part, strict=True))
    if not columns:  # nothing would tell how many rows there are
        return None
    for column in columns:
        kinds = set(map(type, column))
        if not kinds <= ATOMS:
            return None
        if kinds & SIZED and any(type(value) in SIZED and len(value) > LONGEST for value in column):
            return None
    return columns

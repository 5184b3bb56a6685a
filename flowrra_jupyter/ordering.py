"""Which rows of a table a browser sees, in which order: sorted and filtered over columns, no object for each row.

By status, the usual order, a window is found by counting bytes. Any other order is a list, made anew when the table has
changed and the last making of it has been paid off: it may take a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import nlargest, nsmallest
from itertools import compress
from typing import Any, Final, NamedTuple

from flowrra import STATUSES, RunTable, Status

_RUNNING, _RETRYING, _FAILED, _DONE, _CANCELLED, _PENDING = (
    STATUSES.index(status)
    for status in (
        Status.RUNNING, Status.RETRYING, Status.FAILED, Status.SUCCESS, Status.CANCELLED, Status.PENDING
    )
)  # fmt: skip
RANKED: Final = (_RUNNING, _RETRYING, _FAILED, _DONE, _CANCELLED, _PENDING)
"""Codes of statuses in the order in which their rows are of interest."""
FAILING: Final = frozenset({_RETRYING, _FAILED})
"""Codes of rows that have an error to tell."""
_LATEST_FIRST: Final = frozenset({_DONE, _CANCELLED})
_BLOCK: Final = 1024
_SEARCH_STEP: Final = 200
SEARCH_SECONDS: Final = 0.04
"""How long one step of a search may take."""
PAY_OFF: Final = 10
"""How many times the duration of a sort has to pass before the next one."""
TOP: Final = 500
"""The first rows of very many are found without sorting the others."""

SORTS: Final = ("status", "#", "time", "attempt", "worker")


class Query(NamedTuple):
    """What a browser wants to see."""

    sort: str = "status"
    descending: bool = False
    codes: frozenset[int] = frozenset()
    """Only rows with these statuses; empty: all."""
    text: str = ""
    """Only rows whose label, arguments or error contain this, whatever the case."""


def rows_with(codes: bytearray, code: int, skip: int, count: int, *, latest_first: bool = False) -> list[int]:
    """Return up to *count* rows that have *code*, after *skip* others, from the first or from the last row on."""
    found: list[int] = []
    step = range((len(codes) - 1) // _BLOCK, -1, -1) if latest_first else range((len(codes) + _BLOCK - 1) // _BLOCK)
    for block in step:
        start, stop = block * _BLOCK, min(len(codes), (block + 1) * _BLOCK)
        here = codes.count(code, start, stop)
        if here <= skip:
            skip -= here
            continue
        rows = list(_find_all(codes, code, start, stop))
        if latest_first:
            rows.reverse()
        found += rows[skip : skip + count - len(found)]
        skip = 0
        if len(found) >= count:
            break
    return found


def _find_all(codes: bytearray, code: int, start: int, stop: int) -> Iterator[int]:
    at = codes.find(code, start, stop)
    while at >= 0:
        yield at
        at = codes.find(code, at + 1, stop)


def by_status(codes: bytearray, wanted: Iterable[int], first: int, count: int, *, live: bool) -> list[int]:
    """Return up to *count* rows from place *first* on: what runs, waits for a retry or failed, then what is over.

    The latest ends come first while the table is *live*; once all is over the order is that of the input.
    """
    window: list[int] = []
    for code in (code for code in RANKED if code in wanted):
        there = codes.count(code)
        if first >= there:
            first -= there
            continue
        latest_first = live and code in _LATEST_FIRST
        window += rows_with(codes, code, first, count - len(window), latest_first=latest_first)
        first = 0
        if len(window) >= count:
            break
    return window


def pick(codes: bytearray, limit: int, *, live: bool) -> list[int]:
    """Choose the *limit* rows that are worth a line where there is no way to ask for more.

    Failures keep room even when more runs are running than there are lines.
    """
    failed = min(codes.count(_FAILED), limit // 2)
    busy = by_status(codes, (_RUNNING, _RETRYING), 0, limit - failed, live=live)
    chosen = busy + by_status(codes, (_FAILED,), 0, limit - len(busy), live=live)
    return chosen + by_status(codes, (_DONE, _CANCELLED, _PENDING), 0, limit - len(chosen), live=live)


class Arrangement:
    """The rows of *table* for one query. *texts* says what a filter sees of rows, from one to before another."""

    def __init__(self, table: RunTable, query: Query, texts: Callable[[int, int], list[str]]) -> None:
        self.query = query
        self._table = table
        self._texts = texts
        self._wanted = query.codes or frozenset(RANKED)
        self._text = query.text.casefold()
        self._matches = bytearray()
        self._order: list[int] = []
        """As far as it has been asked for."""
        self._passing = 0
        self._held: list[int] | None = None
        self._stale = self._live = True
        self._next = 0.0

    def __len__(self) -> int:
        """How many rows pass the filter."""
        if self._held is not None:
            return len(self._held)
        if self._is_lazy:
            return sum(self._table.codes.count(code) for code in self._wanted)
        return self._passing

    @property
    def searched(self) -> float:
        """How much of the table a filter by text has seen, from 0 to 1."""
        return len(self._matches) / len(self._table) if self._text and len(self._table) else 1.0

    @property
    def held(self) -> bool:
        return self._held is not None

    def hold(self) -> None:
        """Keep every row in its place from now on, because someone reads the details of one."""
        if self._held is None and self._is_lazy:
            self._held = list(self.window(0, len(self)))
        elif self._held is None:
            rows = self._filtered()
            self._held = self._sorted(rows, len(rows))

    def let_go(self) -> None:
        self._held = None

    def update(self, changed: Iterable[tuple[int, int]], clock: Callable[[], float], *, live: bool, until: int) -> None:
        """Take in that these stretches of rows have *changed*; places *until* there are going to be asked for."""
        changes = list(changed)
        self._live = live
        self._stale = self._stale or bool(changes)
        if self._text:
            self._search_again(changes)
            self._search(clock)
        if self._is_lazy or self._held is not None:
            return
        missing = len(self._order) < min(until, self._passing)
        if not missing and (not self._stale or clock() < self._next):
            return
        began = clock()
        rows = self._filtered()
        self._passing = len(rows)
        self._order = self._sorted(rows, until)
        ended = clock()
        self._stale, self._next = False, ended + PAY_OFF * (ended - began)

    def window(self, first: int, count: int) -> Sequence[int]:
        """Return up to *count* rows from place *first* on."""
        if self._held is None and self._is_lazy:
            return by_status(self._table.codes, self._wanted, first, count, live=self._live)
        order = self._order if self._held is None else self._held
        return order[first : first + count]

    @property
    def _is_lazy(self) -> bool:
        return self.query.sort == "status" and not self._text

    def _search(self, clock: Callable[[], float]) -> None:
        give_up = clock() + SEARCH_SECONDS
        matches, total = self._matches, len(self._table)
        while len(matches) < total:
            texts = self._texts(len(matches), min(total, len(matches) + _SEARCH_STEP))
            matches.extend(self._text in text.casefold() for text in texts)
            self._stale = True
            if clock() > give_up:
                break

    def _search_again(self, changes: Iterable[tuple[int, int]]) -> None:
        """Rows that have failed since have an error to be found by."""
        for first, length in changes:
            for row in range(first, min(first + length, len(self._matches))):
                if self._table.codes[row] in FAILING and not self._matches[row]:
                    self._matches[row] = self._text in self._texts(row, row + 1)[0].casefold()

    def _filtered(self) -> Sequence[int]:
        rows: Sequence[int] = range(len(self._table))
        if self.query.codes:
            passes = bytes(code in self.query.codes for code in range(256))
            rows = list(compress(rows, self._table.codes.translate(passes)))
        if self._text:
            rows = [row for row in rows if row < len(self._matches) and self._matches[row]]
        return rows

    def _sorted(self, rows: Sequence[int], until: int) -> list[int]:
        """The *rows* in order, those after place *until* only if that costs little more."""
        key, descending = self._key(), self.query.descending
        if key is None:
            return list(reversed(rows) if descending else rows)
        if until <= TOP < len(rows):
            return (nlargest if descending else nsmallest)(TOP, rows, key=key)
        return sorted(rows, key=key, reverse=descending)

    def _key(self) -> Callable[[int], Any] | None:
        table = self._table
        if self.query.sort == "time":
            return table.seconds.tolist().__getitem__
        if self.query.sort == "attempt":
            return table.attempts.__getitem__
        if self.query.sort == "worker":
            return table.workers.__getitem__
        if self.query.sort == "status":
            ranks = bytes(RANKED.index(code) if code in RANKED else 255 for code in range(256))
            return table.codes.translate(ranks).__getitem__
        return None

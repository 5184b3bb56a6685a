"""Which run has which number, and how its begin and end are told to the engine: as an attempt, or as part of a span."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from typing import Any, Protocol, cast

from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind
from flowrra.core.tuples import NamedTuple
from flowrra.interfaces import Attempt, AttemptSink, Span, SpanSink
from flowrra.pool.groups import Rank, Ticket

_ATOM = 32
"""Bytes that the value of an atom is taken to be, beside its characters."""


class Entry:
    """A span that has runs whose end has not been told."""

    __slots__ = ("first", "left", "span")

    def __init__(self, first: int, span: Span) -> None:
        self.first, self.span, self.left = first, span, span.length


class Due(NamedTuple):
    """A run whose end is known, or soon will be; the pool has no other trace of it."""

    number: int
    attempt: Attempt
    span: Span | None
    start: float | None = None
    end: float | None = None
    worker: str | None = None
    begun: bool = False
    """Its begin has been told."""


Taken = list[Attempt] | Span
"""Runs whose ends are told together."""


class Sink(AttemptSink, SpanSink, Protocol):
    """What spans need; an engine that begins none need not have the second part."""


class Ledger:
    """Numbers attempts in the order in which they come. A span takes as many numbers as it has runs."""

    def __init__(self, sink: AttemptSink) -> None:
        self._sink = cast("Sink", sink)
        self.attempts: dict[int, Attempt] = {}
        self._numbers: dict[str, int] = {}
        self._spans: list[Entry] = []
        """By number."""
        self._next = 1

    def __bool__(self) -> bool:
        return bool(self.attempts or self._spans)

    def add(self, attempt: Attempt) -> int:
        number = self._next
        self._next += 1
        self.attempts[number] = attempt
        self._numbers[attempt.run_id] = number
        return number

    def add_span(self, span: Span) -> int:
        """The number of its first run."""
        number = self._next
        self._next += span.length
        self._spans.append(Entry(number, span))
        return number

    def clear(self) -> None:
        self.attempts.clear()
        self._numbers.clear()
        self._spans.clear()

    # Looking up.

    def find(self, attempt: Attempt) -> tuple[Rank, int] | None:
        """Rank and number of *attempt*; None if it is not here (any more)."""
        number = self._numbers.get(attempt.run_id)
        if number is not None:
            known = self.attempts[number]
            return (rank_of(known), number) if known.number == attempt.number else None
        prefix, _, digits = attempt.run_id.rpartition("-")
        if attempt.number != 1 or not digits.isdigit():
            return None
        for entry in self._spans:
            span = entry.span
            position = int(digits) - span.number
            if span.prefix == prefix and span.first <= position < span.first + span.length:
                return (-span.priority, span.seq + position - span.first), entry.first + position - span.first
        return None

    def attempt(self, number: int) -> Attempt:
        found = self.attempts.get(number)
        if found is None:
            entry, position = self._place(number)
            found = entry.span.attempt(position)
        return found

    def _entry(self, number: int) -> Entry:
        return self._spans[bisect_right(self._spans, number, key=lambda entry: entry.first) - 1]

    def _place(self, number: int) -> tuple[Entry, int]:
        entry = self._entry(number)
        return entry, entry.span.first + number - entry.first

    # Telling.

    def tell_begun(self, number: int, worker: str, at: float) -> None:
        """User code of the run began, and is not known to be over."""
        attempt = self.attempts.get(number)
        if attempt is not None:
            self._sink.started(attempt, worker, at)
        else:
            entry, position = self._place(number)
            self._sink.span_began(entry.span, position, worker, at)

    def take(self, number: int) -> Due:
        """Forget the run; its end is told by :meth:`tell`. From now on nobody can stop it."""
        attempt = self.attempts.pop(number, None)
        if attempt is not None:
            del self._numbers[attempt.run_id]
            return Due(number, attempt, None)
        entry, position = self._place(number)
        self._settle(entry, 1)
        return Due(number, entry.span.attempt(position), entry.span.part(position, 1))

    def tell(self, due: Due, outcome: Outcome) -> None:
        alone = outcome.kind is not OutcomeKind.RETURNED or outcome.memory_peak
        if due.span is not None and due.start is not None and not alone:
            end = due.start if due.end is None else due.end
            self._sink.span_values(due.span, due.span.first, [outcome.value], [due.start], end, due.worker)
            return
        if due.start is not None and not due.begun:
            self._sink.started(due.attempt, due.worker, due.start)
        self._sink.finished(due.attempt, outcome, due.end)

    def tell_start(self, due: Due) -> None:
        """User code of *due* began, and its end is about to be told."""
        assert due.start is not None, "it has begun"
        if due.span is not None:
            self._sink.span_began(due.span, due.span.first, due.worker, due.start)
        else:
            self._sink.started(due.attempt, due.worker, due.start)

    def take_values(self, numbers: Sequence[int]) -> list[Taken]:
        """Forget runs that have returned; :meth:`tell_values` tells the ends of those that go together."""
        taken: list[Taken] = []
        if isinstance(numbers, range) and numbers[0] not in self.attempts:
            return [self._take_part(numbers[0], len(numbers))]
        singles: list[Attempt] = []
        for number in numbers:
            attempt = self.attempts.pop(number, None)
            if attempt is not None:
                del self._numbers[attempt.run_id]
                singles.append(attempt)
                continue
            # An item of a map that travelled alone, for the sake of its arguments.
            if singles:
                taken.append(singles)
                singles = []
            taken.append(self._take_part(number, 1))
        return [*taken, singles] if singles else taken

    def _take_part(self, number: int, length: int) -> Span:
        entry, position = self._place(number)
        self._settle(entry, length)
        return entry.span.part(position, length)

    def tell_values(
        self,
        taken: Taken,
        values: Sequence[Any],
        instants: Sequence[float],
        worker: str,
        begun: Collection[int],
    ) -> None:
        """The runs *taken* returned *values*; those at the indices in *begun* have been told to have begun."""
        if isinstance(taken, Span):
            self._sink.span_values(taken, taken.first, values, instants[:-1], instants[-1], worker)
            return
        started, finished, returned = self._sink.started, self._sink.finished, OutcomeKind.RETURNED
        for index, attempt in enumerate(taken):
            if index not in begun:
                started(attempt, worker, instants[index])
            value = values[index]
            finished(attempt, Outcome(returned, value, None, None, _size_of(value)), instants[index + 1])

    def tell_value(self, number: int, value: Any, instants: Sequence[float], worker: str) -> None:
        """One run, of which nothing has been told, returned *value*; forget it."""
        attempt = self.attempts.pop(number, None)
        if attempt is None:
            part = self._take_part(number, 1)
            self._sink.span_values(part, part.first, [value], instants[:1], instants[1], worker)
            return
        del self._numbers[attempt.run_id]
        self._sink.started(attempt, worker, instants[0])
        self._sink.finished(attempt, Outcome(OutcomeKind.RETURNED, value, None, None, _size_of(value)), instants[1])

    def give_back(self, ticket: Ticket) -> None:
        """The runs return to the engine: none of them has begun."""
        attempt = self.attempts.pop(ticket.number, None)
        if attempt is not None:
            del self._numbers[attempt.run_id]
            self._sink.returned(attempt)
            return
        self._sink.span_returned(self._take_part(ticket.number, ticket.length))

    def _settle(self, entry: Entry, runs: int) -> None:
        entry.left -= runs
        if not entry.left:
            self._spans.remove(entry)


def _size_of(atom: Any) -> int:
    return _ATOM + len(atom) if isinstance(atom, str | bytes) else _ATOM


def rank_of(attempt: Attempt) -> Rank:
    return -attempt.priority, attempt.seq

"""Numbers of runs, and whether their ends are told as attempts or as parts of a span."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind
from flowrra.interfaces import Attempt, Span
from flowrra.pool.groups import Kind, Ticket
from flowrra.pool.ledger import Ledger
from flowrra.pool.prefetch import Pace
from tests.faults.pool_driver import RecordingSink

SPAN = Span("batch", 5, 4, "task", 2, 50, [object()] * 20, "app", 100)
RETURNED = Outcome(OutcomeKind.RETURNED, value=7)
RAISED = Outcome(OutcomeKind.RAISED, exception=LookupError())


class Sink(RecordingSink):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []

    def span_began(self, span: Span, position: int, worker: str | None, at: float) -> None:
        self.told.append(("began", position, at))

    def span_values(
        self, span: Span, first: int, values: Sequence[Any], starts: Sequence[float], end: float, worker: str | None
    ) -> None:
        self.told.append(("values", first, list(values), list(starts), end))

    def span_returned(self, span: Span) -> None:
        self.told.append(("returned", span.first, span.length, span.seq))


def attempt(number: int) -> Attempt:
    return Attempt(f"app-{number}", 1, "task", 0, number, None)


def test_a_span_takes_a_number_for_each_run_and_each_is_found_by_its_id() -> None:
    ledger = Ledger(Sink())
    single, first, last = ledger.add(attempt(1)), ledger.add_span(SPAN), ledger.add(attempt(2))
    assert (first, last) == (single + 1, first + 4)
    assert ledger.find(attempt(2)) == ((0, 2), last)
    assert ledger.find(SPAN.attempt(7)) == ((-2, 52), first + 2)
    assert ledger.attempt(first + 2) == SPAN.attempt(7)
    for unknown in (SPAN.attempt(9), SPAN.attempt(7)._replace(number=2), attempt(3), attempt(2)._replace(number=2)):
        assert ledger.find(unknown) is None


def test_values_of_a_span_are_told_together_and_anything_else_as_an_attempt() -> None:
    sink = Sink()
    ledger = Ledger(sink)
    first = ledger.add_span(SPAN)
    (taken,) = ledger.take_values(range(first, first + 2))
    ledger.tell_values(taken, [1, 2], [0.1, 0.2, 0.3], "w", ())
    ledger.tell_begun(first + 2, "w", 0.3)
    ledger.tell(ledger.take(first + 2)._replace(start=0.3, end=0.4, worker="w", begun=True), RETURNED)
    ledger.tell(ledger.take(first + 3)._replace(start=0.4, end=0.5, worker="w"), RAISED)
    assert sink.told == [
        ("values", 5, [1, 2], [0.1, 0.2], 0.3),
        ("began", 7, 0.3),
        ("values", 7, [7], [0.3], 0.4),
    ]
    assert sink.workers == {"app-108": "w"}
    assert sink.outcomes == {"app-108": RAISED}
    assert not ledger


def test_a_begin_is_told_once() -> None:
    sink = Sink()
    ledger = Ledger(sink)
    numbers = [ledger.add(attempt(n)) for n in (1, 2)]
    ledger.tell_begun(numbers[1], "w", 0.2)
    (taken,) = ledger.take_values(numbers)
    ledger.tell_values(taken, ["a", "b"], [0.1, 0.2, 0.3], "w", [1])
    assert [outcome.value for outcome in sink.outcomes.values()] == ["a", "b"]
    assert not ledger


def test_part_of_a_span_is_given_back_with_its_place() -> None:
    sink = Sink()
    ledger = Ledger(sink)
    first = ledger.add_span(SPAN)
    ledger.give_back(Ticket((-2, 51), first + 1, Kind(Pace()), 2))
    assert sink.told == [("returned", 6, 2, 51)]
    assert ledger


def test_items_that_travelled_alone_among_others_are_told_each_for_itself() -> None:
    sink = Sink()
    ledger = Ledger(sink)
    single, first, last = ledger.add(attempt(1)), ledger.add_span(SPAN), ledger.add(attempt(2))
    parts = ledger.take_values([single, first, first + 2, last])
    assert [part if isinstance(part, list) else (part.first, part.length) for part in parts] == [
        [attempt(1)],
        (5, 1),
        (7, 1),
        [attempt(2)],
    ]

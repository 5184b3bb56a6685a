"""When is an attempt's end told? When its value is there and everything it wrote has been passed on."""

from __future__ import annotations

import asyncio

from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind
from flowrra.interfaces import Attempt
from flowrra.pool.decoder import Decoder
from flowrra.pool.endings import Endings
from flowrra.pool.ledger import Due, Ledger
from tests.faults.pool_driver import RecordingSink

DONE = Outcome(OutcomeKind.RETURNED, value=1)


def due(name: str, number: int = 10) -> Due:
    return Due(number, Attempt(name, 1, "task", 0, 1, None), None)


def endings_for(sink: RecordingSink) -> Endings:
    return Endings(Ledger(sink).tell, Decoder(asyncio.get_running_loop(), "test"))


async def test_a_silent_run_with_its_value_is_told_at_once() -> None:
    sink = RecordingSink()
    assert endings_for(sink).hold(1, due("a", 10), DONE, wrote=False) is None
    assert sink.outcomes == {"a": DONE}


async def test_a_run_that_wrote_waits_for_its_output() -> None:
    sink = RecordingSink()
    endings = endings_for(sink)
    endings.hold(1, due("a", 10), DONE, wrote=True)
    assert (sink.outcomes, endings.oldest(1)) == ({}, "a")
    endings.output_complete(1, 10)
    assert (sink.outcomes, endings.oldest(1)) == ({"a": DONE}, None)


async def test_output_may_be_complete_before_the_answer_is_read() -> None:
    sink = RecordingSink()
    endings = endings_for(sink)
    endings.output_complete(1, 10)
    endings.hold(1, due("a", 10), DONE, wrote=True)
    assert sink.outcomes == {"a": DONE}


async def test_value_and_output_may_come_in_any_order() -> None:
    for value_first in (True, False):
        sink = RecordingSink()
        endings = endings_for(sink)
        hold = endings.hold(1, due("a", 10), None, wrote=True)
        assert hold is not None
        steps = [lambda e=endings, h=hold: e.decoded(h, DONE), lambda e=endings: e.output_complete(1, 10)]
        first, second = steps if value_first else reversed(steps)
        first()
        assert sink.outcomes == {}
        second()
        assert sink.outcomes == {"a": DONE}


async def test_the_end_of_a_worker_ends_the_wait_for_its_output_alone() -> None:
    sink = RecordingSink()
    endings = endings_for(sink)
    endings.hold(1, due("a", 10), DONE, wrote=True)
    endings.hold(2, due("b", 11), DONE, wrote=True)
    endings.output_complete(1)
    assert sink.outcomes == {"a": DONE}


async def test_after_close_nothing_is_told() -> None:
    sink = RecordingSink()
    endings = endings_for(sink)
    hold = endings.hold(1, due("a", 10), None, wrote=False)
    assert hold is not None
    endings.forget()
    endings.decoded(hold, DONE)
    await asyncio.sleep(0)
    assert sink.outcomes == {}

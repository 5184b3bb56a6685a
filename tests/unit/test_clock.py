from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from flowrra.clock import SystemClock, as_datetime
from flowrra.core.records import Moment
from flowrra.testing.clock import ManualClock


@given(st.lists(st.floats(0, 100), max_size=20), st.lists(st.floats(0, 30), max_size=10))
def test_calls_come_in_order_of_time_and_never_early(delays: list[float], steps: list[float]) -> None:
    clock = ManualClock()
    begin = clock.now().mono
    made: list[tuple[float, float]] = []
    for delay in delays:
        clock.call_at(begin + delay, lambda due=delay: made.append((begin + due, clock.now().mono)))
    for step in [0.0, *steps]:
        clock.advance(step)
    assert [due for due, _ in made] == sorted(begin + d for d in delays if begin + d <= clock.now().mono)
    assert all(seen == due for due, seen in made)


def test_a_cancelled_call_is_not_made() -> None:
    clock = ManualClock()
    made: list[int] = []
    clock.call_at(clock.now().mono + 1, lambda: made.append(1)).cancel()
    timer = clock.call_at(clock.now().mono + 2, lambda: made.append(2))
    assert clock.next_due() == 2
    clock.advance(5)
    timer.cancel()
    assert made == [2]
    assert clock.next_due() is None


def test_calls_that_calls_arrange_within_the_span_are_made_too() -> None:
    clock = ManualClock()
    made: list[float] = []

    def again() -> None:
        made.append(clock.now().mono)
        clock.call_at(clock.now().mono + 1, again)

    clock.call_at(clock.now().mono + 1, again)
    clock.advance(3)
    assert made == [1001.0, 1002.0, 1003.0]


def test_both_clocks_go_together() -> None:
    clock = ManualClock(mono=10, wall=100)
    clock.advance(5)
    assert clock.now() == Moment(15, 105)


async def test_the_system_clock_calls_what_is_overdue_soon() -> None:
    made = asyncio.Event()
    clock = SystemClock()
    clock.call_at(clock.now().mono - 5, made.set)
    async with asyncio.timeout(5):
        await made.wait()


def test_instants_are_aware_and_utc() -> None:
    assert as_datetime(5.0, Moment(3.0, 1_700_000_000.0)) == datetime(2023, 11, 14, 22, 13, 22, tzinfo=UTC)

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrra.backends.memory import MemoryBackend
from flowrra.core.records import Outcome
from flowrra.core.statuses import Status, StopReason
from flowrra.engine.engine import Engine
from flowrra.engine.run import Run
from flowrra.errors import AppStopped, DeadlineExceeded, TaskCancelled, TaskTimeout
from flowrra.events import Dispatcher
from flowrra.handle import TaskHandle
from flowrra.testing.clock import ManualClock
from tests.unit.engine.scripted import FAILURE, STOPPED, VALUE, ScriptedExecutor, bench

CANCEL = StopReason.CANCEL


def error_of(run: Run) -> BaseException | None:
    assert run.outcome is not None
    return run.outcome.exception


# Retries.


async def test_retries_wait_2_4_8_16_and_32_seconds_by_the_clock() -> None:
    async with bench() as b:
        run = b.submit(retries=5)
        for wait in [2, 4, 8, 16, 32]:
            b.attempt(run, FAILURE)
            assert run.status is Status.RETRYING
            b.clock.advance(wait - 0.001)
            assert run.id not in b.executor.held
            b.clock.advance(0.001)
            assert run.id in b.executor.held
        b.attempt(run, FAILURE)
        await b.settle()
        assert run.status is Status.FAILED
        assert (run.record.attempt, len(run.record.errors)) == (6, 6)


async def test_a_waiting_retry_holds_no_slot() -> None:
    async with bench(slots=1) as b:
        failing, other = b.submit(retries=1), b.submit()
        b.attempt(failing, FAILURE)
        assert list(b.executor.held) == [other.id]


async def test_a_retry_reenters_behind_its_equals_that_wait() -> None:
    async with bench() as b:
        failing, *others = (b.submit(retries=1) for _ in range(4))
        b.attempt(failing, FAILURE)
        b.clock.advance(2)
        for other in others:
            b.attempt(other, VALUE)
        assert b.served() == [failing.id, *(other.id for other in others), failing.id]


async def test_a_retry_is_not_overtaken_for_ever_by_what_comes_later() -> None:
    async with bench() as b:
        failing, busy = b.submit(retries=1), b.submit()
        b.attempt(failing, FAILURE)
        b.executor.start_run(busy)
        b.clock.advance(2)
        later = b.submit()
        b.executor.end(busy.id, VALUE)
        assert b.served() == [failing.id, busy.id, failing.id]
        b.attempt(failing, VALUE)
        assert b.served()[-1] == later.id


# Timeout and deadline.


async def test_a_timeout_counts_from_the_real_start_of_each_attempt() -> None:
    async with bench(slots=1, prefetch=1) as b:
        b.executor.stubborn = True
        run = b.submit(timeout=5.0, retries=1)
        b.clock.advance(60)
        assert b.executor.stopped == []
        b.executor.start_run(run)
        b.clock.advance(4.999)
        assert b.executor.stopped == []
        b.clock.advance(0.001)
        assert b.executor.stopped == [(run.id, StopReason.TIMEOUT)]
        b.executor.end(run.id, STOPPED)
        assert run.status is Status.RETRYING
        b.clock.advance(60)
        b.executor.start_run(run)
        b.clock.advance(5)
        b.executor.end(run.id, STOPPED)
        await b.settle()
        assert isinstance(error_of(run), TaskTimeout)
        assert len(b.executor.stopped) == 2


async def test_the_timeout_of_an_attempt_that_ended_in_time_never_fires() -> None:
    async with bench() as b:
        run = b.submit(timeout=5.0, retries=1)
        b.attempt(run, FAILURE)
        b.clock.advance(2)
        b.executor.start_run(run)
        b.clock.advance(4)
        b.executor.end(run.id, VALUE)
        b.clock.advance(60)
        assert b.executor.stopped == []
        assert b.clock.next_due() is None


async def test_a_deadline_spans_waits_and_retries() -> None:
    async with bench() as b:
        run = b.submit(retries=9, deadline=5.0)
        b.attempt(run, FAILURE)
        b.clock.advance(2)
        b.attempt(run, FAILURE)
        b.clock.advance(2.999)
        assert run.status is Status.RETRYING
        b.clock.advance(0.001)
        await b.settle()
        assert (run.status, run.record.attempt) == (Status.FAILED, 2)
        assert isinstance(error_of(run), DeadlineExceeded)


async def test_a_deadline_ends_a_run_that_never_began() -> None:
    async with bench() as b:
        busy, run = b.submit(), b.submit(deadline=5.0)
        b.clock.advance(5)
        await b.settle()
        assert isinstance(error_of(run), DeadlineExceeded)
        b.attempt(busy, VALUE)
        assert b.served() == [busy.id]


async def test_a_timeout_within_the_grace_of_a_deadline_does_not_bring_a_retry() -> None:
    async with bench() as b:
        b.executor.stubborn = True
        run = b.submit(timeout=5.2, retries=9, deadline=5.0)
        b.executor.start_run(run)
        b.clock.advance(5.3)
        b.executor.end(run.id, STOPPED)
        await b.settle()
        assert isinstance(error_of(run), DeadlineExceeded)


# Order.


async def test_a_delayed_run_begins_when_its_time_has_come() -> None:
    async with bench(slots=3) as b:
        late, later, now = b.submit(delay=5), b.submit(delay=9), b.submit()
        assert b.served() == [now.id]
        b.clock.advance(4.999)
        assert b.served() == [now.id]
        b.clock.advance(0.001)
        assert b.served() == [now.id, late.id]
        b.clock.advance(4)
        assert b.served() == [now.id, late.id, later.id]


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=12))
@settings(max_examples=30)
def test_larger_priorities_go_first_and_equals_in_order(priorities: list[int]) -> None:
    async def serve() -> None:
        async with bench() as b:
            busy = b.submit()
            b.executor.start_run(busy)
            runs = [b.submit(priority=priority) for priority in priorities]
            b.executor.end(busy.id, VALUE)
            for _ in runs:
                [run] = [run for run in runs if run.id in b.executor.held]
                b.attempt(run, VALUE)
            expected = sorted(runs, key=lambda run: (-run.record.submission.priority, run.record.submission.seq))
            assert b.served()[1:] == [run.id for run in expected]

    asyncio.run(serve())


async def test_a_better_run_takes_the_place_of_one_that_is_only_prefetched() -> None:
    async with bench(slots=1, prefetch=1) as b:
        running, fetched = b.submit(), b.submit()
        b.executor.start_run(running)
        urgent = b.submit(priority=5)
        assert b.executor.recalled[0] == (5, urgent.record.submission.seq)
        assert list(b.executor.held) == [running.id, urgent.id]
        assert (fetched.status, fetched.record.attempt) == (Status.PENDING, 0)


async def test_a_run_that_was_returned_keeps_its_place_and_is_charged_nothing() -> None:
    async with bench(slots=1, prefetch=1) as b:
        running, first, second = b.submit(), b.submit(), b.submit()
        b.executor.start_run(running)
        urgent = b.submit(priority=5)
        b.executor.end(running.id, VALUE)
        b.attempt(urgent, VALUE)
        b.attempt(first, FAILURE)
        b.attempt(second, VALUE)
        await b.settle()
        assert b.served()[-2:] == [first.id, second.id]
        assert (first.status, first.record.attempt) == (Status.FAILED, 1)


async def test_a_run_cancelled_while_it_is_on_its_way_back_stays_away() -> None:
    async with bench(slots=1, prefetch=1) as b:
        running, fetched = b.submit(), b.submit()
        b.executor.start_run(running)
        attempt = b.executor.held.pop(fetched.id)
        b.engine.request_stop([fetched], CANCEL)
        b.executor.sink.returned(attempt)
        await b.settle()
        b.executor.end(running.id, VALUE)
        await b.settle()
        assert fetched.status is Status.CANCELLED
        assert b.served().count(fetched.id) == 1


# Cancelling.


async def test_a_pending_run_is_cancelled_at_once() -> None:
    async with bench() as b:
        busy, run = b.submit(), b.submit()
        b.engine.request_stop([run], CANCEL)
        await b.settle()
        assert run.status is Status.CANCELLED
        assert isinstance(error_of(run), TaskCancelled)
        b.attempt(busy, VALUE)
        assert b.served() == [busy.id]


async def test_a_run_that_waits_in_the_executor_is_over_at_once_and_taken_out_there() -> None:
    async with bench(slots=1, prefetch=1) as b:
        b.executor.stubborn = True
        run = b.submit()
        b.engine.request_stop([run], CANCEL)
        await b.settle()
        assert run.settled
        assert b.executor.stopped == [(run.id, CANCEL)]


async def test_a_run_whose_attempt_executes_is_cancelled_when_that_ends_even_with_a_value() -> None:
    async with bench() as b:
        b.executor.stubborn = True
        run = b.submit(retries=3)
        b.executor.start_run(run)
        b.engine.request_stop([run], CANCEL)
        await b.settle()
        assert (run.status, run.settled) == (Status.RUNNING, False)
        b.executor.end(run.id, VALUE)
        await b.settle()
        assert run.status is Status.CANCELLED


@pytest.mark.parametrize("outcome", [VALUE, FAILURE], ids=["returned", "raised"])
async def test_a_cancel_that_was_accepted_is_kept_though_the_attempt_ends_before_the_engine_hears_of_it(
    outcome: Outcome,
) -> None:
    async with bench() as b:
        run = b.submit(retries=3)
        b.executor.start_run(run)
        accepted: list[bool] = []
        canceller = threading.Thread(target=lambda: accepted.append(TaskHandle(run).cancel()))
        canceller.start()
        canceller.join()
        b.executor.end(run.id, outcome)
        await b.settle()
        assert accepted == [True]
        assert (run.status, run.record.attempt) == (Status.CANCELLED, 1)
        assert TaskHandle(run).cancel() is False


async def test_a_waiting_retry_is_cancelled_at_once_and_its_alarm_forgotten() -> None:
    async with bench() as b:
        run = b.submit(retries=3)
        b.attempt(run, FAILURE)
        b.engine.request_stop([run], CANCEL)
        await b.settle()
        assert run.status is Status.CANCELLED
        b.clock.advance(60)
        assert b.served() == [run.id]


async def test_the_late_answer_of_an_attempt_is_dropped() -> None:
    async with bench() as b:
        b.executor.stubborn = True
        run = b.submit(timeout=1.0, retries=1)
        b.executor.start_run(run)
        late = b.executor.held[run.id]
        b.clock.advance(1)
        b.executor.end(run.id, STOPPED)
        b.clock.advance(2)
        b.executor.sink.finished(late, VALUE)
        b.executor.sink.started(late, "w1")
        assert (run.status, run.record.attempt) == (Status.RETRYING, 1)
        b.attempt(run, Outcome(VALUE.kind, "of the second attempt"))
        await b.settle()
        assert run.outcome is not None
        assert run.outcome.value == "of the second attempt"


async def test_an_abandoned_attempt_keeps_its_slot_until_it_returns() -> None:
    async with bench(slots=1) as b:
        b.executor.stubborn = True
        run, other = b.submit(), b.submit()
        b.executor.start_run(run)
        b.engine.request_stop([run], CANCEL)
        attempt = b.executor.abandon(run)
        await b.settle()
        assert run.status is Status.CANCELLED
        assert b.served() == [run.id]
        b.executor.release(attempt)
        assert b.served() == [run.id, other.id]


# Pausing.


async def test_a_paused_task_waits_and_others_go_on() -> None:
    async with bench(slots=2) as b:
        b.engine.pause("f")
        held, other = b.submit("f"), b.submit("g")
        assert b.served() == [other.id]
        assert b.engine.paused == ["f"]
        b.engine.resume("f")
        assert b.served() == [other.id, held.id]
        assert b.engine.paused == []


async def test_pausing_takes_back_what_is_prefetched_and_lets_go_on_what_has_begun() -> None:
    async with bench(slots=1, prefetch=2) as b:
        running, fetched, other = b.submit("f"), b.submit("f"), b.submit("g")
        b.executor.start_run(running)
        b.engine.pause("f")
        assert list(b.executor.held) == [running.id, other.id]
        assert fetched.status is Status.PENDING
        b.executor.end(running.id, VALUE)
        await b.settle()
        assert running.status is Status.SUCCESS


async def test_runs_come_back_from_a_pause_in_their_order() -> None:
    async with bench() as b:
        busy = b.submit("g")
        b.executor.start_run(busy)
        b.engine.pause("f")
        first, second, best = b.submit("f"), b.submit("f"), b.submit("f", priority=1)
        b.executor.end(busy.id, VALUE)
        b.engine.resume("f")
        for run in (best, first, second):
            b.attempt(run, VALUE)
        assert b.served() == [busy.id, best.id, first.id, second.id]


async def test_pausing_everything_holds_delayed_runs_and_retries_too() -> None:
    async with bench(slots=5) as b:
        late, failing = b.submit(delay=1), b.submit(retries=1)
        b.executor.start_run(failing)
        b.engine.pause(None)
        b.executor.end(failing.id, FAILURE)
        b.clock.advance(10)
        assert not b.executor.held
        assert b.engine.paused == ["*"]
        b.engine.resume(None)
        assert set(b.executor.held) == {late.id, failing.id}


async def test_resuming_everything_resumes_each_task() -> None:
    async with bench(slots=2) as b:
        b.engine.pause("f")
        b.engine.pause(None)
        run = b.submit("f")
        b.engine.resume(None)
        assert b.served() == [run.id]


async def test_a_paused_run_can_be_cancelled() -> None:
    async with bench() as b:
        b.engine.pause("f")
        run = b.submit("f")
        b.engine.request_stop([run], CANCEL)
        await b.settle()
        b.engine.resume("f")
        assert run.status is Status.CANCELLED
        assert b.served() == []


# The end.


async def test_draining_gives_up_what_is_held_and_waits_for_the_rest() -> None:
    async with bench(slots=1) as b:
        running = b.submit("g")
        b.engine.pause("f")
        paused, delayed, queued = b.submit("f"), b.submit("g", delay=60), b.submit("g")
        assert b.engine.give_up_held() == [paused, delayed]
        draining = asyncio.create_task(b.engine.until_over())
        await b.settle()
        assert not draining.done()
        assert (paused.status, delayed.status) == (Status.CANCELLED, Status.CANCELLED)
        assert isinstance(error_of(paused), AppStopped)
        b.attempt(running, VALUE)
        b.attempt(queued, VALUE)
        await draining
        assert queued.status is Status.SUCCESS


async def test_a_drain_waits_for_retries() -> None:
    async with bench() as b:
        run = b.submit(retries=1)
        b.attempt(run, FAILURE)
        assert b.engine.give_up_held() == []
        draining = asyncio.create_task(b.engine.until_over())
        await b.settle()
        assert not draining.done()
        b.clock.advance(2)
        b.attempt(run, VALUE)
        await draining
        assert run.status is Status.SUCCESS


async def test_stopping_ends_what_is_not_over_and_closes_the_executors() -> None:
    async with bench() as b:
        running, waiting = b.submit(), b.submit()
        b.executor.start_run(running)
        assert await b.engine.stop() == [running, waiting]
        assert [run.status for run in (running, waiting)] == [Status.CANCELLED] * 2
        assert isinstance(error_of(running), AppStopped)
        assert b.executor.closed


async def test_a_stopped_engine_takes_no_runs() -> None:
    async with bench() as b:
        run = b.submit()
        b.executor.end(run.id, VALUE)
        await b.engine.stop()
        assert not b.engine.accept(Run(run.submission, b.engine, None, ""))


async def test_runs_on_their_way_when_the_engine_stops_end_cancelled() -> None:
    async with bench() as b:
        first = b.submit()
        b.executor.end(first.id, VALUE)
        late = Run(first.submission, b.engine, None, "")
        poster = threading.Thread(target=b.engine.accept, args=(late,))
        poster.start()
        poster.join()
        await b.engine.stop()
        await b.settle()
        assert late.settled
        assert isinstance(error_of(late), AppStopped)


async def test_a_paused_run_on_its_way_does_not_hold_up_the_stop() -> None:
    async with bench() as b:
        b.engine.pause(None)
        stubborn = b.submit()
        stopping = asyncio.create_task(b.engine.stop())
        await b.settle()
        assert stubborn.status is Status.CANCELLED
        await stopping


# Reports.


async def test_outcomes_are_saved_before_anyone_sees_them() -> None:
    async with bench() as b:
        saving, go_on = asyncio.Event(), asyncio.Event()
        save = b.engine.backend.save

        async def slow_save(done):  # type: ignore[no-untyped-def]
            saving.set()
            await go_on.wait()
            await save(done)

        b.engine.backend.save = slow_save  # type: ignore[method-assign]
        run = b.submit()
        b.attempt(run, VALUE)
        await saving.wait()
        assert (run.settled, run.status) == (False, Status.RUNNING)
        go_on.set()
        await b.settle()
        assert (run.settled, run.status) == (True, Status.SUCCESS)


async def test_a_backend_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with bench() as b:
        save, failures = b.engine.backend.save, iter([OSError("away"), OSError("still away")])

        async def flaky(done):  # type: ignore[no-untyped-def]
            for error in failures:
                raise error
            await save(done)

        b.engine.backend.save = flaky  # type: ignore[method-assign]
        run = b.submit()
        b.attempt(run, VALUE)
        settled = asyncio.Event()
        if run.add_waiter(lambda _: settled.set()):
            async with asyncio.timeout(5):
                await settled.wait()
        assert run.status is Status.SUCCESS
        assert "still away" in caplog.text


async def test_an_illegal_report_is_logged_with_the_runs_story(caplog: pytest.LogCaptureFixture) -> None:
    async with bench() as b:
        run = b.submit()
        b.executor.start_run(run)
        with caplog.at_level(logging.ERROR, "flowrra.engine"):
            b.executor.start_run(run)
        assert f"run {run.id} is RUNNING and cannot take Started" in caplog.text
        assert "Started → RUNNING" in caplog.text
        b.executor.end(run.id, VALUE)


async def test_progress_and_output_are_kept_with_the_run() -> None:
    async with bench() as b:
        run = b.submit()
        b.executor.start_run(run)
        b.executor.sink.progressed(run.id, 3, 10, "third")
        b.executor.sink.logged(run.id, "stdout", "hello\n")
        assert run.progress == (3, 10, "third")
        assert run.log is not None
        assert run.log.text() == "hello\n"


async def test_counts_add_up_at_every_moment() -> None:
    async with bench(slots=2) as b:
        runs = [b.submit(retries=number % 2) for number in range(6)]
        assert b.engine.counts[Status.PENDING] == 6
        b.attempt(runs[0], VALUE)
        b.attempt(runs[1], FAILURE)
        b.engine.request_stop([runs[2]], CANCEL)
        await b.settle()
        assert sum(b.engine.counts.values()) == 6
        assert b.engine.counts[Status.SUCCESS] == b.engine.counts[Status.RETRYING] == 1
        assert b.engine.counts[Status.CANCELLED] == 1


async def test_two_executors_that_start_and_one_that_cannot_are_closed_again() -> None:
    class Broken(ScriptedExecutor):
        async def start(self, sink):  # type: ignore[no-untyped-def]
            raise OSError("no processes left")

    fine = ScriptedExecutor()
    engine = Engine({"a": fine, "b": Broken()}, MemoryBackend(), Dispatcher("x"), ManualClock())
    with pytest.raises(OSError, match="no processes left"):
        await engine.start()
    assert fine.closed
    await engine.stop()


async def test_a_report_that_comes_after_the_cancellation_leaves_no_timer() -> None:
    async with bench() as b:
        b.executor.stubborn = True
        run = b.submit(retries=1, timeout=5.0)
        b.attempt(run, FAILURE)
        b.clock.advance(2.0)
        b.engine.request_stop([run], StopReason.CANCEL)
        b.executor.start_run(run)
        assert run.timeout_timer is None
        await b.settle()
        assert run.status is Status.CANCELLED

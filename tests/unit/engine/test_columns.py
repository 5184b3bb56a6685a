# ruff: noqa: SLF001 - how the runs of a batch are kept is what is tested
"""Runs of a map that are kept as columns: what is seen of them, and what becomes of the odd ones."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import weakref
from types import SimpleNamespace

import pytest

from flowrra.backends.memory import MemoryBackend
from flowrra.core.statuses import Status, StopReason
from flowrra.engine.run import Run
from flowrra.engine.selections import MappedRuns
from flowrra.errors import TaskCancelled, WouldDeadlock
from tests.unit.engine.scripted import FAILURE, STOPPED, VALUE, LaterBackend, ScriptedSpans, bench


class Bell:
    def __init__(self) -> None:
        self.rung = 0

    def fire(self) -> None:
        self.rung += 1


class Gated(MemoryBackend):
    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def save(self, done) -> None:
        await self.gate.wait()
        await super().save(done)


def spans(slots: int = 10, prefetch: int = 0) -> ScriptedSpans:
    return ScriptedSpans(slots, prefetch)


def ids(batch, positions=None) -> list[str]:
    columns = batch._runs.columns
    return [columns.run_id(position) for position in (range(len(batch)) if positions is None else positions)]


def objects(batch) -> int:
    return sum(batch._runs.columns.existing(position) is not None for position in range(len(batch)))


@pytest.fixture
def often_switching():  # type: ignore[no-untyped-def]
    """Threads take turns a thousand times as often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


async def test_runs_that_only_return_are_never_objects() -> None:
    async with bench(executor=spans()) as b:
        batch = b.map(10)
        b.executor.return_values(ids(batch), seconds=1.0)
        await b.settle()
        assert batch.result() == ids(batch)
        assert batch.counts()[Status.SUCCESS] == 10
        assert objects(batch) == 0


async def test_the_record_made_for_a_run_that_returned_has_its_own_times_and_worker() -> None:
    async with bench(executor=spans()) as b:
        batch = b.map(4)
        b.clock.advance(10.0)
        b.executor.return_values(ids(batch), seconds=1.0)
        await b.settle()
        record = batch[1]._run.record
        assert (record.started, record.finished, record.worker, record.attempt) == (1007.0, 1008.0, "w1", 1)
        assert batch[1].info().args_preview == "n=1"


async def test_spans_fill_the_room_and_the_rest_keeps_its_place() -> None:
    async with bench(executor=spans(slots=2, prefetch=2)) as b:
        first, second = b.map(6), b.map(3)
        b.executor.return_values(ids(first, range(4)))
        b.executor.return_values(ids(first, [4, 5]))
        assert [(span.first, span.length) for span in b.executor.spans] == [(0, 4), (4, 2), (0, 2), (2, 1)]
        assert b.served() == ids(first) + ids(second)


async def test_a_better_map_overtakes_what_is_prefetched() -> None:
    async with bench(executor=spans(slots=1, prefetch=3)) as b:
        worse = b.map(6)
        b.executor.start_run(worse[0]._run)
        better = b.map(2, priority=1)
        assert b.executor.here() == ids(worse, [0, 1]) + ids(better)
        b.executor.return_values(ids(worse, [0]))
        b.executor.return_values(ids(better))
        # Place for three: what was taken back is served again in order, before those that were never served.
        assert b.served()[-3:] == ids(worse, [2, 3, 4])


async def test_cancelled_runs_are_passed_over_however_many_they_are() -> None:
    async with bench(executor=spans(slots=1)) as b:
        batch = b.map(100)
        batch[1:98].cancel()
        batch[99].cancel()
        b.executor.return_values(ids(batch, [0]))
        assert b.executor.here() == ids(batch, [98])
        b.executor.return_values(ids(batch, [98]))
        await b.settle()
        assert batch.done()
        assert batch.result(on_error="skip") == ids(batch, [0, 98])


async def test_what_was_taken_back_is_not_over_when_a_late_report_says_so() -> None:
    async with bench(executor=spans()) as b:
        batch = b.map(3)
        span = b.executor.spans[0]
        b.engine.pause(None)
        b.executor.sink.span_values(span, 0, ["late"] * 3, [0.0] * 3, 0.0, "w1")
        assert batch.counts()[Status.PENDING] == 3
        b.engine.resume(None)
        b.executor.return_values(ids(batch))
        await b.settle()
        assert batch.result() == ids(batch)


async def test_no_executor_is_asked_to_stop_what_was_taken_back() -> None:
    async with bench(executor=spans()) as b:
        batch = b.map(3)
        handle = batch[1]
        b.engine.pause(None)
        assert handle.cancel()
        await b.settle()
        assert handle.cancelled()
        assert b.executor.stopped == []


async def test_what_is_reported_twice_keeps_its_first_value() -> None:
    async with bench(executor=spans()) as b:
        batch = b.map(3)
        b.executor.return_values(ids(batch, [1]))
        b.executor.sink.span_values(b.executor.spans[0], 0, ["a", "b", "c"], [0.0] * 3, 0.0, "w1")
        await b.settle()
        assert batch.result() == ["a", ids(batch)[1], "c"]
        b.executor.items.clear()


async def test_a_late_value_of_a_cancelled_run_is_not_kept() -> None:
    async with bench(executor=spans()) as b:
        b.executor.stubborn = True
        batch = b.map(3)
        batch[1].cancel()
        b.executor.return_values(ids(batch))
        await b.settle()
        assert isinstance(batch.errors[1], TaskCancelled)
        assert batch._runs.columns.values(range(3)) == [*ids(batch, [0]), None, *ids(batch, [2])]


async def test_a_late_value_of_an_earlier_attempt_does_not_end_a_retry() -> None:
    async with bench(executor=spans()) as b:
        batch = b.map(2, retries=1)
        b.executor.end(ids(batch)[0], FAILURE)
        b.clock.advance(2.0)
        b.executor.sink.span_values(b.executor.spans[0], 0, ["late"], [0.0], 0.0, "w1")
        assert batch[0].status is Status.RETRYING
        b.executor.end(ids(batch)[0], VALUE)
        b.executor.return_values(ids(batch, [1]))
        await b.settle()
        assert batch.result() == [42, *ids(batch, [1])]


async def test_a_handle_taken_between_return_and_saving_settles_with_its_neighbours() -> None:
    gated = Gated()
    async with bench(executor=spans(), backend=gated) as b:
        batch = b.map(9)
        b.executor.return_values(ids(batch))
        await b.settle()
        handle = batch[4]
        assert (handle.status, handle.done(), handle.cancel()) == (Status.RUNNING, False, False)
        assert batch.counts()[Status.RUNNING] == 9
        assert b.engine.find(handle.id) is handle._run
        gated.gate.set()
        assert await asyncio.wait_for(handle, 1) == handle.id
        assert batch[4]._run is handle._run
        assert b.engine.find(handle.id) is None
        stored = gated.recent(handle.id)
        assert stored is not None
        assert stored.outcome.value == handle.id


@pytest.mark.parametrize("cut", [slice(None), slice(2, 7), slice(None, None, -1), slice(8, 0, -3), slice(1, None, 2)])
async def test_a_slice_is_over_with_the_last_of_its_own(cut: slice) -> None:
    async with bench(executor=spans()) as b:
        batch = b.map(9)
        part, bell = batch[cut], Bell()
        assert part._runs.all_over().arm(bell)
        mine = sorted(part._runs.positions)
        others = [position for position in range(9) if position not in mine]
        for position in others + mine[:-1]:
            b.executor.return_values(ids(batch, [position]))
        await b.settle()
        assert bell.rung == 0
        assert part.counts()[Status.SUCCESS] == len(mine) - 1
        b.executor.return_values(ids(batch, [mine[-1]]))
        await b.settle()
        assert bell.rung == 1
        assert part.result() == ids(batch, range(9)[cut])


async def test_a_strict_wait_ends_with_the_first_failure_among_its_own() -> None:
    async with bench(executor=spans()) as b:
        batch = b.map(6)
        bell = Bell()
        batch[:3]._runs.all_over(stop_on_failure=True).arm(bell)
        b.executor.end(ids(batch)[4], FAILURE)
        await b.settle()
        assert bell.rung == 0
        b.executor.end(ids(batch)[1], FAILURE)
        await b.settle()
        assert bell.rung == 1
        assert not batch[:3]._runs.all_over(stop_on_failure=True).arm(bell)


async def test_a_deadline_ends_what_is_not_over_and_its_timer_goes_with_the_last_run() -> None:
    async with bench(executor=spans(slots=2)) as b:
        batch, quick = b.map(4, deadline=5.0), b.map(2, deadline=9.0, priority=1)
        b.executor.return_values(ids(quick, [0]))
        b.executor.return_values(ids(quick, [1]))
        b.executor.return_values(b.executor.here()[:1])
        b.clock.advance(5.0)
        await b.settle()
        assert batch.counts()[Status.SUCCESS] == 1
        assert batch.counts()[Status.FAILED] == 3
        assert b.clock.next_due() is None


async def test_a_map_with_a_timeout_ends_the_run_that_takes_too_long_alone() -> None:
    async with bench(executor=spans(slots=3)) as b:
        batch = b.map(3, timeout=4.0)
        b.executor.start_run(batch[0]._run)
        b.clock.advance(4.0)
        await b.settle()
        b.executor.return_values(ids(batch, [1, 2]))
        await b.settle()
        assert batch[0].status is Status.FAILED
        assert batch.result(on_error="skip") == ids(batch, [1, 2])
        assert b.clock.next_due() is None


async def test_nobody_listens_to_a_map_that_is_over_or_is_waited_for_no_more() -> None:
    async with bench(executor=spans()) as b:
        batch = b.map(4)
        columns, bell = batch._runs.columns, Bell()
        given_up, fired, whole = batch._runs.all_over(), batch[:1]._runs.all_over(), batch._runs.all_over()
        assert [signal.arm(bell) for signal in (given_up, fired, whole)] == [True] * 3
        left, kept = batch._runs.arrivals(), batch._runs.arrivals()
        given_up.disarm()
        left.close()
        assert len(columns._listeners) == 3
        b.executor.return_values(ids(batch, [0]))
        await b.settle()
        assert bell.rung == 1
        assert len(columns._listeners) == 2
        b.executor.return_values(ids(batch, [1, 2, 3]))
        await b.settle()
        assert bell.rung == 2
        assert columns._listeners == ()
        assert columns.encoded is None
        assert [run.submission.position for run in iter(kept.take, None)] == [0, 1, 2, 3]


async def test_a_batch_that_nobody_holds_and_that_is_over_goes_from_memory() -> None:
    async with bench(executor=spans(), backend=MemoryBackend(keep_runs=1)) as b:
        batch = b.map(9)
        gone = weakref.ref(batch._runs.columns)
        b.executor.return_values(ids(batch))
        await b.settle()
        b.executor.spans.clear()
        last = b.submit()
        b.attempt(last, VALUE)
        await b.settle()
        del batch
        gc.collect()
        assert gone() is None


async def test_after_a_fork_nobody_who_waited_is_called() -> None:
    async with bench(executor=spans()) as b:
        batch, bell = b.map(3), Bell()
        batch._runs.all_over().arm(bell)
        batch[0].add_done_callback(pytest.fail)
        b.engine.forget_waiters()
        b.executor.return_values(ids(batch))
        await b.settle()
        assert batch.done()
        assert bell.rung == 0


async def test_a_map_that_arrives_while_the_app_stops_holds_nothing_up() -> None:
    async with bench(executor=spans()) as b:
        b.executor.stubborn = True
        last = b.submit()
        b.executor.start_run(last)
        posted = []
        b.engine.inbox = SimpleNamespace(post=lambda *call: posted.append(call) or True)
        batches = []
        thread = threading.Thread(target=lambda: batches.append(b.map(3)))
        # Known, but not entered yet, when the stop begins and when the last run ends.
        thread.start()
        thread.join()
        stopping = asyncio.create_task(b.engine.stop())
        await b.settle()
        known = batches[0]._runs.columns
        assert all(run.record.is_terminal for run in map(known.run, range(3)))
        b.executor.end(last.id, STOPPED)
        for method, *args in posted:
            method(*args)
        await asyncio.wait_for(stopping, 2)
        assert batches[0].counts()[Status.CANCELLED] == 3


async def test_a_map_that_is_refused_by_an_app_that_stops_does_not_keep_it_from_stopping() -> None:
    async with bench(executor=spans()) as b:
        b.executor.stubborn = True
        last = b.submit()
        b.executor.start_run(last)
        other = b.map(1)
        columns = type(other._runs.columns)(
            other._runs.columns.submission._replace(id="1-900", batch_id="1-b899"), 2, b.engine, range(2), str
        )
        stopping = asyncio.create_task(b.engine.stop())
        await b.settle()
        # Another thread is between two lines of accept_map(): it has asked whether the engine stops, and not again yet.
        b.engine._runs.maps.add(columns)
        b.executor.end(last.id, STOPPED)
        b.executor.end(other[0].id, STOPPED)
        await b.settle()
        assert not stopping.done()
        b.engine._enter_map(columns)
        await asyncio.wait_for(stopping, 2)
        assert columns.statuses(range(2))[Status.CANCELLED] == 2


async def test_a_blocking_wait_asks_the_next_run_when_the_first_ends_meanwhile() -> None:
    """The loop to be pumped is that of the runs that are left, and each of them needs the same."""
    async with bench(executor=spans()) as b:
        batch = b.map(3)
        selection, here = batch._runs, asyncio.get_running_loop()
        asked: list[int] = []

        def needed(run: Run) -> asyncio.AbstractEventLoop:
            asked.append(run.submission.position or 0)
            return here

        elsewhere = SimpleNamespace(loop=None, loop_needed_by=needed)
        for position in range(3):
            selection.columns.run(position).engine = elsewhere
        # Between the question which are left and the answer of the first one.
        selection.columns.run(0).settled = True
        racing = SimpleNamespace(unsettled=iter, run=selection.columns.run)
        with pytest.raises(WouldDeadlock):
            MappedRuns(racing, range(3)).loop_to_pump("waiting")
        assert asked == [1]
        for position in range(3):
            selection.columns.run(position).engine = b.engine
        selection.columns.run(0).settled = False


@pytest.mark.parametrize("name", ["1-02", "1-²", "2-2", "1-99", "1--2", "1-b1", "-2", "2", "1-" + "9" * 5000])
async def test_only_its_very_id_finds_a_run(name: str) -> None:
    async with bench(executor=spans()) as b:
        batch = b.map(9)
        assert b.engine.find("1-2") is batch[0]._run
        assert b.engine.find(name) is None
        b.executor.return_values(ids(batch))
        await b.settle()
        assert b.engine.backend.recent("1-2") is not None
        assert b.engine.backend.recent(name) is None


class Looking(threading.Thread):
    """Takes every third handle of *batch*, cancels some, counts now and then, and waits for its handles."""

    def __init__(self, batch, offset: int) -> None:
        super().__init__()
        self.batch, self.positions = batch, range(offset, len(batch), 3)
        self.totals: set[tuple[int, int]] = set()
        self.all_settled = False

    def run(self) -> None:
        handles = []
        for count, position in enumerate(self.positions):
            handles.append(self.batch[position])
            if count % 10 == 0:
                handles[-1].cancel()
            if count % 16 == 0:
                counts = self.batch.counts().values()
                self.totals.add((sum(counts), min(counts)))
        self.all_settled = all(handle.wait(10) for handle in handles)


def test_handles_made_by_other_threads_while_values_return_all_settle(often_switching: None) -> None:
    size = 4_000

    async def drive():  # type: ignore[no-untyped-def]
        async with bench(executor=spans(slots=50), backend=LaterBackend()) as b:
            batch = b.map(size)
            looking = [Looking(batch, offset) for offset in range(3)]
            for thread in looking:
                thread.start()
            until = time.monotonic() + 20
            while not batch.done() and time.monotonic() < until:
                if b.executor.items:
                    b.executor.return_values(b.executor.neighbours(next(iter(b.executor.items)))[:7])
                await asyncio.sleep(0)
            return batch, looking

    batch, looking = asyncio.run(drive())
    for thread in looking:
        thread.join(10)
    assert [(thread.all_settled, thread.totals) for thread in looking] == [(True, {(size, 0)})] * 3
    assert all(handle.done() for handle in batch)
    for value, run_id in zip(batch.result(on_error="return"), ids(batch), strict=True):
        assert value == run_id or isinstance(value, TaskCancelled)
    counts = batch.counts()
    assert counts[Status.SUCCESS] + counts[Status.CANCELLED] == size


async def test_counts_are_those_of_the_handles_while_one_after_the_other_settles() -> None:
    async with bench(executor=spans()) as b:
        batch, seen = b.map(4), []

        def look(run: Run) -> None:
            seen.append(batch.counts() == {status: [h.status for h in batch].count(status) for status in Status})

        for handle in batch[:2]:
            handle._run.add_waiter(look)
        b.executor.end(batch[0].id, FAILURE)
        b.executor.return_values(ids(batch, [1, 2, 3]))
        for handle in batch[2:]:
            handle._run.add_waiter(look)
        await b.settle()
        assert seen == [True] * 4


async def test_a_stop_reason_that_comes_while_values_are_under_way_is_kept() -> None:
    async with bench(executor=spans()) as b:
        batch = b.map(3)
        handle = batch[1]
        assert handle._run.want_stop()
        b.executor.return_values(ids(batch))
        b.engine.request_stop([handle._run], StopReason.CANCEL)
        await b.settle()
        assert handle.cancelled()
        assert batch.counts()[Status.SUCCESS] == 2

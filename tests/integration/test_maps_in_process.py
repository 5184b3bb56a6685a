"""Runs of a map inside this process: reported together where that says the same as one by one, and never later."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowrra import Flowrra, Status, TaskCancelled, TaskTimeout, current_run, progress
from flowrra.core.statuses import OutcomeKind, StopReason
from flowrra.executors.aio import AioExecutor
from flowrra.executors.in_process import InProcess
from flowrra.executors.threads import ThreadExecutor
from flowrra.interfaces import Call, Span
from flowrra.portal import LoopThread
from flowrra.testing.executor_kit import Recorder

PATIENCE = 10.0


class SpanRecorder(Recorder):
    """Remembers also what it is told of spans: the positions begun, and (position, value, began, ended)."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[int] = []
        self.values: list[tuple[int, Any, float, float]] = []
        self.stretches = 0

    def span_began(self, span: Span, position: int, worker: str | None, at: float) -> None:
        assert position not in [told[0] for told in self.values], "it is told as begun after its end"
        self.begun.append(position)
        self.room_changed()

    def span_values(
        self, span: Span, first: int, values: Sequence[Any], starts: Sequence[float], end: float, worker: str | None
    ) -> None:
        self.stretches += 1
        ends = [*starts[1:], end]
        positions = range(first, first + len(values))
        self.values.extend(zip(positions, values, starts, ends, strict=True))
        self.room_changed()

    def span_returned(self, span: Span) -> None:
        raise AssertionError("nothing is prefetched here")


class SpanRig:
    """A started executor and spans for it."""

    def __init__(self, executor: InProcess[Any]) -> None:
        self.executor = executor
        self.sink = SpanRecorder()
        self.coroutines = isinstance(executor, AioExecutor)

    def begin(self, function: Callable[..., Any], coroutine: Callable[..., Any], length: int, first: int = 0) -> Span:
        chosen = coroutine if self.coroutines else function
        rows = [(number,) for number in range(first + length)]
        calls = self.executor.encode_map(Call("f", chosen, (), {}), rows)
        span = Span("batch", first, length, "f", 0, 100, calls, "1", 1000)
        self.executor.begin_span(span)
        return span


KINDS = ["coroutines on the engine's loop", "coroutines on another loop", "threads"]


@pytest.fixture
def other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    thread = LoopThread("other-loop")
    yield thread.loop
    thread.close()


@pytest.fixture(params=KINDS)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[SpanRig]:
    if request.param == "threads":
        executor: InProcess[Any] = ThreadExecutor(8)
    elif request.param == "coroutines on another loop":
        executor = AioExecutor(8, request.getfixturevalue("other_loop"))
    else:
        executor = AioExecutor(8)
    async with started(executor) as made:
        yield made


@asynccontextmanager
async def started(executor: InProcess[Any]) -> AsyncIterator[SpanRig]:
    rig = SpanRig(executor)
    await executor.start(rig.sink)
    try:
        yield rig
    finally:
        await executor.close()


def same(number: int) -> int:
    return number


async def same_async(number: int) -> int:
    return number


def same_later(number: int) -> int:
    time.sleep(0.1)
    return number


async def same_later_async(number: int) -> int:
    await asyncio.sleep(0.1)
    return number


def fail_at_two(number: int) -> int:
    if number == 2:
        raise LookupError("two")
    return number


async def fail_at_two_async(number: int) -> int:
    return fail_at_two(number)


# What the engine hears.


async def test_runs_that_end_soon_are_told_with_their_values_alone(rig: SpanRig) -> None:
    rig.begin(same, same_async, 5, first=3)
    assert rig.executor.room() == 3
    await rig.sink.until_true(lambda: len(rig.sink.values) == 5)
    assert sorted((position, value) for position, value, _, _ in rig.sink.values) == [(n, n) for n in range(3, 8)]
    assert rig.sink.begun == []
    assert rig.sink.told == []
    assert rig.executor.room() == 8


async def test_coroutines_that_never_wait_are_told_together() -> None:
    async with started(AioExecutor(8)) as rig:
        rig.begin(same, same_async, 8)
        await rig.sink.until_true(lambda: len(rig.sink.values) == 8)
        assert rig.sink.stretches == 1


async def test_runs_that_take_long_are_told_as_begun_once(rig: SpanRig) -> None:
    rig.begin(same_later, same_later_async, 8)
    await rig.sink.until_true(lambda: len(rig.sink.begun) == 8)
    assert rig.sink.values == []
    await rig.sink.until_true(lambda: len(rig.sink.values) == 8)
    assert sorted(rig.sink.begun) == list(range(8))


async def test_times_are_those_of_each_run_though_they_overlap(rig: SpanRig) -> None:
    before = time.monotonic()
    rig.begin(same_later, same_later_async, 8)
    await rig.sink.until_true(lambda: len(rig.sink.values) == 8)
    after = time.monotonic()
    for _, _, began, ended in rig.sink.values:
        assert before <= began < began + 0.099 <= ended <= after


async def test_what_fails_is_told_by_itself_with_its_begin(rig: SpanRig) -> None:
    span = rig.begin(fail_at_two, fail_at_two_async, 5)
    await rig.sink.until("finished", span.attempt(2))
    await rig.sink.until_true(lambda: len(rig.sink.values) == 4)
    assert rig.sink.story(span.attempt(2)) == ["started", "finished"]
    assert isinstance(rig.sink.outcomes[span.run_id(2)].exception, LookupError)
    assert len(rig.sink.told) == 2
    assert rig.executor.room() == 8


async def test_a_run_of_a_span_is_stopped_alone(other_loop: asyncio.AbstractEventLoop) -> None:
    for loop in (None, other_loop):
        async with started(AioExecutor(8, loop)) as rig:
            span = rig.begin(same_later, same_later_async, 4)
            await asyncio.sleep(0)
            rig.executor.stop(span.attempt(1), StopReason.CANCEL)
            await rig.sink.until("finished", span.attempt(1))
            assert rig.sink.outcomes[span.run_id(1)].kind is OutcomeKind.CANCELLED
            await rig.sink.until_true(lambda rig=rig: len(rig.sink.values) == 3)  # type: ignore[misc]
            assert rig.sink.story(span.attempt(1)).count("finished") == 1
            assert sorted(told[0] for told in rig.sink.values) == [0, 2, 3]


async def test_the_calls_of_a_map_can_be_cut(rig: SpanRig) -> None:
    calls = rig.executor.encode_map(Call("f", same, (), {"b": 1}), [(1,), (2,), (3,)])
    assert [call.args for call, _ in calls] == [(1,), (2,), (3,)]
    assert [call.args for call, _ in calls[1:]] == [(2,), (3,)]
    assert {call.kwargs["b"] for call, _ in calls} == {1}


# What the user sees.


@pytest.fixture
def app() -> Iterator[Flowrra]:
    with Flowrra("maps", cpu_workers=1) as running:
        yield running


@pytest.mark.parametrize("coroutines", [False, True])
def test_a_run_of_a_map_is_seen_running_and_knows_itself(app: Flowrra, coroutines: bool) -> None:
    go_on = threading.Event()

    def wait(number: int) -> str:
        progress.update(number)
        assert go_on.wait(PATIENCE)
        return current_run().id

    async def wait_async(number: int) -> str:
        progress.update(number)
        while not go_on.is_set():
            await asyncio.sleep(0.001)
        return current_run().id

    batch = app.task(wait_async if coroutines else wait).map(range(3))
    end = time.monotonic() + PATIENCE
    while {handle.status for handle in batch} != {Status.RUNNING} or None in [handle.progress for handle in batch]:
        assert time.monotonic() < end
        time.sleep(0.001)
    assert [handle.progress and handle.progress.done for handle in batch] == [0, 1, 2]
    go_on.set()
    assert batch.result(timeout=PATIENCE) == [handle.id for handle in batch]
    times = [(handle.info().started_at, handle.info().finished_at) for handle in batch]
    assert all(began is not None and ended is not None and began <= ended for began, ended in times)


def test_a_coroutine_of_a_map_that_blocks_its_loop_is_over_in_time(app: Flowrra) -> None:
    async def block(number: int) -> None:
        time.sleep(1.5)

    begin = time.monotonic()
    batch = app.task(timeout=0.2)(block).map(range(1))
    assert isinstance(batch[0].exception(PATIENCE), TaskTimeout)
    assert time.monotonic() - begin < 1.4


@pytest.mark.parametrize("coroutines", [False, True])
def test_a_run_of_a_map_is_tried_again_by_itself(app: Flowrra, coroutines: bool) -> None:
    def fail_once(number: int) -> tuple[int, int]:
        if number % 3 == 0 and current_run().attempt == 1:
            raise OSError("not yet")
        return number, current_run().attempt

    async def fail_once_async(number: int) -> tuple[int, int]:
        return fail_once(number)

    task = app.task(max_retries=1, retry_delay=0.01)(fail_once_async if coroutines else fail_once)
    values = task.map(range(30)).result(timeout=PATIENCE)
    assert values == [(number, 2 if number % 3 == 0 else 1) for number in range(30)]


async def test_cancelling_a_map_in_its_first_turn_ends_it_and_frees_every_slot() -> None:
    async def wait(number: int) -> int:
        await asyncio.sleep(PATIENCE)
        return number

    async with Flowrra("maps", cpu_workers=1, io_concurrency=8) as app:
        for turns in (0, 1, 2):
            batch = app.task(wait).map(range(20))
            for _ in range(turns):
                await asyncio.sleep(0)
            batch.cancel()
            for handle in batch:
                with pytest.raises(TaskCancelled):
                    await handle
        assert await app.task(same_async).map(range(20)) == list(range(20))
        assert app.stats().executors["io"]["running"] == 0


async def test_a_map_larger_than_the_concurrency_runs_no_more_at_a_time() -> None:
    running = most = 0

    async def count(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0 if number % 2 else 0.001)
        running -= 1
        return number

    async with Flowrra("maps", cpu_workers=1, io_concurrency=8) as app:
        assert await app.task(count).map(range(500)) == list(range(500))
    assert most == 8

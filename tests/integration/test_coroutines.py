"""What a coroutine may rely on, however short it is: a task, a context and a report of its own."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from flowrra import Flowrra, RunContext, Status, TaskCancelled, current_run, progress
from flowrra.core.statuses import OutcomeKind, StopReason
from flowrra.executors.aio import AioExecutor
from flowrra.executors.in_process import InProcess
from flowrra.executors.threads import ThreadExecutor
from flowrra.interfaces import Attempt, Call
from flowrra.portal import LoopThread
from flowrra.testing.executor_kit import Rig

# libuv makes a pipe with the first loop and keeps it as long as the process lives: no test leaves it behind.
uvloop.new_event_loop().close()

variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


@pytest.fixture(params=["the engine's loop", "another loop"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop | None]:
    """Where the coroutines run, as the executor takes it."""
    if request.param == "the engine's loop":
        yield None
        return
    thread = LoopThread("other-loop")
    yield thread.loop
    thread.close()


@asynccontextmanager
async def rig_of(executor: InProcess[Any]) -> AsyncIterator[Rig]:
    rig = Rig(executor)
    await executor.start(rig.sink)
    try:
        yield rig
    finally:
        await executor.close()


async def value_of(rig: Rig, function: Callable[..., Any], *args: Any) -> Any:
    outcome = await rig.run(function, *args)
    assert outcome.kind is OutcomeKind.RETURNED, outcome
    return outcome.value


# Its own.


async def test_each_run_is_a_task_of_its_own_even_if_it_never_waits(loop: asyncio.AbstractEventLoop | None) -> None:
    async def task() -> asyncio.Task[Any] | None:
        return asyncio.current_task()

    async with rig_of(AioExecutor(4, loop)) as rig:
        attempts = [rig.begin(task) for _ in range(4)]
        await rig.sink.until("finished", *attempts)
        tasks = [rig.sink.outcomes[attempt.run_id].value for attempt in attempts]
        assert len(set(tasks)) == 4
        assert [isinstance(task, asyncio.Task) and task.get_name() for task in tasks] == [a.run_id for a in attempts]


async def test_what_a_run_sets_is_seen_by_no_other(loop: asyncio.AbstractEventLoop | None) -> None:
    async def count(wait: bool) -> tuple[int, int]:
        before = variable.get()
        variable.set(before + 1)
        if wait:
            await asyncio.sleep(0)
        return before, variable.get()

    async with rig_of(AioExecutor(8, loop)) as rig:
        for submitted in (0, 10):
            variable.set(submitted)
            # The runs of a map share the context of their submission, and so do the attempts of a run.
            rows = [(wait,) for wait in (False, True) * 4]
            calls = rig.executor.encode_map(Call("count", count, (), {}), rows)
            attempts = [Attempt(f"{submitted}-{n}", 1, "count", 0, n, call) for n, call in enumerate(calls)]
            for attempt in attempts:
                rig.executor.begin(attempt)
            await rig.sink.until("finished", *attempts)
            found = {rig.sink.outcomes[attempt.run_id].value for attempt in attempts}
            assert found == {(submitted, submitted + 1)}
            assert variable.get() == submitted


async def test_timeouts_and_groups_work_in_a_coroutine_that_has_not_waited_yet(
    loop: asyncio.AbstractEventLoop | None,
) -> None:
    async def in_time() -> str:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            child = group.create_task(asyncio.sleep(0, "in time"))
        return child.result()

    async def too_late() -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(10)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        task = asyncio.current_task()
        return f"{task and task.cancelling()} cancellations left"

    async def expired_without_waiting() -> str:
        async with asyncio.timeout(0):
            return "never waited"

    async with rig_of(AioExecutor(1, loop)) as rig:
        for _ in range(3):
            assert await value_of(rig, expired_without_waiting) == "never waited"
            assert await value_of(rig, in_time) == "in time"
            assert await value_of(rig, too_late) == "0 cancellations left"


# Being stopped.


async def test_a_run_that_cancels_its_task_and_never_waits_harms_no_other(
    loop: asyncio.AbstractEventLoop | None,
) -> None:
    async def cancel_myself() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "never waited"

    async def wait() -> str:
        await asyncio.sleep(0)
        return "undisturbed"

    async with rig_of(AioExecutor(1, loop)) as rig:
        for _ in range(5):
            assert await value_of(rig, cancel_myself) == "never waited"
            assert await value_of(rig, wait) == "undisturbed"


async def test_a_run_that_is_stopped_from_inside_its_first_step_is_cancelled_where_it_waits() -> None:
    seen: list[str] = []

    async with Flowrra("inside", cpu_workers=1) as app:

        @app.task
        async def stop_myself() -> None:
            assert app.handle(current_run().id).status is Status.RUNNING
            assert app.handle(current_run().id).cancel()
            seen.append("goes on")
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                seen.append("cancelled")
                await asyncio.sleep(0)
                seen.append("once")
                raise

        with pytest.raises(TaskCancelled):
            await stop_myself.submit()
    assert seen == ["goes on", "cancelled", "once"]


async def test_a_stop_that_comes_after_the_end_reaches_no_run_that_follows(
    loop: asyncio.AbstractEventLoop | None,
) -> None:
    async def quick() -> str:
        return "done"

    async def wait() -> str:
        await asyncio.sleep(0.01)
        return "undisturbed"

    async with rig_of(AioExecutor(2, loop)) as rig:
        for _ in range(20):
            first, second = rig.begin(quick), rig.begin(wait)
            await rig.sink.until("started", first)
            rig.executor.stop(first, StopReason.CANCEL)
            await rig.sink.until("finished", first, second)
            assert rig.sink.outcomes[second.run_id].value == "undisturbed"


# Its loop.


async def serve_many_that_never_wait() -> None:
    async def quick(number: int) -> int:
        return number

    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with Flowrra("many", cpu_workers=1, io_concurrency=16) as app:
        ticker = asyncio.create_task(tick())
        assert await app.task(quick).map(range(1_000)) == list(range(1_000))
        ticker.cancel()
    assert turns >= 1_000 / 16


def test_runs_that_never_wait_leave_the_loop_free_for_others() -> None:
    asyncio.run(serve_many_that_never_wait())


def test_they_do_on_uvloop_too() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_many_that_never_wait())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager task factories came with Python 3.12")
async def test_a_loop_that_starts_tasks_at_once_does_not_start_runs_inside_begin() -> None:
    async def quick() -> str:
        return "done"

    running = asyncio.get_running_loop()
    running.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - unknown to the oldest Python
    try:
        async with rig_of(AioExecutor(1)) as rig:
            attempt = rig.begin(quick)
            assert rig.sink.story(attempt) == []
            await rig.sink.until("finished", attempt)
    finally:
        running.set_task_factory(None)


# Its report.


async def test_the_last_report_comes_before_the_end(loop: asyncio.AbstractEventLoop | None) -> None:
    async def report() -> str:
        for _ in progress(range(50)):
            pass
        return "done"

    async with rig_of(AioExecutor(1, loop)) as rig:
        attempt = rig.attempt(report)
        before_the_end: list[Any] = []
        finished = rig.sink.finished

        def observe(*told: Any) -> None:
            before_the_end.extend(rig.sink.progress[attempt.run_id])
            finished(*told)

        rig.sink.finished = observe  # type: ignore[method-assign]
        rig.executor.begin(attempt)
        await rig.sink.until("finished", attempt)
        assert before_the_end[-1] == (50, 50, "")


async def test_threads_that_ask_at_the_same_time_find_the_same_run() -> None:
    def ask() -> set[int]:
        barrier = threading.Barrier(4)
        found: list[RunContext] = []

        def look() -> None:
            barrier.wait(10)
            found.append(current_run())

        others = [threading.Thread(target=contextvars.copy_context().run, args=(look,)) for _ in range(4)]
        for other in others:
            other.start()
        for other in others:
            other.join()
        assert len(found) == 4
        return {id(context) for context in found}

    async with rig_of(ThreadExecutor(1)) as rig:
        for _ in range(20):
            assert len(await value_of(rig, ask)) == 1


class Large:
    """An argument whose end can be seen."""


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_arguments_are_let_go_without_the_garbage_collector(kind: str, asks: bool) -> None:
    def take(large: Large) -> None:
        if asks:
            progress.update(1)

    async def take_async(large: Large) -> None:
        take(large)

    executor, function = (AioExecutor(1), take_async) if kind == "coroutine" else (ThreadExecutor(1), take)
    gc.disable()
    try:
        async with rig_of(executor) as rig:
            large = Large()
            gone = weakref.ref(large)
            # The rig remembers what it was told: only the executor must not.
            attempt = rig.begin(function, large)
            del large
            await rig.sink.until("finished", attempt)
            rig.sink.told.clear()
            del attempt
            for _ in range(200):
                if gone() is None:
                    break
                await asyncio.sleep(0.01)
            assert gone() is None
    finally:
        gc.enable()

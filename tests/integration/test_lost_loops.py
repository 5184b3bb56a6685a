"""The app's loop ends before the app is left: its runs end with it, its parts are released, nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from flowrra import AppNotRunning, AppStopped, Flowrra
from flowrra.portal import LoopEnded, await_in, call_in
from flowrra.testing import leaks
from tests.integration.gated import PATIENCE, GatedBackend, GatedExecutor, on_a_thread


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


def test_a_program_that_returns_without_stopping_its_app_ends_it(gate: threading.Event) -> None:
    app = Flowrra("race", cpu_workers=1)
    waits: list[Future[Any]] = []

    async def elsewhere(handle: Any) -> Any:
        return await handle

    async def main() -> list[int]:
        await app.start()
        begun = [asyncio.Event() for _ in range(2)]

        async def for_ever() -> None:
            begun[0].set()
            await asyncio.Event().wait()

        loop = asyncio.get_running_loop()

        def on_its_thread() -> None:
            loop.call_soon_threadsafe(begun[1].set)
            gate.wait(PATIENCE)

        cpu = app.task(name="cpu", cpu_bound=True)(abs)
        assert await cpu.submit(-7) == 7
        runs = [app.task(for_ever).submit(), app.task(on_its_thread).submit()]
        runs += [app.task(name="later")(abs).options(delay=600).submit(1), cpu.options(delay=600).submit(1)]
        waits.extend(on_a_thread(run.result) for run in runs)
        waits.extend(on_a_thread(lambda run=run: asyncio.run(elsewhere(run))) for run in runs)
        for event in begun:
            await event.wait()
        return app.stats().executors["cpu"]["pids"]

    before = leaks.resources()
    assert asyncio.run(main())
    for wait in waits:
        assert isinstance(wait.exception(PATIENCE), AppStopped)
    assert not app.running
    with pytest.raises(AppNotRunning):
        app.blocking.submit(abs, 1)
    gate.set()
    assert leaks.left_behind(before) == []


def test_outcomes_of_a_program_that_returns_without_stopping_are_saved() -> None:
    backend = GatedBackend()
    app = Flowrra("race", cpu_workers=1, backend=backend)

    async def main() -> Any:
        await app.start()
        run = app.blocking.submit(abs, -1)
        while not backend.gate.reached.is_set():
            await asyncio.sleep(0.001)
        asyncio.get_running_loop().call_later(0.01, backend.gate.open)
        return run

    run = asyncio.run(main())
    assert run.result(0) == 1
    assert app.blocking.get_result(run.id) is not None


def test_a_stop_that_is_under_way_when_the_program_returns_is_completed(gate: threading.Event) -> None:
    executor = GatedExecutor()
    app = Flowrra("race", cpu_workers=1, executors={"gated": executor})

    async def main() -> tuple[Any, Any]:
        await app.start()
        run = app.task(name="wait")(gate.wait).submit(PATIENCE)
        stopping = asyncio.create_task(app.stop())
        await asyncio.sleep(0)
        return run, stopping

    run, stopping = asyncio.run(main())
    assert stopping.cancelled()
    assert run.cancelled()
    assert executor.story[-1] == "closed"


def test_a_stop_that_waits_for_a_save_when_the_program_returns_is_completed_as_well() -> None:
    executor, backend = GatedExecutor(), GatedBackend()
    app = Flowrra("lost", cpu_workers=1, backend=backend, executors={"gated": executor})

    async def main() -> Any:
        await app.start()
        run = app.blocking.submit(abs, -1)
        while not backend.gate.reached.is_set():
            await asyncio.sleep(0)
        stopping = asyncio.create_task(app.stop(drain=False))
        while app.running:
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.01, backend.gate.open)
        return run, stopping

    run, _ = asyncio.run(main())
    assert run.result(0) == 1
    assert executor.story[-1] == "closed"


def test_a_loop_that_is_closed_without_any_cleaning_up_ends_the_runs_when_the_app_is_next_asked() -> None:
    app = Flowrra("race", cpu_workers=1)
    loop = asyncio.new_event_loop()

    async def main() -> Any:
        await app.start()
        return app.task(name="sleep")(asyncio.sleep).submit(600)

    run = loop.run_until_complete(main())
    waiter = on_a_thread(run.result)
    loop.close()
    assert not app.running
    assert isinstance(waiter.exception(PATIENCE), AppStopped)
    with app:
        assert app.blocking.submit(abs, -1).result(PATIENCE) == 1


class CountingLoop(asyncio.SelectorEventLoop):
    """Tells when a number of calls from other threads have come."""

    def __init__(self, expected: int) -> None:
        self.calls, self.all_came = expected, threading.Event()
        super().__init__()

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:
        handle = super().call_soon_threadsafe(*args, **kwargs)
        self.calls -= 1
        if not self.calls:
            self.all_came.set()
        return handle


@pytest.mark.parametrize("fate", ["closed", "cancelled", "late"])
def test_a_call_into_a_loop_that_ends_first_is_told_so(fate: str) -> None:
    loop = CountingLoop(expected=2)
    blocked = on_a_thread(lambda: call_in(loop, asyncio.sleep(600), "a test", is_late=lambda: fate == "late"))
    awaited = on_a_thread(lambda: asyncio.run(await_in(loop, asyncio.sleep(600), lambda: fate == "late")))
    assert loop.all_came.wait(PATIENCE)
    if fate != "closed":
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(asyncio.sleep(0))
    else:
        loop.close()
    for wait in (blocked, awaited):
        assert isinstance(wait.exception(PATIENCE), LoopEnded)
    with pytest.raises(LoopEnded):
        call_in(loop, asyncio.sleep(600), "a test")


def test_leaving_a_block_of_an_app_whose_loop_ends_meanwhile_returns() -> None:
    app = Flowrra("lost", cpu_workers=1)
    loop = CountingLoop(expected=2)
    loop.run_until_complete(app.start())
    loop.calls = 2

    def block() -> Any:
        with app:
            return app.task(name="sleep")(asyncio.sleep).submit(600)

    leaving = on_a_thread(block)
    assert loop.all_came.wait(PATIENCE), "the submission, and the wait at the end of the block"
    loop.close()
    run = leaving.result(PATIENCE)
    assert not app.running
    assert run.wait(PATIENCE)


async def test_a_start_that_is_cancelled_when_it_is_through_leaves_nothing() -> None:
    app = Flowrra("lost", cpu_workers=1)
    before = asyncio.all_tasks()
    starting = asyncio.create_task(app.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not app.running
    assert asyncio.all_tasks() - {starting} == before

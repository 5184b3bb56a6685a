"""An engine whose loop was closed, or runs in another process: nobody will tell it anything any more."""

from __future__ import annotations

import asyncio

import pytest

from flowrra.core.statuses import Status, StopReason
from flowrra.engine.engine import Engine
from flowrra.engine.run import Run
from flowrra.errors import AppStopped, TaskCancelled
from flowrra.events import Dispatcher
from flowrra.testing.clock import ManualClock
from tests.unit.engine.scripted import VALUE, Bench, LaterBackend, ScriptedExecutor


@pytest.fixture
def lost():  # type: ignore[no-untyped-def]
    """A bench and the loop that it lives on; the test closes that."""
    loop = asyncio.new_event_loop()
    executor, clock = ScriptedExecutor(slots=3), ManualClock()

    async def start() -> Engine:
        engine = Engine({"scripted": executor}, LaterBackend(), Dispatcher("lost"), clock)
        await engine.start()
        return engine

    engine = loop.run_until_complete(start())
    yield Bench(executor, engine, clock), loop
    loop.close()


def in_loop(loop: asyncio.AbstractEventLoop, call):  # type: ignore[no-untyped-def]
    async def inside():  # type: ignore[no-untyped-def]
        return call()

    return loop.run_until_complete(inside())


def end(bench: Bench, loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(bench.engine.saver.close())
    loop.close()
    bench.engine.lose_loop()


def test_waiting_running_and_retrying_runs_end_cancelled(lost) -> None:  # type: ignore[no-untyped-def]
    bench, loop = lost

    def submit() -> list[Run]:
        running, waiting, stopping = (bench.submit() for _ in range(3))
        bench.executor.stubborn = True
        bench.executor.start_run(running)
        bench.executor.start_run(stopping)
        bench.engine.request_stop([stopping], StopReason.CANCEL)
        return [running, waiting, bench.submit(delay=60), stopping]

    runs = in_loop(loop, submit)
    end(bench, loop)
    assert [run.status for run in runs] == [Status.CANCELLED] * 4
    assert [type(run.exception) for run in runs] == [AppStopped] * 3 + [TaskCancelled]


def test_an_outcome_that_was_not_saved_yet_is_kept(lost) -> None:  # type: ignore[no-untyped-def]
    bench, loop = lost

    def submit() -> Run:
        run = bench.submit()
        bench.attempt(run, VALUE)
        return run

    loop.run_until_complete(bench.engine.saver.close())
    run = in_loop(loop, submit)
    loop.close()
    assert run.status is Status.RUNNING
    bench.engine.lose_loop()
    assert run.settled
    assert run.status is Status.SUCCESS
    assert run.outcome is not None
    assert run.outcome.value == 42


def test_what_a_closed_loop_does_not_take_is_not_remembered(lost) -> None:  # type: ignore[no-untyped-def]
    bench, loop = lost
    run = in_loop(loop, bench.submit)
    loop.run_until_complete(bench.engine.saver.close())
    loop.close()
    late = Run(run.submission._replace(id="late"), bench.engine, None, "")
    assert not bench.engine.accept(late)
    assert bench.engine.find("late") is None
    assert bench.engine.unfinished() == [run]

"""What happens at the same moment: two starts, a start and a stop, a stop and a question, an interrupt and anything."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from flowrra import (
    AppNotRunning,
    AppStopped,
    Flowrra,
    NotRecorded,
    Status,
    TaskCancelled,
    WorkerStartFailed,
    WouldDeadlock,
)
from flowrra.backends.memory import MemoryBackend
from flowrra.core.records import RunRecord
from flowrra.engine import saver
from flowrra.engine.engine import Engine
from flowrra.engine.run import Run
from flowrra.interfaces import Stored
from flowrra.results import snapshot
from flowrra.state import AppState, Turn
from tests.integration.gated import PATIENCE, DownBackend, Gate, GatedBackend, GatedExecutor, on_a_thread


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a start has found that it has to wait for another start, or for a stop."""
    found, claim = threading.Event(), AppState.claim

    def observed(state: AppState, turn: Turn) -> Any:
        before = claim(state, turn)
        if before is not None:
            found.set()
        return before

    monkeypatch.setattr(AppState, "claim", observed)
    return found


# Starting.


@pytest.mark.parametrize("loop_first", [True, False])
def test_a_start_in_a_loop_and_one_on_a_thread_make_one_app(loop_first: bool, held_up: threading.Event) -> None:
    start = Gate()
    executor = GatedExecutor(start=start)
    app = Flowrra("race", cpu_workers=1, executors={"gated": executor})
    both_in, joined_left = threading.Barrier(2), threading.Event()

    def leave(first: bool) -> None:
        both_in.wait(PATIENCE)
        if first:
            assert joined_left.wait(PATIENCE)

    async def in_a_loop() -> None:
        async with app:
            leave(loop_first)

    def in_a_thread() -> None:
        with app:
            leave(not loop_first)

    ways = [lambda: asyncio.run(in_a_loop()), in_a_thread]
    first, second = ways if loop_first else reversed(ways)
    starter = on_a_thread(first)
    assert start.reached.wait(PATIENCE)
    joiner = on_a_thread(second)
    assert held_up.wait(PATIENCE)
    joiner.add_done_callback(lambda _: joined_left.set())
    if not loop_first:
        start.open()
        joiner.result(PATIENCE)
        starter.result(PATIENCE)
    else:
        # The joiner leaves by a call into the starter's loop, which must not be blocked then.
        joined_left.set()
        start.open()
        starter.result(PATIENCE)
        joiner.result(PATIENCE)
    assert executor.story.count("started") == 1
    assert not app.running


def test_a_start_that_fails_lets_the_next_one_try(held_up: threading.Event) -> None:
    start = Gate()
    executor = GatedExecutor(start=start)
    app = Flowrra("race", cpu_workers=1, executors={"gated": executor})
    attempts = iter([OSError("no thread today")])
    begin = executor.start

    async def fail_once(sink: Any) -> None:
        await begin(sink)
        for error in attempts:
            raise error

    executor.start = fail_once  # type: ignore[method-assign]
    first = on_a_thread(app.blocking.start)
    assert start.reached.wait(PATIENCE)
    second = on_a_thread(app.blocking.start)
    assert held_up.wait(PATIENCE)
    start.open()
    with pytest.raises(OSError, match="no thread today"):
        first.result(PATIENCE)
    second.result(PATIENCE)
    assert app.running
    app.blocking.stop()


def test_a_start_waits_until_the_one_before_has_released_its_parts(held_up: threading.Event) -> None:
    close = Gate()
    executor = GatedExecutor(close=close)
    app = Flowrra("race", cpu_workers=1, executors={"gated": executor})
    app.blocking.start()
    stopping = on_a_thread(app.blocking.stop)
    assert close.reached.wait(PATIENCE)
    starting = on_a_thread(app.blocking.start)
    assert held_up.wait(PATIENCE)
    close.open()
    stopping.result(PATIENCE)
    starting.result(PATIENCE)
    assert executor.story == ["starting", "started", "closing", "closed", "starting", "started"]
    assert app.blocking.submit(abs, -1).result(PATIENCE) == 1
    app.blocking.stop()


async def test_a_start_in_a_loop_waits_for_the_release_and_lets_the_loop_go_on() -> None:
    close = Gate()
    executor = GatedExecutor(close=close)
    app = Flowrra("race", cpu_workers=1, executors={"gated": executor})
    await app.start()
    stopping = asyncio.create_task(app.stop())
    while not close.reached.is_set():
        await asyncio.sleep(0)
    starting = asyncio.create_task(app.start())
    await asyncio.sleep(0)
    with pytest.raises(WouldDeadlock):
        app.blocking.start()
    second_stop = asyncio.create_task(app.stop())
    await asyncio.sleep(0)
    assert not second_stop.done(), "a stop that is under way is waited for"
    close.open()
    await asyncio.gather(stopping, starting, second_stop)
    assert executor.story == ["starting", "started", "closing", "closed", "starting", "started"]
    assert app.running
    await app.stop()


async def test_a_start_that_is_cancelled_while_it_waits_leaves_the_stop_alone() -> None:
    close = Gate()
    app = Flowrra("race", cpu_workers=1, executors={"gated": GatedExecutor(close=close)})
    await app.start()
    stopping = asyncio.create_task(app.stop())
    while not close.reached.is_set():
        await asyncio.sleep(0)
    starting = asyncio.create_task(app.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    close.open()
    await stopping
    assert not app.running


# Stopping.


def test_a_part_that_cannot_be_released_is_told_by_stop_and_keeps_nothing_else() -> None:
    close = Gate(opened=True)
    executor = GatedExecutor(close=close)
    app = Flowrra("race", cpu_workers=1, executors={"gated": executor})
    release = executor.close

    async def fail() -> None:
        await release()
        raise OSError("it does not close")

    executor.close = fail  # type: ignore[method-assign]
    app.blocking.start()
    assert app.blocking.submit(abs, -1).result(PATIENCE) == 1
    with pytest.raises(OSError, match="it does not close"):
        app.blocking.stop()
    assert not app.running
    assert not [thread for thread in threading.enumerate() if thread.name in ("flowrra-engine", "flowrra-io")]


def test_a_run_that_waits_to_be_saved_is_found_while_the_app_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    releasing, stop = threading.Event(), Engine.stop

    async def observed(engine: Engine) -> Sequence[Run]:
        releasing.set()
        return await stop(engine)

    monkeypatch.setattr(Engine, "stop", observed)
    backend = GatedBackend()
    app = Flowrra("race", cpu_workers=1, backend=backend)
    app.blocking.start()
    run = app.blocking.submit(abs, -1)
    assert backend.gate.reached.wait(PATIENCE)
    stopping = on_a_thread(lambda: app.blocking.stop(drain=False))
    assert releasing.wait(PATIENCE)
    assert not app.running
    assert app.handle(run.id) == run
    assert app.blocking.runs()[0].task_id == run.id
    record = app.blocking.get_result(run.id)
    assert record is not None
    assert record.status is Status.RUNNING
    backend.gate.open()
    stopping.result(PATIENCE)
    assert app.handle(run.id).result() == 1


def test_a_stop_ends_though_the_backend_fails_and_says_what_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowrra.engine.ending.STOP_SECONDS", 0.05)
    backend = DownBackend()
    app = Flowrra("race", cpu_workers=1, backend=backend)
    app.blocking.start()
    run = app.blocking.submit(abs, -1)
    assert backend.failed.wait(PATIENCE)
    assert not run.done()
    with pytest.warns(NotRecorded, match="until the end: 1"):
        app.blocking.stop(drain=False)
    assert run.result(0) == 1


def test_leaving_gives_a_backend_that_fails_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowrra.lifetime.DRAIN_SECONDS", 0.05)
    with pytest.warns(NotRecorded, match="until the end: 1"), Flowrra("race", backend=DownBackend()) as app:
        run = app.blocking.submit(abs, -1)
    assert run.result(0) == 1


def test_a_save_that_never_returns_does_not_keep_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowrra.engine.ending.STOP_SECONDS", 0.05)
    monkeypatch.setattr(saver, "LAST_ATTEMPT_SECONDS", 0.05)
    backend = GatedBackend()
    app = Flowrra("race", cpu_workers=1, backend=backend)
    app.blocking.start()
    run = app.blocking.submit(abs, -1)
    assert backend.gate.reached.wait(PATIENCE)
    with pytest.warns(NotRecorded):
        app.blocking.stop(drain=False)
    assert run.result(0) == 1


def test_what_was_refused_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with Flowrra("race", cpu_workers=1) as app:
        with app:
            monkeypatch.setattr(Engine, "accept", lambda engine, runs: False)
            with pytest.raises(AppNotRunning):
                app.blocking.submit(abs, -1)
        monkeypatch.undo()
        assert app.blocking.submit(abs, -1).result(PATIENCE) == 1


def test_a_run_that_ends_while_records_are_read_is_among_them(gate: threading.Event) -> None:
    class Slow(MemoryBackend):
        """Answers with what it had when it was asked, once the run is over."""

        async def query(self, status: Status | None, task_name: str | None, limit: int) -> Sequence[Stored]:
            found = await super().query(status, task_name, limit)
            gate.set()
            await run
            return found

    with Flowrra("race", cpu_workers=1, backend=Slow()) as app:
        run = app.task(name="wait")(gate.wait).submit(PATIENCE)
        assert [each.task_id for each in app.blocking.runs()] == [run.id]
        assert run.result(PATIENCE) is True


def test_a_run_that_settles_while_it_is_looked_at_is_no_success_without_a_value() -> None:
    class Settling(Run):
        """Is over by the time its record is read."""

        __slots__ = ()

        @property
        def record(self) -> RunRecord:  # type: ignore[override]
            self.settled = True
            return over

        @record.setter
        def record(self, _: RunRecord) -> None:
            """What it becomes is known."""

    with Flowrra("race", cpu_workers=1) as app:
        over = app.blocking.submit(abs, -1)._run.record
        app.blocking.wait_for_result(over.submission.id)
    over = over._replace(status=Status.SUCCESS)
    looked_at = snapshot(Settling(over, None, None, ""))
    assert not looked_at.success
    assert looked_at.finished_at is None


def test_a_cpu_run_fails_if_no_descriptor_is_left_for_its_worker_and_the_next_one_is_fine() -> None:
    with Flowrra("race", cpu_workers=1) as app:
        task = app.task(name="abs", cpu_bound=True)(abs)
        with no_more_descriptors():
            assert isinstance(task.submit(-1).exception(PATIENCE), WorkerStartFailed)
        assert task.submit(-1).result(PATIENCE) == 1


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    lowest_free = os.dup(0)
    os.close(lowest_free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_coroutine_whose_own_loop_is_closed_can_still_be_cancelled() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    with Flowrra("race", cpu_workers=1, io_loop=loop) as app:
        begun = threading.Event()

        async def for_ever() -> None:
            begun.set()
            await asyncio.Event().wait()

        run = app.task(for_ever).submit()
        assert begun.wait(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
        assert run.cancel()
        assert isinstance(run.exception(PATIENCE), TaskCancelled)
        late = app.task(for_ever).submit()
        assert isinstance(late.exception(PATIENCE), AppStopped)

"""Ctrl-C and other signals, at the moments at which they are awkward."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from flowrra import AppStopped, Flowrra
from flowrra.engine import run as runs
from flowrra.engine.engine import Engine
from tests.integration.gated import PATIENCE, Gate, GatedExecutor, on_a_thread


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


def interrupt() -> None:
    """What Ctrl-C does, from any thread."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


def engine_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name in ("flowrra-engine", "flowrra-io")]


def test_an_interrupt_while_the_app_is_left_hurries_it(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    give_up = Engine.give_up_held

    def interrupted(engine: Engine, *args: Any) -> Any:
        interrupt()
        return give_up(engine, *args)

    app = Flowrra("race", cpu_workers=1)
    with pytest.raises(KeyboardInterrupt), app:  # noqa: PT012 - it is raised where the block is left
        run = app.task(name="wait")(gate.wait).submit(PATIENCE)
        monkeypatch.setattr(Engine, "give_up_held", interrupted)
    assert not app.running
    assert isinstance(run.exception(0), AppStopped)
    assert engine_threads() == []


def test_an_interrupt_of_the_start_leaves_no_thread() -> None:
    executor = GatedExecutor(start=Gate())
    app = Flowrra("race", cpu_workers=1, executors={"gated": executor})
    begin = executor.start

    async def interrupted(sink: Any) -> None:
        interrupt()
        await begin(sink)

    executor.start = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        app.blocking.start()
    for thread in engine_threads():
        thread.join(PATIENCE)
    assert engine_threads() == []
    assert not app.running
    executor.start = begin  # type: ignore[method-assign]
    executor._start.open()  # noqa: SLF001 - of the test's own executor
    with app:
        assert app.blocking.submit(abs, -1).result(PATIENCE) == 1


def test_a_signal_handler_may_cancel_a_run_whose_lock_the_interrupted_code_holds(gate: threading.Event) -> None:
    with Flowrra("signals", cpu_workers=1) as app:
        run = app.task(name="wait")(gate.wait).submit(PATIENCE)

        def interrupted() -> bool:
            with runs._lock:  # noqa: SLF001 - there is no other way to be interrupted just here each time
                return run.cancel()

        assert on_a_thread(interrupted).result(PATIENCE)
        assert run.wait(PATIENCE)

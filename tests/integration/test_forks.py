"""A process that is forked while an app runs: the app stays with the parent, and nothing in the child waits for it."""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flowrra import AppNotRunning, AppStopped, Flowrra, current_host, set_host
from tests.integration.gated import PATIENCE
from tests.integration.test_host import LoopHost

# Forking beside threads is what is tested. Later versions of Python warn of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


class InChild(BaseException):
    """Leaves the blocks that the child is in."""


def succeeds_in_child(check: Callable[[], object]) -> None:
    """Fork, call *check* in the child, and expect that it returns there."""
    pid = os.fork()
    if pid == 0:
        os._exit(exit_code(check))
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def exit_code(check: Callable[[], object]) -> int:
    try:
        check()
    except BaseException:  # noqa: BLE001 - the child must not go on as a second pytest
        traceback.print_exc()
        return 1
    return 0


def test_in_the_child_runs_are_over_and_nothing_can_be_submitted(gate: threading.Event) -> None:
    with Flowrra("fork", cpu_workers=1) as app:
        done = app.blocking.submit(abs, -1)
        assert done.result(PATIENCE) == 1
        begun = threading.Event()

        def wait() -> bool:
            begun.set()
            return gate.wait(PATIENCE)

        running = app.task(wait).submit()
        later = app.task(name="later")(abs).options(delay=600).submit(1)
        assert begun.wait(PATIENCE)

        def check() -> None:
            assert not app.running
            assert done.result(1) == 1
            for handle in (running, later):
                assert isinstance(handle.exception(1), AppStopped)
                assert not handle.cancel()
            with pytest.raises(AppNotRunning):
                app.blocking.submit(abs, 1)
            assert app.handle(done.id).result(1) == 1

        succeeds_in_child(check)
        assert not running.done()
        gate.set()
        assert running.result(PATIENCE) is True
        assert later.cancel()


def test_the_child_leaves_the_parents_workers_alone() -> None:
    with Flowrra("fork", cpu_workers=1) as app:
        task = app.task(name="abs", cpu_bound=True)(abs)
        assert task.submit(-7).result(PATIENCE) == 7
        pids = app.stats().executors["cpu"]["pids"]
        succeeds_in_child(lambda: leave_in_child(app))
        assert task.map([-1, -2]).result(timeout=PATIENCE) == [1, 2]
        assert app.stats().executors["cpu"]["pids"][: len(pids)] == pids


def leave_in_child(app: Flowrra) -> None:
    app.blocking.stop()
    app.__exit__(None, None, None)


def test_the_child_may_start_the_app_for_itself() -> None:
    with Flowrra("fork", cpu_workers=1) as app:
        submit_with_callback(app)
        succeeds_in_child(lambda: start_in_child(app))
        submit_with_callback(app)


def start_in_child(app: Flowrra) -> None:
    with app:
        submit_with_callback(app)


def submit_with_callback(app: Flowrra) -> None:
    called = threading.Event()
    run = app.blocking.submit(abs, -1)
    run.add_done_callback(lambda _: called.set())
    assert run.result(PATIENCE) == 1
    assert called.wait(PATIENCE)


def test_a_child_that_leaves_the_loop_of_its_parent_stops_nothing() -> None:
    async def main() -> list[Any]:
        async with Flowrra("fork", cpu_workers=1) as app:
            cpu = app.task(name="abs", cpu_bound=True)(abs)
            assert await cpu.submit(-7) == 7
            sleeping = app.task(name="sleep")(asyncio.sleep).submit(0.2, "awake")
            pid = os.fork()
            if pid == 0:
                raise InChild
            _, status = os.waitpid(pid, 0)
            return [os.waitstatus_to_exitcode(status), await cpu.submit(-8), await sleeping]

    # A loop of its own thread, so that the child ends where the thread's function does.
    try:
        assert asyncio.run(main()) == [0, 8, "awake"]
    except InChild:
        os._exit(0)


def test_a_child_of_a_kernel_has_no_host() -> None:
    host = LoopHost()
    set_host(host)
    try:
        app = Flowrra(cpu_workers=1)
        assert app.blocking.submit(abs, -1).result(PATIENCE) == 1

        def check() -> None:
            assert current_host() is None
            with pytest.raises(AppNotRunning):
                app.blocking.submit(abs, 1)

        succeeds_in_child(check)
        assert app.blocking.submit(abs, -1).result(PATIENCE) == 1
        app.blocking.stop()
    finally:
        set_host(None)
        host.close()

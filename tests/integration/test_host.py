"""With a host, as in a notebook: apps start by themselves, coroutines run in the host's loop, waits on them pump it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from flowrra import AppNotRunning, Flowrra, NeedsAwait, Status, TaskHandle, Waits, current_host, set_host
from flowrra.portal import LoopThread
from flowrra.state import AppState
from tests.integration.gated import Gate, GatedExecutor, on_a_thread


class LoopHost:
    """Implements :class:`flowrra.Host` with a loop on a thread; pumps by running the loop inside itself."""

    name = "/notebooks/under test.ipynb"

    def __init__(self) -> None:
        self._thread = LoopThread("host")
        self.io_loop = self._thread.loop
        self.cell = "cell 1"
        self.pumped = 0
        self.can_pump = True
        self.waits = Waits("cell 1")

    def owner(self) -> str | None:
        return self.cell

    def begin_wait(self, runs: Any) -> None:
        self.waits.note(runs)

    def pump(self, until: asyncio.Future[None]) -> None:
        assert asyncio.get_running_loop() is self.io_loop
        if not self.can_pump:
            raise NeedsAwait("waiting for a run")
        self.pumped += 1
        # What nest_asyncio does, without patching anything: step over the loop's guard against running inside itself.
        task = asyncio.current_task(self.io_loop)
        asyncio.tasks._leave_task(self.io_loop, task)  # noqa: SLF001 - there is no public way into a running loop
        try:
            while not until.done():
                self.io_loop._run_once()  # noqa: SLF001 - as above
        finally:
            asyncio.tasks._enter_task(self.io_loop, task)  # noqa: SLF001 - as above

    def run_cell(self, code: Callable[[], Any]) -> Any:
        """Run *code* inside the host's loop, as a cell is run, and pass on what happens."""

        async def cell() -> Any:
            return code()

        return asyncio.run_coroutine_threadsafe(cell(), self.io_loop).result(20)

    def await_cell(self, code: Callable[[], Any]) -> Any:
        async def cell() -> Any:
            return await code()

        return asyncio.run_coroutine_threadsafe(cell(), self.io_loop).result(20)

    def close(self) -> None:
        self._thread.close()
        self._thread.join()


@pytest.fixture
def host() -> Iterator[LoopHost]:
    made = LoopHost()
    set_host(made)
    yield made
    set_host(None)
    made.close()


def make(**settings: Any) -> Flowrra:
    return Flowrra(cpu_workers=1, **settings)


async def loop_of_the_task() -> asyncio.AbstractEventLoop:
    await asyncio.sleep(0.01)
    return asyncio.get_running_loop()


def test_without_a_host_there_is_none() -> None:
    assert current_host() is None
    with pytest.raises(AppNotRunning):
        make(name="alone").task(abs).submit(1)


def test_submitting_starts_the_app_on_a_thread_and_coroutines_run_in_the_hosts_loop(host: LoopHost) -> None:
    app = make()
    task = app.task(loop_of_the_task)
    handle = host.run_cell(task.submit)
    assert handle.result(10) is host.io_loop
    assert app.running
    assert app.name == host.name
    assert host.pumped == 0, "nothing has waited in the host's loop"
    app.blocking.stop()
    assert not app.running


def test_a_cell_may_wait_for_a_coroutine_of_its_own_loop(host: LoopHost) -> None:
    app = make()
    task = app.task(loop_of_the_task)
    assert host.run_cell(lambda: task.submit().result(timeout=10)) is host.io_loop
    assert host.pumped == 1
    assert host.run_cell(lambda: task.starmap([()] * 3).result(timeout=10)) == [host.io_loop] * 3
    assert len(host.run_cell(lambda: list(task.starmap([()] * 3).as_completed()))) == 3
    assert host.await_cell(task.submit) is host.io_loop
    app.blocking.stop()


def test_waiting_for_other_runs_pumps_nothing(host: LoopHost) -> None:
    app = make()
    task = app.task(name="abs")(abs)
    assert host.run_cell(lambda: task.submit(-1).result(timeout=10)) == 1
    assert host.run_cell(lambda: app.blocking.wait_for_result(task.submit(-1), timeout=10)).result == 1
    assert host.pumped == 0
    app.blocking.stop()


def test_asking_for_records_pumps_nothing_even_while_a_coroutine_runs(host: LoopHost) -> None:
    app = make()
    task = app.task(loop_of_the_task)
    assert len(host.run_cell(lambda: [task.submit(), app.blocking.runs()][1])) == 1
    assert host.run_cell(lambda: app.blocking.get_result(task.submit().id)) is not None
    assert host.pumped == 0
    app.blocking.stop()


def test_blocking_calls_that_were_kept_follow_the_app_to_the_state_it_has_joined(host: LoopHost) -> None:
    before, after = make(), make()
    assert before.task(name="old")(abs).submit(-1).result(10) == 1
    kept = after.blocking
    assert after.task(name="new")(abs).submit(-1).result(10) == 1
    assert len(kept.runs()) == 2
    kept.stop()
    assert not before.running


def test_apps_of_one_name_that_are_first_used_at_once_start_one_engine(host: LoopHost) -> None:
    apps = [make() for _ in range(4)]
    together = threading.Barrier(4)

    def first_use(app: Flowrra) -> int:
        task = app.task(name="abs")(abs)
        together.wait(10)
        return task.submit(-1).result(10)

    results = [on_a_thread(partial(first_use, app)) for app in apps]
    assert [result.result(20) for result in results] == [1] * 4
    assert len(threads_named("flowrra-engine")) == 1
    apps[0].blocking.stop()


def test_an_app_that_is_about_to_start_is_found_by_the_next_of_its_name(
    host: LoopHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = make(), make()
    started: list[AppState] = []
    both, start = threading.Event(), AppState.start_in_turn
    second: list[Future[int]] = []

    def observed(state: AppState, *args: Any) -> bool:
        started.append(state)
        if len(started) == 1:
            second.append(on_a_thread(lambda: after.task(name="new")(abs).submit(-2).result(10)))
            assert both.wait(10)
        both.set()
        return start(state, *args)

    monkeypatch.setattr(AppState, "start_in_turn", observed)
    assert before.task(name="old")(abs).submit(-1).result(10) == 1
    assert second[0].result(20) == 2
    assert started[0] is started[1]
    after.blocking.stop()


def test_an_app_that_is_replaced_while_it_starts_ends_and_uses_the_new_one(host: LoopHost) -> None:
    start = Gate()
    before = make(executors={"gated": GatedExecutor(start=start)})
    after = make()
    first = on_a_thread(lambda: before.task(name="old")(abs).submit(-1).result(10))
    assert start.reached.wait(10)
    assert after.task(name="new")(abs).submit(-2).result(10) == 2
    start.open()
    assert first.result(20) == 1
    assert {run.task_name for run in after.blocking.runs()} == {"old", "new"}
    after.blocking.stop()
    until_gone("flowrra-engine")


def test_where_the_loop_cannot_be_pumped_it_says_to_await(host: LoopHost) -> None:
    host.can_pump = False
    app = make()
    task = app.task(loop_of_the_task)
    with pytest.raises(NeedsAwait):
        host.run_cell(lambda: task.submit().result(timeout=10))
    assert host.await_cell(task.submit) is host.io_loop
    app.blocking.stop()


def test_a_run_belongs_to_the_cell_that_submitted_it(host: LoopHost) -> None:
    app = make()
    handle = host.run_cell(lambda: app.task(name="abs")(abs).submit(-1))
    assert handle.result(10) == 1
    assert handle._run.record.submission.owner == "cell 1"
    app.blocking.stop()


def test_a_stopped_app_starts_again_when_something_is_submitted(host: LoopHost) -> None:
    app = make()
    task = app.task(name="abs")(abs)
    for _ in range(2):
        assert task.submit(-1).result(10) == 1
        app.blocking.stop()
        assert not app.running


def test_a_new_app_of_the_same_name_and_settings_takes_over(host: LoopHost) -> None:
    before = make()
    old_task = before.task(name="old")(abs)
    first = old_task.submit(-1)
    assert first.result(10) == 1
    engine = threads_named("flowrra-engine")
    after = make()
    second = after.task(name="new")(abs).submit(-2)
    assert second.result(10) == 2
    assert old_task.submit(-3).result(10) == 3
    assert threads_named("flowrra-engine") == engine
    assert after.handle(first.id).result(0) == 1
    after.blocking.stop()
    until_gone("flowrra-engine")


def test_a_new_app_of_the_same_name_and_other_settings_replaces_it_when_its_runs_are_done(host: LoopHost) -> None:
    go_on = threading.Event()
    before = make(io_threads=2)
    old_task = before.task(name="old")(go_on.wait)
    running: TaskHandle[bool] = old_task.submit(10)
    after = make(io_threads=3)
    assert after.task(name="new")(abs).submit(-2).result(10) == 2
    assert running.status in (Status.PENDING, Status.RUNNING)
    assert old_task.submit(0).wait(10)
    go_on.set()
    assert running.result(10) is True
    after.blocking.stop()
    until_gone("flowrra-engine")


def threads_named(name: str) -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == name}


def until_gone(name: str) -> None:
    for thread in threads_named(name):
        thread.join(5)
    assert not threads_named(name)


def test_the_fake_host_is_one(host: LoopHost) -> None:
    assert current_host() is host

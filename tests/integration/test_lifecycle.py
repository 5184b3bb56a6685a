"""Start and stop: what is waited for, what is given up, and what still answers afterwards."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress

import pytest

from flowrra import AppNotRunning, AppStopped, Flowrra, RunsGivenUp, Status, TaskCancelled, TaskHandle, WouldDeadlock


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


def make(name: str = "life") -> Flowrra:
    return Flowrra(name, cpu_workers=1)


def test_start_and_stop_may_be_repeated() -> None:
    app = make()
    task = app.task(name="abs")(abs)
    for _ in range(3):
        app.blocking.start()
        app.blocking.start()
        assert app.running
        assert task.submit(-1).result(10) == 1
        app.blocking.stop()
        app.blocking.stop()
        assert not app.running


def test_it_starts_again_on_another_loop() -> None:
    app = make()
    task = app.task(name="abs")(abs)

    async def once() -> int:
        async with app:
            return await task.submit(-1)

    assert [asyncio.run(once()) for _ in range(3)] == [1, 1, 1]
    with app:
        assert task.submit(-1).result(10) == 1
    assert asyncio.run(once()) == 1


async def test_with_works_inside_a_running_loop_on_a_thread_of_its_own() -> None:
    with make() as app:
        assert await app.task(name="abs")(abs).submit(-1) == 1
        assert app.task(name="again")(abs).submit(-1).result(10) == 1


async def test_start_uses_the_running_loop() -> None:
    app = make()
    await app.start()
    await app.start()
    assert await app.submit(asyncio.get_running_loop) is not None
    with pytest.raises(WouldDeadlock):
        app.task(name="abs")(abs).submit(-1).result()
    await app.stop()
    await app.stop()


def test_leaving_drains_what_is_queued_running_and_retrying() -> None:
    attempts: list[int] = []

    def flaky() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError
        return "done"

    with make() as app:
        retrying = app.task(max_retries=5, retry_delay=0.05)(flaky).submit()
        queued = app.task(name="slow")(time.sleep).map([0.01] * 50)
    assert retrying.result(0) == "done"
    assert queued.counts()[Status.SUCCESS] == 50


async def test_leaving_gives_up_what_is_paused_or_not_yet_due_and_names_it() -> None:
    app = make()
    task = app.task(name="abs")(abs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RunsGivenUp)
        async with app:
            app.pause("held")
            held = app.task(name="held")(abs).submit(-1)
            later = task.options(delay=60).submit(-1)
            fine = task.submit(-1)
    [warning] = caught
    assert warning.category is RunsGivenUp
    assert held.id in str(warning.message)
    assert later.id in str(warning.message)
    assert fine.id not in str(warning.message)
    assert fine.result(0) == 1
    for handle in (held, later):
        assert handle.cancelled()
        with pytest.raises(AppStopped, match=handle.id):
            handle.result(0)


def test_an_exception_in_the_block_cancels_the_rest(gate: threading.Event) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress(LookupError), make() as app:
            done = app.task(name="abs")(abs).submit(-1)
            assert done.result(10) == 1
            running = app.task(name="wait")(gate.wait).submit(10)
            delayed = app.task(name="later")(abs).options(delay=60).submit(-1)
            raise LookupError
    assert done.result(0) == 1
    assert running.cancelled()
    assert delayed.cancelled()
    assert isinstance(running.exception(0), AppStopped)


def test_a_nested_block_waits_only_for_its_own(gate: threading.Event) -> None:
    with make() as app:
        outer = app.task(name="wait")(gate.wait).submit(10)
        with app:
            inner = app.task(name="slow")(time.sleep).map([0.02] * 3)
        assert inner.done()
        assert not outer.done()
        assert app.running
        gate.set()
    assert outer.result(0) is True
    assert not app.running


async def test_a_nested_async_block_waits_only_for_its_own(gate: threading.Event) -> None:
    async with make() as app:
        outer = app.task(name="wait")(gate.wait).submit(10)
        async with app:
            inner = await app.submit(time.sleep, 0.02)
        assert inner.done()
        assert not outer.done()
        gate.set()
    assert outer.done()


def test_an_exception_in_a_nested_block_cancels_only_its_own(gate: threading.Event) -> None:
    with make() as app:
        outer = app.task(name="wait")(gate.wait).submit(10)
        with suppress(LookupError), app:
            inner = app.task(name="later")(abs).options(delay=60).submit(-1)
            raise LookupError
        assert isinstance(inner.exception(0), TaskCancelled)
        gate.set()
        assert outer.result(10) is True


def test_a_nested_block_waits_for_what_its_runs_submit() -> None:
    with make() as app:
        child = app.task(name="child")(time.sleep)
        handles: list[TaskHandle[None]] = []

        def parent() -> None:
            handles.append(child.submit(0.1))

        with app:
            app.task(parent).submit()
        assert handles[0].done()


async def test_with_inside_async_with_on_the_same_loop_is_refused_when_entered() -> None:
    async with make() as app:
        with pytest.raises(WouldDeadlock):
            app.__enter__()
        assert await app.submit(abs, -1)


async def test_stop_waits_no_longer_than_told_and_names_what_it_gave_up(gate: threading.Event) -> None:
    app = make()
    await app.start()
    task = app.task(name="wait")(gate.wait)
    app.pause("held")
    held = app.task(name="held")(abs).submit(-1)
    running = task.submit(10)
    begin = time.monotonic()
    with pytest.warns(RunsGivenUp) as caught:
        await app.stop(timeout=0.1)
    assert time.monotonic() - begin < 3
    assert running.id in str(caught[0].message)
    assert held.id in str(caught[0].message)
    assert isinstance(running.exception(0), AppStopped)
    assert not app.running


async def test_stop_without_draining_cancels_everything_and_warns_of_nothing(gate: threading.Event) -> None:
    app = make()
    await app.start()
    runs = app.task(name="wait")(gate.wait).map([10] * 100)
    await asyncio.sleep(0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await app.stop(drain=False)
    assert runs.counts()[Status.CANCELLED] == 100
    assert {type(error) for error in runs.errors.values()} == {AppStopped}


async def test_a_stop_that_is_cancelled_while_it_drains_still_ends_everything(gate: threading.Event) -> None:
    app = make()
    await app.start()
    running = app.task(name="wait")(gate.wait).submit(10)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(app.stop(), 0.1)
    async with asyncio.timeout(5):
        await asyncio.wait([asyncio.ensure_future(app.wait_for_result(running))])
    assert running.cancelled()
    assert not app.running


async def test_cancelling_the_block_while_it_is_left_still_ends_everything(gate: threading.Event) -> None:
    app = make()
    handles: list[TaskHandle[bool]] = []

    async def program() -> None:
        async with app:
            handles.append(app.task(name="wait")(gate.wait).submit(10))

    running = asyncio.create_task(program())
    await asyncio.sleep(0.1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert handles[0].cancelled()
    assert not app.running


async def test_two_stops_at_once_both_return_when_it_has_stopped(gate: threading.Event) -> None:
    app = make()
    await app.start()
    running = app.task(name="wait")(gate.wait).submit(10)
    first = asyncio.create_task(app.stop())
    await asyncio.sleep(0.02)
    second = asyncio.create_task(app.stop())
    await asyncio.sleep(0.02)
    gate.set()
    await asyncio.gather(first, second)
    assert running.result(0) is True
    assert not app.running


async def test_starts_at_once_make_one_app() -> None:
    app = make()
    await asyncio.gather(*(app.start() for _ in range(5)))
    assert await app.task(name="abs")(abs).submit(-1) == 1
    await app.stop()
    assert not app.running


def test_starts_on_many_threads_make_one_app() -> None:
    app = make()
    threads = [threading.Thread(target=app.blocking.start) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    engines = [thread for thread in threading.enumerate() if thread.name == "flowrra-engine"]
    assert len(engines) == 1
    app.blocking.stop()


async def test_runs_submitted_by_runs_while_it_drains_are_waited_for() -> None:
    app = make()
    child = app.task(name="child")(abs)
    handles: list[TaskHandle[int]] = []

    def parent() -> None:
        time.sleep(0.1)
        handles.append(child.submit(-7))

    async with app:
        app.task(parent).submit()
    assert handles[0].result(0) == 7


def test_submitting_to_an_app_that_is_not_running_is_refused() -> None:
    app = make()
    task = app.task(name="abs")(abs)
    for submit in (
        lambda: task.submit(1),
        lambda: task.map([1]),
        lambda: app.blocking.submit(abs, 1),
        app.pause,
        app.resume,
    ):
        with pytest.raises(AppNotRunning, match="'life' is not running"):
            submit()
    with app:
        assert task.submit(-1).result(10) == 1
    with pytest.raises(AppNotRunning):
        task.submit(1)


def test_finished_handles_and_records_answer_after_the_stop() -> None:
    with make() as app:
        fine = app.task(name="abs")(abs).submit(-1)
        bad = app.task(name="bad")(lambda: 1 / 0).submit()
    assert fine.result() == 1
    assert isinstance(bad.exception(), ZeroDivisionError)
    assert app.handle(fine.id).result() == 1
    assert [run.task_id for run in app.blocking.runs()] == [bad.id, fine.id]
    record = app.blocking.get_result(fine.id)
    assert record is not None
    assert record.result == 1
    assert app.blocking.wait_for_result(fine.id).success
    assert fine.cancel() is False
    assert not app.stats().running
    assert asyncio.run(value(fine)) == 1


async def value(handle: TaskHandle[int]) -> int:
    return await handle


def test_nothing_is_left_when_submitters_race_with_the_stop() -> None:
    app = make()
    task = app.task(name="abs")(abs)
    handles: list[TaskHandle[int]] = []
    app.blocking.start()

    def submit() -> None:
        try:
            while True:
                handles.append(task.submit(-1))
                time.sleep(0.0002)
        except AppNotRunning:
            pass

    threads = [threading.Thread(target=submit) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    app.blocking.stop(drain=False)
    for thread in threads:
        thread.join(10)
    assert handles
    for handle in handles:
        assert handle.wait(5), "a run was forgotten"


def test_the_name_of_an_app_is_given_or_found() -> None:
    assert make("mine").name == "mine"
    assert Flowrra().name
    assert "mine: not running" in repr(make("mine"))

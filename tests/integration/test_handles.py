"""One run, from its submission to its value: what a handle does, from threads and from loops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import pickle
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowrra import (
    DeadlineExceeded,
    Flowrra,
    HandleNotAllowed,
    RunEvent,
    Status,
    TaskCancelled,
    TaskHandle,
    TaskTimeout,
    UnknownRun,
    WaitTimeout,
    current_run,
    progress,
    wait,
)


@pytest.fixture
def app() -> Iterator[Flowrra]:
    with Flowrra("handles", cpu_workers=1) as running:
        yield running


class Gate:
    """Holds a task until the test opens it."""

    def __init__(self) -> None:
        self.begun, self.opened = threading.Event(), threading.Event()

    def __call__(self, value: Any = None) -> Any:
        self.begun.set()
        assert self.opened.wait(10)
        return value


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


def test_a_plain_function_runs_on_a_daemon_thread(app: Flowrra) -> None:
    def where() -> tuple[str, bool]:
        return threading.current_thread().name, threading.current_thread().daemon

    name, daemon = app.task(where).submit().result(10)
    assert name.startswith("flowrra-thread")
    assert daemon


def test_a_coroutine_runs_in_a_loop(app: Flowrra) -> None:
    async def where() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    assert app.task(where).submit().result(10) == "flowrra-io"


async def test_async_with_runs_coroutines_in_the_callers_loop() -> None:
    async def where() -> object:
        return asyncio.get_running_loop()

    async with Flowrra("here", cpu_workers=1) as app:
        assert await app.task(where).submit() is asyncio.get_running_loop()


def test_any_callable_can_be_submitted(app: Flowrra) -> None:
    class Model:
        def fit(self, x: int) -> int:
            return x + 1

        async def __call__(self, x: int) -> int:
            return x + 2

    assert app.blocking.submit(Model().fit, 1).result(10) == 2
    assert app.blocking.submit(Model(), 1).result(10) == 3
    assert app.blocking.submit(max, 3, 5).result(10) == 5
    assert app.blocking.submit(lambda: 7).result(10) == 7


def test_parameters_may_have_any_name(app: Flowrra) -> None:
    def named(task: int, timeout: int, self: int, items: int) -> int:
        return task + timeout + self + items

    handle = app.blocking.submit(named, task=1, timeout=2, self=3, items=4)
    assert handle.result(10) == 10
    assert app.task(named).submit(1, timeout=2, self=3, items=4).result(10) == 10


def test_the_context_of_the_submission_is_the_runs_and_changes_stay_there(app: Flowrra) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    def read() -> str:
        before = variable.get()
        variable.set("changed in the task")
        return before

    async def read_async() -> str:
        return read()

    variable.set("from the submitter")
    tasks = [app.task(read), app.task(read_async)]
    assert [task.submit().result(10) for task in tasks for _ in range(2)] == ["from the submitter"] * 4
    for task in tasks:
        assert task.starmap([()] * 5).result(timeout=10) == ["from the submitter"] * 5
    assert variable.get() == "from the submitter"


def test_an_error_is_the_tasks_own_with_its_own_traceback(app: Flowrra) -> None:
    error = LookupError("no such thing")

    def fails() -> None:
        raise error

    handle = app.task(fails).submit()
    lengths = []
    for _ in range(3):
        with pytest.raises(LookupError, match="no such thing") as caught:
            handle.result(10)
        assert caught.value is error
        lengths.append(len(caught.traceback))
    assert len(set(lengths)) == 1, "frames of earlier waits pile up"
    assert handle.exception(10) is error
    info = handle.info().error
    assert info is not None
    assert "raise error" in info.traceback
    assert "/flowrra/" not in info.traceback
    assert (handle.status, handle.done(), handle.cancelled()) == (Status.FAILED, True, False)


def test_a_wait_that_times_out_leaves_the_run_alone(app: Flowrra, gate: Gate) -> None:
    handle = app.blocking.submit(gate, 5)
    with pytest.raises(WaitTimeout, match="it goes on"):
        handle.result(timeout=0.05)
    with pytest.raises(TimeoutError):
        handle.exception(timeout=0)
    assert handle.wait(0.01) is False
    assert (handle.status, handle.done()) == (Status.RUNNING, False)
    gate.opened.set()
    assert handle.result(10) == 5
    assert handle.wait(0) is True


async def test_a_wait_that_is_cancelled_leaves_the_run_alone(gate: Gate) -> None:
    async with Flowrra("waits", cpu_workers=1) as app:
        handle = app.task(gate).submit(5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle, 0.05)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await handle
        waiter = asyncio.ensure_future(handle)
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        with pytest.raises(ExceptionGroup):
            await together(handle, fail)
        assert not handle.done()
        gate.opened.set()
        assert await handle == 5
        assert await asyncio.gather(handle, handle) == [5, 5]


async def fail() -> None:
    raise ValueError("the other one")


async def together(handle: TaskHandle[int], other: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(value_of(handle))
        group.create_task(other())


def test_awaiting_works_in_any_loop_of_any_thread(app: Flowrra, gate: Gate) -> None:
    handle = app.blocking.submit(gate, 5)
    values: list[int] = []
    threads = [threading.Thread(target=lambda: values.append(asyncio.run(value_of(handle)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    gate.opened.set()
    for thread in threads:
        thread.join(10)
    assert values == [5, 5, 5]


async def value_of(handle: TaskHandle[int]) -> int:
    return await handle


def test_cancelling_what_waits_is_at_once(app: Flowrra) -> None:
    handle = app.task(fails_if_called).options(delay=60).submit()
    assert handle.cancel() is True
    with pytest.raises(TaskCancelled, match=handle.id):
        handle.result(10)
    assert handle.cancelled()
    assert handle.cancel() is False


def fails_if_called() -> None:
    raise AssertionError("it was called")


def test_cancelling_a_coroutine_ends_it_at_its_next_await(app: Flowrra) -> None:
    begun, cleaned = threading.Event(), threading.Event()

    async def waits() -> None:
        try:
            begun.set()
            await asyncio.sleep(60)
        finally:
            cleaned.set()

    handle = app.task(max_retries=5)(waits).submit()
    assert begun.wait(10)
    assert handle.cancel()
    assert isinstance(handle.exception(10), TaskCancelled)
    assert cleaned.is_set()
    assert handle.info().attempts == 1


def test_cancelling_a_function_on_a_thread_ends_the_run_and_shows_its_slot_as_abandoned(
    app: Flowrra, gate: Gate
) -> None:
    handle = app.blocking.submit(gate)
    assert gate.begun.wait(10)
    assert handle.cancel()
    assert isinstance(handle.exception(10), TaskCancelled)
    assert app.stats().executors["threads"]["abandoned"] == 1
    gate.opened.set()
    until(lambda: app.stats().executors["threads"]["abandoned"] == 0)
    assert handle.cancelled()


def until(true, seconds: float = 10) -> None:  # type: ignore[no-untyped-def]
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def test_a_timeout_ends_the_attempt_and_is_retried(app: Flowrra) -> None:
    attempts: list[int] = []

    @app.task(timeout=0.1, max_retries=1, retry_delay=0.0)
    async def slow_at_first() -> str:
        attempts.append(current_run().attempt)
        await asyncio.sleep(60 if len(attempts) == 1 else 0)
        return "done"

    handle = slow_at_first.submit()
    assert handle.result(10) == "done"
    assert attempts == [1, 2]

    with pytest.raises(TaskTimeout, match=r"attempt 1 .* timeout of 0\.05 s"):
        app.task(timeout=0.05)(wait_a_minute).submit().result(10)


async def wait_a_minute() -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize("relative", [True, False])
def test_a_deadline_ends_the_run(app: Flowrra, relative: bool) -> None:
    deadline: Any = 0.1 if relative else datetime.now(UTC) + timedelta(seconds=0.1)
    task = app.task(max_retries=9)(wait_a_minute)
    with pytest.raises(DeadlineExceeded):
        task.options(deadline=deadline).submit().result(10)


def test_a_delay_and_a_not_before_are_waited_for(app: Flowrra) -> None:
    begin = time.monotonic()
    task = app.task(name="now")(time.monotonic)
    later = task.options(delay=0.2).submit()
    soon = task.options(not_before=datetime.now(UTC) + timedelta(seconds=0.1)).submit()
    assert later.status is Status.PENDING
    assert later.result(10) >= begin + 0.2
    assert soon.result(10) >= begin + 0.09


def test_retries_go_on_until_it_succeeds(app: Flowrra) -> None:
    @app.task(max_retries=5, retry_delay=0.01, retry_on=OSError)
    def flaky() -> int:
        if current_run().attempt < 3:
            raise OSError("away")
        return current_run().attempt

    handle = flaky.submit()
    assert handle.result(10) == 3
    info = handle.info()
    assert (info.attempts, info.success, info.error) == (3, True, None)


def test_what_is_not_in_retry_on_fails_at_once(app: Flowrra) -> None:
    @app.task(max_retries=5, retry_delay=0.01, retry_on=(OSError,))
    def wrong() -> None:
        raise ValueError

    handle = wrong.submit()
    assert isinstance(handle.exception(10), ValueError)
    assert handle.info().attempts == 1


def test_callbacks_run_on_the_callback_thread_and_hear_what_is_over_already(app: Flowrra, gate: Gate) -> None:
    handle = app.blocking.submit(gate, 5)
    heard: list[tuple[Any, str]] = []
    both = threading.Semaphore(0)

    def callback(done: TaskHandle[Any]) -> None:
        heard.append((done.result(), threading.current_thread().name))
        both.release()

    handle.add_done_callback(callback)
    assert heard == []
    gate.opened.set()
    assert both.acquire(timeout=10)
    handle.add_done_callback(callback)
    assert both.acquire(timeout=10)
    assert heard == [(5, "flowrra-callbacks-handles")] * 2


def test_a_future_follows_the_run_and_never_leads_it(app: Flowrra, gate: Gate) -> None:
    handle = app.blocking.submit(gate, 5)
    future, given_up = handle.as_future(), handle.as_future()
    assert given_up.cancel()
    gate.opened.set()
    assert concurrent.futures.wait([future], 10).done == {future}
    assert future.result() == 5
    assert handle.result(10) == 5
    assert isinstance(app.blocking.submit(lambda: 1 / 0).as_future().exception(10), ZeroDivisionError)


def test_progress_is_seen_from_outside(app: Flowrra, gate: Gate) -> None:
    def counts() -> None:
        progress.update(3, 10, "three")
        gate()

    handle = app.blocking.submit(counts)
    assert handle.progress is None or handle.progress.done == 3
    until(lambda: handle.progress == (3, 10, "three"))
    gate.opened.set()
    handle.result(10)


def test_a_record_says_what_is_known_of_the_run(app: Flowrra, gate: Gate) -> None:
    before = datetime.now(UTC)
    handle = app.task(name="gated")(gate).submit(603)
    assert gate.begun.wait(10)
    until(lambda: handle.status is Status.RUNNING)
    running = handle.info()
    assert (running.status, running.is_complete, running.success, running.finished_at) == (
        "RUNNING",
        False,
        False,
        None,
    )
    assert running.duration is not None
    gate.opened.set()
    handle.result(10)
    info = app.blocking.get_result(handle.id)
    assert info is not None
    assert (info.task_id, info.task_name, info.result, info.attempts) == (handle.id, "gated", 603, 1)
    assert (info.is_complete, info.success, info.batch_id, info.index) == (True, True, None, None)
    assert "603" in info.args_preview
    assert info.started_at is not None
    assert info.finished_at is not None
    assert before <= info.submitted_at <= info.started_at <= info.finished_at <= datetime.now(UTC)
    assert info.duration is not None
    assert info.duration >= 0
    assert app.blocking.get_result("9-9") is None


def test_preview_false_shows_nothing(app: Flowrra) -> None:
    task = app.task(preview=False)(abs)
    assert task.submit(-5).info().args_preview == ""
    assert "-5" in task.options(preview=True).submit(-5).info().args_preview


def test_waiting_for_a_record_takes_a_handle_or_an_id(app: Flowrra, gate: Gate) -> None:
    handle = app.blocking.submit(gate, 5)
    with pytest.raises(TimeoutError, match=handle.id):
        app.blocking.wait_for_result(handle.id, timeout=0.05)
    gate.opened.set()
    assert app.blocking.wait_for_result(handle.id, timeout=10).result == 5
    assert app.blocking.wait_for_result(handle).result == 5
    failed = app.blocking.wait_for_result(app.blocking.submit(fails_if_called))
    assert (failed.status, failed.result) == (Status.FAILED, None)
    with pytest.raises(UnknownRun, match="9-9"):
        app.blocking.wait_for_result("9-9")


def test_runs_are_listed_latest_first_and_filtered(app: Flowrra, gate: Gate) -> None:
    fine = [app.task(name=f"fine{number}")(abs).submit(number) for number in range(3)]
    bad = app.task(name="bad")(fails_if_called).submit()
    wait([*fine, bad])
    open_ = app.task(name="open")(gate).submit()
    assert gate.begun.wait(10)
    until(lambda: open_.status is Status.RUNNING)
    listed = app.blocking.runs()
    assert [run.task_id for run in listed] == [h.id for h in (open_, bad, *reversed(fine))]
    assert [run.task_id for run in app.blocking.runs(limit=2)] == [open_.id, bad.id]
    assert [run.task_id for run in app.blocking.runs(status="FAILED")] == [bad.id]
    assert [run.task_id for run in app.blocking.runs(Status.RUNNING)] == [open_.id]
    assert [run.task_id for run in app.blocking.runs(task_name="fine1")] == [fine[1].id]
    with pytest.raises(ValueError, match="sleeping"):
        app.blocking.runs(status="sleeping")


def test_a_handle_is_found_by_its_id_and_travels_within_the_process(app: Flowrra, gate: Gate) -> None:
    handle = app.blocking.submit(gate, 5)
    same = app.handle(handle.id)
    assert same == handle
    assert len({same, handle}) == 1
    assert pickle.loads(pickle.dumps(handle)) == handle
    gate.opened.set()
    assert same.result(10) == 5
    assert app.handle(handle.id).result(0) == 5
    assert app.blocking.cancel(handle.id) is False
    with pytest.raises(UnknownRun):
        app.handle("9-9")


def test_a_handle_is_no_argument(app: Flowrra) -> None:
    handle = app.blocking.submit(max, 1, 2)
    with pytest.raises(HandleNotAllowed, match=r"args\[1\].*pass its value"):
        app.blocking.submit(max, 1, handle)
    with pytest.raises(HandleNotAllowed, match="kwargs"):
        app.blocking.submit(max, 1, key=handle)


def test_waiting_for_several(app: Flowrra, gate: Gate) -> None:
    quick, slow, bad = app.blocking.submit(max, 1, 2), app.blocking.submit(gate), app.blocking.submit(fails_if_called)
    assert wait([quick, slow], timeout=5, return_when="FIRST_COMPLETED") == ({quick}, {slow})
    assert wait([slow, bad], timeout=5, return_when="FIRST_EXCEPTION") == ({bad}, {slow})
    assert wait([quick, slow], timeout=0.05) == ({quick}, {slow})
    gate.opened.set()
    assert wait([quick, slow, bad], timeout=10) == ({quick, slow, bad}, set())
    assert wait([]) == (set(), set())
    with pytest.raises(ValueError, match="FIRST_COMPLETED"):
        wait([quick], return_when="SOMETIME")  # type: ignore[arg-type]


def test_subscribers_hear_each_change_in_order(app: Flowrra) -> None:
    events: list[RunEvent] = []
    over = threading.Event()

    def hear(event: RunEvent) -> None:
        events.append(event)
        if event.status is Status.SUCCESS:
            over.set()

    leave = app.subscribe(hear)

    @app.task(max_retries=1, retry_delay=0.0)
    def flaky() -> None:
        if current_run().attempt == 1:
            raise OSError

    handle = flaky.submit()
    assert over.wait(10)
    leave()
    seen = [(event.status.value, event.attempt) for event in events if event.run_id == handle.id]
    assert seen == [("PENDING", 0), ("RUNNING", 1), ("RETRYING", 1), ("RUNNING", 2), ("SUCCESS", 2)]


def test_coroutines_run_at_most_io_concurrency_at_a_time() -> None:
    running = most = 0

    async def busy() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1

    with Flowrra("bound", io_concurrency=3, cpu_workers=1) as app:
        app.task(busy).starmap([()] * 30).result(timeout=20)
    assert most == 3
    assert running == 0

"""Faults as a table: whenever and however a run goes wrong, only that run does, and it says why."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from flowrra import (
    Flowrra,
    NotDecodable,
    NotEncodable,
    Status,
    TaskCancelled,
    TaskExit,
    TaskHandle,
    TaskTimeout,
    WorkerLost,
)
from flowrra.testing import leaks
from tests.faults import acts, at_rest
from tests.faults.acts import Act
from tests.faults.repeats import repeated
from tests.faults.victims import work

WORKERS = 2
AT_REST = WORKERS + 1
"""A spare one waits."""
TIMEOUT = 0.3
NUMBERS = itertools.count(1)
"""For names of tasks: a function that captures something is another one in each repeat."""
DEADLINE = 5.0
"""Seconds in which a run that goes wrong is over. The promises are a tenth of it, on a machine of one's own."""

LOADING, ARGUMENTS, RUNNING, RESULT = "loading the function", "decoding arguments", "running", "encoding the result"
SENDING, ARRIVING = "encoding arguments", "decoding the result"


class Row(NamedTuple):
    """When which act is done, and what comes of it."""

    when: str
    act: Act
    error: type[BaseException]
    says: str
    """Part of the error's text."""
    worker: str = "kept"
    """Or *lost*, or *replaced* after it had to be ended."""
    exit_code: int | None = None
    timeout: float | None = None

    def __str__(self) -> str:
        return f"{self.when}-{self.act.__name__}".replace(" ", "_")


def lost(when: str, act: Act, exit_code: int, says: str) -> Row:
    return Row(when, act, WorkerLost, says, "lost", exit_code)


def timed_out(when: str, act: Act) -> Row:
    return Row(when, act, TaskTimeout, f"timeout of {TIMEOUT} s", "replaced", timeout=TIMEOUT)


def ends_of_the_process(when: str) -> list[Row]:
    """Whatever ends or stops a worker does so at any time."""
    return [
        Row(when, acts.leave, TaskExit, "raised SystemExit"),
        lost(when, acts.end_at_once, 5, "exit code 5"),
        lost(when, acts.be_killed, -signal.SIGKILL, "killed by SIGKILL"),
        lost(when, acts.crash_natively, -signal.SIGSEGV, "crash_natively"),
        timed_out(when, acts.stop_dead),
        timed_out(when, acts.never_return),
        timed_out(when, acts.hang_in_native_code),
    ]


TABLE = [
    Row(SENDING, acts.raise_an_error, NotEncodable, "args.*as it should"),
    Row(SENDING, acts.leave, SystemExit, "3"),  # the caller's own thread, and its own decision
    Row(SENDING, acts.ask_for_too_much, NotEncodable, "args.*MemoryError"),
    Row(SENDING, acts.never_return, KeyboardInterrupt, ""),  # the caller interrupts it
    Row(LOADING, acts.raise_an_error, NotDecodable, "the function of.*as it should"),
    Row(LOADING, acts.run_out_of_memory, NotDecodable, "the function of.*MemoryError"),
    *ends_of_the_process(LOADING),
    Row(ARGUMENTS, acts.raise_an_error, NotDecodable, "the arguments of.*as it should"),
    Row(ARGUMENTS, acts.run_out_of_memory, NotDecodable, "the arguments of.*MemoryError"),
    *ends_of_the_process(ARGUMENTS),
    Row(RUNNING, acts.raise_an_error, ValueError, "as it should"),
    Row(RUNNING, acts.run_out_of_memory, MemoryError, ""),
    *ends_of_the_process(RUNNING),
    Row(RESULT, acts.raise_an_error, NotEncodable, "the result of.*as it should"),
    Row(RESULT, acts.run_out_of_memory, NotEncodable, "the result of.*MemoryError"),
    *ends_of_the_process(RESULT),
    Row(ARRIVING, acts.raise_an_error, NotDecodable, "the result of.*as it should"),
    Row(ARRIVING, acts.leave, NotDecodable, "the result of.*SystemExit"),
    Row(ARRIVING, acts.ask_for_too_much, NotDecodable, "the result of.*MemoryError"),
    Row(ARRIVING, acts.wait_to_be_let_go, TaskTimeout, f"timeout of {TIMEOUT} s", timeout=TIMEOUT),
]
"""What ends or stops a process while arguments are encoded or a result is decoded ends the program of the caller."""

CALLS: dict[str, Callable[[Act], tuple[Callable[..., Any], tuple[Any, ...]]]] = {
    SENDING: lambda act: (acts.take, (acts.ActsWhenPickled(act),)),
    LOADING: lambda act: (acts.function_that_acts_when_loaded(act), ()),
    ARGUMENTS: lambda act: (acts.take, (acts.LARGE, acts.ActsWhenRebuilt(act))),
    RUNNING: lambda act: (acts.do, (act,)),
    RESULT: lambda act: (acts.return_something_that_acts_when_pickled, (act,)),
    ARRIVING: lambda act: (acts.return_something_that_acts_when_rebuilt, (act,)),
}


@pytest.fixture(scope="module")
def app(each_way: str) -> Iterator[Flowrra]:
    before = leaks.resources()
    with Flowrra("faults", cpu_workers=WORKERS) as running:
        # What is started when it is first needed is there before anything is counted.
        running.task(cpu_bound=True, name="warm up")(work).map(range(4)).result(timeout=30)
        running.task(cpu_bound=True, name="rebuilt here")(acts.return_something_of_a_class).submit().result(30)
        running.task(cpu_bound=True, name="large")(acts.take).map([acts.LARGE] * 4).result(timeout=30)
        yield running
    assert leaks.left_behind(before) == []


@repeated
@pytest.mark.may_leak("the app serves all rows; what a row leaves is looked for in the row")
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_whatever_goes_wrong_is_that_runs_error_alone(app: Flowrra, row: Row, repeat: int) -> None:
    good = app.task(cpu_bound=True, name="good")(work)
    use_shared_memory(app)
    before, counted = at_rest.settled(app, AT_REST), app.stats()
    neighbours = [good.submit(n) for n in range(3)]
    begun = time.monotonic()
    error, status = provoke(app, row)
    took = time.monotonic() - begun
    neighbours += [good.submit(n) for n in range(3, 6)]

    assert took < DEADLINE
    assert type(error) is row.error
    assert status in (None, Status.FAILED)
    assert [handle.result(DEADLINE) for handle in neighbours] == [n * n for n in range(6)]
    acts.go_on.set()
    assert_nothing_is_left(app, before)
    assert_the_worker_is(app, row.worker, counted.executors["cpu"])
    done = app.stats().counts[Status.SUCCESS] - counted.counts[Status.SUCCESS]
    failed = app.stats().counts[Status.FAILED] - counted.counts[Status.FAILED]
    assert (done, failed) == (6, 0 if status is None else 1)


def use_shared_memory(app: Flowrra) -> None:
    """Have every worker keep what rows use of it; given up after a while, it would seem to be left by the next row."""
    large = app.task(cpu_bound=True, name="take for")(acts.take_for)
    for handle in [large.submit(0.05, acts.LARGE) for _ in range(WORKERS)]:
        handle.result(DEADLINE)


def provoke(app: Flowrra, row: Row) -> tuple[BaseException, Status | None]:
    """What comes of it; the status is None where nothing was submitted."""
    acts.go_on.clear()
    function, args = CALLS[row.when](row.act)
    task = app.task(cpu_bound=True, name=f"{row}-{next(NUMBERS)}", timeout=row.timeout)(function)
    interrupt = threading.Timer(TIMEOUT, os.kill, (os.getpid(), signal.SIGINT))
    if row.error is KeyboardInterrupt:
        interrupt.start()
    handles: list[TaskHandle[Any]] = []

    def submit_and_wait() -> None:
        handles.append(task.submit(*args))
        handles[0].result(DEADLINE)

    with pytest.raises(row.error, match=f"(?s){row.says}") as caught:
        submit_and_wait()
    if interrupt.ident is not None:
        interrupt.join(DEADLINE)
    assert bool(handles) == (row.when != SENDING)
    if not handles:
        return caught.value, None
    handle = handles[0]
    assert handle.info().attempts == 1
    assert handle.info().error is not None
    if isinstance(caught.value, WorkerLost):
        assert_the_cause_is_told(caught.value, handle.id, row)
    return caught.value, handle.status


def assert_the_cause_is_told(error: WorkerLost, run_id: str, row: Row) -> None:
    assert (error.run_id, error.attempt, error.exit_code) == (run_id, 1, row.exit_code)
    assert error.pid > 0
    if row.exit_code == -signal.SIGSEGV:
        assert "about to crash" in error.stderr_tail
        assert "Fatal Python error: Segmentation fault" in error.stderr_tail
        assert "acts.py" in error.stderr_tail
        assert "worker.py" not in error.stderr_tail, "frames of the engine are none of the user's"


def assert_the_worker_is(app: Flowrra, what: str, before: dict[str, Any]) -> None:
    now = at_rest.facts(app)
    gone = {name: now[name] - before[name] for name in ("lost", "replaced")}
    assert gone == {"lost": int(what == "lost"), "replaced": int(what == "replaced")}
    assert (now["pids"] == before["pids"]) == (what == "kept")


def assert_nothing_is_left(app: Flowrra, before: at_rest.Holdings) -> None:
    """Whatever is still being cleaned up has a moment for it."""
    at_rest.until(
        lambda: at_rest.settled(app, AT_REST).is_no_more_than(before),
        lambda: f"left behind: {at_rest.settled(app, AT_REST)}, where there was {before}",
    )


@pytest.mark.may_leak("the app serves all rows")
def test_a_result_that_is_never_rebuilt_holds_up_no_other_that_has_to_be(app: Flowrra) -> None:
    acts.go_on.clear()
    before = at_rest.settled(app, AT_REST)
    stuck = app.task(cpu_bound=True, name="stuck")(acts.return_something_that_acts_when_rebuilt)
    made = app.task(cpu_bound=True, name="made")(acts.return_something_of_a_class)
    first, cancelled, others = stuck.submit(acts.wait_to_be_let_go), stuck.submit(acts.wait_to_be_let_go), []
    try:
        others = [made.submit() for _ in range(5)]
        assert [str(handle.result(DEADLINE)) for handle in others] == ["anywhere"] * 5
        assert cancelled.cancel()
        assert isinstance(cancelled.exception(DEADLINE), TaskCancelled)
        assert not first.done()
    finally:
        acts.go_on.set()
    assert first.result(DEADLINE) == "late"
    assert_nothing_is_left(app, before)

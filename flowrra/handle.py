"""The caller's end of one run."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Generator
from typing import Any, ClassVar, Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from flowrra.core.statuses import Status, StopReason
from flowrra.engine.run import Progress, Run
from flowrra.engine.waiters import Over, block, loop_to_pump, running_loop, wait_here
from flowrra.errors import UnknownRun, WaitTimeout
from flowrra.events import RunEvent
from flowrra.results import TaskResult, snapshot

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class TaskHandle(Generic[R_co]):
    """One run, from any thread and any event loop. Reading it never waits, except where its name says so.

    ``await handle`` gives the value or raises what the task raised; cancelling that wait, or giving up on
    :meth:`result`, never touches the run. Two handles of the same run are equal.
    """

    __slots__ = ("__weakref__", "_run")
    __flowrra_handle__: ClassVar[bool] = True

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def id(self) -> str:
        return self._run.id

    @property
    def task_name(self) -> str:
        return self._run.submission.task_name

    @property
    def batch_id(self) -> str | None:
        """The batch it belongs to, or None if it was submitted alone."""
        return self._run.submission.batch_id

    @property
    def status(self) -> Status:
        return self._run.status

    @property
    def progress(self) -> Progress | None:
        """What the task last reported, or None if it has not."""
        return self._run.progress

    @property
    def logs(self) -> str:
        """What the task has written to stdout and stderr so far, in the order in which it arrived.

        Complete once the run is done. Bounded: of a flood the beginning and the end are kept. Coroutines and threads
        write to the program's own output instead.
        """
        return "" if self._run.log is None else self._run.log.text()

    def info(self) -> TaskResult:
        """The run as it is now, as a record that does not change any more."""
        return snapshot(self._run)

    def done(self) -> bool:
        """Whether it has succeeded, failed or been cancelled; its outcome is saved then."""
        return self._run.settled

    def cancelled(self) -> bool:
        return self._run.status is Status.CANCELLED

    def result(self, timeout: float | None = None) -> R_co:
        """Block until the run is done; return its value or raise what the task raised.

        Raises ``TaskCancelled`` if it was cancelled; ``WaitTimeout`` (a ``TimeoutError``) after *timeout* seconds,
        while the run goes on; ``WouldDeadlock`` on a thread whose event loop has to bring the answer: ``await`` there.
        """
        self._wait_or_raise(timeout)
        value: R_co = value_of(self._run)
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Block until the run is done; return what it failed with, or None. Raises like :meth:`result` otherwise."""
        self._wait_or_raise(timeout)
        return self._run.exception

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the run is done; return whether it is. Raises ``WouldDeadlock`` as :meth:`result` does."""
        if self._run.settled:
            return True
        run = self._run
        pumped = None
        if running_loop() is not None:
            pumped = loop_to_pump((run,), f"waiting for run {self.id} ({self.task_name})")
        return block(Over(run), timeout, pumped)

    def _wait_or_raise(self, timeout: float | None) -> None:
        if not self.wait(timeout):
            assert timeout is not None, "only a wait with a timeout gives up"
            raise WaitTimeout(f"run {self.id} ({self.task_name})", timeout)

    def __await__(self) -> Generator[Any, None, R_co]:
        return self._value().__await__()

    async def _value(self) -> R_co:
        if not self._run.settled:
            await wait_here(Over(self._run))
        value: R_co = value_of(self._run)
        return value

    def cancel(self) -> bool:
        """Ask the run to stop; return whether it will. May be repeated.

        A waiting run is cancelled at once, a coroutine at its next ``await``. A run on the CPU pool gets a moment to
        clean up, then its process is killed and replaced; no other run notices. A function on a thread cannot be
        stopped: its run ends at once and its later answer is dropped. ``result()`` then raises ``TaskCancelled``.
        """
        run = self._run
        if run.engine is None or not run.want_stop():
            return False
        run.engine.request_stop((run,), StopReason.CANCEL)
        return True

    def add_done_callback(self, callback: Callable[[TaskHandle[R_co]], object]) -> None:
        """Call ``callback(handle)`` when the run is done, on the app's callback thread; soon if it is done already.

        Callbacks run one after the other; what one raises is logged.
        """
        run = self._run
        engine = run.engine
        if engine is None:
            callback(self)
            return
        dispatcher = engine.dispatcher
        if not run.add_waiter(lambda _: dispatcher.post(callback, self)):
            dispatcher.post(callback, self)

    def subscribe(self, callback: Callable[[RunEvent], object]) -> Callable[[], None]:
        """Call *callback* with each change of this run, as ``app.subscribe`` does; returns the call that ends it."""
        engine, run_id = self._run.engine, self.id
        if engine is None:
            return lambda: None
        return engine.dispatcher.subscribe(lambda event: event.run_id == run_id and callback(event))

    def as_future(self) -> concurrent.futures.Future[R_co]:
        """A ``concurrent.futures.Future`` that follows the run. Cancelling it ends the following, never the run."""
        future: concurrent.futures.Future[R_co] = concurrent.futures.Future()

        def follow(handle: TaskHandle[R_co]) -> None:
            if not future.set_running_or_notify_cancel():
                return
            outcome = handle._run.outcome
            assert outcome is not None, "it is done"
            if outcome.exception is None:
                future.set_result(outcome.value)  # type: ignore[arg-type]  # a task of R returns an R
            else:
                future.set_exception(outcome.exception)

        self.add_done_callback(follow)
        return future

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<TaskHandle {self.id} {self.task_name}({self._run.args_preview}) {self.status}>"

    def __reduce__(self) -> tuple[Any, ...]:
        engine = self._run.engine
        url = "memory://" if engine is None else engine.backend.url
        return find_handle, (url, self.id)


def value_of(run: Run) -> Any:
    """The value of a run that is over, or raise its exception with the traceback that it came with."""
    outcome = run.outcome
    assert outcome is not None, "only a run that is over has a value"
    if outcome.exception is not None:
        raise outcome.exception.with_traceback(outcome.trace)
    return outcome.value


class HandleSource(Protocol):
    """Finds runs by id: an app."""

    @property
    def backend_url(self) -> str:
        """Where it looks."""

    def handle(self, run_id: str) -> TaskHandle[Any]:
        """Return the handle. Raises ``UnknownRun``."""


sources: WeakValueDictionary[int, HandleSource] = WeakValueDictionary()
"""The apps of this process, for handles that are unpickled in it."""


def find_handle(backend_url: str, run_id: str) -> TaskHandle[Any]:
    """Rebuild a pickled handle: from an app of this process with that backend. Raises ``UnknownRun``."""
    for source in [source for source in sources.values() if source.backend_url == backend_url]:
        try:
            return source.handle(run_id)
        except UnknownRun:
            continue
    raise UnknownRun(run_id)

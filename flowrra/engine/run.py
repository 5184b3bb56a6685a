"""One run while this process holds it: the current record, what it will be executed with, and who waits."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flowrra.core.ready import Place
from flowrra.core.records import Outcome, RunRecord, Submission
from flowrra.core.statuses import Status
from flowrra.core.tuples import NamedTuple
from flowrra.engine.logs import BoundedLog
from flowrra.interfaces import Attempt, Stored

if TYPE_CHECKING:
    from flowrra.clock import Timer
    from flowrra.engine.engine import Engine

Waiter = Callable[["Run"], None]

# One lock for all runs: it is held for a few instructions, and a lock each would cost a hundred bytes a run. It may be
# taken twice, because a signal handler that calls cancel() may interrupt the very thread that holds it.
_lock = threading.RLock()


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it when the process was forked
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


def lock_of_runs() -> threading.RLock:
    """The lock of all runs; :mod:`flowrra.engine.columns` keeps some of them."""
    return _lock


class FromMap(NamedTuple):
    """Stands for the encoded call of a run of a map until it is needed: most are never needed one by one."""

    calls: Sequence[Any]
    position: int


class Progress(NamedTuple):
    """The latest report of a task. ``total`` is None where the task does not know it."""

    done: float
    total: float | None = None
    message: str = ""


class Run:
    """Written by the engine's thread alone, except ``_waiters`` and ``stop_wanted``; read by any thread.

    ``settled`` turns true once the outcome is saved, after ``record`` has become terminal; until then the outside sees
    the run as still running, so that no one acts on an outcome that might yet be lost.
    """

    __slots__ = (
        "__weakref__",
        "_record",
        "_waiters",
        "arguments",
        "attempt",
        "deadline_timer",
        "encoded",
        "engine",
        "log",
        "outcome",
        "place",
        "progress",
        "settled",
        "stop_wanted",
        "submission",
        "timeout_timer",
    )

    def __init__(
        self,
        submission: Submission,
        engine: Engine | None,
        encoded: Any,
        arguments: object,
        record: RunRecord | None = None,
    ) -> None:
        self.submission = submission
        self._record = record
        self.engine = engine
        self.encoded = encoded
        self.arguments = arguments
        self.attempt: Attempt | None = None
        self.place: Place[Any] | None = None
        """Where it waits, if it does so by itself."""
        self.outcome: Outcome | None = None
        self.settled = False
        self.stop_wanted = False
        self.timeout_timer: Timer | None = None
        self.deadline_timer: Timer | None = None
        self.progress: Progress | None = None
        self.log: BoundedLog | None = None
        self._waiters: list[Waiter] | None = None

    @classmethod
    def from_stored(cls, stored: Stored) -> Run:
        """A run that is over, as a backend remembers it."""
        run = cls(stored.record.submission, None, None, stored.arguments, stored.record)
        run.outcome = stored.outcome
        run.settled = True
        return run

    @property
    def id(self) -> str:
        return self.submission.id

    @property
    def record(self) -> RunRecord:
        """Where it stands. A hundred thousand runs may wait, so the record of one that has not begun is not kept."""
        record = self._record
        return RunRecord(self.submission) if record is None else record

    @record.setter
    def record(self, record: RunRecord) -> None:
        self._record = record

    @property
    def attempts(self) -> int:
        """How many attempts have begun."""
        return 0 if self._record is None else self._record.attempt

    @property
    def status(self) -> Status:
        """The status as the outside may know it."""
        record = self.record
        return Status.RUNNING if record.is_terminal and not self.settled else record.status

    @property
    def exception(self) -> BaseException | None:
        """What it ended with instead of a value; None while its outcome is not known."""
        outcome = self.outcome
        return None if outcome is None else outcome.exception

    @property
    def args_preview(self) -> str:
        return str(self.arguments)

    def stored(self) -> Stored:
        assert self.outcome is not None, "only a run that is over is stored"
        return Stored(self._record or self.record, self.outcome, self.arguments)

    def want_stop(self) -> bool:
        """Note, from any thread, that the run is to be cancelled; returns False if its end is decided already.

        The engine hears of it later. It is kept even if the attempt ends meanwhile: see :meth:`conclude`.
        """
        with _lock:
            if self.record.is_terminal:
                return False
            self.stop_wanted = True
            return True

    def conclude(self, record: RunRecord) -> bool:
        """Make the terminal *record* the run's, unless a cancellation was promised that it does not keep."""
        with _lock:
            if self.stop_wanted and record.status is not Status.CANCELLED:
                return False
            self._record = record
            return True

    def add_waiter(self, waiter: Waiter) -> bool:
        """Have *waiter* called with this run when it settles; False, and no call, if it already has.

        Waiters are called on the engine's thread: they hand over and return, and never run user code.
        """
        with _lock:
            if self.settled:
                return False
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            return True

    def remove_waiter(self, waiter: Waiter) -> None:
        """Forget *waiter*, if it has not been called yet."""
        with _lock:
            if self._waiters is not None and waiter in self._waiters:
                self._waiters.remove(waiter)

    def forget_waiters(self) -> None:
        """Call none of those who wait now: after a fork their threads and loops are in the other process."""
        self._waiters = None

    def settle(self) -> None:
        """Make the outcome visible and call the waiters. Called once, on the engine's thread, when it is saved."""
        with _lock:
            self.settled = True
            waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            waiter(self)

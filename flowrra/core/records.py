"""What is known of a run: the submission (never changes), the record (one per status change), the outcome.

Everything here is immutable, so that any thread may read it. A record is a ``NamedTuple`` because one is made at
each status change of each run: it is the cheapest immutable object there is.
"""

from __future__ import annotations

from types import TracebackType

from flowrra.core.statuses import TERMINAL, OutcomeKind, Status, StopReason
from flowrra.core.tuples import NamedTuple

quick = tuple.__new__
"""Makes a named tuple of all its fields, ``quick(Moment, (mono, wall))``, in half the time that its class takes.

For the few that each run needs.
"""


class Moment(NamedTuple):
    """One reading of both clocks: ``mono`` to reckon with, ``wall`` (seconds since the epoch, UTC) to show."""

    mono: float
    wall: float


class RetryPolicy(NamedTuple):
    """When a failed attempt is followed by another. ``max_retries=0``: never. Durations in seconds."""

    max_retries: int = 0
    delay: float = 1.0
    backoff: float = 2.0
    max_delay: float | None = None
    jitter: float = 0.0
    retry_on: tuple[type[BaseException], ...] = (Exception,)


class ErrorInfo(NamedTuple):
    """An error as text, for records and views; it outlives the exception object and travels anywhere."""

    type: str
    message: str
    traceback: str
    """Formatted, with the source lines of cells, without the engine's own frames."""
    causes: tuple[str, ...] = ()
    """``"Type: message"`` of each cause or context, nearest first."""

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class Outcome(NamedTuple):
    """How one attempt ended. ``exception`` is set for every kind but ``RETURNED``."""

    kind: OutcomeKind
    value: object = None
    exception: BaseException | None = None
    error: ErrorInfo | None = None
    size: int = 0
    """Bytes the value took on the wire; 0 if it never travelled."""
    abandoned: bool = False
    """The attempt could not be stopped and still occupies its slot."""
    trace: TracebackType | None = None
    """The exception's own traceback; raising it for one waiter after the other would pile up their frames."""
    memory_peak: int = 0
    """Bytes of private memory that its process was seen to use at most; 0: nobody looked."""


class Submission(NamedTuple):
    """What was asked for, once and for all."""

    id: str
    task_name: str
    executor: str
    seq: int
    """Number of the submission in this app, in order."""
    submitted: float
    """Monotonic clock, as every instant in a record."""
    submitted_wall: float
    """The same instant in seconds since the epoch; the wall clock of all others is reckoned from it.

    A pair of clocks for each instant would be an object more to keep, and for the garbage collector to visit.
    """
    priority: int = 0
    retry: RetryPolicy = RetryPolicy()
    timeout: float | None = None
    """Seconds for one attempt, from its real start."""
    not_before: float | None = None
    """Monotonic clock."""
    deadline: float | None = None
    """Monotonic clock."""
    batch_id: str | None = None
    position: int | None = None
    """Its place, from 0, in its batch or in the ``imap`` whose seed it shares."""
    owner: str | None = None
    """The cell execution that submitted it, as the host names it."""
    seed: int | None = None
    """As given by the user; None: one is derived from the id, see :mod:`flowrra.core.seeds`."""


_LONGEST_NUMBER = 18
"""Digits; of very long ones Python makes no number."""


def number_in(run_id: str) -> int | None:
    """The number that *run_id* ends with, or None if it cannot be the id of a run.

    Runs are numbered in their app, those of a map one after the other, so that they are found without an index.
    """
    number = run_id.rpartition("-")[2]
    return int(number) if number.isdecimal() and len(number) <= _LONGEST_NUMBER else None


class RunRecord(NamedTuple):
    """Where a run stands. Made and changed by :mod:`flowrra.core.lifecycle` alone."""

    submission: Submission
    status: Status = Status.PENDING
    attempt: int = 0
    """How many attempts have begun."""
    started: float | None = None
    """Begin of the latest attempt."""
    finished: float | None = None
    ready_at: float | None = None
    """Monotonic; when a retry is due."""
    worker: str | None = None
    stopping: StopReason | None = None
    """An executor has been asked to stop the running attempt."""
    reason: str = ""
    """Why it was cancelled."""
    errors: tuple[ErrorInfo, ...] = ()
    """One per failed attempt, oldest first."""

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

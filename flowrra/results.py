"""What a run, and an app, look like from outside: snapshots of one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flowrra.clock import Clock, SystemClock, as_datetime
from flowrra.core.records import ErrorInfo, Moment, RunRecord
from flowrra.core.seeds import number_of, source_of
from flowrra.core.statuses import TERMINAL, Status
from flowrra.engine.run import Run


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A run at the moment it was looked at. Instants are aware UTC datetimes."""

    task_id: str
    task_name: str
    status: Status
    result: Any
    """The value, once the status is SUCCESS; otherwise None."""
    error: ErrorInfo | None
    """The latest failed attempt's error as text; also set while a retry is under way."""
    submitted_at: datetime
    started_at: datetime | None
    """Begin of the latest attempt."""
    finished_at: datetime | None
    attempts: int
    """How many attempts have begun."""
    worker: str | None
    args_preview: str
    duration: float | None
    """Seconds that the latest attempt has taken; up to now while it executes."""
    batch_id: str | None
    index: int | None
    """Position in its batch, or in the ``imap`` whose seed it shares."""
    seed: int
    """What its random numbers come from, with *index*: ``options(seed=…)`` of the same number draws the same."""
    stopping: bool
    """The running attempt has been asked to stop and has not ended yet."""
    errors: tuple[ErrorInfo, ...] = ()
    """One for each attempt that has failed, oldest first."""
    max_attempts: int = 1
    """How many attempts its retries allow."""
    retry_at: datetime | None = None
    """When the next attempt is due, while the status is RETRYING."""
    memory_peak: int | None = None
    """Bytes: the most private memory that a worker process was seen to use in the latest attempt.

    None if nobody looked: it took less than 50 ms or little more, has not ended, or had no process of its own.
    """
    retry_of: str | None = None
    """The id of the run that this one repeats, after ``app.retry()``; each is a run of its own."""

    @property
    def success(self) -> bool:
        return self.status is Status.SUCCESS

    @property
    def is_complete(self) -> bool:
        """Whether the status is one that a run never leaves."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class AppStats:
    """An app in numbers, at the moment it was asked."""

    name: str
    running: bool
    counts: dict[Status, int]
    """Runs of this start by status; every status is a key."""
    executors: dict[str, dict[str, Any]]
    """What each executor says of itself: slots, running and abandoned attempts, workers."""
    paused: tuple[str, ...]
    """Names of paused tasks; ``"*"`` if everything is."""
    lost_events: int
    """Events that slow subscribers have missed."""


def snapshot(run: Run) -> TaskResult:
    """The run as it is now. From any thread."""
    # In this order: once a run is settled nothing of it changes. Read last, it could turn true after a record that was
    # read while the run was executing, and the snapshot would be a success without a value.
    settled = run.settled
    record, outcome = run.record, run.outcome
    status = Status.RUNNING if record.is_terminal and not settled else record.status
    submission = record.submission
    known = Moment(submission.submitted, submission.submitted_wall)
    return TaskResult(
        task_id=submission.id,
        task_name=submission.task_name,
        status=status,
        result=outcome.value if outcome is not None and status is Status.SUCCESS else None,
        error=record.errors[-1] if record.errors and status is not Status.SUCCESS else None,
        submitted_at=as_datetime(submission.submitted, known),
        started_at=None if record.started is None else as_datetime(record.started, known),
        finished_at=None if record.finished is None or not settled else as_datetime(record.finished, known),
        attempts=record.attempt,
        worker=record.worker,
        args_preview=run.args_preview,
        duration=_duration(record, SystemClock() if run.engine is None else run.engine.clock),
        batch_id=submission.batch_id,
        index=submission.position,
        seed=number_of(source_of(submission).seed),
        stopping=record.stopping is not None,
        errors=record.errors,
        max_attempts=submission.retry.max_retries + 1,
        retry_at=as_datetime(record.ready_at, known) if record.ready_at and status is Status.RETRYING else None,
        memory_peak=(outcome.memory_peak or None) if outcome is not None else None,
        retry_of=submission.retry_of,
    )


def _duration(record: RunRecord, clock: Clock) -> float | None:
    if record.started is None or record.status in (Status.PENDING, Status.RETRYING):
        return None
    end = clock.mono() if record.finished is None else record.finished
    return max(0.0, end - record.started)

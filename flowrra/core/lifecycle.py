"""The life of a run: one function decides every change of status, and nothing else writes one.

    PENDING ──Started──► RUNNING ──Ended──► SUCCESS | FAILED | CANCELLED
       ▲                    │
       └──── RETRYING ◄─────┘            cancel, deadline, stop: from anywhere, to CANCELLED or FAILED

A run that is asked to stop while an attempt executes stays RUNNING, with ``stopping`` set, until the executor reports
the attempt's end: only then is it known that the user's code is over (or abandoned). What ``stopping`` says then
decides, not how the attempt happened to end, so a ``cancel()`` that was accepted is kept.
Events for a run that is already over are ordinary: a late answer of a stopped attempt is dropped here.
"""

from __future__ import annotations

from enum import Enum

from flowrra.core.records import ErrorInfo, Outcome, RunRecord, quick
from flowrra.core.retry import next_delay
from flowrra.core.statuses import TERMINAL, OutcomeKind, Status, StopReason
from flowrra.core.tuples import NamedTuple
from flowrra.errors import AppStopped, DeadlineExceeded, InvalidTransition, TaskCancelled, TaskTimeout


class Started(NamedTuple):
    """An attempt's user code has begun."""

    worker: str | None = None


class Ended(NamedTuple):
    """An attempt is over. ``chance`` in [0, 1) decides the jitter of a retry."""

    outcome: Outcome
    chance: float = 0.5


class StopRequested(NamedTuple):
    """Someone, a clock or the app's end asks the run to stop."""

    reason: StopReason
    words: str = "cancel() was called"


Event = Started | Ended | StopRequested

_FINAL = frozenset({StopReason.CANCEL, StopReason.SHUTDOWN})


class Effect(Enum):
    """What the shell has to do after a change."""

    NOTHING = "nothing"
    SETTLE = "save the outcome, then wake the waiters; if an executor holds an attempt, stop it"
    REQUEUE = "put it back into the ready queue, due at record.ready_at"
    STOP = "ask the executor to stop the attempt, for record.stopping"


class Decision(NamedTuple):
    record: RunRecord
    effect: Effect
    outcome: Outcome | None = None
    """Set with SETTLE: what waiters get."""


# What every run passes through. Python 3.11 takes ten times as long to find a member in its enum as in the module.
_RUNNING, _SUCCESS, _RETURNED = Status.RUNNING, Status.SUCCESS, OutcomeKind.RETURNED
_NOTHING, _SETTLE = Effect.NOTHING, Effect.SETTLE


def advance(record: RunRecord, event: Event, now: float) -> Decision:
    """Return what *record* becomes by *event* at *now* (monotonic), and what to do. Raises ``InvalidTransition``."""
    if record.status in TERMINAL:
        return Decision(record, _NOTHING)
    running = record.status is _RUNNING
    if isinstance(event, Ended):
        return _end(record, event.outcome, event.chance, now)
    if isinstance(event, Started) and not running:
        return quick(Decision, (_begun(record, event.worker, now), _NOTHING, None))
    if isinstance(event, StopRequested) and (running or event.reason is not StopReason.TIMEOUT):
        return _stop(record, event, now)
    raise InvalidTransition(record.submission.id, record.status, type(event).__name__)


def succeed(done: bytearray, first: int, length: int) -> None:
    """Note in a column of statuses that runs ``first …`` have begun and returned: from PENDING (0) to SUCCESS (1).

    What :func:`advance` makes of ``Started`` and ``Ended`` with a value, for many runs at once; any other change is
    made to a record. Raises ``InvalidTransition`` if one of them is not PENDING, and changes nothing then.
    """
    stop = first + length
    if (over := done.find(1, first, stop)) >= 0:
        raise InvalidTransition(f"at position {over}", Status.SUCCESS, "Ended")
    done[first:stop] = b"\1" * length


def _begun(record: RunRecord, worker: str | None, now: float) -> RunRecord:
    finished = ready_at = stopping = None
    submission, attempt, reason, errors = record.submission, record.attempt + 1, record.reason, record.errors
    fields = submission, _RUNNING, attempt, now, finished, ready_at, worker, stopping, reason, errors
    return quick(RunRecord, fields)


def _over(record: RunRecord, status: Status, errors: tuple[ErrorInfo, ...], now: float) -> RunRecord:
    ready_at = stopping = None
    submission, attempt, started, worker = record.submission, record.attempt, record.started, record.worker
    fields = submission, status, attempt, started, now, ready_at, worker, stopping, record.reason, errors
    return quick(RunRecord, fields)


def _end(record: RunRecord, outcome: Outcome, chance: float, now: float) -> Decision:
    if record.status is not _RUNNING:
        # The attempt ended before its user code began: arguments could not be loaded, or its worker died. It counts.
        record = record._replace(attempt=record.attempt + 1, started=now)
    if record.stopping is None and outcome.kind is _RETURNED:
        return quick(Decision, (_over(record, _SUCCESS, record.errors, now), _SETTLE, outcome))
    match record.stopping:
        case StopReason.CANCEL | StopReason.SHUTDOWN:
            return _settle(record, Status.CANCELLED, _cancelled(record), now)
        case StopReason.DEADLINE:
            return _settle(record, Status.FAILED, _past_deadline(record), now)
        case StopReason.TIMEOUT:
            outcome = _timed_out(record)
    if outcome.kind is OutcomeKind.CANCELLED:
        return _settle(record, Status.CANCELLED, outcome, now)
    return _fail_or_retry(record, outcome, chance, now)


def _fail_or_retry(record: RunRecord, outcome: Outcome, chance: float, now: float) -> Decision:
    delay = next_delay(record.submission.retry, record.attempt, outcome, chance)
    if delay is None:
        return _settle(record, Status.FAILED, outcome, now)
    waiting = record._replace(
        status=Status.RETRYING, ready_at=now + delay, stopping=None, errors=(*record.errors, _text(outcome))
    )
    return Decision(waiting, Effect.REQUEUE)


def _stop(record: RunRecord, event: StopRequested, now: float) -> Decision:
    if record.status is Status.RUNNING:
        if record.stopping in _FINAL or (record.stopping is not None and event.reason is StopReason.TIMEOUT):
            return Decision(record, Effect.NOTHING)
        # Asking the executor again is harmless; the later reason wins, because it was accepted. A timeout never does:
        # it might be followed by a retry, which a deadline rules out.
        return Decision(record._replace(stopping=event.reason, reason=event.words), Effect.STOP)
    stopped = record._replace(stopping=event.reason, reason=event.words)
    if event.reason is StopReason.DEADLINE:
        return _settle(stopped, Status.FAILED, _past_deadline(stopped), now)
    return _settle(stopped, Status.CANCELLED, _cancelled(stopped), now)


def _settle(record: RunRecord, status: Status, outcome: Outcome, now: float) -> Decision:
    errors = record.errors if status is Status.SUCCESS else (*record.errors, _text(outcome))
    return Decision(_over(record, status, errors, now), Effect.SETTLE, outcome)


def _cancelled(record: RunRecord) -> Outcome:
    submission = record.submission
    error: Exception = (
        AppStopped(f"the app was stopped before run {submission.id} ({submission.task_name}) was done")
        if record.stopping is StopReason.SHUTDOWN
        else TaskCancelled(submission.task_name, submission.id, record.reason)
    )
    return Outcome(OutcomeKind.CANCELLED, exception=error)


def _timed_out(record: RunRecord) -> Outcome:
    submission = record.submission
    assert submission.timeout is not None, "only a run with a timeout is stopped for it"
    error = TaskTimeout(submission.task_name, submission.id, submission.timeout, record.attempt)
    return Outcome(OutcomeKind.TIMED_OUT, exception=error)


def _past_deadline(record: RunRecord) -> Outcome:
    error = DeadlineExceeded(record.submission.task_name, record.submission.id)
    return Outcome(OutcomeKind.TIMED_OUT, exception=error)


def _text(outcome: Outcome) -> ErrorInfo:
    if outcome.error is not None:
        return outcome.error
    error = outcome.exception
    name = type(error).__name__
    return ErrorInfo(name, str(error), f"{name}: {error}\n")

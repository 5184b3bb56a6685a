"""Makes an attempt's outcome: from a worker's answer, a stop, the loss of the worker, or a worker that cannot start."""

from __future__ import annotations

import os
import sys

from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind
from flowrra.errors import FlowrraError, MemoryLimitExceeded, NotDecodable, TaskCancelled, WorkerLost, WorkerStartFailed
from flowrra.failures import error_info, safe_str
from flowrra.interfaces import Attempt
from flowrra.pool.crash_report import without_engine_frames
from flowrra.pool.encoding.failures import decode_failure
from flowrra.pool.encoding.payloads import BUILTIN, PLAIN, arrived, load
from flowrra.pool.transport.messages import Ended
from flowrra.pool.transport.page import Ending


def stopped(attempt: Attempt) -> Outcome:
    return _failure(OutcomeKind.CANCELLED, TaskCancelled(attempt.task_name, attempt.run_id))


def lost(attempt: Attempt, number: int, pid: int, ended: Ended) -> Outcome:
    """The worker *pid* has ended while it executed *attempt*, its run *number*."""
    run, limit = ended.exceeded
    error: FlowrraError
    if run == number:
        error = MemoryLimitExceeded(
            attempt.task_name, attempt.run_id, limit=limit, peak=ended.peak, attempt=attempt.number
        )
    else:
        error = WorkerLost(
            attempt.task_name,
            attempt.run_id,
            pid=pid,
            exit_code=ended.exit_code,
            attempt=attempt.number,
            stderr_tail=without_engine_frames(ended.stderr_tail.decode(errors="replace")),
            peak_memory=ended.peak,
            out_of_memory=ended.out_of_memory,
        )
    return _failure(OutcomeKind.WORKER_LOST, error)._replace(memory_peak=ended.peak)


def not_started(why: str) -> Outcome:
    return _failure(OutcomeKind.RAISED, WorkerStartFailed(f"no worker process can be started: {why}"))


def is_quick(answer: Ending) -> bool:
    """Rebuilding the value runs none of the user's code and imports nothing: it may happen on the engine's loop."""
    return answer.kind == BUILTIN or (answer.kind == PLAIN and "numpy" in sys.modules)


def received(answer: Ending, fd: int | None) -> list[memoryview] | OSError:
    """The parts of what a worker sent, or why they are not to be had; closes *fd*."""
    try:
        return arrived(fd, answer.table)
    except OSError as error:
        return error
    finally:
        if fd is not None:
            os.close(fd)


def rebuilt(attempt: Attempt, answer: Ending, parts: list[memoryview] | OSError) -> Outcome:
    """Rebuild what a worker sent. Never raises: a value that cannot be rebuilt is an outcome, too."""
    kind = OutcomeKind(answer.outcome)
    size = len(answer.head) + sum(length for _, length in answer.table)
    try:
        if isinstance(parts, OSError):
            raise parts
        if kind is OutcomeKind.RETURNED:
            return Outcome(kind, value=load(answer.head, parts), size=size, memory_peak=answer.peak)
        return decode_failure(kind, answer.head, parts)._replace(size=size, memory_peak=answer.peak)
    except BaseException as error:  # noqa: BLE001 - the user's __setstate__ may raise anything, on a thread of ours
        refused = NotDecodable(attempt.task_name, "the result", type(error).__name__, safe_str(error))
        refused.__cause__ = error if isinstance(error, Exception) else None
        return _failure(OutcomeKind.NOT_ENCODABLE, refused)


def _failure(kind: OutcomeKind, error: FlowrraError) -> Outcome:
    return Outcome(kind, exception=error, error=error_info(error))

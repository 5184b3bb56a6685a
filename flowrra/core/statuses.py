"""Where a run stands, and how an attempt ended."""

from __future__ import annotations

from enum import StrEnum


class _Word(StrEnum):
    """Counted and looked up for each change of each run, for which the hash of an enum's member costs too much."""

    __hash__ = str.__hash__


class Status(_Word):
    """Where a run stands. Written by :func:`flowrra.core.lifecycle.advance` alone."""

    PENDING = "PENDING"
    """Accepted; waits for its time, for a slot, or in a worker's prefetch. No attempt has begun."""
    RUNNING = "RUNNING"
    """An attempt has begun."""
    RETRYING = "RETRYING"
    """An attempt failed and another one will come; holds no slot."""
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


TERMINAL = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELLED})
"""The statuses that a run never leaves."""


class OutcomeKind(_Word):
    """How one attempt ended."""

    RETURNED = "returned"
    RAISED = "raised"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    WORKER_LOST = "worker lost"
    NOT_ENCODABLE = "not encodable"


class StopReason(_Word):
    """Why the engine asked an executor to stop an attempt."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    SHUTDOWN = "shutdown"

"""What the roster tells the supervisor to do. Workers and runs go by number here."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Ticket(NamedTuple):
    """The number of a run and its place in the order of execution, in which tickets compare."""

    rank: tuple[int, int]
    """(-priority, seq)."""
    number: int


class TakeBackFor(Enum):
    """What runs are taken back for."""

    BALANCE = "balance"
    RECALL = "recall"
    STOP = "stop"
    RETIRE = "retire"


class StartWorker(NamedTuple):
    worker: int


class Give(NamedTuple):
    worker: int
    number: int


class TakeBack(NamedTuple):
    """Take queued runs back from a worker (all, if *limit* is None) and report them with :meth:`Roster.taken_back`."""

    worker: int
    limit: int | None
    purpose: TakeBackFor
    above: tuple[int, int] | None = None
    number: int = 0


class Interrupt(NamedTuple):
    """Raise inside the run; report with :meth:`Roster.grace_over` after ``GRACE``."""

    worker: int
    number: int


class Kill(NamedTuple):
    worker: int


class Dismiss(NamedTuple):
    """The worker executes nothing and has nothing queued: let it end by itself."""

    worker: int


class Return(NamedTuple):
    """The run goes back to the engine's queue."""

    number: int


class Cancelled(NamedTuple):
    """The run was stopped before it began."""

    number: int


class Lost(NamedTuple):
    """The run was executing in a worker that has ended; ``stopped``: because we wanted it to."""

    worker: int
    number: int
    stopped: bool


class StartFailed(NamedTuple):
    """No worker could be started for the run."""

    number: int


Order = StartWorker | Give | TakeBack | Interrupt | Kill | Dismiss | Return | Cancelled | Lost | StartFailed

"""What the roster tells the supervisor to do. Workers, groups and runs go by number here."""

from __future__ import annotations

from enum import Enum

from flowrra.core.tuples import NamedTuple
from flowrra.pool.groups import Group, Rank, Ticket


class TakeBackFor(Enum):
    """What groups are taken back for."""

    BALANCE = "balance"
    RECALL = "recall"
    STOP = "stop"
    RETIRE = "retire"


class StartWorker(NamedTuple):
    worker: int


class Give(NamedTuple):
    worker: int
    group: Group


class TakeBack(NamedTuple):
    """Take queued groups back from a worker: all, if *limit* is None.

    To be reported in this order: what came back (``Roster.received_back``), what the worker had answered by then and
    how far it is with the group in its hands, and that this is done (``Roster.taken_back``).
    """

    worker: int
    limit: int | None
    purpose: TakeBackFor
    above: Rank | None = None
    target: tuple[Rank, int] | None = None
    """(rank, number) of the run to stop."""


class Skip(NamedTuple):
    """Have the worker leave out the run at index *at* of the group in its hands."""

    worker: int
    at: int


class Interrupt(NamedTuple):
    """Raise inside the run; report with :meth:`Roster.grace_over` after ``GRACE``."""

    worker: int
    rank: Rank
    number: int


class Kill(NamedTuple):
    worker: int


class Dismiss(NamedTuple):
    """The worker executes nothing and has nothing queued: let it end by itself."""

    worker: int


class Return(NamedTuple):
    """The runs go back to the engine's queue."""

    ticket: Ticket


class Cancelled(NamedTuple):
    """The run was stopped before it began."""

    number: int


class Lost(NamedTuple):
    """The run was executing in a worker that has ended; ``stopped``: because we wanted it to."""

    worker: int
    number: int
    stopped: bool


class StartFailed(NamedTuple):
    """No worker could be started for the runs."""

    ticket: Ticket


Order = StartWorker | Give | TakeBack | Skip | Interrupt | Kill | Dismiss | Return | Cancelled | Lost | StartFailed

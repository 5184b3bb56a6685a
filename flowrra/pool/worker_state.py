"""One worker as the roster sees it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from flowrra.pool.groups import Group, Rank, Ticket


class Role(Enum):
    ACTIVE = "active"
    SPARE = "spare"
    CONDEMNED = "condemned"
    """Gets nothing more, ends when what it holds is over."""
    RETIRING = "retiring"
    """As condemned, but it may end by itself, and what it executes is let through."""
    GONE = "gone"
    """Its process has ended without being condemned; what it had sent before is still being read."""


class WorkerState:
    """What it holds, and whether it may get more."""

    __slots__ = ("blocked", "closed", "held", "proven", "reached", "role", "runs", "seconds", "target", "worker")

    def __init__(self, worker: int, role: Role) -> None:
        self.worker, self.role = worker, role
        self.held: dict[int, Group] = {}
        """Sent, neither taken back nor over; in the order of sending, so only the first one can be in its hands."""
        self.runs = 0
        """Not over, in what it holds."""
        self.seconds = 0.0
        """That they are expected to take."""
        self.reached = -1
        """Index of the run that executes in the first group it holds, as far as is known; -1: none has begun."""
        self.target: tuple[Rank, int] | None = None
        """Rank and number of the run for which it is to end."""
        self.blocked = False
        """Its socket is full."""
        self.closed = False
        """Its queue is being emptied. Answers are read meanwhile, and what they make room for must not go there."""
        self.proven = False
        """Has claimed a run at least once, or come so far that it could."""

    @property
    def queued(self) -> int:
        """Groups that can be taken back, as far as is known."""
        return max(0, len(self.held) - 1)

    @property
    def first(self) -> Group | None:
        return next(iter(self.held.values()), None)

    def hold(self, group: Group) -> None:
        self.held[group.number] = group
        self.count(group, group.count)

    def release(self, group: Group) -> None:
        del self.held[group.number]
        self.count(group, -group.left)

    def count(self, group: Group, change: int) -> None:
        """*change* more runs of *group* are expected."""
        self.runs += change
        self.seconds = self.seconds + change * group.seconds if self.runs else 0.0

    def behind(self) -> Iterator[Ticket]:
        """What it holds in groups that can be taken back, as far as is known."""
        for number, group in enumerate(self.held.values()):
            if number or self.reached < 0:
                yield from group.tickets

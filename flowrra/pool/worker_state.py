"""One worker as the roster sees it."""

from __future__ import annotations

from enum import Enum

from flowrra.pool.orders import Ticket


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

    __slots__ = ("blocked", "closed", "held", "proven", "role", "since", "started", "worker")

    def __init__(self, worker: int, role: Role) -> None:
        self.worker, self.role = worker, role
        self.held: dict[int, Ticket] = {}
        """Sent, neither taken back nor answered; in the order of sending, so the first one is, or will be, running."""
        self.started = 0
        """Number of the run that is known to have begun; 0: none."""
        self.since = 0.0
        self.blocked = False
        """Its socket is full."""
        self.closed = False
        """Its queue is being emptied. Answers are read meanwhile, and what they make room for must not go there."""
        self.proven = False
        """Has claimed a run at least once."""

    @property
    def queued(self) -> int:
        return max(0, len(self.held) - 1)

    def behind(self) -> list[Ticket]:
        """What it holds and, as far as is known, has not begun."""
        tickets = list(self.held.values())
        return tickets[1:] if self.started else tickets

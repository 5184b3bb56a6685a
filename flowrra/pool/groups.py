"""Runs by number, alone, as stretches, and in the groups that travel together."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from flowrra.core.tuples import NamedTuple
from flowrra.pool.prefetch import Pace

Rank = tuple[int, int]
"""(-priority, seq): the order of execution."""


class Kind:
    """What runs must have in common to travel together; compared by identity."""

    __slots__ = ("facts", "pace", "together")

    def __init__(self, pace: Pace, facts: Any = None, *, together: bool = False) -> None:
        self.pace = pace
        self.facts = facts
        """The supervisor's own."""
        self.together = together
        """Neighbours travel as columns: a group of them is one ticket."""


class Ticket(NamedTuple):
    """*length* runs whose numbers and ranks follow each other, and the place of the first one."""

    rank: Rank
    number: int
    kind: Kind
    length: int = 1
    size: int = 0
    """Bytes that each takes in a packet."""
    seconds: float = 0.0
    """That each is expected to take."""

    def cut(self, length: int) -> tuple[Ticket, Ticket]:
        """The first *length* runs and the others; neither is empty."""
        rank, number, kind, whole, size, seconds = self
        behind = Ticket((rank[0], rank[1] + length), number + length, kind, whole - length, size, seconds)
        return Ticket(rank, number, kind, length, size, seconds), behind

    def follows(self, other: Ticket) -> bool:
        return self.number == other.number + other.length and self.kind is other.kind


class Group:
    """What one packet of a queue holds."""

    __slots__ = ("count", "kind", "number", "seconds", "skipped", "tickets", "told")

    def __init__(self, tickets: list[Ticket]) -> None:
        first = tickets[0]
        self.tickets = tickets
        self.number = first.number
        """Of its first run; names the group."""
        self.kind = first.kind
        self.count = first.length if len(tickets) == 1 else len(tickets)
        self.seconds = first.seconds
        """That each run is expected to take."""
        self.told = 0
        """Runs of which the end is known."""
        self.skipped: set[int] = set()
        """Indices of those that were cancelled in the worker's hands, before they began."""

    @property
    def left(self) -> int:
        return self.count - self.told

    def number_at(self, index: int) -> int:
        return self.number + index if len(self.tickets) == 1 else self.tickets[index].number

    def numbers(self, start: int, end: int) -> Sequence[int]:
        """Of the runs at the indices from *start* on, up to before *end*."""
        if len(self.tickets) == 1:
            return range(self.number + start, self.number + end)
        return [ticket.number for ticket in self.tickets[start:end]]

    def index_of(self, rank: Rank, number: int) -> int:
        """-1: not here."""
        tickets = self.tickets
        if len(tickets) == 1:
            index = number - self.number
            return index if 0 <= index < self.count else -1
        index = bisect_right(tickets, (rank, number + 1)) - 1
        return index if index >= 0 and tickets[index].number == number else -1

    def rest(self, index: int) -> Iterator[Ticket]:
        """What has not begun if the run at *index* is the first such, without what was skipped."""
        if not self.skipped:
            yield from self._slice(index, self.count)
            return
        for skipped in sorted(at for at in self.skipped if at >= index):
            yield from self._slice(index, skipped)
            index = skipped + 1
        yield from self._slice(index, self.count)

    def _slice(self, start: int, end: int) -> Sequence[Ticket]:
        if start >= end:
            return ()
        if len(self.tickets) > 1:
            return self.tickets[start:end]
        ticket = self.tickets[0]
        if start:
            ticket = ticket.cut(start)[1]
        if end < self.count:
            ticket = ticket.cut(end - start)[0]
        return (ticket,)

"""Runs that wait for a worker, in the order of execution."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable
from itertools import islice

from flowrra.pool.groups import Rank, Ticket
from flowrra.pool.prefetch import GROUP_SIZE


class Line:
    """Sorted tickets. May hold many: a stretch of any length is one."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self.runs = 0
        self.seconds = 0.0

    def add(self, ticket: Ticket) -> None:
        tickets = self.tickets
        # Most come in the order in which they are to go.
        if not tickets or tickets[-1].rank < ticket.rank:
            tickets.append(ticket)
        else:
            insort(tickets, ticket)
        self.runs += ticket.length
        self.seconds += ticket.length * ticket.seconds

    def put_back(self, tickets: Iterable[Ticket]) -> None:
        """Many at once; stretches that were cut grow together again."""
        back = list(tickets)
        for ticket in back:
            self._count(ticket, 1)
        merged: list[Ticket] = []
        for ticket in sorted(self.tickets + back):
            if ticket.kind.together and merged and ticket.follows(merged[-1]):
                merged[-1] = merged[-1]._replace(length=merged[-1].length + ticket.length)
            else:
                merged.append(ticket)
        self.tickets = merged

    def take(self, most: int) -> list[Ticket]:
        """Take what goes first, as many runs as may travel together, at most *most*."""
        tickets = self.tickets
        first = tickets[0]
        most = min(most, first.kind.pace.fitting())
        if first.kind.together:
            length = max(1, min(most, GROUP_SIZE // max(1, first.size)))
            if length < first.length:
                first, tickets[0] = first.cut(length)
            else:
                del tickets[0]
            self._count(first, -1)
            return [first]
        number, size = 0, 0
        for ticket in islice(tickets, most):
            size += ticket.size
            if ticket.kind is not first.kind or (number and size > GROUP_SIZE):
                break
            number += 1
        taken = tickets[:number]
        del tickets[:number]
        for ticket in taken:
            self._count(ticket, -1)
        return taken

    def remove(self, rank: Rank, number: int) -> bool:
        """Take out one run; False if it does not wait here."""
        at = bisect_right(self.tickets, (rank, number + 1)) - 1
        if at < 0:
            return False
        ticket = self.tickets[at]
        index = number - ticket.number
        if not 0 <= index < ticket.length:
            return False
        kept = []
        if index:
            before, ticket = ticket.cut(index)
            kept.append(before)
        if ticket.length > 1:
            ticket, behind = ticket.cut(1)
            kept.append(behind)
        self.tickets[at : at + 1] = kept
        self._count(ticket, -1)
        return True

    def take_last(self, above: Rank) -> Ticket | None:
        """Take from the end what is ranked behind *above*: one ticket, or half of a long one. None: there is none."""
        if not self.tickets or self.tickets[-1].rank < above:
            return None
        ticket = self.tickets.pop()
        if ticket.length > 1:
            kept, ticket = ticket.cut(ticket.length // 2)
            self.tickets.append(kept)
        self._count(ticket, -1)
        return ticket

    def clear(self) -> list[Ticket]:
        tickets, self.tickets = self.tickets, []
        self.runs, self.seconds = 0, 0.0
        return tickets

    def _count(self, ticket: Ticket, sign: int) -> None:
        self.runs += sign * ticket.length
        self.seconds = self.seconds + sign * ticket.length * ticket.seconds if self.runs else 0.0

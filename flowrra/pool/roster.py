"""Who gets which run: the decisions about workers, without any of the means.

Events go in, orders come out; the supervisor carries them out. Time is an argument. Runs are known by number
here; what they are is none of the roster's business.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable, Sequence
from enum import Enum

from flowrra.pool.orders import (
    Cancelled,
    Fork,
    Give,
    Interrupt,
    Kill,
    Lost,
    Order,
    Return,
    StartFailed,
    TakeBack,
    TakeBackFor,
    Ticket,
)

PREFETCH_SECONDS = 0.5
LEAST_PREFETCH = 2
MOST_PREFETCH = 64
GRACE = 0.25
"""Seconds between the request to stop and the kill."""
START_FAILURES = 3
"""Workers in a row that ended before their first run, until waiting runs are told."""
_WEIGHT = 0.2
"""Of the latest duration in the moving average."""


class Role(Enum):
    ACTIVE = "active"
    SPARE = "spare"
    CONDEMNED = "condemned"
    """Gets nothing more, ends when what it holds is over."""
    GONE = "gone"
    """Its process has ended without being condemned; what it had sent before is still being read."""


class Bench:
    """One worker as the roster sees it."""

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


class Roster:
    """Decides for ``slots`` active workers and one spare."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.benches: dict[int, Bench] = {}
        self.waiting: list[Ticket] = []
        """Begun and with no worker: sorted; short, since the engine asks for room first."""
        self.failures = 0
        """Workers in a row that ended before their first run."""
        self.lost = 0
        self.replaced = 0
        self.depth = 1 + LEAST_PREFETCH
        """How many runs a worker may hold, the running one included."""
        self._opened = False
        self._average: float | None = None
        self._stopping: set[int] = set()
        self._last_worker = 0

    # -- capacity -----------------------------------------------------------------------------------------------

    def room(self) -> int:
        room, active = -len(self.waiting), False
        for bench in self.benches.values():
            if bench.role is Role.ACTIVE:
                active = True
                if len(bench.held) < self.depth:
                    room += self.depth - len(bench.held)
        if not self._opened:
            room += self.slots * self.depth
        elif not active:  # starting workers keeps failing; whoever comes now tries again
            room += self.slots
        return max(0, room)

    def _learn(self, seconds: float) -> None:
        """Prefetch as much work as takes half a second, judging by the latest runs."""
        known = self._average
        self._average = seconds if known is None else known + _WEIGHT * (seconds - known)
        fitting = math.ceil(PREFETCH_SECONDS / max(self._average, PREFETCH_SECONDS / MOST_PREFETCH))
        self.depth = 1 + max(LEAST_PREFETCH, fitting)

    def busy(self) -> int:
        return sum(1 for bench in self.benches.values() if bench.held)

    def prefetched(self) -> int:
        return len(self.waiting) + sum(bench.queued for bench in self.benches.values())

    # -- runs ---------------------------------------------------------------------------------------------------

    def begin(self, ticket: Ticket) -> list[Order]:
        insort(self.waiting, ticket)
        orders = self._crew(retry=True) if not self.benches else []
        return orders + self._assign()

    def refused(self, worker: int, number: int) -> None:
        """A ``Give`` found no room; *worker* gets nothing until :meth:`unblocked` or its next answer."""
        bench = self.benches[worker]
        bench.blocked = True
        insort(self.waiting, bench.held.pop(number))

    def unblocked(self, worker: int) -> list[Order]:
        bench = self.benches.get(worker)
        if bench is None:
            return []
        bench.blocked = False
        return self._assign()

    def started(self, worker: int, number: int, now: float) -> list[Order]:
        bench = self.benches.get(worker)
        if bench is None or number not in bench.held:
            return []
        bench.started, bench.since, bench.proven = number, now, True
        if not self.failures:
            return []
        self.failures = 0
        return self._crew()

    def answered(self, worker: int, number: int, seconds: float) -> list[Order]:
        self._learn(seconds)
        bench = self.benches.get(worker)
        if bench is None:
            return []
        bench.held.pop(number, None)
        bench.blocked = False
        bench.proven = True
        self._stopping.discard(number)
        if bench.started == number:
            bench.started = 0
        if bench.role is Role.CONDEMNED:
            return [Kill(worker)] if not bench.held else []
        return self._assign() if self.waiting else []

    def balance(self) -> list[Order]:
        """Idle workers take over half of what the most loaded one has queued."""
        if self.waiting:
            return self._assign()
        idle = sum(1 for bench in self.benches.values() if bench.role is Role.ACTIVE and not bench.held)
        if not idle:
            return []
        loaded = sorted(self.benches.values(), key=lambda bench: -bench.queued)[:idle]
        return [
            self._take_back(bench, TakeBackFor.BALANCE, limit=(bench.queued + 1) // 2)
            for bench in loaded
            if bench.queued
        ]

    def recall(self, above: tuple[int, int] | None) -> list[Order]:
        """Give prefetched runs back: all, or those of one worker that the run ranked *above* overtakes."""
        returned = [ticket for ticket in self.waiting if above is None or ticket.rank > above]
        self.waiting = [ticket for ticket in self.waiting if ticket not in returned]
        orders: list[Order] = [Return(ticket.number) for ticket in returned]
        queues = [bench for bench in self.benches.values() if bench.queued or (bench.held and not bench.started)]
        if above is not None:
            queues = sorted(
                (bench for bench in queues if any(ticket.rank > above for ticket in _behind(bench))),
                key=lambda bench: (sum(ticket.rank < above for ticket in _behind(bench)), bench.since),
            )[:1]
        orders += [self._take_back(bench, TakeBackFor.RECALL, above=above) for bench in queues]
        return orders

    def stop(self, number: int) -> list[Order]:
        """End a run wherever it is. Unknown numbers are ignored."""
        for ticket in self.waiting:
            if ticket.number == number:
                self.waiting.remove(ticket)
                return [Cancelled(number)]
        for bench in self.benches.values():
            if number in bench.held and number not in self._stopping:
                return [self._take_back(bench, TakeBackFor.STOP, number=number)]
        return []

    def taken_back(self, order: TakeBack, numbers: Sequence[int]) -> list[Order]:
        """*numbers* have been received back; answers that were under way have been reported before this."""
        bench = self.benches.get(order.worker)
        if bench is not None:
            bench.closed = False
        taken = [bench.held.pop(number) for number in numbers if number in bench.held] if bench is not None else []
        orders: list[Order] = []
        if order.purpose is TakeBackFor.RECALL:
            above = order.above
            orders += [Return(ticket.number) for ticket in taken if above is None or ticket.rank > above]
            taken = [ticket for ticket in taken if above is not None and ticket.rank < above]
        if order.purpose is TakeBackFor.STOP and any(ticket.number == order.number for ticket in taken):
            orders.append(Cancelled(order.number))
            taken = [ticket for ticket in taken if ticket.number != order.number]
        elif order.purpose is TakeBackFor.STOP and bench is not None and order.number in bench.held:
            orders += self._condemn(bench, order.number)
        for ticket in taken:
            insort(self.waiting, ticket)
        return orders + self._assign()

    def _take_back(
        self,
        bench: Bench,
        purpose: TakeBackFor,
        *,
        limit: int | None = None,
        above: tuple[int, int] | None = None,
        number: int = 0,
    ) -> TakeBack:
        bench.closed = True
        return TakeBack(bench.worker, limit, purpose, above, number)

    # -- workers ------------------------------------------------------------------------------------------------

    def open(self) -> list[Order]:
        """Start everybody."""
        self._opened = True
        return self._crew()

    def _condemn(self, bench: Bench, number: int) -> list[Order]:
        bench.role = Role.CONDEMNED
        self._stopping.add(number)
        self.replaced += 1
        return [Interrupt(bench.worker, number), *self._crew()]

    def grace_over(self, worker: int, number: int) -> list[Order]:
        bench = self.benches.get(worker)
        return [Kill(worker)] if bench is not None and number in bench.held else []

    def renew_spares(self) -> list[Order]:
        """Replace spares by new ones, which have more modules imported already."""
        orders: list[Order] = []
        for bench in self.benches.values():
            if bench.role is Role.SPARE:
                bench.role = Role.CONDEMNED
                orders.append(Kill(bench.worker))
        return orders + self._crew()

    def close_queue(self, worker: int) -> None:
        """*worker* has ended: give it nothing more, while what it left is read. :meth:`ended` follows.

        For good, unlike ``closed``: what is read may have the engine recall runs, and that opens queues again.
        """
        bench = self.benches[worker]
        if bench.role is not Role.CONDEMNED:
            bench.role = Role.GONE

    def ended(self, workers: Iterable[int], taken: Iterable[int]) -> list[Order]:
        """*workers* are gone, all by one cause; *taken* were still queued. At most one run each was executing."""
        gone = [self.benches.pop(worker) for worker in workers if worker in self.benches]
        queued = frozenset(taken)
        orders: list[Order] = []
        for bench in gone:
            orders += self._settle_account(bench, queued)
        unexpected = [bench for bench in gone if bench.role is not Role.CONDEMNED]
        if unexpected and not any(bench.proven for bench in unexpected):
            self.failures += 1
        if self.failures >= START_FAILURES:
            orders += [StartFailed(ticket.number) for ticket in self.waiting]
            self.waiting.clear()
        orders += self._crew()
        return orders + self._assign()

    def _settle_account(self, bench: Bench, queued: frozenset[int]) -> list[Order]:
        """Charge at most one run: the oldest that the worker had claimed. The others had not begun and wait again."""
        claimed = [ticket for ticket in bench.held.values() if ticket.number not in queued]
        for ticket in bench.held.values():
            if ticket.number in queued or ticket in claimed[1:]:
                insort(self.waiting, ticket)
        if not claimed:
            return []
        number = claimed[0].number
        stopped = number in self._stopping
        self._stopping.discard(number)
        bench.proven = True
        if not stopped:
            self.lost += 1
        return [Lost(bench.worker, number, stopped)]

    def _crew(self, *, retry: bool = False) -> list[Order]:
        """Fill up to ``slots`` active workers and a spare; while starting fails, only one, and only on *retry*."""
        orders: list[Order] = []
        if self.failures >= START_FAILURES:
            if retry and not self.benches:
                orders.append(self._fork(Role.ACTIVE))
            return orders
        active = sum(1 for bench in self.benches.values() if bench.role is Role.ACTIVE)
        spares = [bench for bench in self.benches.values() if bench.role is Role.SPARE]
        while active < self.slots:
            active += 1
            if spares:
                spares.pop(0).role = Role.ACTIVE
            else:
                orders.append(self._fork(Role.ACTIVE))
        if not spares:
            orders.append(self._fork(Role.SPARE))
        return orders

    def _fork(self, role: Role) -> Fork:
        self._last_worker += 1
        self.benches[self._last_worker] = Bench(self._last_worker, role)
        return Fork(self._last_worker)

    def _assign(self) -> list[Order]:
        """Give what waits to whoever holds least."""
        orders: list[Order] = []
        while self.waiting:
            bench = self._least_loaded()
            if bench is None or len(bench.held) >= self.depth:
                break
            ticket = self.waiting.pop(0)
            bench.held[ticket.number] = ticket
            orders.append(Give(bench.worker, ticket.number))
        return orders

    def _least_loaded(self) -> Bench | None:
        best: Bench | None = None
        for bench in self.benches.values():
            if bench.role is not Role.ACTIVE or bench.blocked or bench.closed:
                continue
            if best is None or len(bench.held) < len(best.held):
                best = bench
        return best


def _behind(bench: Bench) -> list[Ticket]:
    """What the worker holds and, as far as is known, has not begun."""
    tickets = list(bench.held.values())
    return tickets[1:] if bench.started else tickets

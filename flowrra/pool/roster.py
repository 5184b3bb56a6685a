"""Who gets which run: the decisions about workers, without any of the means.

Events go in, orders come out; the supervisor carries them out. Time is an argument. Runs are known by number
here; what they are is none of the roster's business.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence

from flowrra.pool.orders import (
    Cancelled,
    Dismiss,
    Give,
    Interrupt,
    Kill,
    Lost,
    Order,
    Return,
    StartFailed,
    StartWorker,
    TakeBack,
    TakeBackFor,
    Ticket,
)
from flowrra.pool.prefetch import Depth
from flowrra.pool.worker_state import Role, WorkerState

GRACE = 0.25
"""Seconds between the request to stop and the kill."""
START_FAILURES = 3
"""Workers in a row that ended before their first run, until waiting runs are told."""

_LEAVING = (Role.CONDEMNED, Role.RETIRING)
"""Roles of those whose end is expected."""


class Roster:
    """Decides for ``slots`` active workers and one spare."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.states: dict[int, WorkerState] = {}
        self.waiting: list[Ticket] = []
        """Begun and with no worker: sorted; short, since the engine asks for room first."""
        self.failures = 0
        """Workers in a row that ended before their first run."""
        self.lost = 0
        self.replaced = 0
        self._depth = Depth()
        self._opened = False
        self._asleep = False
        """Nobody but a spare is kept until the next run comes."""
        self._stopping: set[int] = set()
        self._last_worker = 0

    # How much work there is room for.

    def room(self) -> int:
        active = self._active()
        room = sum(max(0, self.depth - len(state.held)) for state in active) - len(self.waiting)
        if not self._opened:
            room += self.slots * self.depth
        elif self._asleep:
            room = self.slots * self.depth - len(self.waiting)
        elif not active:  # starting workers keeps failing; whoever comes now tries again
            room += self.slots
        return max(0, room)

    @property
    def depth(self) -> int:
        """How many runs a worker may hold, the running one included."""
        return self._depth.runs

    def _active(self) -> list[WorkerState]:
        """Those whose queues are in use. That of a condemned worker is empty but for the request to stop."""
        return [state for state in self.states.values() if state.role is Role.ACTIVE]

    def holds(self, worker: int, number: int) -> bool:
        """Whether the run is with *worker*: whatever else it speaks of is none of its business."""
        state = self.states.get(worker)
        return state is not None and number in state.held

    def busy(self) -> int:
        return sum(1 for state in self.states.values() if state.held)

    def prefetched(self) -> int:
        return len(self.waiting) + sum(state.queued for state in self.states.values())

    # What happens to runs.

    def begin(self, ticket: Ticket) -> list[Order]:
        insort(self.waiting, ticket)
        awakened, self._asleep = self._asleep, False
        orders = self._fill_up(retry=True) if awakened or not self.states else []
        return orders + self._assign()

    def refused(self, worker: int, number: int) -> None:
        """A ``Give`` found no room; *worker* gets nothing until :meth:`unblocked` or its next answer."""
        state = self.states[worker]
        state.blocked = True
        insort(self.waiting, state.held.pop(number))

    def unblocked(self, worker: int) -> list[Order]:
        state = self.states.get(worker)
        if state is None:
            return []
        state.blocked = False
        return self._assign()

    def started(self, worker: int, number: int, now: float) -> list[Order]:
        state = self.states.get(worker)
        if state is None or number not in state.held:
            return []
        state.started, state.since, state.proven = number, now, True
        if not self.failures:
            return []
        self.failures = 0
        return self._fill_up()

    def answered(self, worker: int, number: int, seconds: float) -> list[Order]:
        self._depth.learn(seconds)
        state = self.states.get(worker)
        if state is None:
            return []
        state.held.pop(number, None)
        state.blocked = False
        state.proven = True
        self._stopping.discard(number)
        if state.started == number:
            state.started = 0
        if state.role is Role.CONDEMNED:
            return [Kill(worker)] if not state.held else []
        if state.role is Role.RETIRING:
            return [Dismiss(worker), *self._assign()] if not state.held else []
        return self._assign() if self.waiting else []

    def balance(self) -> list[Order]:
        """Idle workers take over half of what the most loaded one has queued."""
        if self.waiting:
            return self._assign()
        idle = sum(1 for state in self._active() if not state.held)
        if not idle:
            return []
        loaded = sorted(self._active(), key=lambda state: -state.queued)[:idle]
        return [
            self._take_back(state, TakeBackFor.BALANCE, limit=(state.queued + 1) // 2)
            for state in loaded
            if state.queued
        ]

    def recall(self, above: tuple[int, int] | None) -> list[Order]:
        """Give prefetched runs back: all, or those of one worker that the run ranked *above* overtakes."""
        returned = [ticket for ticket in self.waiting if above is None or ticket.rank > above]
        self.waiting = [ticket for ticket in self.waiting if ticket not in returned]
        orders: list[Order] = [Return(ticket.number) for ticket in returned]
        queues = [state for state in self._active() if state.queued or (state.held and not state.started)]
        if above is not None:
            queues = sorted(
                (state for state in queues if any(ticket.rank > above for ticket in state.behind())),
                key=lambda state: (sum(ticket.rank < above for ticket in state.behind()), state.since),
            )[:1]
        orders += [self._take_back(state, TakeBackFor.RECALL, above=above) for state in queues]
        return orders

    def stop(self, number: int) -> list[Order]:
        """End a run wherever it is. Unknown numbers are ignored."""
        for ticket in self.waiting:
            if ticket.number == number:
                self.waiting.remove(ticket)
                return [Cancelled(number)]
        for state in self.states.values():
            if number in state.held and number not in self._stopping:
                return [self._take_back(state, TakeBackFor.STOP, number=number)]
        return []

    def taken_back(self, order: TakeBack, numbers: Sequence[int]) -> list[Order]:
        """*numbers* have been received back; answers that were under way have been reported before this."""
        state = self.states.get(order.worker)
        if state is not None:
            state.closed = False
        taken = [state.held.pop(number) for number in numbers if number in state.held] if state is not None else []
        orders: list[Order] = []
        if order.purpose is TakeBackFor.RECALL:
            above = order.above
            orders += [Return(ticket.number) for ticket in taken if above is None or ticket.rank > above]
            taken = [ticket for ticket in taken if above is not None and ticket.rank < above]
        if order.purpose is TakeBackFor.STOP and any(ticket.number == order.number for ticket in taken):
            orders.append(Cancelled(order.number))
            taken = [ticket for ticket in taken if ticket.number != order.number]
        elif order.purpose is TakeBackFor.STOP and state is not None and order.number in state.held:
            orders += self._condemn(state, order.number)
        elif order.purpose is TakeBackFor.RETIRE and state is not None and not state.held:
            orders.append(Dismiss(order.worker))
        for ticket in taken:
            insort(self.waiting, ticket)
        return orders + self._assign()

    def _take_back(
        self,
        state: WorkerState,
        purpose: TakeBackFor,
        *,
        limit: int | None = None,
        above: tuple[int, int] | None = None,
        number: int = 0,
    ) -> TakeBack:
        state.closed = True
        return TakeBack(state.worker, limit, purpose, above, number)

    # What happens to workers.

    def open(self) -> list[Order]:
        """Start everybody."""
        self._opened = True
        return self._fill_up()

    def resize(self, slots: int) -> list[Order]:
        """Have *slots* workers from now on: start those that are missing, let the others finish what they execute."""
        self.slots = slots
        active = self._active()
        orders: list[Order] = []
        # The idle ones first, then those that have the least to give back.
        for state in sorted(active, key=lambda state: len(state.held))[: max(0, len(active) - slots)]:
            orders += self._retire(state)
        if self._opened and not self._asleep:
            orders += self._fill_up()
        return orders + self._assign()

    def fall_asleep(self) -> list[Order]:
        """Nothing has run for long: let all workers go but a spare, which is there when the next run comes."""
        if not self._opened or self._asleep or self.waiting or self.busy():
            return []
        self._asleep = True
        return [order for state in self._active() for order in self._retire(state)]

    def _retire(self, state: WorkerState) -> list[Order]:
        state.role = Role.RETIRING
        return [self._take_back(state, TakeBackFor.RETIRE)]

    def _condemn(self, state: WorkerState, number: int) -> list[Order]:
        state.role = Role.CONDEMNED
        self._stopping.add(number)
        self.replaced += 1
        return [Interrupt(state.worker, number), *self._fill_up()]

    def grace_over(self, worker: int, number: int) -> list[Order]:
        state = self.states.get(worker)
        return [Kill(worker)] if state is not None and number in state.held else []

    def renew_spares(self) -> list[Order]:
        """Replace spares by new ones, which have more modules imported already."""
        orders: list[Order] = []
        for state in self.states.values():
            if state.role is Role.SPARE:
                state.role = Role.CONDEMNED
                orders.append(Kill(state.worker))
        return orders + self._fill_up()

    def close_queue(self, worker: int) -> None:
        """*worker* has ended: give it nothing more, while what it left is read. :meth:`ended` follows.

        For good, unlike ``closed``: what is read may have the engine recall runs, and that opens queues again.
        """
        state = self.states[worker]
        if state.role not in _LEAVING:
            state.role = Role.GONE

    def ended(self, workers: Iterable[int], taken: Iterable[int]) -> list[Order]:
        """*workers* are gone, all by one cause; *taken* were still queued. At most one run each was executing."""
        gone = [self.states.pop(worker) for worker in workers if worker in self.states]
        queued = frozenset(taken)
        orders: list[Order] = []
        for state in gone:
            orders += self._settle_account(state, queued)
        unexpected = [state for state in gone if state.role not in _LEAVING]
        if unexpected and not any(state.proven for state in unexpected):
            self.failures += 1
        if self.failures >= START_FAILURES:
            orders += [StartFailed(ticket.number) for ticket in self.waiting]
            self.waiting.clear()
        orders += self._fill_up()
        return orders + self._assign()

    def _settle_account(self, state: WorkerState, queued: frozenset[int]) -> list[Order]:
        """Charge at most one run: the oldest that the worker had claimed. The others had not begun and wait again."""
        claimed = [ticket for ticket in state.held.values() if ticket.number not in queued]
        for ticket in state.held.values():
            if ticket.number in queued or ticket in claimed[1:]:
                insort(self.waiting, ticket)
        if not claimed:
            return []
        number = claimed[0].number
        stopped = number in self._stopping
        self._stopping.discard(number)
        state.proven = True
        if not stopped:
            self.lost += 1
        return [Lost(state.worker, number, stopped)]

    def _fill_up(self, *, retry: bool = False) -> list[Order]:
        """Fill up to ``slots`` active workers and a spare; while starting fails, only one, and only on *retry*."""
        orders: list[Order] = []
        if self.failures >= START_FAILURES:
            if retry and not self.states:
                orders.append(self._start_worker(Role.ACTIVE))
            return orders
        active = self.slots if self._asleep else len(self._active())
        spares = [state for state in self.states.values() if state.role is Role.SPARE]
        while active < self.slots:
            active += 1
            if spares:
                spares.pop(0).role = Role.ACTIVE
            else:
                orders.append(self._start_worker(Role.ACTIVE))
        if not spares:
            orders.append(self._start_worker(Role.SPARE))
        return orders

    def _start_worker(self, role: Role) -> StartWorker:
        self._last_worker += 1
        self.states[self._last_worker] = WorkerState(self._last_worker, role)
        return StartWorker(self._last_worker)

    def _assign(self) -> list[Order]:
        """Give what waits to whoever holds least."""
        orders: list[Order] = []
        while self.waiting:
            state = self._least_loaded()
            if state is None or len(state.held) >= self.depth:
                break
            ticket = self.waiting.pop(0)
            state.held[ticket.number] = ticket
            orders.append(Give(state.worker, ticket.number))
        return orders

    def _least_loaded(self) -> WorkerState | None:
        best: WorkerState | None = None
        for state in self._active():
            if state.blocked or state.closed:
                continue
            if best is None or len(state.held) < len(best.held):
                best = state
        return best

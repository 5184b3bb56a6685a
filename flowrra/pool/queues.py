"""What waits for workers and what is queued at them: given to whoever holds least, taken back if it belongs elsewhere.

Whatever makes runs wait or workers free is followed by :meth:`Queues.assign`, at once or a moment later: what waits
together can travel together.
"""

from __future__ import annotations

from collections.abc import Collection

from flowrra.pool.groups import Group, Rank, Ticket
from flowrra.pool.line import Line
from flowrra.pool.orders import Give, Order, Return, TakeBack, TakeBackFor
from flowrra.pool.prefetch import LEAST_PREFETCH, MOST_GROUPS, PREFETCH_SECONDS, Pace
from flowrra.pool.staff import Staff
from flowrra.pool.worker_state import Role, WorkerState


class Queues:
    """Those of all active workers, and the line of what has been begun and is with none."""

    def __init__(self, staff: Staff) -> None:
        self._staff = staff
        self.line = Line()
        self.overall = Pace()
        """Of all runs, whatever their function."""
        self._taking = 0
        """Orders to take back that are being carried out: meanwhile what waits stays where it can be found."""

    def room(self) -> int:
        """Runs that may come: half a second of work for each slot beside the running ones, judged by the latest."""
        staff = self._staff
        runs, seconds, active = self.line.runs, self.line.seconds, 0
        for state in staff.states.values():
            if state.role is Role.ACTIVE:
                active += 1
                runs += state.runs
                seconds += state.seconds
        if staff.is_open and not active and not staff.asleep:  # starting fails; whoever comes now tries again
            return max(0, staff.slots - runs)
        each = self.overall.seconds
        budget = staff.slots * (PREFETCH_SECONDS + each)
        return max(0, (1 + LEAST_PREFETCH) * staff.slots - runs, int((budget - seconds) / each))

    # Giving.

    def assign(self) -> list[Order]:
        """Give what waits to whoever holds least."""
        orders: list[Order] = []
        share = 0
        while self.line.tickets and not self._taking:
            state = self._least_loaded()
            if state is None or _has_enough(state):
                break
            # What is short and waits together is spread over all.
            share = share or max(1, -(-self.line.runs // max(1, self._staff.slots)))
            group = Group(self.line.take(share))
            state.hold(group)
            orders.append(Give(state.worker, group))
        return orders

    def give_at_once(self, ticket: Ticket) -> list[Order]:
        """Give a run that has just come to an idle worker, past the line; empty: that cannot be, or not so simply."""
        if self.line.tickets or self._taking or ticket.length > 1:
            return []
        for state in self._staff.states.values():
            if state.role is Role.ACTIVE and not state.held and not state.blocked and not state.closed:
                group = Group([ticket])
                state.hold(group)
                return [Give(state.worker, group)]
        return []

    def is_uneven(self) -> bool:
        """Something waits, or is queued where others might take it over."""
        return bool(self.line.tickets) or any(len(state.held) > 1 for state in self._staff.states.values())

    def _least_loaded(self) -> WorkerState | None:
        best: WorkerState | None = None
        for state in self._staff.active():
            if state.blocked or state.closed:
                continue
            if best is None or (state.seconds, state.runs) < (best.seconds, best.runs):
                best = state
        return best

    def refused(self, worker: int, group: Group) -> None:
        """A ``Give`` found no room; *worker* gets nothing until :meth:`unblocked` or its next answer."""
        state = self._staff.states[worker]
        state.blocked = True
        state.release(group)
        self.line.put_back(group.tickets)

    def unblocked(self, worker: int) -> None:
        state = self._staff.states.get(worker)
        if state is not None:
            state.blocked = False

    # Taking back.

    def balance(self) -> list[Order]:
        """Idle workers take over half of what the most loaded one has queued."""
        if self.line.tickets:
            return self.assign()
        active = self._staff.active()
        idle = sum(1 for state in active if not state.held)
        if not idle:
            return []
        loaded = sorted(active, key=lambda state: -state.seconds if state.queued else 0.0)[:idle]
        return [
            self.take_back(state, TakeBackFor.BALANCE, limit=(state.queued + 1) // 2)
            for state in loaded
            if state.queued
        ]

    def recall(self, above: Rank | None) -> list[Order]:
        """Give prefetched runs back: all, or as many as make room for the run ranked *above*, which overtakes them."""
        active = self._staff.active()
        if above is None:
            orders: list[Order] = [Return(ticket) for ticket in self.line.clear()]
            return orders + [self.take_back(state, TakeBackFor.RECALL) for state in active if state.held]
        orders = self._make_room(above)
        if self.room() > 0 and orders:
            return orders
        behind = [(state, list(state.behind())) for state in active]
        overtaken = [(state, tickets) for state, tickets in behind if any(ticket.rank > above for ticket in tickets)]
        if overtaken:
            state, _ = min(
                overtaken, key=lambda each: (sum(ticket.rank < above for ticket in each[1]), each[0].seconds)
            )
            orders.append(self.take_back(state, TakeBackFor.RECALL, above=above))
        return orders

    def _make_room(self, above: Rank) -> list[Order]:
        orders: list[Order] = []
        while self.room() <= 0 and (ticket := self.line.take_last(above)) is not None:
            orders.append(Return(ticket))
        return orders

    def take_back(
        self,
        state: WorkerState,
        purpose: TakeBackFor,
        *,
        limit: int | None = None,
        above: Rank | None = None,
        target: tuple[Rank, int] | None = None,
    ) -> TakeBack:
        state.closed = True
        self._taking += 1
        return TakeBack(state.worker, limit, purpose, above, target)

    def received_back(self, worker: int, numbers: Collection[int]) -> None:
        """The groups *numbers* are no longer in the queue of *worker*; that its order is done follows.

        To be reported before anything else is said of that worker: the first group it holds now is another one.
        """
        state = self._staff.states.get(worker)
        if state is None:
            return
        taken = [state.held[number] for number in numbers if number in state.held]
        for group in taken:
            state.release(group)
        self.line.put_back(ticket for group in taken for ticket in group.tickets)

    def taken_back(self, order: TakeBack) -> WorkerState | None:
        """The order was carried out. The worker may get runs again, if there still is one."""
        self._taking -= 1
        state = self._staff.states.get(order.worker)
        if state is not None:
            state.closed = False
        return state

    def recalled(self, above: Rank | None) -> list[Order]:
        """What :meth:`recall` has taken back waits in the line: it goes to the engine, or what is behind *above*."""
        return [Return(ticket) for ticket in self.line.clear()] if above is None else self._make_room(above)


def _has_enough(state: WorkerState) -> bool:
    if len(state.held) >= MOST_GROUPS:
        return True
    return state.runs > LEAST_PREFETCH and state.seconds >= PREFETCH_SECONDS

"""Who gets which runs: the decisions about workers, without any of the means.

Events go in, orders come out; the supervisor carries them out. Time is an argument. Runs are known by number
here; what they are is none of the roster's business.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from flowrra.pool.groups import Group, Rank, Ticket
from flowrra.pool.line import Line
from flowrra.pool.orders import (
    Cancelled,
    Dismiss,
    Interrupt,
    Kill,
    Lost,
    Order,
    Skip,
    StartFailed,
    TakeBack,
    TakeBackFor,
)
from flowrra.pool.queues import Queues
from flowrra.pool.staff import LEAVING, Staff
from flowrra.pool.worker_state import Role, WorkerState

GRACE = 0.25
"""Seconds between the request to stop and the kill."""


class Roster:
    """Decides for ``slots`` active workers and one spare."""

    def __init__(self, slots: int) -> None:
        self.staff = Staff(slots)
        self.queues = Queues(self.staff)
        self.states: dict[int, WorkerState] = self.staff.states
        self.line: Line = self.queues.line
        """Begun and with no worker."""
        self.lost = 0
        self.replaced = 0

    def holds(self, worker: int, group: int) -> Group | None:
        """The group, if it is with *worker*: whatever else it speaks of is none of its business."""
        state = self.states.get(worker)
        return state.held.get(group) if state is not None else None

    def busy(self) -> int:
        return sum(1 for state in self.states.values() if state.held)

    def prefetched(self) -> int:
        return self.line.runs + sum(max(0, state.runs - 1) for state in self.states.values())

    def has_idle(self) -> bool:
        """A worker could begin at once."""
        return any(not state.held and state.role is Role.ACTIVE for state in self.states.values())

    # What happens to runs.

    def begin(self, ticket: Ticket) -> list[Order]:
        self.line.add(ticket)
        return self.staff.needed()

    def reached(self, worker: int, index: int, *, lasting: bool = False) -> list[Order]:
        """The run at *index* of its first group executes in *worker*, *lasting*: for some time.

        One that was to be skipped may be seen for a moment; if it lasts, it had begun before, and is stopped.
        """
        state = self.states.get(worker)
        if state is None or (group := state.first) is None:
            return []
        state.reached, state.proven = index, True
        orders: list[Order] = []
        if index in group.skipped and lasting:
            (ticket, *_) = group.tickets if len(group.tickets) == 1 else group.tickets[index:]
            target = (ticket.rank, group.number_at(index))
            if state.target != target:
                orders.append(self.queues.take_back(state, TakeBackFor.STOP, target=target))
        return orders + self.staff.work()

    def answered(self, worker: int, group: Group, told: int, seconds: float, *, over: bool) -> list[Order]:
        """The ends of the first *told* runs are known now; *over*: the others have not begun and never will there."""
        state = self.states[worker]
        fresh = told - group.told
        if fresh > 0:
            group.kind.pace.learn(fresh, seconds)
            self.queues.overall.learn(fresh, seconds)
            state.count(group, -fresh)
            group.told = told
        if over:
            state.reached = -1
        state.blocked = False
        orders = self.staff.work()
        state.proven = True
        if over:
            state.release(group)
            if told < group.count:
                orders += self._wait_again(state, group, told)
            if not state.held and state.role in LEAVING:
                orders.append(Kill(worker) if state.role is Role.CONDEMNED else Dismiss(worker))
        return orders

    def _wait_again(self, state: WorkerState, group: Group, index: int) -> list[Order]:
        """What *state* had claimed and not begun, from the run at *index* on."""
        self.line.put_back(group.rest(index))
        # It was to be stopped, and came to its end before it had begun.
        if state.target is not None and self.line.remove(*state.target):
            return [Cancelled(state.target[1])]
        return []

    def came_up(self, worker: int) -> list[Order]:
        """*worker* waits for its first run."""
        self.states[worker].proven = True
        return self.staff.work()

    def stop(self, rank: Rank, number: int) -> list[Order]:
        """End a run wherever it is. Unknown numbers are ignored."""
        if self.line.remove(rank, number):
            return [Cancelled(number)]
        for state in self.states.values():
            for group in state.held.values():
                index = group.index_of(rank, number)
                if index < 0:
                    continue
                if state.target == (rank, number) or index in group.skipped:
                    return []
                if state.role is Role.CONDEMNED and index > max(group.told, state.reached):
                    return self._skip(state, group, index)  # its queue is left to the request to stop
                return [self.queues.take_back(state, TakeBackFor.STOP, target=(rank, number))]
        return []

    def taken_back(self, order: TakeBack) -> list[Order]:
        """The order was carried out; answers that were under way have been reported before this."""
        state = self.queues.taken_back(order)
        if state is None:
            return []
        if order.purpose is TakeBackFor.RETIRE:
            return [] if state.held else [Dismiss(order.worker)]
        if order.target is not None:
            return self._stop_in_hand(state, *order.target)
        return self.queues.recalled(order.above) if order.purpose is TakeBackFor.RECALL else []

    def _stop_in_hand(self, state: WorkerState, rank: Rank, number: int) -> list[Order]:
        """End a run that, if it is not back now, is in the worker's hands or over."""
        if self.line.remove(rank, number):
            return [Cancelled(number)]
        group = state.first
        index = group.index_of(rank, number) if group is not None else -1
        if group is None or index < max(group.told, state.reached):
            return []
        if index == max(group.told, state.reached):
            return self._condemn(state, rank, number)
        return self._skip(state, group, index)

    def _skip(self, state: WorkerState, group: Group, index: int) -> list[Order]:
        group.skipped.add(index)
        return [Skip(state.worker, index), Cancelled(group.number_at(index))]

    def _condemn(self, state: WorkerState, rank: Rank, number: int) -> list[Order]:
        self.replaced += state.role is not Role.CONDEMNED
        state.role = Role.CONDEMNED
        state.target = rank, number
        return [Interrupt(state.worker, rank, number), *self.staff.fill_up()]

    def condemned_for(self, rank: Rank, number: int) -> int | None:
        """The worker that is about to end because it executes a run that was asked to stop, or None."""
        waiting = (state for state in self.states.values() if state.role is Role.CONDEMNED)
        return next((state.worker for state in waiting if state.target == (rank, number)), None)

    def grace_over(self, worker: int, rank: Rank, number: int) -> list[Order]:
        """How far the worker has come must have been reported before."""
        state = self.states.get(worker)
        if state is None or (group := state.first) is None:
            return []
        return [Kill(worker)] if group.index_of(rank, number) >= max(0, group.told, state.reached) else []

    # What happens to workers.

    def resize(self, slots: int) -> list[Order]:
        """Have *slots* workers from now on: start those that are missing, let the others finish what they execute."""
        staff = self.staff
        staff.slots = slots
        active = staff.active()
        orders: list[Order] = []
        # The idle ones first, then those that have the least to give back.
        for state in sorted(active, key=lambda state: state.seconds)[: max(0, len(active) - slots)]:
            orders += self._retire(state)
        if staff.is_open and not staff.asleep:
            orders += staff.fill_up()
        return orders

    def replace(self, workers: Collection[int]) -> list[Order]:
        """Have others in the place of *workers*, which finish what they execute and get nothing more."""
        orders: list[Order] = []
        for state in [self.states[worker] for worker in workers if worker in self.states]:
            if state.role is Role.ACTIVE:
                orders += self._retire(state)
            elif state.role is Role.SPARE:
                state.role = Role.CONDEMNED
                orders.append(Kill(state.worker))
        return orders + self.staff.fill_up() if orders else []

    def fall_asleep(self) -> list[Order]:
        """Nothing has run for long: let all workers go but a spare, which is there when the next run comes."""
        staff = self.staff
        if not staff.is_open or staff.asleep or self.line.tickets or self.busy():
            return []
        staff.asleep = True
        return [order for state in staff.active() for order in self._retire(state)]

    def _retire(self, state: WorkerState) -> list[Order]:
        state.role = Role.RETIRING
        return [self.queues.take_back(state, TakeBackFor.RETIRE)]

    def close_queue(self, worker: int) -> None:
        """*worker* has ended: give it nothing more, while what it left is read. :meth:`ended` follows.

        For good, unlike ``closed``: what is read may have the engine recall runs, and that opens queues again.
        """
        state = self.states[worker]
        if state.role not in LEAVING:
            state.role = Role.GONE

    def ended(self, workers: Iterable[int], taken: Collection[int], begun: Collection[int]) -> list[Order]:
        """*workers* are gone, all by one cause; the groups *taken* were still queued.

        Those of *begun* had begun the first group they held that was not. What had ended there has been reported.
        """
        gone = self.staff.remove(workers)
        orders: list[Order] = []
        for state in gone:
            orders += self._settle_account(state, taken, begun=state.worker in begun)
        self.staff.note_failure(gone)
        if self.staff.are_failing():
            orders += [StartFailed(ticket) for ticket in self.line.clear()]
        return orders + self.staff.fill_up()

    def _settle_account(self, state: WorkerState, taken: Collection[int], *, begun: bool) -> list[Order]:
        """Charge at most one run: the one that executed. Those behind it had not begun and wait again."""
        orders: list[Order] = []
        for group in state.held.values():
            index = group.told
            if begun and group.number not in taken and index < group.count:
                number = group.number_at(index)
                stopped = state.target is not None and number == state.target[1]
                if index not in group.skipped:
                    orders.append(Lost(state.worker, number, stopped))
                state.proven = True
                self.lost += not stopped
                begun = False
                index += 1
            orders += self._wait_again(state, group, index)
        return orders

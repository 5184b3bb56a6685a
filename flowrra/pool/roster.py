"""Who gets which runs: the decisions about workers, without any of the means.

Events go in, orders come out; the supervisor carries them out. Time is an argument. Runs are known by number
here; what they are is none of the roster's business. Whatever makes runs wait or workers free is followed by
:meth:`Roster.assign`, at once or a moment later: what waits together can travel together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from flowrra.pool.groups import Group, Rank, Ticket
from flowrra.pool.line import Line
from flowrra.pool.orders import (
    Cancelled,
    Dismiss,
    Give,
    Interrupt,
    Kill,
    Lost,
    Order,
    Return,
    Skip,
    StartFailed,
    StartWorker,
    TakeBack,
    TakeBackFor,
)
from flowrra.pool.prefetch import LEAST_PREFETCH, MOST_GROUPS, PREFETCH_SECONDS, Pace
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
        self.line = Line()
        """Begun and with no worker."""
        self.failures = 0
        """Workers in a row that ended before their first run."""
        self.lost = 0
        self.replaced = 0
        self._overall = Pace()
        self._opened = False
        self._asleep = False
        """Nobody but a spare is kept until the next run comes."""
        self._taking = 0
        """Orders to take back that are being carried out: meanwhile what waits stays where it can be found."""
        self._last_worker = 0

    # How much work there is room for.

    def room(self) -> int:
        """Runs that may come: half a second of work for each slot beside the running ones, judged by the latest."""
        runs, seconds, active = self.line.runs, self.line.seconds, 0
        for state in self.states.values():
            if state.role is Role.ACTIVE:
                active += 1
                runs += state.runs
                seconds += state.seconds
        if (
            self._opened and not active and not self._asleep
        ):  # starting workers keeps failing; whoever comes now tries again
            return max(0, self.slots - runs)
        each = self._overall.seconds
        budget = self.slots * (PREFETCH_SECONDS + each)
        return max(0, (1 + LEAST_PREFETCH) * self.slots - runs, int((budget - seconds) / each))

    def _active(self) -> list[WorkerState]:
        """Those whose queues are in use. That of a condemned worker is empty but for the request to stop."""
        return [state for state in self.states.values() if state.role is Role.ACTIVE]

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
        awakened, self._asleep = self._asleep, False
        return self._fill_up(retry=True) if awakened or not self.states else []

    def assign(self) -> list[Order]:
        """Give what waits to whoever holds least."""
        orders: list[Order] = []
        share = 0
        while self.line.tickets and not self._taking:
            state = self._least_loaded()
            if state is None or _has_enough(state):
                break
            # What is short and waits together is spread over all.
            share = share or max(1, -(-self.line.runs // max(1, self.slots)))
            group = Group(self.line.take(share))
            state.hold(group)
            orders.append(Give(state.worker, group))
        return orders

    def _least_loaded(self) -> WorkerState | None:
        best: WorkerState | None = None
        for state in self._active():
            if state.blocked or state.closed:
                continue
            if best is None or (state.seconds, state.runs) < (best.seconds, best.runs):
                best = state
        return best

    def refused(self, worker: int, group: Group) -> None:
        """A ``Give`` found no room; *worker* gets nothing until :meth:`unblocked` or its next answer."""
        state = self.states[worker]
        state.blocked = True
        state.release(group)
        self.line.put_back(group.tickets)

    def unblocked(self, worker: int) -> None:
        state = self.states.get(worker)
        if state is not None:
            state.blocked = False

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
                orders.append(self._take_back(state, TakeBackFor.STOP, target=target))
        return orders + self._works()

    def answered(self, worker: int, group: Group, told: int, seconds: float, *, over: bool) -> list[Order]:
        """The ends of the first *told* runs are known now; *over*: the others have not begun and never will there."""
        state = self.states[worker]
        fresh = told - group.told
        if fresh > 0:
            group.kind.pace.learn(fresh, seconds)
            self._overall.learn(fresh, seconds)
            state.count(group, -fresh)
            group.told = told
        if over:
            state.reached = -1
        state.blocked = False
        orders = self._works()
        state.proven = True
        if over:
            state.release(group)
            if told < group.count:
                orders += self._wait_again(state, group, told)
            if not state.held and state.role in _LEAVING:
                orders.append(Kill(worker) if state.role is Role.CONDEMNED else Dismiss(worker))
        return orders

    def _wait_again(self, state: WorkerState, group: Group, index: int) -> list[Order]:
        """What *state* had claimed and not begun, from the run at *index* on."""
        self.line.put_back(group.rest(index))
        # It was to be stopped, and came to its end before it had begun.
        if state.target is not None and self.line.remove(*state.target):
            return [Cancelled(state.target[1])]
        return []

    def _works(self) -> list[Order]:
        if not self.failures:
            return []
        self.failures = 0
        return self._fill_up()

    def balance(self) -> list[Order]:
        """Idle workers take over half of what the most loaded one has queued."""
        if self.line.tickets:
            return self.assign()
        idle = sum(1 for state in self._active() if not state.held)
        if not idle:
            return []
        loaded = sorted(self._active(), key=lambda state: -state.seconds if state.queued else 0.0)[:idle]
        return [
            self._take_back(state, TakeBackFor.BALANCE, limit=(state.queued + 1) // 2)
            for state in loaded
            if state.queued
        ]

    def recall(self, above: Rank | None) -> list[Order]:
        """Give prefetched runs back: all, or as many as make room for the run ranked *above*, which overtakes them."""
        if above is None:
            orders: list[Order] = [Return(ticket) for ticket in self.line.clear()]
            queues = [state for state in self._active() if state.held]
            return orders + [self._take_back(state, TakeBackFor.RECALL) for state in queues]
        orders = self._make_room(above)
        if self.room() > 0 and orders:
            return orders
        behind = [(state, list(state.behind())) for state in self._active()]
        overtaken = [(state, tickets) for state, tickets in behind if any(ticket.rank > above for ticket in tickets)]
        if overtaken:
            state, _ = min(
                overtaken, key=lambda each: (sum(ticket.rank < above for ticket in each[1]), each[0].seconds)
            )
            orders.append(self._take_back(state, TakeBackFor.RECALL, above=above))
        return orders

    def _make_room(self, above: Rank) -> list[Order]:
        orders: list[Order] = []
        while self.room() <= 0 and (ticket := self.line.take_last(above)) is not None:
            orders.append(Return(ticket))
        return orders

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
                return [self._take_back(state, TakeBackFor.STOP, target=(rank, number))]
        return []

    def received_back(self, worker: int, numbers: Collection[int]) -> None:
        """The groups *numbers* are no longer in the queue of *worker*; :meth:`taken_back` follows.

        To be reported before anything else is said of that worker: the first group it holds now is another one.
        """
        state = self.states.get(worker)
        if state is None:
            return
        taken = [state.held[number] for number in numbers if number in state.held]
        for group in taken:
            state.release(group)
        self.line.put_back(ticket for group in taken for ticket in group.tickets)

    def taken_back(self, order: TakeBack) -> list[Order]:
        """The order was carried out; answers that were under way have been reported before this."""
        self._taking -= 1
        state = self.states.get(order.worker)
        if state is None:
            return []
        state.closed = False
        if order.purpose is TakeBackFor.RETIRE:
            return [] if state.held else [Dismiss(order.worker)]
        if order.target is not None:
            return self._stop_in_hand(state, *order.target)
        if order.purpose is not TakeBackFor.RECALL:
            return []
        if order.above is None:
            return [Return(ticket) for ticket in self.line.clear()]
        return self._make_room(order.above)

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

    def _take_back(
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
        for state in sorted(active, key=lambda state: state.seconds)[: max(0, len(active) - slots)]:
            orders += self._retire(state)
        if self._opened and not self._asleep:
            orders += self._fill_up()
        return orders

    def fall_asleep(self) -> list[Order]:
        """Nothing has run for long: let all workers go but a spare, which is there when the next run comes."""
        if not self._opened or self._asleep or self.line.tickets or self.busy():
            return []
        self._asleep = True
        return [order for state in self._active() for order in self._retire(state)]

    def _retire(self, state: WorkerState) -> list[Order]:
        state.role = Role.RETIRING
        return [self._take_back(state, TakeBackFor.RETIRE)]

    def _condemn(self, state: WorkerState, rank: Rank, number: int) -> list[Order]:
        self.replaced += state.role is not Role.CONDEMNED
        state.role = Role.CONDEMNED
        state.target = rank, number
        return [Interrupt(state.worker, rank, number), *self._fill_up()]

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

    def ended(self, workers: Iterable[int], taken: Collection[int], begun: Collection[int]) -> list[Order]:
        """*workers* are gone, all by one cause; the groups *taken* were still queued.

        Those of *begun* had begun the first group they held that was not. What had ended there has been reported.
        """
        gone = [self.states.pop(worker) for worker in workers if worker in self.states]
        orders: list[Order] = []
        for state in gone:
            orders += self._settle_account(state, taken, begun=state.worker in begun)
        unexpected = [state for state in gone if state.role not in _LEAVING]
        if unexpected and not any(state.proven for state in unexpected):
            self.failures += 1
        if self.failures >= START_FAILURES:
            orders += [StartFailed(ticket) for ticket in self.line.clear()]
        return orders + self._fill_up()

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


def _has_enough(state: WorkerState) -> bool:
    if len(state.held) >= MOST_GROUPS:
        return True
    return state.runs > LEAST_PREFETCH and state.seconds >= PREFETCH_SECONDS

"""The roster's decisions, without processes: a table of situations, and invariants under any sequence of events."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flowrra.pool.groups import Group, Kind, Rank, Ticket
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
from flowrra.pool.prefetch import GROUP_SIZE, LEAST_PREFETCH, MOST_IN_GROUP, Pace
from flowrra.pool.roster import Roster
from flowrra.pool.staff import START_FAILURES
from flowrra.pool.worker_state import Role

LONG = Kind(Pace())
"""Of which nothing is ever learned: its runs travel alone."""


def kind_of(seconds: float, *, together: bool = False) -> Kind:
    """Runs that are known to take so long."""
    kind = Kind(Pace(), together=together)
    kind.pace.learn(MOST_IN_GROUP, seconds * MOST_IN_GROUP)
    return kind


def ticket(number: int, priority: int = 0, kind: Kind | None = None, length: int = 1) -> Ticket:
    kind = kind or Kind(Pace())
    return Ticket((-priority, number), number, kind, length, 1, kind.pace.seconds)


def opened(slots: int) -> Roster:
    roster = Roster(slots)
    roster.staff.open()
    return roster


def gives(orders: Iterable[Order]) -> list[tuple[int, list[int]]]:
    return [(order.worker, runs_of(order.group)) for order in orders if isinstance(order, Give)]


def runs_of(group: Group) -> list[int]:
    return list(group.numbers(0, group.count))


def begin(roster: Roster, *tickets: Ticket) -> list[tuple[int, list[int]]]:
    for each in tickets:
        roster.begin(each)
    return gives(roster.queues.assign())


def end_all(roster: Roster, worker: int, seconds: float = 0.0) -> None:
    for group in list(roster.states[worker].held.values()):
        roster.answered(worker, group, group.count, seconds * group.count, over=True)


def take(orders: list[Order]) -> TakeBack:
    (order,) = orders
    assert isinstance(order, TakeBack)
    return order


def took(roster: Roster, order: Order, numbers: Iterable[int] = ()) -> list[Order]:
    """The order was carried out, and these groups came back."""
    assert isinstance(order, TakeBack)
    roster.queues.received_back(order.worker, list(numbers))
    return roster.taken_back(order)


# Giving.


def test_it_starts_one_worker_per_slot_and_a_spare() -> None:
    roster = Roster(3)
    assert roster.staff.open() == [StartWorker(1), StartWorker(2), StartWorker(3), StartWorker(4)]
    assert [state.role for state in roster.states.values()] == [Role.ACTIVE] * 3 + [Role.SPARE]


def test_runs_of_which_nothing_is_known_travel_alone_to_whoever_holds_least() -> None:
    kind = Kind(Pace())
    given = begin(opened(2), *(ticket(n, kind=kind) for n in range(1, 5)))
    assert given == [(1, [1]), (2, [2]), (1, [3]), (2, [4])]


def test_short_runs_that_wait_together_travel_together_and_are_spread_over_all() -> None:
    short = kind_of(1e-5)
    assert begin(opened(2), *(ticket(n, kind=short) for n in range(1, 9))) == [(1, [1, 2, 3, 4]), (2, [5, 6, 7, 8])]


def test_a_stretch_is_cut_and_never_mixed_with_others() -> None:
    short, single = kind_of(1e-5, together=True), kind_of(1e-5)
    given = begin(opened(2), ticket(1, kind=short, length=6), ticket(7, kind=single), ticket(8, kind=single))
    assert given == [(1, [1, 2, 3, 4]), (2, [5, 6]), (2, [7, 8])]


def test_a_group_takes_no_longer_than_a_moment_and_fits_a_packet() -> None:
    assert Group(begin_many(kind_of(1e-4))).count == 40
    assert Group(begin_many(kind_of(1e-7))).count == MOST_IN_GROUP
    assert Group(begin_many(kind_of(0.01))).count == 1
    assert Group(begin_many(kind_of(1e-6), size=GROUP_SIZE // 10)).count == 10
    assert Group(begin_many(kind_of(1e-6), size=GROUP_SIZE * 2)).count == 1


def begin_many(kind: Kind, size: int = 1) -> list[Ticket]:
    """What is taken for one worker when very many wait."""
    roster = opened(1)
    for n in range(1, 10_000):
        roster.begin(ticket(n, kind=kind)._replace(size=size))
    return roster.line.take(10_000)


def test_groups_grow_with_what_is_known() -> None:
    pace, sizes = Pace(), []
    for _ in range(5):
        sizes.append(pace.fitting())
        pace.learn(sizes[-1], sizes[-1] * 1e-6)
    assert sizes == [1, 2, 6, 18, 54]


def test_the_spare_gets_nothing() -> None:
    roster = opened(1)
    begin(roster, *(ticket(n) for n in range(1, 10)))
    assert not roster.states[2].held


@pytest.mark.parametrize("seconds", [0.1, 0.05, 0.0001])
def test_half_a_second_of_work_is_prefetched(seconds: float) -> None:
    roster = opened(2)
    begin(roster, ticket(1))
    end_all(roster, 1, seconds)
    assert roster.queues.room() == pytest.approx(2 * (1 + 0.5 / seconds), abs=1)


def test_there_is_room_for_a_few_however_long_they_are() -> None:
    roster = opened(1)
    begin(roster, ticket(1))
    end_all(roster, 1, 100.0)
    for n in range(2, 3 + LEAST_PREFETCH):
        assert roster.queues.room() > 0
        begin(roster, ticket(n))
    assert roster.queues.room() == 0


def test_runs_known_to_be_long_wait_here_rather_than_in_a_queue() -> None:
    roster = opened(1)
    begin(roster, *(ticket(n, kind=LONG) for n in range(1, 100)))
    assert roster.states[1].runs == 1 + LEAST_PREFETCH
    assert roster.line.runs == 99 - 1 - LEAST_PREFETCH


def test_an_idle_worker_takes_half_of_the_longest_queue() -> None:
    roster = opened(2)
    slow = kind_of(0.05)
    begin(roster, *(ticket(n, kind=slow) for n in range(1, 11)))
    end_all(roster, 2, 0.05)
    order = take(roster.queues.balance())
    assert order == TakeBack(1, 2, TakeBackFor.BALANCE)
    took(roster, order, [3, 5])
    assert gives(roster.queues.assign()) == [(2, [3]), (2, [5])]


def test_a_group_that_is_taken_back_may_be_divided() -> None:
    roster = opened(2)
    short = kind_of(1e-4)
    begin(roster, ticket(1, kind=LONG), ticket(2, kind=LONG))
    begin(roster, *(ticket(n, kind=short) for n in range(3, 11)))
    end_all(roster, 2)
    end_all(roster, 1)
    begin(roster, ticket(20, kind=LONG))
    roster.states[1].hold(Group([ticket(n, kind=short) for n in range(30, 38)]))
    took(roster, take(roster.queues.balance()), [30])
    assert [len(runs) for _, runs in gives(roster.queues.assign())] == [4, 4]


def test_nothing_is_moved_about_while_everybody_has_work() -> None:
    roster = opened(2)
    begin(roster, *(ticket(n) for n in range(1, 7)))
    assert roster.queues.balance() == []


def test_the_rest_of_a_group_that_its_worker_gives_up_goes_on_at_its_place() -> None:
    roster = opened(2)
    short = kind_of(1e-5)
    begin(roster, *(ticket(n, kind=short) for n in range(1, 9)))
    group = roster.states[1].held[1]
    assert roster.answered(1, group, 2, 0.5, over=True) == []
    assert [each.number for each in roster.line.tickets] == [3, 4]
    assert group.kind.pace.fitting() == 1


# Stopping.


def test_a_running_run_is_stopped_by_signal_then_force_and_the_spare_steps_in() -> None:
    roster = opened(1)
    one = ticket(1)
    begin(roster, one, ticket(2))
    roster.reached(1, 0)
    order = take(roster.stop(one.rank, 1))
    assert order == TakeBack(1, None, TakeBackFor.STOP, None, (one.rank, 1))
    assert took(roster, order, [2]) == [Interrupt(1, one.rank, 1), StartWorker(3)]
    assert gives(roster.queues.assign()) == [(2, [2])]
    assert roster.stop(one.rank, 1) == []
    assert roster.grace_over(1, one.rank, 1) == [Kill(1)]
    assert roster.ended([1], [], [1]) == [Lost(1, 1, stopped=True)]
    assert (roster.lost, roster.replaced) == (0, 1)


def in_hand(roster: Roster, length: int, *, together: bool = False) -> Group:
    """The first worker executes a group of short runs, from number 1 on."""
    short = kind_of(1e-6, together=together)
    if together:
        begin(roster, ticket(1, kind=short, length=length))
    else:
        begin(roster, *(ticket(n, kind=short) for n in range(1, length + 1)))
    roster.reached(1, 0)
    group = roster.states[1].held[1]
    assert group.count == length
    return group


@pytest.mark.parametrize("together", [False, True])
def test_a_run_in_the_middle_of_a_group_is_stopped_and_those_behind_it_wait_again(together: bool) -> None:
    roster = opened(1)
    group = in_hand(roster, 6, together=together)
    roster.reached(1, 2)
    orders = took(roster, take(roster.stop((0, 3), 3)), [])
    assert orders[0] == Interrupt(1, (0, 3), 3)
    assert roster.answered(1, group, 3, 0.1, over=True) == [Kill(1)]
    assert [number for each in roster.line.tickets for number in range(each.number, each.number + each.length)] == [
        4,
        5,
        6,
    ]


@pytest.mark.parametrize("together", [False, True])
def test_a_claimed_run_that_has_not_begun_is_skipped_and_told_at_once(together: bool) -> None:
    roster = opened(1)
    group = in_hand(roster, 4, together=together)
    assert took(roster, take(roster.stop((0, 3), 3)), []) == [Skip(1, 2), Cancelled(3)]
    assert roster.stop((0, 3), 3) == []
    assert roster.states[1].role is Role.ACTIVE
    roster.answered(1, group, 1, 0.1, over=True)
    assert roster.line.runs == 2


def test_a_run_that_was_to_be_skipped_and_began_all_the_same_is_ended() -> None:
    roster = opened(1)
    group = in_hand(roster, 4)
    took(roster, take(roster.stop((0, 2), 2)), [])
    roster.answered(1, group, 1, 0.1, over=False)
    assert roster.reached(1, 1) == []
    order = take(roster.reached(1, 1, lasting=True))
    assert took(roster, order, [])[0] == Interrupt(1, (0, 2), 2)
    assert roster.ended([1], [], [1]) == [], "its end was told before"
    assert roster.line.runs == 2


def test_a_run_that_has_ended_unheard_is_left_alone() -> None:
    roster = opened(1)
    in_hand(roster, 4)
    roster.reached(1, 2)
    assert took(roster, take(roster.stop((0, 1), 1)), []) == []
    assert roster.states[1].role is Role.ACTIVE


def test_the_grace_of_a_run_that_gave_in_kills_nobody_else() -> None:
    roster = opened(1)
    in_hand(roster, 4)
    took(roster, take(roster.stop((0, 1), 1)), [])
    roster.reached(1, 1)
    assert roster.grace_over(1, (0, 1), 1) == []


def test_a_prefetched_run_is_stopped_by_taking_it_back() -> None:
    roster = opened(1)
    tickets = [ticket(n) for n in (1, 2, 3)]
    begin(roster, *tickets)
    assert took(roster, take(roster.stop(tickets[1].rank, 2)), [2, 3]) == [Cancelled(2)]
    assert gives(roster.queues.assign()) == [(1, [3])]


def test_a_waiting_run_is_stopped_at_once() -> None:
    roster = opened(1)
    begin(roster, *(ticket(n) for n in range(1, 5)))
    assert roster.stop((0, 4), 4) == [Cancelled(4)]
    assert roster.stop((0, 99), 99) == []


def test_a_run_is_cut_out_of_a_waiting_stretch() -> None:
    roster = opened(1)
    roster.begin(ticket(1, kind=kind_of(1e-6, together=True), length=10))
    assert roster.stop((0, 4), 4) == [Cancelled(4)]
    assert roster.line.runs == 9
    assert roster.stop((0, 4), 4) == []
    assert begin(roster) == [(1, [1, 2, 3]), (1, [5, 6, 7, 8, 9, 10])]


def test_room_made_by_an_answer_during_a_take_back_is_not_filled_in_that_queue() -> None:
    roster = opened(1)
    begin(roster, *(ticket(n) for n in range(1, 5)))
    roster.reached(1, 0)
    order = take(roster.stop((0, 2), 2))
    roster.answered(1, roster.states[1].held[1], 1, 0.5, over=True)
    assert roster.queues.assign() == []
    assert took(roster, order, [3]) == [Interrupt(1, (0, 2), 2), StartWorker(3)]
    assert gives(roster.queues.assign()) == [(2, [3]), (2, [4])]


# Recalling.


def test_everything_is_recalled() -> None:
    roster = opened(2)
    tickets = [ticket(n) for n in range(1, 8)]
    begin(roster, *tickets)
    roster.reached(1, 0)
    roster.reached(2, 0)
    assert roster.queues.recall(None) == [
        Return(tickets[6]),
        TakeBack(1, None, TakeBackFor.RECALL),
        TakeBack(2, None, TakeBackFor.RECALL),
    ]
    order = TakeBack(1, None, TakeBackFor.RECALL)
    assert took(roster, order, [3, 5]) == [Return(tickets[2]), Return(tickets[4])]


def test_a_higher_priority_overtakes_what_is_queued_and_only_makes_room_for_itself() -> None:
    roster = opened(1)
    tickets = [ticket(n) for n in (1, 2, 3)]
    begin(roster, *tickets)
    roster.reached(1, 0)
    assert roster.queues.room() == 0
    order = take(roster.queues.recall((-5, 10)))
    assert took(roster, order, [2, 3]) == [Return(tickets[2])]
    assert begin(roster, ticket(10, priority=5)) == [(1, [10]), (1, [2])]


def test_what_goes_first_anyway_is_not_recalled() -> None:
    roster = opened(1)
    begin(roster, *(ticket(n, priority=9) for n in (1, 2, 3)))
    assert roster.queues.recall((-5, 10)) == []


# Workers that end.


def test_only_the_run_that_executed_is_charged_with_a_death() -> None:
    roster = opened(1)
    begin(roster, *(ticket(n) for n in (1, 2, 3)))
    assert roster.ended([1], taken=[2, 3], begun=[1]) == [Lost(1, 1, stopped=False), StartWorker(3)]
    assert gives(roster.queues.assign()) == [(2, [2]), (2, [3])]
    assert roster.lost == 1


@pytest.mark.parametrize("together", [False, True])
def test_a_death_in_the_middle_of_a_group_costs_one_run(together: bool) -> None:
    roster = opened(1)
    group = in_hand(roster, 6, together=together)
    roster.answered(1, group, 2, 0.1, over=False)
    assert roster.ended([1], taken=[], begun=[1])[0] == Lost(1, 3, stopped=False)
    assert roster.line.runs == 3


def test_a_worker_that_ends_before_it_begins_costs_nobody_anything() -> None:
    roster = opened(1)
    begin(roster, ticket(1))
    assert roster.ended([1], taken=[1], begun=[]) == [StartWorker(3)]
    assert gives(roster.queues.assign()) == [(2, [1])]


def test_workers_that_cannot_start_fail_what_waits_instead_of_going_on_for_ever() -> None:
    roster = opened(1)
    one = ticket(1)
    begin(roster, one)
    orders: list[Order] = []
    deaths = 0
    while not any(isinstance(order, StartFailed) for order in orders):
        worker = next(state.worker for state in roster.states.values() if state.role is Role.ACTIVE)
        orders = roster.ended([worker], taken=list(roster.states[worker].held), begun=[])
        roster.queues.assign()
        deaths += 1
    assert deaths == START_FAILURES
    assert orders == [StartFailed(one)]


def test_after_failed_starts_the_next_run_tries_again_and_a_success_fills_the_pool() -> None:
    roster = opened(2)
    for _ in range(START_FAILURES):
        roster.ended([next(iter(roster.states))], taken=[], begun=[])
    roster.ended(list(roster.states), taken=[], begun=[])
    assert roster.queues.room() == 2
    (fork,) = roster.begin(ticket(1))
    assert isinstance(fork, StartWorker)
    assert gives(roster.queues.assign()) == [(fork.worker, [1])]
    assert roster.reached(fork.worker, 0) == [StartWorker(fork.worker + 1), StartWorker(fork.worker + 2)]


def test_new_spares_replace_those_that_know_fewer_modules() -> None:
    roster = opened(1)
    assert roster.staff.renew_spares() == [Kill(2), StartWorker(3)]
    assert roster.ended([2], taken=[], begun=[]) == []
    assert roster.staff.failures == 0


def test_a_full_socket_is_left_alone_until_there_is_room() -> None:
    roster = opened(1)
    begin(roster, ticket(1))
    roster.queues.refused(1, roster.states[1].held[1])
    assert begin(roster, ticket(2)) == []
    roster.queues.unblocked(1)
    assert gives(roster.queues.assign()) == [(1, [1]), (1, [2])]
    roster.queues.unblocked(77)


def test_the_queue_of_a_condemned_worker_is_left_to_the_request_to_stop() -> None:
    roster = opened(1)
    in_hand(roster, 5)
    assert took(roster, take(roster.stop((0, 1), 1)), []) == [Interrupt(1, (0, 1), 1), StartWorker(3)]
    assert roster.queues.balance() == []
    assert roster.queues.recall(None) == []
    assert roster.queues.recall((-5, 3)) == []
    assert roster.stop((0, 4), 4) == [Skip(1, 3), Cancelled(4)]


def test_nothing_is_given_to_a_worker_whose_end_is_being_accounted_for() -> None:
    roster = opened(1)
    begin(roster, *(ticket(n) for n in (1, 2, 3)))
    roster.reached(1, 0)
    roster.close_queue(1)
    roster.answered(1, roster.states[1].held[1], 1, 0.1, over=True)
    assert roster.queues.recall((-5, 4)) == []
    assert begin(roster, ticket(4, priority=5)) == []
    assert roster.ended([1], taken=[2, 3], begun=[]) == [StartWorker(3)]
    assert gives(roster.queues.assign()) == [(2, [4]), (2, [2]), (2, [3])]


# Sizes.


def test_shrinking_lets_idle_workers_go_and_starts_nobody() -> None:
    roster = opened(3)
    begin(roster, ticket(1))
    first, second = roster.resize(1)
    assert isinstance(first, TakeBack)
    assert isinstance(second, TakeBack)
    assert {first.worker, second.worker} == {2, 3}
    assert took(roster, first, []) == [Dismiss(first.worker)]
    assert roster.ended([first.worker], [], []) == []
    assert roster.staff.failures == 0


def test_a_worker_too_many_finishes_its_run_while_what_it_had_queued_goes_to_others() -> None:
    roster = opened(2)
    begin(roster, *(ticket(n, kind=LONG) for n in range(1, 6)))
    order = take(roster.resize(1))
    held = list(roster.states[order.worker].held)
    assert took(roster, order, held[1:]) == []
    roster.queues.assign()
    assert not any(number in roster.states[order.worker].held for number in held[1:])
    assert roster.answered(order.worker, roster.states[order.worker].held[held[0]], 1, 9.0, over=True) == [
        Dismiss(order.worker)
    ]


def test_growing_promotes_the_spare_and_starts_the_rest() -> None:
    roster = opened(1)
    assert roster.resize(3) == [StartWorker(3), StartWorker(4)]
    assert [state.role for state in roster.states.values()].count(Role.ACTIVE) == 3


def test_a_pool_asleep_has_a_spare_which_takes_the_next_run_at_once() -> None:
    roster = opened(2)
    begin(roster, ticket(1))
    end_all(roster, 1, 9.0)
    takes = roster.fall_asleep()
    assert len(takes) == 2
    for order in takes:
        assert isinstance(order, TakeBack)
        assert took(roster, order, []) == [Dismiss(order.worker)]
        assert roster.ended([order.worker], [], []) == []
    assert roster.queues.room() == 2 * (1 + LEAST_PREFETCH)
    assert sum(isinstance(order, StartWorker) for order in roster.begin(ticket(2))) == 2
    assert gives(roster.queues.assign()) == [(3, [2])]


def test_a_pool_that_works_does_not_fall_asleep() -> None:
    roster = opened(1)
    begin(roster, ticket(1))
    assert roster.fall_asleep() == []


class Worker:
    """One in the model: the group in its hands, and how much of it has ended."""

    def __init__(self) -> None:
        self.queue: list[Group] = []
        self.group: Group | None = None
        self.done = self.told = 0
        self.skips: set[int] = set()
        self.signalled = self.dying = False
        self.executed: list[int] = []

    def claim(self) -> None:
        if self.group is None and self.queue:
            self.group = self.queue.pop(0)
            self.done = self.told = 0
            self.skips = set()


class Machine(RuleBasedStateMachine):
    """A pool in miniature: sockets are lists, workers go on when a rule says so. Nothing may be lost or done twice."""

    @initialize(slots=st.integers(1, 3))
    def begin_life(self, slots: int) -> None:
        self.roster = Roster(slots)
        self.workers: dict[int, Worker] = {}
        self.numbers = itertools.count(1)
        self.open: dict[int, Rank] = {}
        """Runs whose end was not told, with their ranks."""
        self.executed: set[int] = set()
        self.cancelled: set[int] = set()
        self.graces: list[tuple[int, Rank, int]] = []
        self.kinds = [kind_of(1e-4), kind_of(1e-4, together=True), Kind(Pace())]
        self.quick = False
        """Workers go on just before their queue is taken back."""
        self.carry_out(self.roster.staff.open())

    def carry_out(self, orders: list[Order]) -> None:  # noqa: PLR0912 - a case for each order
        todo = list(orders)
        while todo:
            match todo.pop(0):
                case StartWorker(worker):
                    assert worker not in self.workers
                    self.workers[worker] = Worker()
                case Give(worker, group):
                    assert not self.workers[worker].signalled, "a signalled worker gets nothing more"
                    assert all(number in self.open for number in runs_of(group))
                    self.workers[worker].queue.append(group)
                case TakeBack() as order:
                    worker = self.workers[order.worker]
                    assert order.purpose is TakeBackFor.STOP or not worker.signalled, "a Stop is lost"
                    if self.quick:
                        worker.claim()
                        self.execute(worker)
                    limit = len(worker.queue) if order.limit is None else order.limit
                    taken, worker.queue[:] = worker.queue[:limit], worker.queue[limit:]
                    self.roster.queues.received_back(order.worker, [group.number for group in taken])
                    heard: list[Order] = []
                    if self.quick and worker.group is not None and worker.queue:
                        # It has gone on to the next one, which was behind what has come back.
                        while worker.done < worker.group.count:
                            self.execute(worker)
                        heard = self.tell(order.worker, over=True)
                        worker.claim()
                    heard += self.look(order.worker)
                    todo = self.roster.taken_back(order) + todo + heard
                case Skip(number, index):
                    self.workers[number].skips.add(index)
                case Interrupt(number, rank, target):
                    assert not self.workers[number].queue, "the queue is empty before the signal"
                    self.workers[number].signalled = True
                    self.graces.append((number, rank, target))
                case Kill(number):
                    self.workers[number].dying = True
                case Dismiss(number):
                    assert self.workers[number].group is None
                    assert not self.workers[number].queue
                case Lost(_, number, _):
                    self.over(number)
                case Cancelled(number):
                    self.cancelled.add(number)
                    self.over(number)
                case Return(back) | StartFailed(back):
                    for number in range(back.number, back.number + back.length):
                        assert number not in self.executed
                        self.over(number)

    def over(self, number: int) -> None:
        del self.open[number]

    def execute(self, worker: Worker) -> None:
        """The run at hand ends, or is left out."""
        if worker.group is not None and worker.done < worker.group.count:
            number = worker.group.number_at(worker.done)
            if worker.done not in worker.skips:
                assert number not in self.executed, "nothing is executed twice"
                self.executed.add(number)
            worker.done += 1

    def look(self, number: int, *, lasting: bool = False) -> list[Order]:
        """What the supervisor reads from the page: how far the worker is."""
        worker = self.workers[number]
        if worker.group is None or worker.done >= worker.group.count or worker.done < worker.told:
            return []
        return self.roster.reached(number, worker.done, lasting=lasting)

    def tell(self, number: int, *, over: bool) -> list[Order]:
        """The engine reads what has ended."""
        worker = self.workers[number]
        group = worker.group
        assert group is not None
        for index in range(worker.told, worker.done):
            if index not in group.skipped:
                self.over(group.number_at(index))
        worker.told = worker.done
        orders = self.roster.answered(number, group, worker.told, 0.0001 * worker.done, over=over)
        if over:
            worker.group = None
        return orders

    @rule(priority=st.integers(-2, 2), kind=st.integers(0, 2), length=st.integers(1, 9), polite=st.booleans())
    def submit(self, priority: int, kind: int, length: int, polite: bool) -> None:
        if polite and self.roster.queues.room() < length:
            return
        first = next(self.numbers)
        numbers = [first, *itertools.islice(self.numbers, length - 1)]
        for number in numbers:
            self.open[number] = (-priority, number)
        if self.kinds[kind].together:
            self.carry_out(self.roster.begin(ticket(first, priority, self.kinds[kind], length)))
        else:
            for number in numbers:
                self.carry_out(self.roster.begin(ticket(number, priority, self.kinds[kind])))

    @rule()
    def assign(self) -> None:
        self.carry_out(self.roster.queues.assign())

    def able(self, wanted: Callable[[Worker], bool]) -> list[int]:
        return sorted(number for number, worker in self.workers.items() if wanted(worker))

    @rule(data=st.data(), runs=st.integers(0, 5), look=st.booleans())
    def work(self, data: st.DataObject, runs: int, look: bool) -> None:
        able = self.able(lambda worker: worker.group is not None or bool(worker.queue))
        if able:
            number = data.draw(st.sampled_from(able))
            worker = self.workers[number]
            worker.claim()
            for _ in range(runs):
                self.execute(worker)
            if look:
                self.carry_out(self.look(number, lasting=True))

    @rule(data=st.data(), gives_up=st.booleans())
    def report(self, data: st.DataObject, gives_up: bool) -> None:
        able = self.able(lambda worker: worker.group is not None)
        if able:
            number = data.draw(st.sampled_from(able))
            worker = self.workers[number]
            assert worker.group is not None
            over = worker.done == worker.group.count or worker.signalled or gives_up
            self.carry_out(self.tell(number, over=over))

    @rule(data=st.data(), quick=st.booleans())
    def stop(self, data: st.DataObject, quick: bool) -> None:
        self.quick = quick
        if self.open:
            number = data.draw(st.sampled_from(sorted(self.open)))
            self.carry_out(self.roster.stop(self.open[number], number))

    @rule(data=st.data())
    def grace_passes(self, data: st.DataObject) -> None:
        if self.graces:
            grace = data.draw(st.sampled_from(self.graces))
            self.graces.remove(grace)
            if grace[0] in self.workers:
                self.carry_out(self.look(grace[0]))
            self.carry_out(self.roster.grace_over(*grace))

    @rule(above=st.none() | st.tuples(st.integers(-2, 2), st.integers(1, 50)), quick=st.booleans())
    def recall(self, above: tuple[int, int] | None, quick: bool) -> None:
        self.quick = quick
        self.carry_out(self.roster.queues.recall(above))

    @rule(quick=st.booleans())
    def balance(self, quick: bool) -> None:
        self.quick = quick
        self.carry_out(self.roster.queues.balance())

    @rule()
    def renew(self) -> None:
        self.carry_out(self.roster.staff.renew_spares())

    @rule(data=st.data(), quick=st.booleans())
    def replace(self, data: st.DataObject, quick: bool) -> None:
        self.quick = quick
        outdated = data.draw(st.sets(st.sampled_from(sorted(self.workers)))) if self.workers else set()
        before = {number: state.role for number, state in self.roster.states.items()}
        self.carry_out(self.roster.replace(outdated))
        for number, role in before.items():
            state = self.roster.states[number]
            if number in outdated:
                assert state.role is not Role.ACTIVE, "it gets nothing more"
            elif role is not Role.SPARE:  # which may have taken the place of one of them
                assert state.role is role, "nobody else is replaced"

    @rule(slots=st.integers(1, 3), quick=st.booleans())
    def resize(self, slots: int, quick: bool) -> None:
        self.quick = quick
        self.carry_out(self.roster.resize(slots))

    @rule(data=st.data(), killed=st.booleans(), many=st.booleans())
    def end(self, data: st.DataObject, killed: bool, many: bool) -> None:
        able = self.able(lambda worker: worker.dying) if killed else sorted(self.workers)
        if not able:
            return
        first = data.draw(st.sampled_from(able))
        gone = able[able.index(first) :] if many else [first]
        taken: set[int] = set()
        begun: set[int] = set()
        for number in gone:
            worker = self.workers[number]
            self.roster.close_queue(number)
            taken |= {group.number for group in worker.queue}
            worker.queue.clear()
            if worker.group is not None:
                self.carry_out(self.tell(number, over=False))
                begun.add(number)
                if worker.done < worker.group.count and worker.done not in worker.skips:
                    self.executed.add(worker.group.number_at(worker.done))  # it was executing
        for number in gone:
            assert not self.workers.pop(number).queue, "nothing is given to the dead"
        self.carry_out(self.roster.ended(gone, taken, begun))

    @invariant()
    def every_run_is_in_exactly_one_place(self) -> None:
        places = [number for worker in self.workers.values() for group in worker.queue for number in runs_of(group)]
        for worker in self.workers.values():
            if worker.group is not None:
                group = worker.group
                places += [group.number_at(i) for i in range(worker.told, group.count) if i not in group.skipped]
        for waiting in self.roster.line.tickets:
            places += range(waiting.number, waiting.number + waiting.length)
        assert sorted(places) == sorted(self.open)

    @invariant()
    def the_roster_knows_who_holds_what(self) -> None:
        for number, worker in self.workers.items():
            held = ([worker.group] if worker.group is not None else []) + worker.queue
            state = self.roster.states[number]
            assert list(state.held.values()) == held
            assert state.runs == sum(group.left for group in held)
            assert state.seconds == pytest.approx(sum(group.left * group.seconds for group in held))
        assert set(self.roster.states) == set(self.workers)

    @invariant()
    def what_waits_is_in_order_and_counted(self) -> None:
        line = self.roster.line
        assert line.tickets == sorted(line.tickets)
        assert line.runs == sum(each.length for each in line.tickets)
        assert line.seconds == pytest.approx(sum(each.length * each.seconds for each in line.tickets))

    @precondition(lambda self: self.roster.staff.failures < START_FAILURES)
    @invariant()
    def the_pool_is_complete(self) -> None:
        roles = [state.role for state in self.roster.states.values()]
        assert roles.count(Role.ACTIVE) == self.roster.staff.slots
        assert roles.count(Role.SPARE) == 1


TestRosterUnderAnyEvents = Machine.TestCase
TestRosterUnderAnyEvents.settings = settings(max_examples=100, stateful_step_count=60)


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 100)), max_size=50))
def test_groups_stay_within_their_bounds(durations: list[tuple[int, float]]) -> None:
    pace = Pace()
    for runs, seconds in durations:
        pace.learn(runs, seconds)
        assert 1 <= pace.fitting() <= MOST_IN_GROUP

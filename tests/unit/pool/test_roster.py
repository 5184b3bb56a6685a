"""The roster's decisions, without processes: a table of situations, and invariants under any sequence of events."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

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
from flowrra.pool.prefetch import LEAST_PREFETCH, MOST_PREFETCH
from flowrra.pool.roster import START_FAILURES, Roster
from flowrra.pool.worker_state import Role


def ticket(number: int, priority: int = 0) -> Ticket:
    return Ticket((-priority, number), number)


def opened(slots: int) -> Roster:
    roster = Roster(slots)
    roster.open()
    return roster


def gives(orders: Iterable[Order]) -> list[tuple[int, int]]:
    return [(order.worker, order.number) for order in orders if isinstance(order, Give)]


def run_once(roster: Roster, number: int, seconds: float) -> None:
    """Let a run go through, to teach the roster how long runs take."""
    ((worker, _),) = gives(roster.begin(ticket(number)))
    roster.started(worker, number, 0.0)
    roster.answered(worker, number, seconds)


def test_it_starts_one_worker_per_slot_and_a_spare() -> None:
    roster = Roster(3)
    assert roster.open() == [StartWorker(1), StartWorker(2), StartWorker(3), StartWorker(4)]
    assert [state.role for state in roster.states.values()] == [Role.ACTIVE] * 3 + [Role.SPARE]


def test_runs_go_to_whoever_holds_least() -> None:
    roster = opened(2)
    assert [gives(roster.begin(ticket(n))) for n in (1, 2, 3, 4)] == [[(1, 1)], [(2, 2)], [(1, 3)], [(2, 4)]]


def test_the_spare_gets_nothing() -> None:
    roster = opened(1)
    for n in range(1, 10):
        roster.begin(ticket(n))
    assert not roster.states[2].held


@pytest.mark.parametrize(
    ("seconds", "prefetch"),
    [(10.0, LEAST_PREFETCH), (0.1, 5), (0.05, 10), (0.0001, MOST_PREFETCH), (0.0, MOST_PREFETCH)],
)
def test_half_a_second_of_work_is_prefetched(seconds: float, prefetch: int) -> None:
    roster = opened(2)
    run_once(roster, 1, seconds)
    assert roster.room() == 2 * (1 + prefetch)


def test_there_is_no_room_beyond_the_prefetch() -> None:
    roster = opened(1)
    for n in range(1, 2 + LEAST_PREFETCH):
        assert roster.room() > 0
        roster.begin(ticket(n))
    assert roster.room() == 0


def test_an_idle_worker_takes_half_of_the_longest_queue() -> None:
    roster = opened(2)
    run_once(roster, 100, 0.05)
    for n in range(1, 11):
        roster.begin(ticket(n))
    for number in list(roster.states[2].held):
        roster.answered(2, number, 0.05)
    assert roster.balance() == [TakeBack(1, 2, TakeBackFor.BALANCE)]
    assert gives(roster.taken_back(TakeBack(1, 2, TakeBackFor.BALANCE), [3, 5])) == [(2, 3), (2, 5)]


def test_nothing_is_moved_about_while_everybody_has_work() -> None:
    roster = opened(2)
    for n in range(1, 7):
        roster.begin(ticket(n))
    assert roster.balance() == []


def test_a_running_run_is_stopped_by_signal_then_force_and_the_spare_steps_in() -> None:
    roster = opened(1)
    roster.begin(ticket(1))
    roster.begin(ticket(2))
    roster.started(1, 1, 0.0)
    (take,) = roster.stop(1)
    assert take == TakeBack(1, None, TakeBackFor.STOP, None, 1)
    assert roster.taken_back(take, [2]) == [Interrupt(1, 1), StartWorker(3), Give(2, 2)]
    assert roster.states[2].role is Role.ACTIVE
    assert roster.stop(1) == []
    assert roster.grace_over(1, 1) == [Kill(1)]
    assert roster.ended([1], []) == [Lost(1, 1, stopped=True)]
    assert (roster.lost, roster.replaced) == (0, 1)


def test_a_worker_that_gave_in_is_ended_before_it_can_start_anything() -> None:
    roster = opened(1)
    roster.begin(ticket(1))
    roster.taken_back(roster.stop(1)[0], [])  # type: ignore[arg-type]  # the only order it gives here
    assert roster.answered(1, 1, 0.1) == [Kill(1)]
    assert roster.grace_over(1, 1) == []


def test_a_condemned_worker_that_had_claimed_the_next_run_may_finish_it() -> None:
    roster = opened(1)
    roster.begin(ticket(1))
    roster.begin(ticket(2))
    take = roster.stop(1)[0]
    assert isinstance(take, TakeBack)
    roster.taken_back(take, [])
    assert roster.answered(1, 1, 0.1) == []
    assert roster.grace_over(1, 1) == []
    assert roster.answered(1, 2, 0.1) == [Kill(1)]


def test_a_prefetched_run_is_stopped_by_taking_it_back() -> None:
    roster = opened(1)
    for n in (1, 2, 3):
        roster.begin(ticket(n))
    take = roster.stop(2)[0]
    assert isinstance(take, TakeBack)
    assert roster.taken_back(take, [2, 3]) == [Cancelled(2), Give(1, 3)]


def test_a_waiting_run_is_stopped_at_once() -> None:
    roster = opened(1)
    for n in range(1, 5):
        roster.begin(ticket(n))
    assert roster.stop(4) == [Cancelled(4)]
    assert roster.stop(99) == []


def test_room_made_by_an_answer_during_a_take_back_is_not_filled_in_that_queue() -> None:
    roster = opened(1)
    for n in range(1, 5):
        roster.begin(ticket(n))
    roster.started(1, 1, 0.0)
    take = roster.stop(2)[0]
    assert isinstance(take, TakeBack)
    assert roster.answered(1, 1, 0.5) == []
    assert roster.taken_back(take, [3]) == [Interrupt(1, 2), StartWorker(3), Give(2, 3), Give(2, 4)]


def test_everything_is_recalled() -> None:
    roster = opened(2)
    for n in range(1, 8):
        roster.begin(ticket(n))
    roster.started(1, 1, 0.0)
    roster.started(2, 2, 0.0)
    orders = roster.recall(None)
    assert orders == [
        Return(7),
        TakeBack(1, None, TakeBackFor.RECALL),
        TakeBack(2, None, TakeBackFor.RECALL),
    ]
    assert roster.taken_back(TakeBack(1, None, TakeBackFor.RECALL), [3, 5]) == [Return(3), Return(5)]


def test_a_higher_priority_makes_one_worker_give_back_what_it_overtakes() -> None:
    roster = opened(2)
    roster.begin(ticket(1))
    roster.begin(ticket(2))
    roster.started(1, 1, 0.0)
    roster.started(2, 2, 1.0)
    roster.begin(ticket(3, priority=9))
    roster.begin(ticket(4))
    roster.begin(ticket(5))
    roster.begin(ticket(6))
    take = roster.recall(ticket(10, priority=5).rank)
    assert take == [TakeBack(2, None, TakeBackFor.RECALL, (-5, 10))]
    assert roster.taken_back(take[0], [4, 6]) == [Return(4), Return(6)]  # type: ignore[arg-type]  # checked above
    take = roster.recall(ticket(11, priority=5).rank)
    assert roster.taken_back(take[0], [3, 5]) == [Return(5), Give(1, 3)]  # type: ignore[arg-type]  # as above


def test_only_the_oldest_run_that_was_claimed_is_charged_with_a_death() -> None:
    roster = opened(1)
    for n in (1, 2, 3):
        roster.begin(ticket(n))
    orders = roster.ended([1], taken=[3])
    assert orders == [Lost(1, 1, stopped=False), StartWorker(3), Give(2, 2), Give(2, 3)]
    assert roster.lost == 1


def test_a_worker_that_ends_before_it_claims_costs_nobody_anything() -> None:
    roster = opened(1)
    roster.begin(ticket(1))
    assert roster.ended([1], taken=[1]) == [StartWorker(3), Give(2, 1)]


def test_workers_that_cannot_start_fail_what_waits_instead_of_going_on_for_ever() -> None:
    roster = opened(1)
    roster.begin(ticket(1))
    orders: list[Order] = []
    deaths = 0
    while not any(isinstance(order, StartFailed) for order in orders):
        worker = next(state.worker for state in roster.states.values() if state.role is Role.ACTIVE)
        orders = roster.ended([worker], taken=list(roster.states[worker].held))
        deaths += 1
    assert deaths == START_FAILURES
    assert orders == [StartFailed(1)]


def test_after_failed_starts_the_next_run_tries_again_and_a_success_fills_the_pool() -> None:
    roster = opened(2)
    for _ in range(START_FAILURES):
        roster.ended([next(iter(roster.states))], taken=[])
    roster.ended(list(roster.states), taken=[])
    assert roster.room() == 2
    fork, give = roster.begin(ticket(1))
    assert isinstance(fork, StartWorker)
    assert give == Give(fork.worker, 1)
    assert roster.started(fork.worker, 1, 0.0) == [StartWorker(fork.worker + 1), StartWorker(fork.worker + 2)]


def test_new_spares_replace_those_that_know_fewer_modules() -> None:
    roster = opened(1)
    assert roster.renew_spares() == [Kill(2), StartWorker(3)]
    assert roster.ended([2], taken=[]) == []
    assert roster.failures == 0


def test_shrinking_lets_idle_workers_go_and_starts_nobody() -> None:
    roster = opened(3)
    roster.begin(ticket(1))
    (first, second) = roster.resize(1)
    assert isinstance(first, TakeBack)
    assert isinstance(second, TakeBack)
    assert {first.worker, second.worker} == {2, 3}
    assert roster.taken_back(first, []) == [Dismiss(first.worker)]
    assert roster.ended([first.worker], []) == []
    assert roster.failures == 0


def test_a_worker_too_many_finishes_its_run_while_what_it_had_queued_goes_to_others() -> None:
    roster = opened(2)
    for n in range(1, 5):
        roster.begin(ticket(n))
    roster.started(1, 1, 0.0)
    roster.answered(2, 2, 9.0)
    roster.answered(2, 4, 9.0)
    roster.begin(ticket(5))
    (take,) = roster.resize(1)
    assert isinstance(take, TakeBack)
    other = 3 - take.worker
    held = list(roster.states[take.worker].held)
    orders = roster.taken_back(take, held[1:])
    assert all(order.worker == other for order in orders if isinstance(order, Give))
    if held:
        assert Dismiss(take.worker) in roster.answered(take.worker, held[0], 9.0)
    else:
        assert Dismiss(take.worker) in orders


def test_growing_promotes_the_spare_and_starts_the_rest() -> None:
    roster = opened(1)
    assert roster.resize(3) == [StartWorker(3), StartWorker(4)]
    assert [state.role for state in roster.states.values()].count(Role.ACTIVE) == 3


def test_a_pool_asleep_has_a_spare_which_takes_the_next_run_at_once() -> None:
    roster = opened(2)
    run_once(roster, 1, 9.0)
    takes = roster.fall_asleep()
    assert len(takes) == 2
    for take in takes:
        assert isinstance(take, TakeBack)
        assert roster.taken_back(take, []) == [Dismiss(take.worker)]
        assert roster.ended([take.worker], []) == []
    assert roster.room() == 2 * roster.depth
    orders = roster.begin(ticket(2))
    assert gives(orders) == [(3, 2)]
    assert sum(isinstance(order, StartWorker) for order in orders) == 2


def test_a_pool_that_works_does_not_fall_asleep() -> None:
    roster = opened(1)
    roster.begin(ticket(1))
    assert roster.fall_asleep() == []


def test_a_full_socket_is_left_alone_until_there_is_room() -> None:
    roster = opened(1)
    roster.begin(ticket(1))
    roster.refused(1, 1)
    assert gives(roster.begin(ticket(2))) == []
    assert gives(roster.unblocked(1)) == [(1, 1), (1, 2)]
    assert roster.unblocked(77) == []


def test_the_queue_of_a_condemned_worker_is_left_to_the_request_to_stop() -> None:
    roster = opened(1)
    roster.begin(ticket(1))
    roster.begin(ticket(2))
    take = roster.stop(1)[0]
    assert isinstance(take, TakeBack)
    assert roster.taken_back(take, []) == [Interrupt(1, 1), StartWorker(3)]
    assert roster.balance() == []
    assert roster.recall(None) == []
    assert roster.recall((-5, 3)) == []


def test_nothing_is_given_to_a_worker_whose_end_is_being_accounted_for() -> None:
    roster = opened(1)
    for n in (1, 2, 3):
        roster.begin(ticket(n))
    roster.started(1, 1, 0.0)
    roster.close_queue(1)
    assert roster.answered(1, 1, 0.1) == []
    assert roster.recall((-5, 4)) == []
    assert roster.begin(ticket(4, priority=5)) == []
    assert roster.ended([1], taken=[2, 3]) == [StartWorker(3), Give(2, 4), Give(2, 2), Give(2, 3)]


class Machine(RuleBasedStateMachine):
    """A pool in miniature: sockets are lists, workers claim when a rule says so. Nothing may be lost or done twice."""

    @initialize(slots=st.integers(1, 4))
    def begin_life(self, slots: int) -> None:
        self.roster = Roster(slots)
        self.queues: dict[int, list[int]] = {}
        self.claimed: dict[int, int] = {}
        self.unheard: dict[int, int] = {}
        self.dying: set[int] = set()
        self.numbers = itertools.count(1)
        self.open: set[int] = set()
        self.graces: list[tuple[int, int]] = []
        self.signalled: set[int] = set()
        self.now = 0.0
        self.quick = False
        """Workers answer just before their queue is taken back."""
        self.carry_out(self.roster.open())

    def carry_out(self, orders: list[Order]) -> None:
        todo = list(orders)
        while todo:
            match todo.pop(0):
                case StartWorker(worker):
                    assert worker not in self.queues
                    self.queues[worker] = []
                case Give(worker, number):
                    assert worker not in self.signalled, "a signalled worker gets nothing more"
                    assert number in self.open
                    self.queues[worker].append(number)
                case TakeBack() as take:
                    assert take.purpose is TakeBackFor.STOP or take.worker not in self.signalled, "a Stop is lost"
                    queue = self.queues[take.worker]
                    limit = len(queue) if take.limit is None else take.limit
                    if self.quick:
                        self.hand_over(take.worker)
                    taken, queue[:] = queue[:limit], queue[limit:]
                    self.report(take.worker)
                    todo = self.roster.taken_back(take, taken) + todo
                case Interrupt(worker, number):
                    assert not self.queues[worker], "the queue is empty before the signal"
                    self.signalled.add(worker)
                    self.graces.append((worker, number))
                case Kill(worker):
                    self.dying.add(worker)
                case Lost(worker, number, _):
                    self.over(number)
                case Return(number) | Cancelled(number) | StartFailed(number):
                    assert number not in self.claimed.values()
                    self.over(number)

    def over(self, number: int) -> None:
        self.open.remove(number)

    def hand_over(self, worker: int) -> None:
        """The worker ends its run and claims the next one; the engine has not heard of either yet."""
        if worker in self.claimed and worker not in self.unheard:
            self.unheard[worker] = self.claimed.pop(worker)
            if self.queues[worker]:
                self.claimed[worker] = self.queues[worker].pop(0)

    def report(self, worker: int) -> None:
        """The engine reads the worker's answers."""
        number = self.unheard.pop(worker, None)
        if number is not None:
            self.over(number)
            orders = self.roster.answered(worker, number, 0.01)
            if worker in self.claimed:
                orders += self.roster.started(worker, self.claimed[worker], self.now)
            self.carry_out(orders)

    @rule(priority=st.integers(-2, 2), polite=st.booleans())
    def submit(self, priority: int, polite: bool) -> None:
        if self.roster.room() > 0 or not polite:
            number = next(self.numbers)
            self.open.add(number)
            self.carry_out(self.roster.begin(ticket(number, priority)))

    def workers(self, wanted: Callable[[int], bool]) -> list[int]:
        return [worker for worker in self.queues if wanted(worker)]

    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        able = self.workers(lambda worker: bool(self.queues[worker]) and worker not in self.claimed)
        if able:
            worker = data.draw(st.sampled_from(able))
            number = self.claimed[worker] = self.queues[worker].pop(0)
            self.now += 0.01
            self.carry_out(self.roster.started(worker, number, self.now))

    @rule(data=st.data(), seconds=st.floats(0, 2))
    def answer(self, data: st.DataObject, seconds: float) -> None:
        if self.claimed:
            worker = data.draw(st.sampled_from(sorted(self.claimed)))
            number = self.claimed.pop(worker)
            self.over(number)
            self.carry_out(self.roster.answered(worker, number, seconds))

    @rule(data=st.data(), quick=st.booleans())
    def stop(self, data: st.DataObject, quick: bool) -> None:
        self.quick = quick
        if self.open:
            self.carry_out(self.roster.stop(data.draw(st.sampled_from(sorted(self.open)))))

    @rule(data=st.data())
    def grace_passes(self, data: st.DataObject) -> None:
        if self.graces:
            grace = data.draw(st.sampled_from(self.graces))
            self.graces.remove(grace)
            self.carry_out(self.roster.grace_over(*grace))

    @rule(above=st.none() | st.tuples(st.integers(-2, 2), st.integers(1, 50)), quick=st.booleans())
    def recall(self, above: tuple[int, int] | None, quick: bool) -> None:
        self.quick = quick
        self.carry_out(self.roster.recall(above))

    @rule(quick=st.booleans())
    def balance(self, quick: bool) -> None:
        self.quick = quick
        self.carry_out(self.roster.balance())

    @rule()
    def renew(self) -> None:
        self.carry_out(self.roster.renew_spares())

    @rule(data=st.data(), killed=st.booleans(), many=st.booleans(), quick=st.booleans())
    def end(self, data: st.DataObject, killed: bool, many: bool, quick: bool) -> None:
        self.quick = quick
        able = sorted(self.dying & set(self.queues)) if killed else sorted(self.queues)
        if able:
            first = data.draw(st.sampled_from(able))
            gone = able[able.index(first) :] if many else [first]
            taken = []
            for worker in gone:
                if self.quick:
                    self.hand_over(worker)
                self.roster.close_queue(worker)
                taken += self.queues[worker]
                self.queues[worker].clear()
                self.report(worker)
            for worker in gone:
                assert not self.queues.pop(worker), "nothing is given to the dead"
                self.claimed.pop(worker, None)
                self.dying.discard(worker)
            self.carry_out(self.roster.ended(gone, taken))

    @invariant()
    def every_run_is_in_exactly_one_place(self) -> None:
        places = [number for queue in self.queues.values() for number in queue]
        places += list(self.claimed.values())
        places += [waiting.number for waiting in self.roster.waiting]
        assert sorted(places) == sorted(self.open)

    @invariant()
    def the_roster_knows_who_holds_what(self) -> None:
        for worker, queue in self.queues.items():
            held = ([self.claimed[worker]] if worker in self.claimed else []) + queue
            assert list(self.roster.states[worker].held) == held
        assert set(self.roster.states) == set(self.queues)

    @invariant()
    def waiting_runs_are_in_order(self) -> None:
        assert self.roster.waiting == sorted(self.roster.waiting)

    @precondition(lambda self: self.roster.failures < START_FAILURES)
    @invariant()
    def the_pool_is_complete(self) -> None:
        roles = [state.role for state in self.roster.states.values()]
        assert roles.count(Role.ACTIVE) == self.roster.slots
        assert roles.count(Role.SPARE) == 1

    @invariant()
    def nothing_waits_beside_a_free_worker(self) -> None:
        if self.roster.waiting:
            assert all(
                len(state.held) >= self.roster.depth
                for state in self.roster.states.values()
                if state.role is Role.ACTIVE
            )


TestRosterUnderAnyEvents = Machine.TestCase
TestRosterUnderAnyEvents.settings = settings(max_examples=100, stateful_step_count=60)


@given(st.lists(st.floats(0, 100), max_size=50))
def test_depth_stays_within_its_bounds(durations: list[float]) -> None:
    roster = opened(1)
    for seconds in durations:
        roster.answered(1, 0, seconds)
        assert 1 + LEAST_PREFETCH <= roster.depth <= 1 + MOST_PREFETCH

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flowrra.core.ready import Place, ReadyQueue


class AgainstASortedList(RuleBasedStateMachine):
    """The model: a list of (priority, seq, run, due), sorted when something is taken out."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = ReadyQueue()
        self.model: dict[str, tuple[int, int, float | None]] = {}
        self.places: dict[str, Place[str]] = {}
        self.now = 0.0
        self.seq = 0

    @rule(run=st.integers(0, 12), priority=st.integers(-2, 2), due=st.none() | st.floats(0, 20))
    def push(self, run: int, priority: int, due: float | None) -> None:
        self.seq += 1
        self._enter(f"r{run}", priority, self.seq, None if due is None else self.now + due)

    @precondition(lambda self: self.model)
    @rule(run=st.integers(0, 12), priority=st.integers(-2, 2), back=st.integers(1, 5))
    def push_out_of_order(self, run: int, priority: int, back: int) -> None:
        taken = {seq for _, seq, _ in self.model.values()}
        place = next(seq for seq in range(self.seq - back, -1_000, -1) if seq not in taken)
        self._enter(f"r{run}", priority, place, None)

    def _enter(self, run: str, priority: int, seq: int, due: float | None) -> None:
        if run in self.model:
            self.queue.discard(self.places[run])
        self.model[run] = priority, seq, due
        self.places[run] = self.queue.push(run, priority, seq, due)

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.places)))
        assert self.queue.discard(self.places[run]) == (self.model.pop(run, None) is not None)

    @rule(seconds=st.floats(0, 10))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        # A queue that has been looked at regards the ripe ones as ready for good.
        self.queue.peek(self.now)
        self.model = {r: (p, s, None if d is not None and d <= self.now else d) for r, (p, s, d) in self.model.items()}

    @precondition(lambda self: self.model)
    @rule()
    def pop(self) -> None:
        ready = [(-p, s, run) for run, (p, s, due) in self.model.items() if due is None or due <= self.now]
        expected = min(ready)[2] if ready else None
        assert self.queue.pop(self.now) == expected
        if expected is not None:
            del self.model[expected]

    @invariant()
    def knows_what_it_holds(self) -> None:
        assert self.queue.count == len(self.model)
        assert sorted(self.queue) == sorted(self.model)

    @invariant()
    def knows_what_is_delayed_and_until_when(self) -> None:
        delayed = {run: due for run, (_, _, due) in self.model.items() if due is not None and due > self.now}
        ripe = {run for run, (_, _, due) in self.model.items() if due is not None and due <= self.now}
        assert set(self.queue.delayed()) - ripe == set(delayed)
        if not ripe:
            assert self.queue.next_due() == min(delayed.values(), default=None)


TestAgainstASortedList = AgainstASortedList.TestCase
TestAgainstASortedList.settings = settings(max_examples=60, stateful_step_count=30)


@given(st.lists(st.integers(-3, 3), max_size=40))
def test_larger_priorities_go_first_and_equals_in_order_of_entry(priorities: list[int]) -> None:
    queue = ReadyQueue()
    for seq, priority in enumerate(priorities):
        queue.push(str(seq), priority, seq)
    served = [queue.pop(0.0) for _ in priorities]
    assert served == [str(seq) for seq, _ in sorted(enumerate(priorities), key=lambda pair: (-pair[1], pair[0]))]
    assert queue.pop(0.0) is None


def test_a_delayed_run_takes_its_own_place_when_its_time_has_come() -> None:
    queue = ReadyQueue()
    queue.push("late", 0, 1, due=5.0)
    queue.push("soon", 0, 2)
    queue.push("other", 0, 3)
    assert queue.pop(4.9) == "soon"
    assert queue.pop(5.0) == "late"
    assert queue.pop(5.0) == "other"


def test_a_place_is_left_once_and_its_item_is_not_served() -> None:
    queue = ReadyQueue()
    first = queue.push("a", 0, 1)
    delayed = queue.push("b", 0, 2, due=5.0)
    assert queue.discard(first)
    assert queue.discard(delayed)
    assert not queue.discard(first)
    served = queue.push("c", 0, 3)
    assert [queue.pop(9.0), queue.pop(9.0)] == ["c", None]
    assert not queue.discard(served)


def test_filling_and_discarding_over_and_over_does_not_grow_it() -> None:
    queue = ReadyQueue()
    for round_ in range(100):
        places = [queue.push(f"{round_}-{n}", 0, n, due=1.0 if n % 2 else None) for n in range(100)]
        for place in places:
            queue.discard(place)
    held = queue._held  # noqa: SLF001 - growth that no method shows is what is tested
    assert held <= 300

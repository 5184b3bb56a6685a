"""The runs of one map, as columns: what most of them need is a value and two instants, not an object each.

A :class:`~flowrra.engine.run.Run` is made for an item when someone asks for it, or when it does anything else than
begin and return. From then on that run is what counts, and the columns only know that it exists.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from flowrra.core import lifecycle
from flowrra.core.lifecycle import Ended, Started, advance
from flowrra.core.records import Outcome, RunRecord, Submission, number_in
from flowrra.core.statuses import OutcomeKind, Status
from flowrra.engine.run import FromMap, Run, lock_of_runs
from flowrra.interfaces import Attempt, Span, Stored, StoredSpan

if TYPE_CHECKING:
    from flowrra.clock import Timer
    from flowrra.engine.engine import Engine

Listener = Callable[[int, int], None]
"""Called with (first, length) of runs that have just been saved, on the engine's thread."""
_MOST_WORKERS = 65_535


class Stretch(NamedTuple):
    """Neighbours in the columns that have returned and are yet to be saved."""

    columns: Columns
    first: int
    length: int

    def stored(self) -> StoredStretch:
        return StoredStretch(self.columns, self.first, self.length)


class Returned(NamedTuple):
    """A run that counts for itself and has returned with its neighbours; instants by the monotonic clock."""

    run: Run
    value: Any
    began: float
    ended: float


class Columns:
    """Written by the engine's thread alone, except for the runs that other threads have made; read by any thread.

    *submission* is that of the first item; ids and places in the queue count up from there.
    """

    __slots__ = (
        "__weakref__",
        "_arguments",
        "_done",
        "_ends",
        "_failed",
        "_given",
        "_listeners",
        "_number",
        "_own",
        "_prefix",
        "_runs",
        "_settled",
        "_starts",
        "_values",
        "_worker_names",
        "_workers",
        "deadline_timer",
        "encoded",
        "engine",
        "left",
        "seq",
        "submission",
    )

    def __init__(
        self,
        submission: Submission,
        length: int,
        engine: Engine,
        encoded: Sequence[Any],
        arguments: Callable[[int], object],
    ) -> None:
        self.submission = submission
        self.engine = engine
        self.encoded: Sequence[Any] | None = encoded
        """Dropped once all runs are over."""
        self.left = length
        """How many are not over and saved."""
        self.seq = 0
        """Place of the first one in the ready queue."""
        prefix, number = submission.id.rsplit("-", 1)
        self._prefix, self._number = prefix, int(number)
        self._arguments = arguments
        self._done, self._settled, self._given, self._own = (bytearray(length) for _ in range(4))
        self._values: list[Any] = [None] * length
        self._starts, self._ends = array("d", bytes(8 * length)), array("d", bytes(8 * length))
        self._workers = array("H", bytes(2 * length))
        self._worker_names: list[str | None] = [None]
        self._runs: dict[int, Run] = {}
        self._failed: list[int] = []
        self._listeners: tuple[Listener, ...] = ()
        self.deadline_timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._values)

    @property
    def id(self) -> str:
        assert self.submission.batch_id is not None, "columns are those of a batch"
        return self.submission.batch_id

    @property
    def numbers(self) -> range:
        """The numbers in the ids of its runs."""
        return range(self._number, self._number + len(self))

    def run_id(self, position: int) -> str:
        return f"{self._prefix}-{self._number + position}"

    def position_of(self, run_id: str) -> int | None:
        """Where the run of that id is; None if it is not one of these."""
        number = number_in(run_id)
        if number is None or number not in self.numbers or run_id != self.run_id(number - self._number):
            return None
        return number - self._number

    # Single runs, from any thread.

    def run(self, position: int) -> Run:
        """The run at *position*; from now on it is kept as an object."""
        with lock_of_runs():
            run = self._runs.get(position)
            if run is None:
                run = self._runs[position] = self._make(position)
                self._own[position] = 1
            return run

    def existing(self, position: int) -> Run | None:
        """The run at *position*, if there is an object for it."""
        return self._runs.get(position)

    def unfinished(self) -> list[Run]:
        """Those that are not over and saved."""
        return [self.run(position) for position in self.unsettled(range(len(self)))]

    def _make(self, position: int) -> Run:
        run = Run(self._submission_of(position), self.engine, None, self._arguments(position))
        if self._done[position]:
            run.outcome = Outcome(OutcomeKind.RETURNED, self._values[position])
            run.record = self._record_of(position, run.outcome)
            run.settled = bool(self._settled[position])
            return run
        assert self.encoded is not None, "it is kept until all runs are over"
        run.encoded = FromMap(self.encoded, position)
        if self._given[position]:
            run.attempt = self._attempt(run, position)
        return run

    def _submission_of(self, position: int) -> Submission:
        first = self.submission
        return first._replace(id=self.run_id(position), seq=first.seq + position, position=position)

    def _record_of(self, position: int, outcome: Outcome) -> RunRecord:
        """The record of a run that has returned."""
        worker = self._worker_names[self._workers[position]]
        begun = advance(RunRecord(self._submission_of(position)), Started(worker), self._starts[position]).record
        return advance(begun, Ended(outcome), self._ends[position]).record

    def _attempt(self, run: Run, position: int) -> Attempt:
        submission = run.submission
        # What it executes is with the executor already; this one names it, to stop it.
        return Attempt(submission.id, 1, submission.task_name, submission.priority, self.seq + position, None)

    # Reading, from any thread.

    def is_settled(self, position: int) -> bool:
        """Whether the run is over and saved."""
        return bool(self._settled[position])

    def count_left(self, positions: range) -> int:
        return self._settled[_as_slice(positions)].count(0) if len(positions) < len(self) else self.left

    def unsettled(self, positions: range) -> Iterator[int]:
        """The *positions* whose runs are not over and saved."""
        return (position for position in positions if not self._settled[position])

    def failures(self, positions: range) -> dict[int, BaseException]:
        """What those of *positions* that are over have failed with, in order of position."""
        found = {}
        for position in sorted(position for position in list(self._failed) if position in positions):
            error = self._runs[position].exception
            if error is not None:
                found[position] = error
        return found

    def has_failed(self, positions: range) -> bool:
        """Whether one of *positions* is over without a value."""
        return any(position in positions for position in self._failed)

    def values(self, positions: range) -> list[Any]:
        """The values of *positions*, which are over; None where there is none."""
        return self._values[_as_slice(positions)]

    def statuses(self, positions: range) -> dict[Status, int]:
        """How many of *positions* stand where, as the outside may know it."""
        chosen = _as_slice(positions)
        counts = dict.fromkeys(Status, 0)
        with lock_of_runs():
            counts[Status.SUCCESS] = self._settled[chosen].count(1)
            over = self._done[chosen].count(1)
            own = [run for position, run in self._runs.items() if position in positions]
            # Not run.settled, which follows a moment later: what is taken off is what was counted.
            own_over = [run for run in own if self._settled[run.submission.position or 0]]
            in_columns = sum(1 for run in own if self._done[run.submission.position or 0])
        counts[Status.SUCCESS] -= len(own_over)
        # Those that have returned and are not saved yet still pass for running.
        counts[Status.RUNNING] = over - in_columns - counts[Status.SUCCESS]
        counts[Status.PENDING] = len(positions) - over - (len(own) - in_columns)
        for run in own:
            counts[run.status] += 1
        return counts

    def stored(self, position: int) -> Stored:
        """The run at *position*, which is over, as a backend keeps it."""
        run = self._runs.get(position)
        if run is not None:
            return run.stored()
        outcome = Outcome(OutcomeKind.RETURNED, self._values[position])
        return Stored(self._record_of(position, outcome), outcome, self._arguments(position))

    # Listening, from any thread.

    def listen(self, listener: Listener) -> None:
        """Call *listener* with what is saved from now on. Inside ``lock_of_runs()`` that is all not counted so far."""
        with lock_of_runs():
            self._listeners = (*self._listeners, listener)

    def unlisten(self, listener: Listener) -> None:
        """Forget *listener*; a call under way may still arrive."""
        with lock_of_runs():
            self._listeners = tuple(other for other in self._listeners if other != listener)

    def forget_listeners(self) -> None:
        """After a fork: those who listen are in the other process."""
        self._listeners = ()

    # On the engine's thread.

    def givable(self, first: int, length: int) -> int:
        """How many runs from *first* on can be given to an executor together: none of them has ended meanwhile."""
        stop = first + length
        own = self._own.find(1, first, stop)
        while own >= 0:
            if self._runs[own].record.is_terminal:
                return own - first
            own = self._own.find(1, own + 1, stop)
        return length

    def ended(self, first: int, length: int) -> int:
        """How many runs from *first* on have ended while they waited."""
        stop = first + length
        for position in range(first, stop):
            if not self._own[position] or not self._runs[position].record.is_terminal:
                return position - first
        return length

    def give(self, first: int, length: int) -> Span:
        """Note that an executor has these now."""
        with lock_of_runs():
            self._given[first : first + length] = b"\1" * length
            for position in self._own_in(first, length):
                self._runs[position].attempt = self._attempt(self._runs[position], position)
        assert self.encoded is not None, "it is kept until all runs are over"
        submission = self.submission
        return Span(
            self.id,
            first,
            length,
            submission.task_name,
            submission.priority,
            self.seq + first,
            self.encoded,
            self._prefix,
            self._number,
            submission.deadline,
            self.id if submission.seed is None else submission.seed,
        )

    def take_back(self, first: int, length: int) -> None:
        """Note that no executor has these any more."""
        with lock_of_runs():
            self._given[first : first + length] = bytes(length)
            for position in self._own_in(first, length):
                self._runs[position].attempt = None

    def succeed(
        self, first: int, values: Sequence[Any], starts: Sequence[float], end: float, worker: str | None
    ) -> tuple[list[Stretch], list[Returned]]:
        """Note what runs have returned. Returns those kept here, and those that count for themselves.

        What is said of runs that no executor has, because they are over or were taken back, is dropped.
        """
        stop = first + len(values)
        begun = array("d", starts)
        ended = begun[1:]
        ended.append(end)
        with lock_of_runs():
            own = holes = self._own_in(first, len(values))
            if self._given.find(0, first, stop) >= 0:
                holes = [each for each in range(first, stop) if self._own[each] or not self._given[each]]
            parts = _between(first, stop, holes)
            for at, size in parts:
                here, there = slice(at, at + size), slice(at - first, at - first + size)
                lifecycle.succeed(self._done, at, size)
                self._given[here] = bytes(size)
                self._values[here] = values[there]
                self._starts[here], self._ends[here] = begun[there], ended[there]
                self._workers[here] = array("H", (self._index_of(worker),)) * size
            returned = [
                Returned(self._runs[each], values[each - first], begun[each - first], ended[each - first])
                for each in own
            ]
            return [Stretch(self, *part) for part in parts], returned

    def settle(self, first: int, length: int) -> None:
        """Make values visible that are saved now, and tell who listens."""
        with lock_of_runs():
            self._settled[first : first + length] = b"\1" * length
            own = [self._runs[position] for position in self._own_in(first, length)]
            listeners = self._count_down(length)
        for run in own:
            run.settle()
        for listener in listeners:
            listener(first, length)

    def settle_own(self, run: Run) -> None:
        """Do the same for a run that counts for itself; twice is as good as once."""
        position = run.submission.position
        assert position is not None, "it belongs to a batch"
        with lock_of_runs():
            if self._settled[position]:
                return
            self._settled[position] = 1
            if run.exception is not None:
                self._failed.append(position)
            elif run.outcome is not None:
                self._values[position] = run.outcome.value
            listeners = self._count_down(1)
        run.settle()
        for listener in listeners:
            listener(position, 1)

    def _count_down(self, length: int) -> tuple[Listener, ...]:
        self.left -= length
        listeners = self._listeners
        if not self.left:
            self.encoded = None
            self._listeners = ()
        return listeners

    def _own_in(self, first: int, length: int) -> list[int]:
        found, stop = [], first + length
        position = self._own.find(1, first, stop)
        while position >= 0:
            found.append(position)
            position = self._own.find(1, position + 1, stop)
        return found

    def _index_of(self, worker: str | None) -> int:
        if worker == self._worker_names[-1]:
            return len(self._worker_names) - 1
        if worker in self._worker_names:
            return self._worker_names.index(worker)
        if len(self._worker_names) > _MOST_WORKERS:
            return 0
        self._worker_names.append(worker)
        return len(self._worker_names) - 1


class Maps:
    """The maps whose runs are not all over. Asked from any thread."""

    def __init__(self) -> None:
        self._by_id: dict[str, Columns] = {}
        self._numbers: list[int] = []
        self._in_order: list[Columns] = []

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Columns]:
        return iter(list(self._by_id.values()))

    def get(self, batch_id: str) -> Columns | None:
        return self._by_id.get(batch_id)

    def find(self, run_id: str) -> Run | None:
        """The run, if it belongs to one of them and is not over."""
        number = number_in(run_id) if self._by_id else None
        if number is None:
            return None
        with lock_of_runs():
            index = bisect_right(self._numbers, number) - 1
            columns = self._in_order[index] if index >= 0 else None
        position = None if columns is None else columns.position_of(run_id)
        if columns is None or position is None or columns.is_settled(position):
            return None
        return columns.run(position)

    def unfinished(self) -> list[Run]:
        """All runs that are not over."""
        return [run for columns in self for run in columns.unfinished()]

    def add(self, columns: Columns) -> None:
        with lock_of_runs():
            self._by_id[columns.id] = columns
            index = bisect_right(self._numbers, columns.numbers.start)
            self._numbers.insert(index, columns.numbers.start)
            self._in_order.insert(index, columns)

    def remove(self, columns: Columns) -> None:
        """Forget one of them; twice is as good as once."""
        with lock_of_runs():
            if self._by_id.pop(columns.id, None) is not None:
                index = self._in_order.index(columns)
                del self._in_order[index], self._numbers[index]

    def clear(self) -> None:
        with lock_of_runs():
            self._by_id.clear()
            self._numbers.clear()
            self._in_order.clear()


class StoredStretch(StoredSpan):
    """A stretch as a backend keeps it."""

    __slots__ = ("_columns", "_first", "_length")

    def __init__(self, columns: Columns, first: int, length: int) -> None:
        self._columns, self._first, self._length = columns, first, length

    @property
    def numbers(self) -> range:
        return self._columns.numbers[self._first : self._first + self._length]

    def index_of(self, run_id: str) -> int | None:
        position = self._columns.position_of(run_id)
        if position is None or not self._first <= position < self._first + self._length:
            return None
        return position - self._first

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Stored: ...
    @overload
    def __getitem__(self, index: slice) -> list[Stored]: ...
    def __getitem__(self, index: int | slice) -> Stored | list[Stored]:
        chosen = range(self._first, self._first + self._length)[index]
        if isinstance(chosen, range):
            return [self._columns.stored(position) for position in chosen]
        return self._columns.stored(chosen)


def _as_slice(positions: range) -> slice:
    """What cuts *positions* out of a column."""
    if not positions:
        return slice(0)
    last = positions.stop if positions.step > 0 or positions.stop >= 0 else None
    return slice(positions.start, last, positions.step)


def _between(first: int, stop: int, holes: Sequence[int]) -> list[tuple[int, int]]:
    """(first, length) of what is left of ``first … stop`` between the *holes*."""
    parts = []
    for hole in (*holes, stop):
        if hole > first:
            parts.append((first, hole - first))
        first = hole + 1
    return parts

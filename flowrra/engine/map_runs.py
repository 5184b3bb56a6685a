"""The runs of one map, as any thread sees them: by position, without an object for each.

A :class:`~flowrra.engine.run.Run` is made for an item when someone asks for it, or when it does anything else than
begin and return. From then on that run is what counts, and the columns only know that it exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from flowrra.core.records import Submission, number_in
from flowrra.core.statuses import Status
from flowrra.engine.returned import Instants, ReturnedValues
from flowrra.engine.run import FromMap, Run, lock_of_runs
from flowrra.interfaces import Attempt, Stored

if TYPE_CHECKING:
    from flowrra.clock import Timer
    from flowrra.engine.engine import Engine

Listener = Callable[[int, int], None]
"""Called with (first, length) of runs that have just been saved, on the engine's thread."""


class MapRuns:
    """Read by any thread. :class:`~flowrra.engine.columns.Columns` has what the engine's thread does to them.

    *submission* is that of the first item; ids and places in the queue count up from there.
    """

    __slots__ = (
        "__weakref__",
        "_arguments",
        "_done",
        "_failed",
        "_given",
        "_listeners",
        "_number",
        "_own",
        "_prefix",
        "_returned",
        "_runs",
        "_settled",
        "deadline_timer",
        "encoded",
        "engine",
        "left",
        "retries",
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
        """A byte each: returned; saved; with an executor; an object of its own."""
        self._returned = ReturnedValues(length)
        self._runs: dict[int, Run] = {}
        self._failed: list[int] = []
        self._listeners: tuple[Listener, ...] = ()
        self.deadline_timer: Timer | None = None
        self.retries: dict[int, Run] = {}
        """By position: the newest run of an item that was retried. They are runs of their own, unknown to the rest."""

    def __len__(self) -> int:
        return len(self._done)

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

    def look(self, position: int) -> Run:
        """The run at *position* as it is now; unlike :meth:`run` it leaves no object behind."""
        with lock_of_runs():
            return self._runs.get(position) or self._make(position)

    def args_preview(self, position: int) -> str:
        return str(self._arguments(position))

    def existing(self, position: int) -> Run | None:
        """The run at *position*, if there is an object for it."""
        return self._runs.get(position)

    def unfinished(self) -> list[Run]:
        """Those that are not over and saved."""
        return [self.run(position) for position in self.unsettled(range(len(self)))]

    def _make(self, position: int) -> Run:
        run = Run(self._submission_of(position), self.engine, None, self._arguments(position))
        if self._done[position]:
            run.outcome = self._returned.outcome(position)
            run.record = self._returned.record(run.submission, position)
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
        return self._returned.values[_as_slice(positions)]

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

    def settled_in(self, positions: range) -> bytearray:
        """A byte for each of *positions*: whether that run is over and saved."""
        return self._settled[_as_slice(positions)]

    def own_since(self, known: int) -> list[tuple[int, Run]]:
        """Those kept as objects, by position, in the order in which they were made, without the first *known*."""
        with lock_of_runs():
            return list(islice(self._runs.items(), known, None))

    def instants_in(self, positions: range) -> Instants:
        """When, and in which workers, the runs at *positions* have executed, which the columns say are over."""
        return self._returned.instants(_as_slice(positions))

    def stored(self, position: int) -> Stored:
        """The run at *position*, which is over, as a backend keeps it."""
        run = self._runs.get(position)
        if run is not None:
            return run.stored()
        record = self._returned.record(self._submission_of(position), position)
        return Stored(record, self._returned.outcome(position), self._arguments(position))

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


def _as_slice(positions: range) -> slice:
    """What cuts *positions* out of a column."""
    if not positions:
        return slice(0)
    last = positions.stop if positions.step > 0 or positions.stop >= 0 else None
    return slice(positions.start, last, positions.step)

"""The runs of one map, kept as columns: what most of them need is a value and two instants, not an object each."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from flowrra.core import lifecycle
from flowrra.core.tuples import NamedTuple
from flowrra.engine.map_runs import Listener, MapRuns
from flowrra.engine.run import Run, lock_of_runs
from flowrra.interfaces import Span


class Returned(NamedTuple):
    """A run that counts for itself and has returned with its neighbours; instants by the monotonic clock."""

    run: Run
    value: Any
    began: float
    ended: float


class Columns(MapRuns):
    """What the engine's thread does to them, and nobody else."""

    __slots__ = ()

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
    ) -> tuple[list[tuple[int, int]], list[Returned]]:
        """Note what runs have returned. Returns (first, length) of those kept here, and those that are objects.

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
                lifecycle.succeed(self._done, at, size)
                self._given[at : at + size] = bytes(size)
                there = slice(at - first, at - first + size)
                self._returned.put(at, values[there], begun[there], ended[there], worker)
            returned = [
                Returned(self._runs[each], values[each - first], begun[each - first], ended[each - first])
                for each in own
            ]
            return parts, returned

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
                self._returned.values[position] = run.outcome.value
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


def _between(first: int, stop: int, holes: Sequence[int]) -> list[tuple[int, int]]:
    """(first, length) of what is left of ``first … stop`` between the *holes*."""
    parts = []
    for hole in (*holes, stop):
        if hole > first:
            parts.append((first, hole - first))
        first = hole + 1
    return parts

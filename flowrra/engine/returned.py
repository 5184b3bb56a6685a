"""What runs of a map have returned, and when: three numbers and a value each, instead of objects."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from flowrra.core.lifecycle import Ended, Started, advance
from flowrra.core.records import Outcome, RunRecord, Submission
from flowrra.core.statuses import OutcomeKind

_MOST_WORKERS = 65_535


class Instants(NamedTuple):
    """Of runs that have returned; by the monotonic clock."""

    starts: array[float]
    ends: array[float]
    workers: array[int]
    """Indices into *names*."""
    names: list[str | None]


class ReturnedValues:
    """By position. Written by the engine's thread; a position that has been written to is read by any thread."""

    __slots__ = ("_ends", "_starts", "_worker_names", "_workers", "values")

    def __init__(self, length: int) -> None:
        self.values: list[Any] = [None] * length
        """None where there is none, or not yet."""
        self._starts, self._ends = array("d", bytes(8 * length)), array("d", bytes(8 * length))
        self._workers = array("H", bytes(2 * length))
        self._worker_names: list[str | None] = [None]

    def put(
        self, first: int, values: Sequence[Any], starts: array[float], ends: array[float], worker: str | None
    ) -> None:
        """Keep the *values* of the positions from *first* on, with their instants (monotonic clock)."""
        here = slice(first, first + len(values))
        self.values[here] = values
        self._starts[here], self._ends[here] = starts, ends
        self._workers[here] = array("H", (self._index_of(worker),)) * len(values)

    def instants(self, chosen: slice) -> Instants:
        return Instants(self._starts[chosen], self._ends[chosen], self._workers[chosen], self._worker_names)

    def outcome(self, position: int) -> Outcome:
        return Outcome(OutcomeKind.RETURNED, self.values[position])

    def record(self, submission: Submission, position: int) -> RunRecord:
        """The record of the run at *position*, which has returned."""
        worker = self._worker_names[self._workers[position]]
        begun = advance(RunRecord(submission), Started(worker), self._starts[position]).record
        return advance(begun, Ended(self.outcome(position)), self._ends[position]).record

    def _index_of(self, worker: str | None) -> int:
        if worker == self._worker_names[-1]:
            return len(self._worker_names) - 1
        if worker in self._worker_names:
            return self._worker_names.index(worker)
        if len(self._worker_names) > _MOST_WORKERS:
            return 0
        self._worker_names.append(worker)
        return len(self._worker_names) - 1

"""What a cell has begun to wait for, and what becomes of it when the cell is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary, WeakSet

from flowrra.core.statuses import Status, StopReason
from flowrra.engine.columns import Columns
from flowrra.engine.engine import Engine
from flowrra.engine.retried import newest_of
from flowrra.engine.run import Run
from flowrra.engine.selections import MappedRuns, Selection


class GoingOn(NamedTuple):
    """Runs that were waited for and are left to go on."""

    total: int
    done: int
    batch_id: str | None
    """Of a map; None for a run that was submitted alone."""
    run_id: str
    """Of the run, or of the first one of the map."""


class Interrupted(NamedTuple):
    """What an interrupt has done to the runs that were waited for."""

    total: int = 0
    done: int = 0
    cancelled: int = 0
    """Unfinished ones that are asked to stop."""
    going_on: tuple[GoingOn, ...] = ()


class Waits:
    """What the cell execution *owner* has begun to wait for. Keeps none of it alive; noted from any thread."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._runs: WeakSet[Run] = WeakSet()
        self._maps: WeakKeyDictionary[Columns, set[range]] = WeakKeyDictionary()

    def note(self, runs: Selection | Iterable[Run]) -> None:
        """*runs* are being waited for from now on, also between the steps of an iteration."""
        if isinstance(runs, MappedRuns):
            self._maps.setdefault(runs.columns, set()).add(runs.positions)
        else:
            self._runs.update(run for run in runs if not run.settled)

    def interrupt(self, *, cancel: bool) -> Interrupted:
        """Leave the runs of other cells alone and, with *cancel*, have the owner's own stopped. Does not wait.

        Those that were asked to stop before, by whomever, lose the rest of their grace.
        """
        total = done = cancelled = 0
        going_on = []
        for part in self._parts():
            left = part.left()
            total, done = total + part.total, done + part.total - left
            stopping = part.stopping() if left else []
            part.engine.hurry(stopping)
            if cancel and left and part.owner == self.owner:
                cancelled += left
                part.stop()
                continue
            cancelled += len(stopping)
            if left > len(stopping):
                going_on.append(GoingOn(part.total, part.total - left, part.batch_id, part.run_id))
        return Interrupted(total, done, cancelled, tuple(going_on))

    def _parts(self) -> Iterator[_Part]:
        """Each run in one of them, unless slices of a map overlap that are not the whole."""
        whole = set()
        for columns, ranges in list(self._maps.items()):
            widest, first = max(ranges, key=len), columns.submission
            is_whole = len(widest) == len(columns)
            if is_whole:
                whole.add(columns.id)
            for positions in {widest} if is_whole else ranges:
                runs = newest_of(MappedRuns(columns, positions))
                yield _Part(first.owner, len(positions), columns.id, first.id, columns.engine, runs.unfinished, runs)
        for run in list(self._runs):
            submission = run.submission
            if run.engine is not None and submission.batch_id not in whole:
                unfinished = partial(_unsettled, run)
                yield _Part(submission.owner, 1, submission.batch_id, run.id, run.engine, unfinished)


def _unsettled(run: Run) -> list[Run]:
    return [] if run.settled else [run]


class _Part(NamedTuple):
    owner: str | None
    total: int
    batch_id: str | None
    run_id: str
    engine: Engine
    unfinished: Callable[[], list[Run]]
    runs: MappedRuns | None = None

    def left(self) -> int:
        """How many are not over; of a map this makes no objects."""
        return len(self.unfinished()) if self.runs is None else self.runs.count_left()

    def stopping(self) -> list[Run]:
        """Those whose attempt was asked to stop and has not ended; such a run is an object already."""
        known = self.unfinished() if self.runs is None else self.runs.existing()
        return [run for run in known if run.status is Status.RUNNING and run.record.stopping is not None]

    def stop(self) -> None:
        self.engine.call(self._stop_here)

    def _stop_here(self) -> None:
        """On the engine's loop: a map may have many runs, and none of them should be made into an object elsewhere."""
        self.engine.request_stop(self.unfinished(), StopReason.CANCEL, "the cell that waited for it was interrupted")

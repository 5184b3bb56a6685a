"""The runs of a map of which some were retried: the newest run of each item."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from flowrra.core.statuses import Status
from flowrra.engine.columns import Columns
from flowrra.engine.run import Run
from flowrra.engine.selections import MappedRuns
from flowrra.engine.waiters import Arrivals, Countdown, loop_to_pump


class NewestRuns(MappedRuns):
    """As :class:`~flowrra.engine.selections.MappedRuns`, at the moment it was made.

    The columns know of the first run of each item alone, so what they say is corrected by those that came after it.
    """

    __slots__ = ("_newest",)

    def __init__(self, columns: Columns, positions: range, newest: dict[int, Run]) -> None:
        super().__init__(columns, positions)
        self._newest = newest

    def run(self, index: int) -> Run:
        position = self.positions[index]
        return self._newest.get(position) or self.columns.run(position)

    def __iter__(self) -> Iterator[Run]:
        return (self._newest.get(position) or self.columns.run(position) for position in self.positions)

    def unfinished(self) -> list[Run]:
        return [*super().unfinished(), *(run for run in self._newest.values() if not run.settled)]

    def existing(self) -> list[Run]:
        return [*super().existing(), *self._newest.values()]

    def count_left(self) -> int:
        return super().count_left() + sum(1 for run in self._newest.values() if not run.settled)

    def failures(self) -> dict[int, BaseException]:
        found = {position: error for position, error in super().failures().items() if position not in self._newest}
        for position, run in self._newest.items():
            if run.settled and run.exception is not None:
                found[position] = run.exception
        return found

    def values(self) -> list[Any]:
        values = super().values()
        for position, run in self._newest.items():
            values[self.positions.index(position)] = None if run.outcome is None else run.outcome.value
        return values

    def statuses(self) -> dict[Status, int]:
        counts = super().statuses()
        for position, run in self._newest.items():
            counts[self.columns.run(position).status] -= 1
            counts[run.status] += 1
        return counts

    def all_over(self, *, stop_on_failure: bool = False) -> Countdown:
        # In this order: one that fails meanwhile is in the list, or already among the failures.
        unfinished = self.unfinished()
        failed = stop_on_failure and self.failures()
        return Countdown(() if failed else unfinished, stop_on_failure=stop_on_failure)

    def arrivals(self) -> Arrivals:
        return Arrivals(list(self))

    def loop_to_pump(self, what: str) -> asyncio.AbstractEventLoop | None:
        return loop_to_pump(self.unfinished(), what)


def newest_of(runs: MappedRuns) -> MappedRuns:
    """Those of *runs* that count now."""
    retries = runs.columns.retries
    newest = {position: run for position, run in list(retries.items()) if position in runs.positions} if retries else {}
    return NewestRuns(runs.columns, runs.positions, newest) if newest else runs

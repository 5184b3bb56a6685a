"""Several runs that are waited for together: listed one by one, or some positions of a map."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from flowrra.core.statuses import Status
from flowrra.engine.columns import Columns
from flowrra.engine.run import Run, lock_of_runs
from flowrra.engine.waiters import Arrivals, Arriving, Countdown, Fire, Signal, loop_to_pump


class Coming(Signal, Protocol):
    """A signal that also hands out the runs that have ended."""

    def take(self) -> Run | None:
        """The next run that has ended, or None if none has since the last."""

    def close(self) -> None:
        """Stop listening."""


class Selection(Protocol):
    """Runs to be waited for."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Run]: ...

    def all_over(self, *, stop_on_failure: bool = False) -> Signal:
        """Happens when all are over, or with *stop_on_failure* when one has no value."""

    def arrivals(self) -> Coming:
        """The runs in the order in which they end."""

    def loop_to_pump(self, what: str) -> asyncio.AbstractEventLoop | None:
        """See :func:`flowrra.engine.waiters.loop_to_pump`."""


class ListedRuns:
    """A :class:`Selection` of runs that are objects."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs = list(runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def all_over(self, *, stop_on_failure: bool = False) -> Countdown:
        return Countdown(self._runs, stop_on_failure=stop_on_failure)

    def arrivals(self) -> Arrivals:
        return Arrivals(self._runs)

    def loop_to_pump(self, what: str) -> asyncio.AbstractEventLoop | None:
        return loop_to_pump(self._runs, what)


class MappedRuns:
    """A :class:`Selection` of *positions* in the columns of a map: the first run of each item."""

    __slots__ = ("columns", "positions")

    def __init__(self, columns: Columns, positions: range) -> None:
        self.columns, self.positions = columns, positions

    def __len__(self) -> int:
        return len(self.positions)

    def run(self, index: int) -> Run:
        return self.columns.run(self.positions[index])

    def __iter__(self) -> Iterator[Run]:
        return map(self.columns.run, self.positions)

    def unfinished(self) -> list[Run]:
        """Those that are not over and saved."""
        return [self.columns.run(position) for position in self.columns.unsettled(self.positions)]

    def existing(self) -> list[Run]:
        """Those that are objects; of the others it is known that they wait, or execute for the first time."""
        return [run for position in self.positions if (run := self.columns.existing(position)) is not None]

    def count_left(self) -> int:
        return self.columns.count_left(self.positions)

    def failures(self) -> dict[int, BaseException]:
        """What those that are over have failed with, by position in the map."""
        return self.columns.failures(self.positions)

    def values(self) -> list[Any]:
        """The values of all, which are over; None where there is none."""
        return self.columns.values(self.positions)

    def statuses(self) -> dict[Status, int]:
        """How many stand where, as the outside may know it."""
        return self.columns.statuses(self.positions)

    def all_over(self, *, stop_on_failure: bool = False) -> Signal:
        return ColumnsCountdown(self.columns, self.positions, stop_on_failure=stop_on_failure)

    def arrivals(self) -> Coming:
        return ColumnsArrivals(self.columns, self.positions)

    def loop_to_pump(self, what: str) -> asyncio.AbstractEventLoop | None:
        # All of them need the same loops, so the first one that is not over speaks for the others.
        for position in self.columns.unsettled(self.positions):
            run = self.columns.run(position)
            found = loop_to_pump((run,), what)
            # One that has ended while it was asked has said nothing.
            if found is not None or not run.settled:
                return found
        return None


class ColumnsCountdown:
    """Happens when the runs at *positions* are over, or with *stop_on_failure* when one has no value."""

    def __init__(self, columns: Columns, positions: range, *, stop_on_failure: bool = False) -> None:
        self._columns, self._positions = columns, positions
        self._stop_on_failure = stop_on_failure
        self._left = 0
        self._fire: Fire | None = None

    def arm(self, fire: Fire) -> bool:
        columns, positions = self._columns, self._positions
        with lock_of_runs():
            self._left = columns.count_left(positions)
            if not self._left or (self._stop_on_failure and columns.has_failed(positions)):
                return False
            self._fire = fire
            # Under the same lock as the count: whatever is saved from here on is heard of, and was not counted.
            columns.listen(self._heard)
        return True

    def disarm(self) -> None:
        self._fire = None
        self._columns.unlisten(self._heard)

    def _heard(self, first: int, length: int) -> None:
        self._left -= _overlap(self._positions, first, length)
        failed = self._stop_on_failure and length == 1 and first in self._positions and self._failed_at(first)
        if self._left > 0 and not failed:
            return
        fire, self._fire = self._fire, None
        if fire is not None:
            self._columns.unlisten(self._heard)
            fire.fire()

    def _failed_at(self, position: int) -> bool:
        run = self._columns.existing(position)
        return run is not None and run.exception is not None


class ColumnsArrivals(Arriving[Sequence[int]]):
    """The runs at *positions* in the order in which they end; an object is made for each when it is taken."""

    def __init__(self, columns: Columns, positions: range) -> None:
        super().__init__()
        self._columns, self._positions = columns, positions
        self._taken = 0
        """Of the first one in ``_arrived``."""
        with lock_of_runs():
            over = [position for position in positions if columns.is_settled(position)]
            if over:
                self._arrived.append(over)
            columns.listen(self._heard)

    def take(self) -> Run | None:
        while self._arrived:
            stretch = self._arrived[0]
            while self._taken < len(stretch):
                position = stretch[self._taken]
                self._taken += 1
                if position in self._positions:
                    return self._columns.run(position)
            self._arrived.popleft()
            self._taken = 0
        return None

    def close(self) -> None:
        self._columns.unlisten(self._heard)

    def _heard(self, first: int, length: int) -> None:
        self._arrive(range(first, first + length))


def _overlap(positions: range, first: int, length: int) -> int:
    """How many of *positions* lie in ``first … first + length``."""
    if positions.step == 1:
        return max(0, min(positions.stop, first + length) - max(positions.start, first))
    return sum(1 for position in range(first, first + length) if position in positions)

"""What is done now and then: memory is measured while runs execute, given back when it is idle, and so are workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from flowrra.pool.data.depot import Depot

_TIDY = 1.0
"""Seconds between looks for shared memory that can be given back, while there is any."""
_WATCH = 1.0
"""Seconds without a run after which memory is no longer measured."""


class Kept(Protocol):
    """A pool, as its upkeep sees it."""

    def is_busy(self) -> bool:
        """There are runs whose end has not been told."""

    def measure(self, *, on: bool) -> None:
        """Have the memory of runs measured, or not."""

    def fall_asleep(self) -> None:
        """Let workers go until the next run comes."""

    def drop_slab(self, worker: int, slab: int) -> None: ...


class Upkeep:
    """Workers end after *idle* seconds without a run. Timers run only as long as there is something to look after."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Kept, idle: float, depot: Depot) -> None:
        self._loop, self._pool, self._idle, self._depot = loop, pool, idle, depot
        self.watching = False
        """Memory is being measured."""
        self._tidying = False
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def runs_came(self) -> None:
        if not self.watching:
            self.watching = True
            self._cancel("fall asleep")
            self._pool.measure(on=True)
            self._later("look away", _WATCH, self._look_away)
        self._tidy_later()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    def _look_away(self) -> None:
        if self._pool.is_busy():
            self._later("look away", _WATCH, self._look_away)
            return
        self.watching = False
        self._pool.measure(on=False)
        self._later("fall asleep", self._idle, self._pool.fall_asleep)

    def _tidy_later(self) -> None:
        for worker, slab in self._depot.orders():
            self._pool.drop_slab(worker, slab)
        if not self._tidying and not self._depot.is_empty():
            self._tidying = True
            self._later("tidy", _TIDY, self._tidy)

    def _tidy(self) -> None:
        self._tidying = False
        self._depot.tidy()
        self._tidy_later()

    def _later(self, what: str, seconds: float, call: Callable[[], None]) -> None:
        self._timers[what] = self._loop.call_later(seconds, call)

    def _cancel(self, what: str) -> None:
        timer = self._timers.pop(what, None)
        if timer is not None:
            timer.cancel()

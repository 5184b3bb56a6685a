"""A clock that stands still until it is told to go on."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from flowrra.core.records import Moment


@dataclass(order=True)
class _Due:
    when: float
    order: int
    call: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        self.call = None


class ManualClock:
    """Implements :class:`flowrra.clock.Clock`. Calls that become due run inside :meth:`advance`, in order of time."""

    def __init__(self, mono: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._now = Moment(mono, wall)
        self._due: list[_Due] = []
        self._order = itertools.count()

    def now(self) -> Moment:
        return self._now

    def mono(self) -> float:
        return self._now.mono

    def call_at(self, when: float, call: Callable[[], None]) -> _Due:
        due = _Due(when, next(self._order), call)
        heapq.heappush(self._due, due)
        return due

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass."""
        end = self._now.mono + seconds
        while self._due and self._due[0].when <= end:
            due = heapq.heappop(self._due)
            self._move_to(max(due.when, self._now.mono))
            if due.call is not None:
                due.call()
        self._move_to(end)

    def next_due(self) -> float | None:
        """Seconds until the next call that is not cancelled, or None."""
        while self._due and self._due[0].call is None:
            heapq.heappop(self._due)
        return self._due[0].when - self._now.mono if self._due else None

    def _move_to(self, mono: float) -> None:
        self._now = Moment(mono, self._now.wall + (mono - self._now.mono))

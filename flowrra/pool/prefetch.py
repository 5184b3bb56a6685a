"""How many runs are given to a worker ahead of time."""

from __future__ import annotations

import math

PREFETCH_SECONDS = 0.5
LEAST_PREFETCH = 2
MOST_PREFETCH = 64
_WEIGHT = 0.2
"""Of the latest duration in the moving average."""


class Depth:
    """Runs per worker, the running one included: as many as take half a second, judging by the latest ones."""

    def __init__(self) -> None:
        self.runs = 1 + LEAST_PREFETCH
        self._average: float | None = None

    def learn(self, seconds: float) -> None:
        """A run took *seconds*."""
        known = self._average
        self._average = seconds if known is None else known + _WEIGHT * (seconds - known)
        fitting = math.ceil(PREFETCH_SECONDS / max(self._average, PREFETCH_SECONDS / MOST_PREFETCH))
        self.runs = 1 + max(LEAST_PREFETCH, fitting)

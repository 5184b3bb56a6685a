"""Calls that are due later, and are forgotten together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Timers:
    """Of one pool, on its loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: set[asyncio.TimerHandle] = set()

    def later(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        def run() -> None:
            self._pending.discard(timer)
            call(*args)

        timer = self._loop.call_later(seconds, run)
        self._pending.add(timer)

    def close(self) -> None:
        """Whatever is not due yet never will be."""
        for timer in self._pending:
            timer.cancel()
        self._pending.clear()

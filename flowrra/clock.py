"""The clock, as a part that can be replaced: pure code gets ``now`` as an argument, shells get a ``Clock``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from flowrra.core.records import Moment


class Timer(Protocol):
    """A call that is due; ``cancel`` may be repeated, and come too late."""

    def cancel(self) -> None:
        """Forget the call."""


class Clock(Protocol):
    """Tells the time and calls back at a time."""

    def now(self) -> Moment:
        """Read both clocks."""

    def mono(self) -> float:
        """Read the monotonic clock."""

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Arrange for *call* on the running loop when the monotonic clock reads *when*, at once if it has passed."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> Moment:
        return Moment(time.monotonic(), time.time())

    def mono(self) -> float:
        return time.monotonic()

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(max(0.0, when - time.monotonic()), call)


def as_datetime(mono: float, known: Moment) -> datetime:
    """The instant at which the monotonic clock read *mono*, as an aware UTC datetime, reckoned from a *known* one."""
    return datetime.fromtimestamp(known.wall + (mono - known.mono), UTC)

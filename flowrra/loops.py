"""Crossing from any thread to an event loop: the one function that does it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class LoopInbox:
    """Hands calls over to one event loop, in order, with one wake-up per burst.

    ``call_soon_threadsafe`` writes to a socket each time; ten thousand completions would be ten thousand system calls.
    """

    __slots__ = ("_calls", "_scheduled", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._scheduled = False

    def post(self, call: Callable[..., None], *args: Any) -> bool:
        """Arrange for ``call(*args)`` on the loop; from any thread, the loop's own included.

        Returns False if the loop is closed: nothing will be called.
        """
        self._calls.append((call, args))
        # A loop that was closed before it delivered leaves the flag up; without asking it, nobody would ever be told.
        if self._scheduled and not self.loop.is_closed():
            return True
        try:
            # Two threads may both get here; the second wake-up finds an empty queue, which is harmless.
            self._scheduled = True
            self.loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            self._scheduled = False
            self._calls.clear()
            return False
        except BaseException:
            # KeyboardInterrupt in the posting thread. With the flag left up no later call would wake the loop either.
            self._scheduled = False
            raise
        return True

    def _deliver(self) -> None:
        # Lowered before draining: a call appended after the last popleft must find the flag down and wake the loop.
        self._scheduled = False
        calls = self._calls
        for _ in range(len(calls)):
            call, args = calls.popleft()
            try:
                call(*args)
            except Exception as error:  # noqa: BLE001 - the calls after this one belong to other runs
                self.loop.call_exception_handler(
                    {"message": f"a call handed to the loop failed: {call!r}", "exception": error}
                )
        if calls and not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._deliver)

"""A thread that rebuilds values whose rebuilding may run the user's code, which must never stop the engine's loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flowrra.loops import LoopInbox

_Job = tuple[Callable[[], Any], Callable[[Any], None]]
_PATIENCE = 0.2
"""Seconds for the thread to end."""


class Decoder:
    """One daemon thread, started when it is first needed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._inbox = LoopInbox(loop)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._name = name
        self._thread: threading.Thread | None = None
        self._ended = asyncio.Event()

    def decode(self, job: Callable[[], Any], deliver: Callable[[Any], None]) -> None:
        """Call *job* on the thread, then *deliver* with what it returned on the loop. *job* must not raise."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"flowrra-{self._name}-decoder", daemon=True)
            self._thread.start()
        self._jobs.put((job, deliver))

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, deliver = item
            self._inbox.post(deliver, job())
        self._inbox.post(self._ended.set)

    async def close(self) -> None:
        """Let the thread end. One that is stuck in the user's code is left behind: it is a daemon and holds nothing."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._jobs.put(None)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), _PATIENCE)
            thread.join()  # it has nothing left to do but to return

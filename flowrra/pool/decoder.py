"""Threads that rebuild values whose rebuilding may run the user's code, which must never stop the engine's loop."""

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
"""Seconds for the threads to end."""
_SLOW = 0.25
"""Seconds without any value rebuilt while some wait, after which another thread helps: one may never return."""
_MOST_THREADS = 16


class Decoder:
    """A daemon thread, started when it is first needed, and more only while values wait behind one that takes long."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._inbox = LoopInbox(loop)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._name = name
        self._threads: set[threading.Thread] = set()
        self._leaving = 0
        """Threads that have been told to end and have not done so yet."""
        self._open = 0
        """Jobs given and not delivered."""
        self._delivered = 0
        self._watch: asyncio.TimerHandle | None = None
        self._all_ended = asyncio.Event()

    def decode(self, job: Callable[[], Any], deliver: Callable[[Any], None]) -> None:
        """Call *job* on a thread, then *deliver* with what it returned on the loop. *job* must not raise."""
        self._open += 1
        self._jobs.put((job, deliver))
        if len(self._threads) == self._leaving:
            self._start_thread()
        self._watch_over()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"flowrra-{self._name}-decoder", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, deliver = item
            self._inbox.post(self._deliver, deliver, job())
        self._inbox.post(self._ended, threading.current_thread())

    def _deliver(self, deliver: Callable[[Any], None], value: Any) -> None:
        self._open -= 1
        self._delivered += 1
        if not self._open:
            self._let_go(len(self._threads) - self._leaving - 1)
        deliver(value)

    def _watch_over(self) -> None:
        if self._watch is None:
            self._watch = self._loop.call_later(_SLOW, self._help_out, self._delivered)

    def _help_out(self, delivered_before: int) -> None:
        """Start another thread if values wait and none has been rebuilt since the last look."""
        self._watch = None
        threads = len(self._threads) - self._leaving
        if self._open > threads and self._delivered == delivered_before and threads < _MOST_THREADS:
            self._start_thread()
        if self._open:
            self._watch_over()

    def _let_go(self, threads: int) -> None:
        for _ in range(threads):
            self._leaving += 1
            self._jobs.put(None)

    def _ended(self, thread: threading.Thread) -> None:
        self._leaving -= 1
        self._threads.discard(thread)
        thread.join()  # it has nothing left to do but to return
        if not self._threads:
            self._all_ended.set()

    async def close(self) -> None:
        """Let the threads end. One that is stuck in the user's code is left behind, a daemon that holds nothing."""
        if self._watch is not None:
            self._watch.cancel()
        if not self._threads:
            return
        self._let_go(len(self._threads) - self._leaving)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._all_ended.wait(), _PATIENCE)

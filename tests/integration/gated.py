"""Executors and backends that go on when the test says so, and calls on threads of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from flowrra.backends.memory import MemoryBackend
from flowrra.executors.threads import ThreadExecutor
from flowrra.interfaces import AttemptSink, Stored

PATIENCE = 20
"""Seconds for what takes a moment."""


def on_a_thread(call: Callable[[], Any]) -> Future[Any]:
    """Make *call* on a thread of its own."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


class Gate:
    """Something that loops come to and that the test opens, from any thread."""

    def __init__(self, *, opened: bool = False) -> None:
        self.reached = threading.Event()
        self._open: Future[None] = Future()
        if opened:
            self.open()

    def open(self) -> None:
        if not self._open.done():
            self._open.set_result(None)

    async def passed(self) -> None:
        self.reached.set()
        await asyncio.shield(asyncio.wrap_future(self._open))


class GatedExecutor(ThreadExecutor):
    """One thread; starts and is closed when it may."""

    def __init__(self, *, start: Gate | None = None, close: Gate | None = None) -> None:
        super().__init__(1, "gated")
        self._start, self._close = start or Gate(opened=True), close or Gate(opened=True)
        self.story: list[str] = []

    async def start(self, sink: AttemptSink) -> None:
        self.story.append("starting")
        await self._start.passed()
        await super().start(sink)
        self.story.append("started")

    async def close(self) -> None:
        self.story.append("closing")
        await self._close.passed()
        await super().close()
        self.story.append("closed")


class DownBackend(MemoryBackend):
    """Saves nothing; ``failed`` is set when it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = threading.Event()

    async def save(self, done: Sequence[Stored]) -> None:
        self.failed.set()
        raise ConnectionError("the backend is down")


class GatedBackend(MemoryBackend):
    """Saves when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    async def save(self, done: Sequence[Stored]) -> None:
        await self.gate.passed()
        await super().save(done)

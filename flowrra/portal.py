"""Blocking use: event loops on threads of their own, and calling into a loop from code that has none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from flowrra.engine.waiters import running_loop
from flowrra.errors import WouldDeadlock
from flowrra.hosting import current_host

T = TypeVar("T")

CLOSING_SECONDS = 1.0


class LoopThread:
    """An event loop on a daemon thread. The thread ends after :meth:`close`, or with the process."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let the thread end, once what its loop is doing is done, or has been cancelled. Once; does not wait."""
        self.loop.call_soon_threadsafe(lambda: self.loop.create_task(self._finish()))

    def join(self) -> None:
        """Wait, a moment at most, for the thread to end; on the thread itself it returns at once."""
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSING_SECONDS)

    async def _finish(self) -> None:
        # Whoever called into this loop still has to get the answer.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=CLOSING_SECONDS)
        self.loop.stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left, timeout=CLOSING_SECONDS))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()


def call_in(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], what: str, *, pump: bool = False) -> T:
    """Run *coroutine* on *loop*, which another thread runs, and block until it is done; see :func:`block_on`."""
    if running_loop() is loop:
        coroutine.close()
        raise WouldDeadlock(what)
    return block_on(asyncio.run_coroutine_threadsafe(coroutine, loop), pump=pump)


def block_on(future: concurrent.futures.Future[T], *, pump: bool = False) -> T:
    """Block until *future* is done and return its value. Interrupted, it leaves the future to go on.

    With *pump*, on a host's own thread, the host's loop is kept going meanwhile.
    """
    host, here = current_host(), running_loop()
    if pump and host is not None and here is not None and here is host.io_loop:
        loop, arrived = here, here.create_future()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(_resolve, arrived))
        host.pump(arrived)
    return future.result()


async def await_in(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run *coroutine* on *loop*, from whatever loop this is, and await it. Cancelling ends the wait alone."""
    if running_loop() is loop:
        return await coroutine
    return await asyncio.shield(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop)))


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

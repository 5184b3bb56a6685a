"""Blocking use: event loops on threads of their own, and calling into a loop from code that has none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from flowrra.engine.waiters import running_loop
from flowrra.errors import WouldDeadlock
from flowrra.hosting import current_host

T = TypeVar("T")

CLOSING_SECONDS = 1.0


class LoopThread:
    """An event loop on a daemon thread. The thread ends after :meth:`close`, or with the process."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._thread.start()
        except BaseException:
            # Interrupted while it waited for the thread to be up: nobody will ever know of it.
            self.close()
            raise

    def close(self) -> None:
        """Let the thread end, once what its loop is doing is done, or has been cancelled. Does not wait; idempotent."""
        if not self._closing:
            self._closing = True
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


class LoopEnded(Exception):
    """The loop was closed, or cancelled all its tasks, before it had answered."""


class _Errand(Generic[T]):
    """A coroutine on its way to a loop, and the answer that somebody elsewhere waits for.

    A loop that is closed drops what it has not begun. Only the errand itself notices that, by being collected.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], is_late: Callable[[], bool]) -> None:
        self.answer: concurrent.futures.Future[T] = concurrent.futures.Future()
        """Cancelled if the loop ends first."""
        self._coroutine = coroutine
        self._is_late = is_late
        self._task: asyncio.Task[T] | None = None

    def begin(self) -> None:
        """On the loop."""
        if not self._is_late():
            self._task = asyncio.ensure_future(self._coroutine)
            self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[T]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if isinstance(error, asyncio.CancelledError):
            self.answer.cancel()
        elif error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(task.result())

    def __del__(self) -> None:
        if self._task is None:
            self._coroutine.close()
        self.answer.cancel()


def _never() -> bool:
    return False


def call_in(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, T],
    what: str,
    *,
    pump: bool = False,
    is_late: Callable[[], bool] = _never,
) -> T:
    """Run *coroutine* on *loop*, which another thread runs, and block until it is done; see :func:`block_on`.

    Raises ``LoopEnded`` if *loop* ends before that, or *is_late*, asked on the loop, says that it is about to.
    """
    if running_loop() is loop:
        coroutine.close()
        raise WouldDeadlock(what)
    try:
        return block_on(_sent(loop, coroutine, is_late), pump=pump)
    except concurrent.futures.CancelledError:
        raise LoopEnded from None


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


async def await_in(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], is_late: Callable[[], bool] = _never
) -> T:
    """Run *coroutine* on *loop*, from whatever loop this is, and await it. Cancelling ends the wait alone.

    Raises ``LoopEnded`` as :func:`call_in` does.
    """
    if running_loop() is loop:
        return await coroutine
    answer = _sent(loop, coroutine, is_late)
    await asyncio.wait([asyncio.wrap_future(answer)])
    if answer.cancelled():
        raise LoopEnded
    return answer.result()


def _sent(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], is_late: Callable[[], bool]
) -> concurrent.futures.Future[T]:
    errand = _Errand(coroutine, is_late)
    with suppress(RuntimeError):  # it is closed already
        loop.call_soon_threadsafe(errand.begin)
    if loop.is_closed():
        # It may have been closed just before the errand came, and then keeps it.
        errand.answer.cancel()
    return errand.answer


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

"""One start of an app: where its loops are, how it comes up and how it goes down."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from flowrra.clock import Clock
from flowrra.config import Settings
from flowrra.core.statuses import StopReason
from flowrra.core.tuples import NamedTuple
from flowrra.engine.columns import Columns
from flowrra.engine.engine import Engine
from flowrra.engine.run import Run
from flowrra.engine.saver import DRAIN_SECONDS
from flowrra.errors import AppNotRunning, WouldDeadlock
from flowrra.events import Dispatcher
from flowrra.hosting import current_host
from flowrra.interfaces import ResultBackend
from flowrra.losses import Losses
from flowrra.portal import LoopEnded, LoopThread, await_in, block_on, call_in
from flowrra.wiring import make_executors

T = TypeVar("T")


class Parts(NamedTuple):
    """What an app keeps from one start to the next."""

    name: str
    settings: Settings
    backend: ResultBackend
    dispatcher: Dispatcher
    clock: Clock

    async def start_engine(self, io_loop: asyncio.AbstractEventLoop | None) -> Engine:
        """Start an engine on the running loop, with coroutine tasks in *io_loop*, or with None in the same."""
        engine = Engine(make_executors(self.settings, io_loop), self.backend, self.dispatcher, self.clock)
        await engine.start()
        return engine


class Lifetime:
    """A running engine with the threads that were made for it, and the task that ends them.

    The task is there from the start: ``asyncio.run`` cancels every task when its program has returned, and that is how
    an app which nobody has left hears of it. Then it stops as if it was told to, and its handles answer.
    """

    def __init__(
        self, name: str, engine: Engine, threads: Sequence[LoopThread], left: Callable[[Lifetime], None]
    ) -> None:
        """On the engine's loop. *left* is called when it takes no more runs."""
        self.engine = engine
        self.over: concurrent.futures.Future[None] = concurrent.futures.Future()
        """Done when everything is released."""
        self._name = name
        self._losses = Losses()
        self._error: BaseException | None = None
        self._left = left
        self._threads = threads
        self._told: asyncio.Future[tuple[bool, float | None]] = engine.loop.create_future()
        self._hurry = asyncio.Event()
        self._disowned = False
        self._task = engine.loop.create_task(self._live(), name="flowrra-app")

    @classmethod
    async def on_this_loop(cls, parts: Parts, left: Callable[[Lifetime], None]) -> Lifetime:
        """Start on the running loop; coroutine tasks share it unless the settings say otherwise."""
        with _closed_on_error() as threads:
            return await cls._begin(parts, left, _io_loop(parts.settings, None, threads), threads)

    @classmethod
    def on_a_thread(
        cls, parts: Parts, left: Callable[[Lifetime], None], host_loop: asyncio.AbstractEventLoop | None
    ) -> Lifetime:
        """Start on a thread of its own; coroutine tasks run in *host_loop*, or on a second thread."""
        with _closed_on_error() as threads:
            io_loop = _io_loop(parts.settings, host_loop, threads) or _added(threads, "flowrra-io")
            engine_loop = _added(threads, "flowrra-engine")
            return call_in(engine_loop, cls._begin(parts, left, io_loop, threads), "starting the app")

    @classmethod
    async def _begin(
        cls,
        parts: Parts,
        left: Callable[[Lifetime], None],
        io_loop: asyncio.AbstractEventLoop | None,
        threads: Sequence[LoopThread],
    ) -> Lifetime:
        life = cls(parts.name, await parts.start_engine(io_loop), threads, left)
        try:
            # A task that is cancelled before its first step never enters its body; from here on this one does.
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await life.stop(drain=False)
            raise
        return life

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where everything is released."""
        return self.engine.loop

    def lose_loop(self) -> None:
        """End all runs after the loop was closed before everything was released. Once."""
        if not self.over.done():
            self.engine.lose_loop()
            self.over.set_result(None)

    def disown(self) -> None:
        """In a forked child: leave all parts alone, for they are the parent's, and end the copies of its runs."""
        self._disowned = True
        self.engine.forget_waiters()
        self.engine.lose_loop()

    def call(self, coroutine: Coroutine[Any, Any, T], what: str, *, waits_for_runs: bool = False) -> T:
        """Run *coroutine* on the engine's loop and block until it is done. Raises ``WouldDeadlock`` on its thread.

        Raises ``AppNotRunning`` if the app ends instead.
        If it *waits_for_runs*, the host's loop is kept going meanwhile where they need it.
        """
        try:
            pump = waits_for_runs and self._needs_host()
            return call_in(self.loop, coroutine, what, pump=pump, is_late=self.over.done)
        except LoopEnded:
            raise AppNotRunning(self._name) from None

    async def ask(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run *coroutine* on the engine's loop and await it here. Raises ``AppNotRunning`` if the app ends instead."""
        try:
            return await await_in(self.loop, coroutine, self.over.done)
        except LoopEnded:
            raise AppNotRunning(self._name) from None

    def stop_blocking(self, *, drain: bool, timeout: float | None) -> Losses:
        """Request a stop and block until it is through; returns what was lost by it, to the first who asks.

        Interrupted, it hurries the stop, and raises when that is through. A second interrupt ends the wait.
        """
        if self.engine.on_loop:
            raise WouldDeadlock("stopping the app")
        try:
            self.request_stop(drain=drain, timeout=timeout)
            block_on(self.over, pump=self._needs_host())
        except KeyboardInterrupt:
            self.request_stop(drain=False)
            block_on(self.over, pump=self._needs_host())
            raise
        finally:
            self._join()
        return self._take_losses()

    async def stop(self, *, drain: bool, timeout: float | None = None) -> Losses:
        """:meth:`stop_blocking` for any loop. Cancelled, it hurries the stop, and raises when that is through."""
        self.request_stop(drain=drain, timeout=timeout)
        over = asyncio.wrap_future(self.over)
        try:
            await asyncio.shield(over)
        except asyncio.CancelledError:
            self.request_stop(drain=False)
            await asyncio.shield(over)
            raise
        finally:
            self._join()
        return self._take_losses()

    def request_stop(self, *, drain: bool, timeout: float | None = None) -> None:
        """Begin to stop, from any thread; without *drain* also hurries a stop that is draining. May be repeated."""
        self.engine.call(self._stop, drain, timeout)

    async def leave_block(self, parts: list[Run | Columns], *, cancel: bool) -> Losses:
        """End a block that joined the running app: wait for what it submitted, or with *cancel* end that.

        Returns the runs that could not begin and were cancelled for that.
        """
        if cancel:
            runs = [run for part in parts for run in (part.unfinished() if isinstance(part, Columns) else (part,))]
            self.engine.request_stop(runs, StopReason.CANCEL, "the block that submitted it raised")
        held = self.engine.give_up_held(parts)
        await self.engine.until_over(parts)
        return Losses(held)

    def _stop(self, drain: bool, timeout: float | None) -> None:  # noqa: FBT001 - called through the engine's inbox
        if not drain:
            self._hurry.set()
        if not self._told.done():
            self._told.set_result((drain, timeout))

    async def _live(self) -> None:
        drain = False
        given_up: list[Run] = []
        try:
            drain, timeout = await self._told
            if drain:
                given_up += self.engine.give_up_held()
                await self._drained_or_hurried(timeout)
        except asyncio.CancelledError:
            # From outside: it does as if it was told to hurry.
            if self._disowned:
                return
        await self._end(given_up, drain=drain)

    async def _end(self, given_up: list[Run], *, drain: bool) -> None:
        self._left(self)
        try:
            given_up += await self._stop_engine()
        except BaseException as error:  # noqa: BLE001 - raised where the stop is waited for; nobody may wait for ever
            self._error = error
        self._losses = Losses(given_up if drain else [], self.engine.saver.given_up)
        self.over.set_result(None)

    async def _stop_engine(self) -> list[Run]:
        try:
            return await self.engine.stop()
        finally:
            for thread in self._threads:
                thread.close()

    async def _drained_or_hurried(self, timeout: float | None) -> None:
        self.engine.saver.give_up_after(DRAIN_SECONDS)
        waits = [asyncio.create_task(self.engine.until_over()), asyncio.create_task(self._hurry.wait())]
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _take_losses(self) -> Losses:
        if self._error is not None:
            raise self._error
        losses, self._losses = self._losses, Losses()
        return losses

    def _needs_host(self) -> bool:
        host = current_host()
        return host is not None and self.engine.waits_for(host.io_loop)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()


@contextmanager
def _closed_on_error() -> Iterator[list[LoopThread]]:
    """Threads that are added in the block end again if it raises."""
    threads: list[LoopThread] = []
    try:
        yield threads
    except BaseException:
        for thread in threads:
            thread.close()
        raise


def _io_loop(
    settings: Settings, shared: asyncio.AbstractEventLoop | None, threads: list[LoopThread]
) -> asyncio.AbstractEventLoop | None:
    """Where the settings want coroutine tasks; *shared* if they leave it to the caller."""
    match settings.io_loop:
        case "caller":
            return shared
        case "own":
            return _added(threads, "flowrra-io")
        case loop:
            return loop


def _added(threads: list[LoopThread], name: str) -> asyncio.AbstractEventLoop:
    threads.append(LoopThread(name))
    return threads[-1].loop

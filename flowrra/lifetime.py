"""One start of an app: where its loops are, how it comes up and how it goes down."""

from __future__ import annotations

import asyncio
import concurrent.futures
import warnings
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from flowrra.clock import Clock
from flowrra.config import Settings
from flowrra.core.statuses import StopReason
from flowrra.engine.engine import Engine
from flowrra.engine.run import Run
from flowrra.errors import WouldDeadlock
from flowrra.events import Dispatcher
from flowrra.hosting import current_host
from flowrra.interfaces import ResultBackend
from flowrra.portal import LoopThread, block_on, call_in
from flowrra.wiring import make_executors

T = TypeVar("T")

NAMED_IN_WARNING = 5


class RunsGivenUp(UserWarning):
    """An app was left or stopped before all of its runs were done; the message names them."""


class Lifetime:
    """A running engine with the threads that were made for it."""

    def __init__(self, engine: Engine, threads: Sequence[LoopThread], left: Callable[[], None]) -> None:
        self.engine = engine
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        """Done when everything is released."""
        self._left = left
        self._threads = threads
        self._ending: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    @classmethod
    async def on_this_loop(
        cls,
        settings: Settings,
        backend: ResultBackend,
        dispatcher: Dispatcher,
        clock: Clock,
        left: Callable[[], None],
    ) -> Lifetime:
        """Start on the running loop; coroutine tasks share it unless the settings say otherwise.

        *left* is called when it takes no more runs.
        """
        io_thread = LoopThread("flowrra-io") if settings.io_loop == "own" else None
        io_loop = settings.io_loop if isinstance(settings.io_loop, asyncio.AbstractEventLoop) else None
        executors = make_executors(settings, io_thread.loop if io_thread else io_loop)
        threads = [io_thread] if io_thread else []
        engine = Engine(executors, backend, dispatcher, clock)
        try:
            await engine.start()
        except BaseException:
            for thread in threads:
                thread.close()
            raise
        return cls(engine, threads, left)

    @classmethod
    def on_a_thread(
        cls,
        settings: Settings,
        backend: ResultBackend,
        dispatcher: Dispatcher,
        clock: Clock,
        left: Callable[[], None],
        host_loop: asyncio.AbstractEventLoop | None,
    ) -> Lifetime:
        """Start on a thread of its own; coroutine tasks run in *host_loop*, or on a second thread."""
        io_loop = settings.io_loop if isinstance(settings.io_loop, asyncio.AbstractEventLoop) else host_loop
        io_thread = LoopThread("flowrra-io") if io_loop is None or settings.io_loop == "own" else None
        executors = make_executors(settings, io_thread.loop if io_thread else io_loop)
        engine_thread = LoopThread("flowrra-engine")
        threads = [engine_thread, io_thread] if io_thread else [engine_thread]

        async def start() -> Engine:
            engine = Engine(executors, backend, dispatcher, clock)
            await engine.start()
            return engine

        try:
            return cls(call_in(engine_thread.loop, start(), "starting the app"), threads, left)
        except BaseException:
            for thread in threads:
                thread.close()
            raise

    def call(self, coroutine: Coroutine[Any, Any, T], what: str) -> T:
        """Run *coroutine* on the engine's loop and block until it is done. Raises ``WouldDeadlock`` on its thread."""
        return call_in(self.engine.loop, coroutine, what, pump=self._needs_host())

    def block_until_ended(self) -> None:
        """Block until a stop that was requested is through."""
        if self.engine.on_loop:
            raise WouldDeadlock("stopping the app")
        block_on(self.ended, pump=self._needs_host())
        self._join()

    async def until_ended(self) -> None:
        """Wait, in any loop, until a stop that was requested is through. Cancelled, it hurries that and raises then."""
        ended = asyncio.wrap_future(self.ended)
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            self.request_stop(drain=False)
            await asyncio.shield(ended)
            raise
        finally:
            self._join()

    def request_stop(self, *, drain: bool, timeout: float | None = None) -> None:
        """Begin to stop, from any thread; without *drain* also hurries a stop that is draining. May be repeated."""
        self.engine.call(self._stop, drain, timeout)

    async def leave_block(self, runs: list[Run], *, cancel: bool) -> None:
        """End a block that joined the running app: wait for what it submitted, or with *cancel* end that."""
        if cancel:
            self.engine.request_stop(runs, StopReason.CANCEL, "the block that submitted it raised")
        held = self.engine.give_up_held(runs)
        await self.engine.until_over(runs)
        warn_of(held)

    def _stop(self, drain: bool, timeout: float | None) -> None:  # noqa: FBT001 - called through the engine's inbox
        if not drain:
            self._hurry.set()
        if self._ending is None:
            # A task of its own: whoever waits for the stop may be cancelled, and the stop must still be complete.
            self._ending = self.engine.loop.create_task(self._end(drain=drain, timeout=timeout))

    async def _end(self, *, drain: bool, timeout: float | None) -> None:
        given_up: list[Run] = []
        try:
            if drain:
                given_up += self.engine.give_up_held()
                await self._drained_or_hurried(timeout)
        finally:
            self._left()
            given_up += await self.engine.stop()
            for thread in self._threads:
                thread.close()
            self.ended.set_result(None)
        if drain:
            warn_of(given_up)

    async def _drained_or_hurried(self, timeout: float | None) -> None:
        waits = [asyncio.create_task(self.engine.until_over()), asyncio.create_task(self._hurry.wait())]
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _needs_host(self) -> bool:
        host = current_host()
        return host is not None and self.engine.waits_for(host.io_loop)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()


def warn_of(given_up: Sequence[Run]) -> None:
    """Warn about runs that were cancelled by the end of an app, or of a block, although it was to drain."""
    if not given_up:
        return
    shown = ", ".join(f"{run.id} ({run.record.submission.task_name})" for run in given_up[:NAMED_IN_WARNING])
    more = f" and {len(given_up) - NAMED_IN_WARNING} more" if len(given_up) > NAMED_IN_WARNING else ""
    not_begun = sum(run.record.attempt == 0 for run in given_up)
    warnings.warn(
        f"{len(given_up)} runs were cancelled because the app was left or stopped, {not_begun} of them paused, not yet "
        f"due or still waiting: {shown}{more}",
        RunsGivenUp,
        stacklevel=2,
    )

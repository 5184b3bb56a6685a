"""One start of an app: where its loops are, how it comes up and how it goes down."""

from __future__ import annotations

import asyncio
import concurrent.futures
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

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


class Parts(NamedTuple):
    """What an app keeps from one start to the next."""

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
    """A running engine with the threads that were made for it."""

    def __init__(self, engine: Engine, threads: Sequence[LoopThread], left: Callable[[], None]) -> None:
        self.engine = engine
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._given_up: list[Run] = []
        self._left = left
        self._threads = threads
        self._ending: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    @classmethod
    async def on_this_loop(cls, parts: Parts, left: Callable[[], None]) -> Lifetime:
        """Start on the running loop; coroutine tasks share it unless the settings say otherwise.

        *left* is called when it takes no more runs.
        """
        with _closed_on_error() as threads:
            io_loop = _io_loop(parts.settings, None, threads)
            return cls(await parts.start_engine(io_loop), threads, left)

    @classmethod
    def on_a_thread(
        cls, parts: Parts, left: Callable[[], None], host_loop: asyncio.AbstractEventLoop | None
    ) -> Lifetime:
        """Start on a thread of its own; coroutine tasks run in *host_loop*, or on a second thread."""
        with _closed_on_error() as threads:
            io_loop = _io_loop(parts.settings, host_loop, threads) or _added(threads, "flowrra-io")
            engine_loop = _added(threads, "flowrra-engine")
            return cls(call_in(engine_loop, parts.start_engine(io_loop), "starting the app"), threads, left)

    @property
    def ended(self) -> bool:
        """Whether everything is released, or its loop was closed before that could be done."""
        return self._ended.done() or self.engine.loop.is_closed()

    def call(self, coroutine: Coroutine[Any, Any, T], what: str, *, waits_for_runs: bool = False) -> T:
        """Run *coroutine* on the engine's loop and block until it is done. Raises ``WouldDeadlock`` on its thread.

        If it *waits_for_runs*, the host's loop is kept going meanwhile where they need it.
        """
        return call_in(self.engine.loop, coroutine, what, pump=waits_for_runs and self._needs_host())

    def block_until_ended(self) -> list[Run]:
        """Block until a stop that was requested is through; returns what it gave up although it was to drain.

        Only the first who asks is told, so that it is said once.
        """
        if self.engine.on_loop:
            raise WouldDeadlock("stopping the app")
        block_on(self._ended, pump=self._needs_host())
        self._join()
        return self._take_given_up()

    async def until_ended(self) -> list[Run]:
        """:meth:`block_until_ended` for any loop. Cancelled, it hurries the stop, and raises when that is through."""
        ended = asyncio.wrap_future(self._ended)
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            self.request_stop(drain=False)
            await asyncio.shield(ended)
            raise
        finally:
            self._join()
        return self._take_given_up()

    def request_stop(self, *, drain: bool, timeout: float | None = None) -> None:
        """Begin to stop, from any thread; without *drain* also hurries a stop that is draining. May be repeated."""
        self.engine.call(self._stop, drain, timeout)

    async def leave_block(self, runs: list[Run], *, cancel: bool) -> list[Run]:
        """End a block that joined the running app: wait for what it submitted, or with *cancel* end that.

        Returns the runs that could not begin and were cancelled for that.
        """
        if cancel:
            self.engine.request_stop(runs, StopReason.CANCEL, "the block that submitted it raised")
        held = self.engine.give_up_held(runs)
        await self.engine.until_over(runs)
        return held

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
            try:
                given_up += await self._stop_engine()
            except BaseException as error:  # noqa: BLE001 - raised where the stop is waited for; nobody may wait for ever
                self._ended.set_exception(error)
            else:
                self._given_up = given_up if drain else []
                self._ended.set_result(None)

    async def _stop_engine(self) -> list[Run]:
        try:
            return await self.engine.stop()
        finally:
            for thread in self._threads:
                thread.close()

    async def _drained_or_hurried(self, timeout: float | None) -> None:
        waits = [asyncio.create_task(self.engine.until_over()), asyncio.create_task(self._hurry.wait())]
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _take_given_up(self) -> list[Run]:
        given_up, self._given_up = self._given_up, []
        return given_up

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


def warn_of(given_up: Sequence[Run]) -> None:
    """Warn about runs that were cancelled by the end of an app, or of a block, although it was to drain.

    Called by the method that the user has called, so that the warning points at the user's line.
    """
    if not given_up:
        return
    shown = ", ".join(f"{run.id} ({run.record.submission.task_name})" for run in given_up[:NAMED_IN_WARNING])
    more = f" and {len(given_up) - NAMED_IN_WARNING} more" if len(given_up) > NAMED_IN_WARNING else ""
    not_begun = sum(run.record.attempt == 0 for run in given_up)
    warnings.warn(
        f"{len(given_up)} runs were cancelled because the app was left or stopped, {not_begun} of them paused, not yet "
        f"due or still waiting: {shown}{more}",
        RunsGivenUp,
        stacklevel=3,
    )

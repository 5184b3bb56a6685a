"""What an app keeps from one start to the next, its present start and, with a host, the running app of each name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from flowrra.clock import Clock, SystemClock
from flowrra.config import Settings
from flowrra.engine.engine import Engine
from flowrra.engine.run import Run
from flowrra.engine.waiters import running_loop
from flowrra.errors import AppNotRunning, WouldDeadlock
from flowrra.events import Dispatcher
from flowrra.hosting import current_host
from flowrra.interfaces import ResultBackend
from flowrra.lifetime import Lifetime, Parts
from flowrra.wiring import make_backend

T = TypeVar("T")

# Held while a thread is made and waited for: two threads that submit first must not start two engines.
_starting = threading.Lock()


class AppState:
    """Settings, backend and callbacks of an app, and its current start. Apps that share a state are one app."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.clock: Clock = SystemClock()
        self.backend: ResultBackend = make_backend(settings)
        self.dispatcher = Dispatcher(name)
        self.superseded = False
        """A newer app of the same name has taken over in this host."""
        self._life: Lifetime | None = None
        self._ending: Lifetime | None = None
        """The latest start that takes no more runs; it may still be releasing its parts."""
        self._entering = asyncio.Lock()

    @property
    def life(self) -> Lifetime | None:
        """The current start; None if the app is not running."""
        life = self._life
        if life is not None and life.engine.loop.is_closed():
            # Its loop was closed without the app being left, as asyncio.run() does at its end.
            life.engine.lose_loop()
            self._life = life = None
        return life

    @property
    def engine(self) -> Engine:
        """The running engine. Raises ``AppNotRunning``."""
        life = self.life
        if life is None:
            raise AppNotRunning(self.name)
        return life.engine

    async def start_here(self) -> None:
        """Start on the running loop, unless it runs already."""
        async with self._entering:
            if self.life is None:
                self._life = await Lifetime.on_this_loop(self._parts(), self._left)

    def start_on_a_thread(self, host_loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Start on a thread of its own, unless it runs already; coroutines run in *host_loop* or on a second thread."""
        with _starting:
            self.start_locked(host_loop)

    def start_locked(self, host_loop: asyncio.AbstractEventLoop | None) -> None:
        """:meth:`start_on_a_thread` for a caller that holds the lock."""
        if self.life is None:
            self._life = Lifetime.on_a_thread(self._parts(), self._left, host_loop)

    async def stop(self, *, drain: bool, timeout: float | None) -> list[Run]:
        """End it; see :meth:`Flowrra.stop`. A stop that is under way is waited for, and hurried unless *drain*.

        Returns the runs that were given up although it was to drain.
        """
        life = self._to_be_stopped()
        if life is None:
            return []
        life.request_stop(drain=drain, timeout=timeout)
        return await life.until_ended()

    def stop_blocking(self, *, drain: bool, timeout: float | None) -> list[Run]:
        """:meth:`stop` for code without a loop. An interrupt ends the wait, while the stop goes on."""
        life = self._to_be_stopped()
        if life is None:
            return []
        life.request_stop(drain=drain, timeout=timeout)
        return life.block_until_ended()

    def call(self, coroutine: Coroutine[Any, Any, T], what: str) -> T:
        """Run one of the app's coroutine methods and block until it is done."""
        life = self.life
        if life is not None:
            return life.call(coroutine, what)
        if running_loop() is not None:
            coroutine.close()
            raise WouldDeadlock(what)
        # The app is not running: there are records to be read, or there is an error to be raised.
        return asyncio.run(coroutine)

    def _to_be_stopped(self) -> Lifetime | None:
        """The current start, or the one before while it is still releasing its parts."""
        if self._ending is not None and self._ending.ended:
            self._ending = None
        return self.life or self._ending

    def _parts(self) -> Parts:
        return Parts(self.settings, self.backend, self.dispatcher, self.clock)

    def _left(self) -> None:
        self._ending, self._life = self._life, None
        self.dispatcher.close()


_hosted: dict[str, AppState] = {}


def hosted(state: AppState) -> AppState:
    """Return the running state that an app of *state* uses in the current host, started if need be.

    The latest app of a name is the one that counts. With the same settings it shares the state of the one before, with
    workers and results; with other settings the old state ends when its runs are done, and both apps use the new one.
    So a cell that makes an app can be run again, and tasks of cells that were not run again still work.
    """
    host = current_host()
    assert host is not None, "the caller has looked"
    with _starting:
        current = _hosted.get(state.name)
        if current is None or current is state or current.life is None:
            current = state
        elif not state.superseded and state.life is None:
            current = _taken_over(current, state)
        elif not state.superseded:
            return state
        current.start_locked(host.io_loop)
        _hosted[state.name] = current
        return current


def _taken_over(before: AppState, new: AppState) -> AppState:
    if before.settings == new.settings:
        if new.dispatcher.watched:
            before.dispatcher.subscribe(new.dispatcher.publish)
        return before
    before.superseded = True
    if before.life is not None:
        before.life.request_stop(drain=True)
    return new

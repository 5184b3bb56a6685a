"""What an app keeps from one start to the next, its present start and, with a host, the running app of each name."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Self, TypeVar
from weakref import WeakSet

from flowrra.clock import Clock, SystemClock
from flowrra.config import Settings
from flowrra.engine.engine import Engine
from flowrra.engine.run import Run
from flowrra.engine.waiters import running_loop
from flowrra.errors import AppNotRunning, WouldDeadlock
from flowrra.events import Dispatcher
from flowrra.functions import CPU
from flowrra.hosting import current_host, set_host
from flowrra.interfaces import ResultBackend
from flowrra.lifetime import Lifetime, Parts
from flowrra.losses import Losses
from flowrra.wiring import make_backend

T = TypeVar("T")

# Held for a few instructions, never while something is waited for. It may be taken twice, because a signal handler that
# submits may interrupt the very thread that holds it.
_claims = threading.RLock()


class Turn:
    """The right to start an app. One caller has it at a time; others wait until it is over, however it went."""

    def __init__(self) -> None:
        self.loop = running_loop()
        self.over: concurrent.futures.Future[None] = concurrent.futures.Future()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.over.set_result(None)


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
        self._turn: Turn | None = None
        _states.add(self)

    @property
    def life(self) -> Lifetime | None:
        """The current start; None if the app is not running."""
        life = self._life
        if life is not None and life.loop.is_closed():
            # Its loop was closed without the app being left, and without cancelling its tasks.
            with _claims:
                life.lose_loop()
                if self._life is life:
                    self._life = None
        return self._life

    @property
    def ending(self) -> Lifetime | None:
        """The start before, while it is still releasing its parts."""
        ending = self._ending
        if ending is not None and ending.loop.is_closed():
            with _claims:
                ending.lose_loop()
        return None if ending is None or ending.over.done() else ending

    @property
    def engine(self) -> Engine:
        """The running engine. Raises ``AppNotRunning``."""
        life = self._life
        if life is None or life.loop.is_closed():
            life = self.life
        if life is None:
            raise AppNotRunning(self.name)
        return life.engine

    def find(self, run_id: str) -> Run | None:
        """The run, if it is not over, or None."""
        # In this order: one that moves over meanwhile is not missed.
        for life in (self.life, self.ending):
            run = None if life is None else life.engine.find(run_id)
            if run is not None:
                return run
        return None

    def unfinished(self) -> list[Run]:
        """The runs that are not over."""
        return [run for life in (self.life, self.ending) if life is not None for run in life.engine.unfinished()]

    # Starting.

    async def start_here(self) -> bool:
        """Start on the running loop, unless it runs already; returns whether this call has started it."""
        with Turn() as turn:
            while (before := self.claim(turn)) is not None:
                await asyncio.wait([asyncio.wrap_future(before.over)])
            if self.life is not None:
                return False
            self._life = await Lifetime.on_this_loop(self._parts(), self._left)
            return True

    def start_on_a_thread(self) -> bool:
        """:meth:`start_here` on a thread of its own, with coroutine tasks on a second one.

        Raises ``WouldDeadlock`` where it would have to wait for the loop that it is called in.
        """
        with Turn() as turn:
            return self.start_in_turn(turn, None)

    def start_in_turn(self, turn: Turn, host_loop: asyncio.AbstractEventLoop | None) -> bool:
        """:meth:`start_on_a_thread` in a *turn*; coroutine tasks run in *host_loop* if there is one."""
        while (before := self.claim(turn)) is not None:
            if before.loop is not None and before.loop is running_loop():
                raise WouldDeadlock("starting an app that is just starting or stopping in this loop")
            before.over.result()
        if self.life is not None:
            return False
        self._life = Lifetime.on_a_thread(self._parts(), self._left, host_loop)
        return True

    def claim(self, turn: Turn) -> Turn | Lifetime | None:
        """Take *turn* if it is nobody else's; returns what must be over before the app may start in it, or None."""
        with _claims:
            if not self.is_starting:
                self._turn = turn
            return self.ending if self._turn is turn else self._turn

    @property
    def is_starting(self) -> bool:
        return self._turn is not None and not self._turn.over.done()

    def resize(self, cpu_workers: int) -> None:
        """Change the number of worker processes, now and for later starts."""
        self.settings = replace(self.settings, cpu_workers=cpu_workers)
        life = self.life
        if life is not None:
            executor = life.engine.executors[CPU]
            life.engine.call(executor.resize, cpu_workers)  # type: ignore[attr-defined]  # the one of this name is ours

    # Stopping.

    async def stop(self, *, drain: bool, timeout: float | None) -> Losses:
        """End it; see :meth:`Flowrra.stop`. A stop that is under way is waited for, and hurried unless *drain*."""
        life = self.life or self.ending
        return Losses() if life is None else await life.stop(drain=drain, timeout=timeout)

    def stop_blocking(self, *, drain: bool, timeout: float | None) -> Losses:
        """:meth:`stop` for code without a loop. An interrupt hurries it, and is raised when it is through."""
        life = self.life or self.ending
        return Losses() if life is None else life.stop_blocking(drain=drain, timeout=timeout)

    def supersede(self) -> None:
        """Have it end when its runs are done: a newer app of its name takes over."""
        self.superseded = True
        if self.life is not None:
            self.life.request_stop(drain=True)

    def forget_in_child(self) -> None:
        """After a fork: threads, loops and processes of the app are the parent's. Here it does not run."""
        lives = [life for life in (self._life, self._ending) if life is not None]
        self._life = self._ending = self._turn = None
        # Its thread is in the parent, and its lock may be held by another one there.
        self.dispatcher = Dispatcher(self.name)
        for life in lives:
            life.engine.dispatcher = self.dispatcher
            life.disown()

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

    def _parts(self) -> Parts:
        return Parts(self.name, self.settings, self.backend, self.dispatcher, self.clock)

    def _left(self, life: Lifetime) -> None:
        # In this order: who looks for a run meanwhile finds the engine in one place or in both.
        self._ending = life
        if self._life is life:
            self._life = None
        self.dispatcher.close()


_states: WeakSet[AppState] = WeakSet()
_hosted: dict[str, AppState] = {}


def hosted(state: AppState) -> AppState:
    """Return the running state that an app of *state* uses in the current host, started if need be.

    The latest app of a name is the one that counts. With the same settings it shares the state of the one before, with
    workers and results; with other settings the old state ends when its runs are done, and both apps use the new one.
    So a cell that makes an app can be run again, and tasks of cells that were not run again still work.
    """
    host = current_host()
    assert host is not None, "the caller has looked"
    with Turn() as turn:
        with _claims:
            current = _current(state)
            # Claimed before anyone else looks: another app of the name finds this one as good as running.
            current.claim(turn)
        current.start_in_turn(turn, host.io_loop)
    if current.superseded:
        # By an app that came while this one was starting; what it has started is not needed any more.
        current.supersede()
        return hosted(current)
    return current


def _current(state: AppState) -> AppState:
    current = _hosted.get(state.name)
    if current is None or current is state or not (current.is_starting or current.life is not None):
        current = state
    elif not state.superseded and state.life is None:
        current = _taken_over(current, state)
    elif not state.superseded:
        return state
    current.superseded = False
    _hosted[state.name] = current
    return current


def _taken_over(before: AppState, new: AppState) -> AppState:
    if before.settings == new.settings:
        if new.dispatcher.watched:
            before.dispatcher.subscribe(new.dispatcher.publish)
        if new.dispatcher.followers:
            before.dispatcher.follow(new.dispatcher.entered)
        return before
    before.supersede()
    return new


def _forget_in_child() -> None:
    global _claims  # noqa: PLW0603 - another thread may have held it when the process was forked
    _claims = threading.RLock()
    set_host(None)
    _hosted.clear()
    for state in list(_states):
        state.forget_in_child()


os.register_at_fork(after_in_child=_forget_in_child)

"""Waiting for runs, from a thread or from any event loop. A wait that ends early never touches the run."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import ClassVar, Generic, Protocol, TypeVar

from flowrra.engine.run import Run
from flowrra.errors import WouldDeadlock
from flowrra.hosting import current_host
from flowrra.loops import LoopInbox
from flowrra.running import slot_given_back

T = TypeVar("T")

HEARTBEAT = 0.05
"""Seconds between wake-ups of a host's loop while something is awaited there: an interrupt is noticed that soon."""


class Fire(Protocol):
    """How a wait is told that it is over. From any thread, quick, more than once without harm."""

    def fire(self) -> None:
        """End the wait."""


class Signal(Protocol):
    """Something that can be waited for."""

    def arm(self, fire: Fire) -> bool:
        """Arrange for ``fire.fire()`` once it has happened; returns False, and does not, if it has already."""

    def disarm(self) -> None:
        """Forget about it; a ``fire()`` under way may still arrive."""


class Over:
    """Happens when one run is over: most waits are for one."""

    __slots__ = ("_fire", "_run")

    def __init__(self, run: Run) -> None:
        self._run = run
        self._fire: Fire | None = None

    def arm(self, fire: Fire) -> bool:
        self._fire = fire
        return self._run.add_waiter(self._happened)

    def disarm(self) -> None:
        self._fire = None
        if not self._run.settled:
            self._run.remove_waiter(self._happened)

    def _happened(self, _: Run) -> None:
        fire = self._fire
        if fire is not None:
            fire.fire()


class Countdown:
    """Happens when *needed* of *runs* (default: all) are over, or with *stop_on_failure* when one has no value."""

    def __init__(self, runs: Sequence[Run], *, needed: int | None = None, stop_on_failure: bool = False) -> None:
        self._runs = [run for run in runs if not run.settled]
        over = len(runs) - len(self._runs)
        self._left = (len(runs) if needed is None else needed) - over
        self._stop_on_failure = stop_on_failure
        if stop_on_failure and over and any(run.settled and run.exception is not None for run in runs):
            self._left = 0
        self._fire: Fire | None = None
        self._lock = threading.Lock()

    def arm(self, fire: Fire) -> bool:
        if self._left <= 0:
            return False
        self._fire = fire
        for run in self._runs:
            if not run.add_waiter(self._one):
                self._one(run)
        return True

    def disarm(self) -> None:
        self._fire = None
        for run in self._runs:
            run.remove_waiter(self._one)

    def _one(self, run: Run) -> None:
        with self._lock:
            self._left -= 1
            if self._left > 0 and not (self._stop_on_failure and run.exception is not None):
                return
            fire, self._fire = self._fire, None
        if fire is not None:
            fire.fire()


class Arriving(Generic[T]):
    """Happens whenever something has arrived that was not taken yet."""

    def __init__(self) -> None:
        self._arrived: deque[T] = deque()
        self._fire: Fire | None = None

    def arm(self, fire: Fire) -> bool:
        # Registered before looking: what arrives in between fires, at worst once too often.
        self._fire = fire
        return not self._arrived

    def disarm(self) -> None:
        self._fire = None

    def _arrive(self, arrival: T) -> None:
        self._arrived.append(arrival)
        fire = self._fire
        if fire is not None:
            fire.fire()


class Arrivals(Arriving[Run]):
    """Runs in the order in which they end."""

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__()
        self._runs = runs
        for run in runs:
            if not run.add_waiter(self._arrive):
                self._arrived.append(run)

    def take(self) -> Run | None:
        """The next run that has ended, or None if none has since the last."""
        return self._arrived.popleft() if self._arrived else None

    def close(self) -> None:
        """Stop listening to the runs that have not ended."""
        for run in self._runs:
            if not run.settled:
                run.remove_waiter(self._arrive)


class _WakeThread:
    """A bare lock: an ``Event`` makes a condition and another lock for each wait."""

    def __init__(self) -> None:
        self._over = threading.Lock()
        self._over.acquire()

    def fire(self) -> None:
        # Another thread may have fired a moment ago.
        with suppress(RuntimeError):
            self._over.release()

    def wait(self, timeout: float | None) -> bool:
        """Block until it is fired; False after *timeout* seconds."""
        return self._over.acquire(timeout=-1 if timeout is None else max(0.0, timeout))


class _WakeLoop:
    def __init__(self, inbox: LoopInbox) -> None:
        self._inbox = inbox
        self.future: asyncio.Future[None] = inbox.loop.create_future()

    def fire(self) -> None:
        if running_loop() is self._inbox.loop:
            # The engine runs in the loop that waits: through the inbox it would take another turn of it.
            self._resolve()
        else:
            # If the loop is closed nobody is left who waits.
            self._inbox.post(self._resolve)

    def _resolve(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class LoopWaiters:
    """All waits in one event loop. They share one inbox and, in a host's loop, a timer that wakes it regularly.

    The timer is there because ipykernel delivers an interrupt to an ``await`` only when its loop next wakes.
    """

    _of: ClassVar[dict[asyncio.AbstractEventLoop, LoopWaiters]] = {}
    """Only loops in which something waits, so that closed ones are not kept; each touched by its own thread alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.inbox = LoopInbox(loop)
        self._waiting = 0
        self._beat: asyncio.TimerHandle | None = None

    @classmethod
    def here(cls) -> LoopWaiters:
        """Those of the running loop."""
        loop = asyncio.get_running_loop()
        found = cls._of.get(loop)
        if found is None:
            found = cls._of[loop] = cls(loop)
        return found

    async def until(self, signal: Signal) -> None:
        """Wait for *signal*. Cancelling ends this wait alone."""
        wake = _WakeLoop(self.inbox)
        self._enter()
        try:
            if signal.arm(wake):
                with slot_given_back():
                    await wake.future
        finally:
            self._leave()
            signal.disarm()

    def _enter(self) -> None:
        self._waiting += 1
        host = current_host()
        if self._beat is None and host is not None and host.io_loop is self.loop:
            self._pulse()

    def _leave(self) -> None:
        self._waiting -= 1
        if self._waiting:
            return
        self._of.pop(self.loop, None)
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None

    def _pulse(self) -> None:
        self._beat = self.loop.call_later(HEARTBEAT, self._pulse)


async def wait_here(signal: Signal, timeout: float | None = None) -> bool:
    """Wait in the running loop until *signal* happens; returns False after *timeout* seconds."""
    if timeout is None:
        await LoopWaiters.here().until(signal)
        return True
    try:
        async with asyncio.timeout(timeout):
            await LoopWaiters.here().until(signal)
    except TimeoutError:
        return False
    return True


def block(signal: Signal, timeout: float | None, pumped: asyncio.AbstractEventLoop | None) -> bool:
    """Block this thread until *signal* happens; returns False after *timeout* seconds. Interruptible.

    *pumped* is what :func:`loop_to_pump` said for the runs that are waited for.
    """
    if pumped is not None:
        return _pump(signal, timeout)
    wake = _WakeThread()
    try:
        if not signal.arm(wake):
            return True
        with slot_given_back():
            return wake.wait(timeout)
    finally:
        signal.disarm()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that this thread is running, or None."""
    # Not get_running_loop(), which raises: where there is none, each wait would pay for an exception.
    return asyncio._get_running_loop()  # noqa: SLF001 - meant for those who implement loops, and documented


def loop_to_pump(runs: Iterable[Run], what: str) -> asyncio.AbstractEventLoop | None:
    """The loop that a blocking wait for *runs* on this thread has to keep going, or None if it may just block.

    Raises ``WouldDeadlock`` if the wait would stop a loop that has to bring the answer and no host can pump it.
    """
    here = running_loop()
    if here is None:
        return None
    for run in runs:
        engine = run.engine
        if run.settled or engine is None:
            continue
        if engine.loop is here:
            raise WouldDeadlock(what)
        if engine.loop_needed_by(run) is here:
            host = current_host()
            if host is None or host.io_loop is not here:
                raise WouldDeadlock(what)
            return here
    return None


def _pump(signal: Signal, timeout: float | None) -> bool:
    host = current_host()
    assert host is not None, "loop_to_pump has found one"
    wake = _WakeLoop(LoopInbox(host.io_loop))
    timer = None if timeout is None else host.io_loop.call_later(timeout, wake.future.cancel)
    try:
        if signal.arm(wake):
            host.pump(wake.future)
        return not wake.future.cancelled()
    finally:
        signal.disarm()
        if timer is not None:
            timer.cancel()

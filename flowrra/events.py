"""What the outside may watch, and the one thread on which user callbacks run."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowrra import log
from flowrra.core.statuses import Status

PENDING_EVENTS = 10_000
"""Events that may wait for slow subscribers before new ones are dropped and counted."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something is new about a run: its status, or with the same status its progress or output."""

    run_id: str
    task_name: str
    status: Status
    attempt: int
    batch_id: str | None
    index: int | None


class Dispatcher:
    """Calls user callbacks, one after the other, on a daemon thread of its own that lives while there is work.

    A callback that raises is logged; one that blocks delays the others. Calls posted with :meth:`post` are never lost;
    events are: beyond ``PENDING_EVENTS`` waiting ones they are dropped, and ``lost`` counts them.
    """

    IDLE_SECONDS = 5.0

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._subscribers: tuple[Callable[[RunEvent], object], ...] = ()
        self.followers: tuple[Callable[[object], object], ...] = ()
        """Called on the engine's thread, where they must not linger, with each run or map that is submitted."""
        self.watched = False
        """Whether anyone would hear an event."""
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._failed: list[Callable[..., object]] = []
        self.lost = 0

    def subscribe(self, callback: Callable[[RunEvent], object]) -> Callable[[], None]:
        """Call *callback* with each event from now on; returns the call that ends it (may be repeated)."""
        with self._lock:
            self._subscribers = (*self._subscribers, callback)
            self.watched = True

        left = False

        def unsubscribe() -> None:
            nonlocal left
            with self._lock:
                kept = list(self._subscribers)
                # Once only: the same callback may have been subscribed a second time.
                if not left:
                    kept.remove(callback)
                left = True
                self._subscribers = tuple(kept)
                self.watched = bool(kept)

        return unsubscribe

    def follow(self, follower: Callable[[object], object]) -> Callable[[], None]:
        """Add one of the ``followers``; returns the call that takes it back (may be repeated)."""
        with self._lock:
            self.followers = (*self.followers, follower)

        def leave() -> None:
            with self._lock:
                self.followers = tuple(each for each in self.followers if each is not follower)

        return leave

    def entered(self, submitted: object) -> None:
        """Tell the followers of a run or map that was *submitted*."""
        for follower in self.followers:
            follower(submitted)

    def publish(self, event: RunEvent) -> None:
        """Hand *event* to all subscribers; from any thread, never blocks."""
        for subscriber in self._subscribers:
            if self._calls.qsize() < PENDING_EVENTS:
                self.post(subscriber, event)
            else:
                self.lost += 1

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Call ``call(*args)`` on the thread; from any thread, never blocks."""
        self._calls.put((call, args))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"flowrra-callbacks-{self._name}", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Let the thread end once it has made the calls posted before; what is posted later starts another one.

        Does not wait: a callback may block for ever.
        """
        with self._lock:
            if self._thread is not None:
                self._calls.put(None)

    def _complain(self, call: Callable[..., object], error: BaseException) -> None:
        """Log *error*, with its traceback the first time that *call* fails: a subscriber is called for every event."""
        # By identity: a callable may be unhashable, or equal to anything.
        known = any(each is call for each in self._failed)
        self._failed = [each for each in self._subscribers if any(each is one for one in (*self._failed, call))]
        log.events.error("a callback failed: %r: %r", call, error, exc_info=None if known else error)

    def _work(self) -> None:
        while True:
            try:
                item = self._calls.get(timeout=self.IDLE_SECONDS)
            except queue.Empty:
                item = None
            if item is None:
                with self._lock:
                    # Under the lock, as post() is: a call that was posted meanwhile is seen here, or starts a thread.
                    if self._calls.empty():
                        self._thread = None
                        return
                continue
            call, args = item
            try:
                call(*args)
            except BaseException as error:  # noqa: BLE001 - whatever user code raises, the calls after it must be made
                self._complain(call, error)
            # Otherwise the last call's objects live on while the thread waits for the next one.
            del item, call, args

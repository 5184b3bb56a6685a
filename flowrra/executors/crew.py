"""A few daemon threads that share one queue of work."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from typing import Any

IDLE_SECONDS = 2.0

_numbers = itertools.count(1)


class Crew:
    """Starts a thread when work comes and none is idle; threads end after some idle seconds, or when dismissed.

    Not ``concurrent.futures.ThreadPoolExecutor``: its threads are joined at exit, and work that waits for ever would
    keep the process from ending. The caller bounds how much it hands over; *work* must not raise.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    def hand(self, work: Callable[..., None], *args: Any) -> None:
        """Have ``work(*args)`` called on one of the threads."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                self._threads += 1
                threading.Thread(target=self._serve, name=f"flowrra-thread-{next(_numbers)}", daemon=True).start()
        self._work.put((work, args))

    def dismiss(self) -> None:
        """Let every thread end: an idle one at once, a busy one when its work returns. No work may follow."""
        with self._lock:
            for _ in range(self._threads):
                self._work.put(None)

    def _serve(self) -> None:
        while True:
            try:
                item = self._work.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    # hand() may have counted on this thread just now; then its work is on the way.
                    if self._idle:
                        self._idle -= 1
                        self._threads -= 1
                        return
                continue
            if item is None:
                return
            work, args = item
            work(*args)
            with self._lock:
                self._idle += 1

"""One thread publishes for all views of this kernel.

It looks at the runs of each view when that view is due, at most ten times a second, and sends what is new: no event is
made for a run because somebody watches. Messages of browsers arrive on the kernel's main thread or a subshell's and
only leave a note. One thread, because updates of one widget from several threads would overtake each other; a thread of
our own, because a cell may block the kernel's loop for as long as it likes. It sleeps while there is nothing to show.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from flowrra_jupyter.views import View

_log = logging.getLogger("flowrra.jupyter")


class Publisher:
    """Owns the publishing thread and the views that are not over."""

    def __init__(self) -> None:
        self._views: list[View] = []
        self._lock = threading.Lock()
        """Guards the list above."""
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closing = False

    def listen(self, view: View) -> None:
        """Refresh *view* from when it is opened until it is over."""
        with self._lock:
            self._views.append(view)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="flowrra-views", daemon=True)
                self._thread.start()
        view.source.when_done(partial(self._hurry, view))
        self._wake.set()

    def post(self, call: Callable[..., None], *args: Any) -> None:
        """Call ``call(*args)`` on the publishing thread, soon; from any thread."""
        self._calls.append((call, args))
        self._wake.set()

    def flush(self, timeout: float) -> None:
        """Bring all views up to date; returns when they are, or after *timeout* seconds.

        Whoever executes notebooks headless stops listening when a cell ends; the last frame has to be out before.
        """
        if not self._open_views():
            return
        done = threading.Event()
        self.post(self._refresh_all)
        self.post(done.set)
        done.wait(timeout)

    def close(self, timeout: float = 1.0) -> None:
        """Leave every view as plain HTML and end the thread. May be repeated."""
        self.flush(timeout)
        for view in self._open_views():
            self.post(view.end)
        self.post(self._end)
        if self._thread is not None:
            self._thread.join(timeout)

    def _end(self) -> None:
        self._closing = True

    def _hurry(self, view: View) -> None:
        view.hurry()
        self._wake.set()

    def _work(self) -> None:
        while not self._closing:
            self._wake.wait(self._pause())
            self._wake.clear()
            self._make_calls()
            now = time.monotonic()
            self._refresh([view for view in self._open_views() if view.due() <= now])
            self._drop_finished()

    def _pause(self) -> float | None:
        dues = [view.due() for view in self._open_views()]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def _make_calls(self) -> None:
        while self._calls:
            call, args = self._calls.popleft()
            try:
                call(*args)
            except Exception:  # noqa: BLE001 - what a browser asked of one view must not end all others
                _log.exception("a view could not be updated")

    def _refresh_all(self) -> None:
        self._refresh(self._open_views())
        self._drop_finished()

    def _refresh(self, views: list[View]) -> None:
        for view in views:
            try:
                view.refresh(time.monotonic())
            except Exception:  # noqa: BLE001 - it must not take the others with it, nor fail ten times a second
                _log.exception("a view could not be drawn and is not updated any more")
                view.over = True

    def _open_views(self) -> list[View]:
        with self._lock:
            return [view for view in self._views if view.opened and not view.over]

    def _drop_finished(self) -> None:
        with self._lock:
            self._views = [view for view in self._views if not view.over]

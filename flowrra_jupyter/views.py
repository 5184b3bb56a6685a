"""One displayed view, from its first HTML to its last.

A view begins as plain HTML. If the front end's widget code says hello, the display becomes the live widget; if it
never does (no widget manager, headless execution), the HTML stays and is refreshed. When all runs are done, the display
becomes plain HTML and text for good, and the view forgets everything: what is saved can be shown without a kernel.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Protocol

from flowrra_jupyter import rich
from flowrra_jupyter.details import details_of
from flowrra_jupyter.sources import Source, Stretch
from flowrra_jupyter.view_models import Frame
from flowrra_jupyter.viewers import LEASE, Message, Viewer

WIDGET_PERIOD: Final = 0.1
HTML_PERIOD: Final = 0.5
HEARTBEAT: Final = 2.0
"""Seconds after which a view that nobody looks at sees whether its runs are done."""
DETAILS_PERIOD: Final = 0.5
HEAD_PERIOD: Final = 0.5
"""How often the totals are looked at while nothing happens to any run: the app may have been paused."""
PAY_OFF: Final = 10
"""How many times the duration of an update has to pass before the next one."""
PATIENCE: Final = 600.0
"""How long a view whose runs are done stays for someone who looks around in it, or for an app that idles."""

Bundle = dict[str, Any]


class Screen(Protocol):
    """Where bundles of one display go; the only thing a view knows of IPython."""

    def show(self, data: Bundle, metadata: Bundle) -> None:
        """Show *data*. The first call makes the display, later ones replace what it shows. From any thread."""


class Channel(Protocol):
    """The widget of one view."""

    def send(self, content: Mapping[str, Any], buffers: list[bytes]) -> None: ...
    def bundle(self) -> tuple[Bundle, Bundle]: ...
    def close(self) -> None: ...


class View:
    """Used by one thread at a time: the displaying one until :meth:`open` is over, the publisher from then on."""

    def __init__(self, source: Source, screen: Screen) -> None:
        self.source = source
        self._screen = screen
        self._channel: Channel | None = None
        self._viewers: dict[str, Viewer] = {}
        self._live_widget = False
        self._reloaded = False
        self._next = 0.0
        self._details_at = self._head_at = 0.0
        self._details: dict[str, object] = {}
        self._idle_since: float | None = None
        self._shown_head: Mapping[str, Any] = {}
        self._ready = threading.Event()
        self.over = False

    @property
    def opened(self) -> bool:
        """Whether the first frame is out."""
        return self._ready.is_set()

    def open(self, make_channel: Callable[[], Channel]) -> None:
        """Show the first frame. Unless all is done, offer a widget to the front end, to be shown once it says hello."""
        self._show_html(self.source.frame())
        self.over = self.source.done() and not self.source.lasting
        if not self.over:
            self._channel = make_channel()
        self._ready.set()

    def hurry(self) -> None:
        """Look again at once; from any thread."""
        self._next = 0.0

    def due(self) -> float:
        """When this view next wants to look at its runs; monotonic seconds."""
        return self._next

    def refresh(self, now: float) -> None:
        """Show what is new, at monotonic *now*; the last frame if all is done."""
        self._drop_silent(now)
        looked_at = [viewer for viewer in self._viewers.values() if viewer.visible]
        done = self._is_done(now)
        if self._live_widget and not looked_at and not done:
            # Nobody looks. What costs something waits until somebody does, or until the end.
            self._next = now + HEARTBEAT
            return
        changed = self.source.update()
        if done:
            self.end()
        elif self._live_widget:
            self._tell(looked_at, changed, now)
        elif changed or "running" in self._shown_head["counts"]:
            self._show_html(self.source.frame())
        # A person waits for what is searched for; everything else may take a tenth of the time.
        pay_off = 0 if any(viewer.searching for viewer in looked_at) else PAY_OFF
        spent = time.monotonic() - now
        self._next = now + max(WIDGET_PERIOD if self._live_widget else HTML_PERIOD, pay_off * spent)

    def _is_done(self, now: float) -> bool:
        if not self.source.done():
            self._idle_since = None
            return False
        if not (self.source.lasting or any(viewer.engaged for viewer in self._viewers.values())):
            return True
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since > PATIENCE

    def _drop_silent(self, now: float) -> None:
        for name in [name for name, viewer in self._viewers.items() if now - viewer.heard > LEASE]:
            del self._viewers[name]

    # The plain display.

    def _show_html(self, frame: Frame) -> None:
        self._shown_head = frame["head"]
        self._screen.show(_static(frame), {})

    # The widget.

    def hello(self) -> None:
        """A front end's widget code works: show the widget from now on."""
        # It may answer before the thread that has just opened the channel got to keep it.
        self._ready.wait(WIDGET_PERIOD)
        if self._live_widget:
            # Another page, or the same one reloaded: JupyterLab has forgotten which output our display id stands for.
            self._reloaded = True
        elif not self.over and self._channel is not None:
            self._live_widget = True
            data, metadata = self._channel.bundle()
            # HTML and text ride along for whoever reads the notebook file meanwhile.
            self._screen.show({**data, **_static(self.source.frame())}, metadata)

    def look(self, message: Message) -> None:
        """A browser shows the view, or another part of it."""
        name, now = str(message.get("viewer")), time.monotonic()
        viewer = self._viewers.get(name)
        if viewer is None:
            viewer = self._viewers[name] = Viewer(name, self.source)
        was_open = viewer.open
        viewer.look(message, now)
        if viewer.open != was_open:
            self._details.pop(name, None)
            self._details_at = 0.0
        self._tell([viewer], self.source.update(), now)
        self._next = now + WIDGET_PERIOD

    def hide(self, message: Message) -> None:
        """Nobody looks at that browser's view any more, for the time being or (*gone*) for good."""
        viewer = self._viewers.get(str(message.get("viewer")))
        if viewer is not None:
            viewer.visible = False
            if message.get("gone"):
                del self._viewers[viewer.name]

    def answer(self, message: Message, words: str) -> None:
        """Tell the browser what became of what it asked for."""
        self._send({"type": "answer", "viewer": message.get("viewer"), "to": message.get("type"), "words": words}, [])
        for viewer in self._viewers.values():
            viewer.ask()
        self.hurry()

    def bring(self, message: Message, bundle: Mapping[str, Any], images: list[bytes]) -> None:
        """Bring the browser the preview of a result that it asked for."""
        body = {"type": "result", "viewer": message.get("viewer"), "key": message.get("key"), "bundle": bundle}
        self._send(body, images)

    def _tell(self, viewers: Collection[Viewer], changed: Sequence[Stretch], now: float) -> None:
        for viewer in self._viewers.values():
            viewer.arrange(changed, time.monotonic)
        if not changed and now < self._head_at and not any(viewer.waits for viewer in viewers):
            return
        self._head_at = now + HEAD_PERIOD
        head = self.source.head()
        for viewer in viewers:
            body = viewer.news(head)
            if body is not None:
                self._send({"type": "frame", "viewer": viewer.name}, [body])
        if now - self._details_at > DETAILS_PERIOD:
            self._details_at = now
            for viewer in viewers:
                self._tell_details(viewer)

    def _tell_details(self, viewer: Viewer) -> None:
        if viewer.open is None:
            return
        told = details_of(self.source, viewer.open)
        if self._details.get(viewer.name, "nothing") != told:
            self._details[viewer.name] = told
            self._send({"type": "details", "viewer": viewer.name}, [json.dumps(told).encode()])

    def _send(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        if self._channel is not None:
            self._channel.send(content, buffers)

    # The end.

    def end(self) -> None:
        """Leave the present frame as plain HTML and text for good, and close the widget. May be repeated.

        A page that was reloaded cannot be given HTML any more; for its sake the widget stays, with the same frame.
        """
        if self.over:
            return
        self.over = True
        self._show_html(self.source.frame())
        if self._reloaded:
            for viewer in self._viewers.values():
                viewer.ask()
            self._tell(self._viewers.values(), self.source.update(), time.monotonic())
        elif self._channel is not None:
            self._channel.close()
            self._channel = None
        self.source.close()


def _static(frame: Frame) -> Bundle:
    return {"text/html": rich.html(frame), "text/plain": rich.text(frame)}

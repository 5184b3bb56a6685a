"""One displayed view, from its first HTML to its last.

A view begins as plain HTML. If the front end's widget code says hello, the display becomes the live widget; if it
never does (no widget manager, headless execution), the HTML stays and is refreshed. When all runs are done, the display
becomes plain HTML and text for good, and the view forgets everything: what is saved can be shown without a kernel.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from flowrra_jupyter import rich
from flowrra_jupyter.sources import Source
from flowrra_jupyter.view_models import Delta, Frame, delta, keys

WIDGET_PERIOD: Final = 0.1
HTML_PERIOD: Final = 0.5
HEARTBEAT: Final = 2.0
"""Seconds after which a view looks again without having been told of a change: time passes, and events can be lost."""

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
    """Used by one thread at a time: the displaying one until :meth:`open` is over, the publisher from then on.

    Only :meth:`changed` may be called from anywhere.
    """

    def __init__(self, source: Source, screen: Screen) -> None:
        self.source = source
        self._screen = screen
        self._channel: Channel | None = None
        self._live_widget = False
        self._reloaded = False
        self._seq = 0
        self._told = 0.0
        self._checked = 0.0
        self._changed = False
        self._ready = threading.Event()
        self.over = False

    @property
    def opened(self) -> bool:
        """Whether the first frame is out."""
        return self._ready.is_set()

    def open(self, make_channel: Callable[[], Channel]) -> None:
        """Show the first frame. Unless all is done, offer a widget to the front end, to be shown once it says hello."""
        self._frame = self.source.frame(datetime.now(UTC))
        self._screen.show(_static(self._frame), {})
        self.over = not self._frame["head"]["live"]
        if not self.over:
            self._channel = make_channel()
        self._ready.set()

    def changed(self) -> None:
        """Something about the runs is new."""
        self._changed = True

    def due(self) -> float:
        """When this view next wants to look at its runs; monotonic seconds."""
        if not self._changed:
            return self._told + HEARTBEAT
        return self._told + max(self.source.period, WIDGET_PERIOD if self._live_widget else HTML_PERIOD)

    def refresh(self, now: float, *, check: bool = False) -> None:
        """Show what is new, at monotonic *now*; the last frame if all is done. *check*: look, whatever was told."""
        if check or now - self._checked >= HEARTBEAT:
            check, self._checked = True, now
        before, self._frame = self._frame, self.source.frame(datetime.now(UTC), check=check)
        self._changed, self._told = False, now
        if not self._frame["head"]["live"]:
            self.end()
        elif self._live_widget:
            if _tells_more(before, self._frame):
                self._send("delta", delta(before, self._frame))
        elif _tells_more(before, self._frame) or "running" in self._frame["head"]["counts"]:
            self._screen.show(_static(self._frame), {})

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
            self._screen.show({**data, **_static(self._frame)}, metadata)

    def snapshot(self) -> None:
        """A front end asks for everything: it is new, or noticed that it missed something."""
        if not self.over:
            self._frame = self.source.frame(datetime.now(UTC))
        self._send_all()

    def answer(self, count: int) -> None:
        """Tell the browser that its Cancel arrived and concerned *count* runs."""
        if self._channel is not None:
            self._channel.send({"type": "cancelled", "count": count}, [])
        self._changed = True

    def end(self) -> None:
        """Leave the present frame as plain HTML and text for good, and close the widget. May be repeated.

        A page that was reloaded cannot be given HTML any more; for its sake the widget stays, with the same frame.
        """
        if self.over:
            return
        self.over = True
        self._screen.show(_static(self._frame), {})
        if self._reloaded:
            self._send_all()
        elif self._channel is not None:
            self._channel.close()
            self._channel = None

    def _send_all(self) -> None:
        rows = self._frame["rows"]
        self._send("snapshot", Delta(head=self._frame["head"], rows=rows, order=keys(rows)))

    def _send(self, kind: str, change: Delta) -> None:
        if self._channel is not None:
            self._seq += 1
            body = json.dumps({"seq": self._seq, **change}, separators=(",", ":"))
            self._channel.send({"type": kind}, [body.encode()])


def receive(view: View, message: Mapping[str, Any], post: Callable[..., None]) -> None:
    """Take a *message* of the browser, on any thread: cancel right here, hand everything else to the publisher."""
    kind = message.get("type")
    if kind == "cancel":
        post(view.answer, view.source.cancel())
    elif kind == "hello":
        post(view.hello)
    elif kind == "snapshot":
        post(view.snapshot)


def _static(frame: Frame) -> Bundle:
    return {"text/html": rich.html(frame), "text/plain": rich.text(frame)}


def _tells_more(before: Frame, after: Frame) -> bool:
    """Whether more than time has passed; the browser moves the clocks by itself."""
    return before["head"]["counts"] != after["head"]["counts"] or before["rows"] != after["rows"]

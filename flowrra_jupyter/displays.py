"""Showing things in cells: makes views, gives each a place in the front end and a channel to its browsers."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any, Final

from flowrra_jupyter import rich
from flowrra_jupyter.actions import receive
from flowrra_jupyter.bridge import Publisher
from flowrra_jupyter.previews import preview
from flowrra_jupyter.sources import Shown, source_of
from flowrra_jupyter.views import Bundle, Channel, View

FLUSH_SECONDS: Final = 1.0
"""How long the end of a cell may wait for its views; they are usually a few milliseconds."""


class Displays:
    """All views of one kernel."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._publisher = Publisher()

    def show(self, thing: Shown) -> None:
        """Display a view of *thing* in the current cell: until all its runs are done, or the app has stopped."""
        view = View(source_of(thing), _Screen(self._shell))
        self._publisher.listen(view)
        try:
            view.open(lambda: self._channel(view))
        except BaseException:
            view.over = True
            view.source.close()
            raise

    def text(self, thing: Shown) -> str:
        """Return what a terminal shows of *thing* at this moment."""
        source = source_of(thing)
        try:
            return rich.text(source.frame())
        finally:
            source.close()

    def flush(self) -> None:
        """Bring all views up to date, because a cell ends."""
        self._publisher.flush(FLUSH_SECONDS)

    def close(self, timeout: float = FLUSH_SECONDS) -> None:
        """Leave all views as plain HTML, as they are now."""
        self._publisher.close(timeout)

    def _channel(self, view: View) -> Channel:
        # Imported when the first view appears: ipywidgets takes longer to import than all of flowrra.
        from flowrra_jupyter.widgets.board import BoardWidget

        show = partial(preview, self._shell.display_formatter)
        return BoardWidget(lambda message: receive(view, message, self._publisher.post, show))


class _Screen:
    """One display in the front end, replaced by its id."""

    def __init__(self, shell: Any) -> None:
        self._publish = shell.display_pub.publish
        self._transient = {"display_id": f"flowrra-{uuid.uuid4().hex}"}
        self._shown = False

    def show(self, data: Bundle, metadata: Bundle) -> None:
        self._publish(data=data, metadata=metadata, transient=self._transient, update=self._shown)
        self._shown = True

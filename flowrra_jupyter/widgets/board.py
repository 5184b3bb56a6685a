"""The kernel's end of one live view: a widget without state of its own, a channel for messages both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import anywidget

from flowrra_jupyter.widgets.modules import compose

STATIC = Path(__file__).parent / "static"


class BoardWidget(anywidget.AnyWidget):
    """Carries messages between one view and the browsers that show it.

    The model is opened when it is made, which is how a front end with a widget manager gets to say hello. Messages
    arrive on whichever thread the kernel serves: the main one, or a subshell's while a cell blocks the main one.
    """

    _esm: ClassVar[str] = compose(STATIC, "board")
    _css: ClassVar[str] = "".join((STATIC / name).read_text(encoding="utf-8") for name in ("look.css", "board.css"))

    def __init__(self, receive: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        _honour_subshells(self.comm)
        self.on_msg(lambda _widget, content, _buffers: receive(content))

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the data and metadata with which a front end shows this widget."""
        shown = self._repr_mimebundle_()
        assert shown is not None, "it has a view"
        return shown

    def close(self) -> None:
        """End the channel, and that of the layout that every widget drags along. May be repeated, on any thread."""
        layout = self.layout
        super().close()
        if layout is not None:
            layout.close()


def _honour_subshells(comm: Any) -> None:
    # ipykernel 7.4 answers messages of a comm on the shell that last published on it: always the main one, which a
    # blocking cell occupies. The front end's own choice, a subshell, lets Cancel through.
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, default: default  # noqa: SLF001 - see above; absent before 7.4

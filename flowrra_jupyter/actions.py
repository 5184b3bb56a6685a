"""What a browser may ask of a view. Everything here is also a method of the app, a batch or a handle, and a magic."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from flowrra import FlowrraError, UnknownRun
from flowrra_jupyter.sources import Source
from flowrra_jupyter.views import View

_log = logging.getLogger("flowrra.jupyter")

Message = Mapping[str, Any]
Post = Callable[..., None]


class Previewer(Protocol):
    """Shows a value as the front end would."""

    def __call__(self, value: Any) -> tuple[Mapping[str, str], list[bytes]]: ...


def receive(view: View, message: Message, post: Post, preview: Previewer) -> None:
    """Take a *message* of the browser, on any thread: act right here, leave to the publisher what is shown."""
    kind = str(message.get("type"))
    if kind == "hello":
        post(view.hello)
    elif kind == "look":
        post(view.look, message)
    elif kind == "hide":
        post(view.hide, message)
    elif kind == "result":
        # Whatever a value's own code does to be shown, it must not hold up the views.
        arguments = (view, message, post, preview)
        threading.Thread(target=_show_result, args=arguments, name="flowrra-preview", daemon=True).start()
    elif kind in ACTIONS:
        try:
            words = ACTIONS[kind](view.source, message)
        except FlowrraError as error:
            words = str(error)
        view.source.look_again()
        post(view.answer, message, words)


def _cancel_all(source: Source, _: Message) -> str:
    return _told(source.cancel_all(), "cancelled")


def _cancel(source: Source, message: Message) -> str:
    return "" if source.run(_key(message)).cancel() else "It was over already."


def _retry(source: Source, message: Message) -> str:
    handle = source.run(_key(message))
    retry = getattr(handle, "retry", None)
    if retry is None:
        return "This version of flowrra cannot submit a run again."
    again = retry()
    return f"Submitted again as {again.id}."


def _pause(source: Source, _: Message) -> str:
    if source.app is not None:
        source.app.pause()
    return ""


def _resume(source: Source, _: Message) -> str:
    if source.app is not None:
        source.app.resume()
    return ""


def _workers(source: Source, message: Message) -> str:
    if source.app is not None:
        source.app.resize(int(message.get("count", 1)))
    return ""


ACTIONS: Mapping[str, Callable[[Source, Message], str]] = {
    "cancel-all": _cancel_all,
    "cancel": _cancel,
    "retry": _retry,
    "pause": _pause,
    "resume": _resume,
    "workers": _workers,
}


def _key(message: Message) -> int:
    key = message.get("key")
    if not isinstance(key, int):
        raise UnknownRun(str(key))
    return key


def _told(count: int, what: str) -> str:
    return f"{count} {'run is' if count == 1 else 'runs are'} being {what}." if count else "Nothing was left to do."


def _show_result(view: View, message: Message, post: Post, preview: Previewer) -> None:
    try:
        bundle, images = preview(view.source.run(_key(message)).info().result)
    except Exception as error:  # noqa: BLE001 - a value's own code may raise anything; it is said instead of the value
        _log.debug("a result could not be shown", exc_info=True)
        bundle, images = {"text/plain": f"This value could not be shown: {type(error).__name__}: {error}"}, []
    post(view.bring, message, bundle, images)

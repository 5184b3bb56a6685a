"""A value as the front end would show it, bounded: for the result of a run in a view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

TEXT_LIMIT: Final = 20_000
HTML_LIMIT: Final = 400_000
IMAGE_LIMIT: Final = 4_000_000
KINDS: Final = ("text/plain", "text/html", "image/png", "image/svg+xml")


def preview(formatter: Any, value: Any) -> tuple[Mapping[str, str], list[bytes]]:
    """Return what *formatter*, IPython's, says of *value*, by kind, and the bytes of an image.

    Runs the value's own code; raises what that raises. What is too long for a view is left out or cut.
    """
    import base64

    data, _ = formatter.format(value, include=set(KINDS))
    shown = {"text/plain": _cut(str(data.get("text/plain", "")))}
    for kind in ("text/html", "image/svg+xml"):
        if 0 < len(data.get(kind) or "") <= HTML_LIMIT:
            shown[kind] = str(data[kind])
    image = data.get("image/png")
    image = base64.b64decode(image) if isinstance(image, str) else image
    if not image or len(image) > IMAGE_LIMIT:
        return shown, []
    return {**shown, "image/png": ""}, [bytes(image)]


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}\n… {len(text) - TEXT_LIMIT} more characters"

"""One ES module of several: anywidget loads a single one, and reading several small files is easier than one large."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_IMPORT: Final = re.compile(r'^import \{[^}]*\} from "\./(?P<name>\w+)\.js";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?!default)", re.MULTILINE)


def compose(folder: Path, entry: str) -> str:
    """Return the module *entry* (a name without ``.js``) with all that it imports from *folder* before it.

    They share one scope, so a name may be given on top of one file only.
    """
    parts: dict[str, str] = {}

    def add(name: str) -> None:
        if name in parts:
            return
        source = (folder / f"{name}.js").read_text(encoding="utf-8")
        parts[name] = ""
        for imported in _IMPORT.finditer(source):
            add(imported["name"])
        # Put at the end: what it needs is there by now.
        del parts[name]
        parts[name] = _EXPORT.sub("", _IMPORT.sub("", source))

    add(entry)
    return "\n".join(parts.values())

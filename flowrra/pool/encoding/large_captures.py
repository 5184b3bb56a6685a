"""Tells, once, of large things that a function carries along: each submission has to look whether they have changed."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from flowrra import log
from flowrra.pool.encoding.captures import read_captures
from flowrra.pool.encoding.culprit import carried_along

LARGE = 10_000_000
"""Bytes from which on a captured object is named."""
_MOST_TOLD = 1000

_told: dict[tuple[str, str], None] = {}


def hint_at_large(task: str, function: Callable[..., Any], size: int) -> None:
    """Name what makes *function*, pickled to *size* bytes, large. Once per task and name."""
    if size < LARGE:
        return
    for path, value in _captured(function):
        large = size_of(value)
        if large < LARGE or (task, path) in _told:
            continue
        if len(_told) >= _MOST_TOLD:
            _told.clear()
        _told[task, path] = None
        log.pool.warning(
            "%s captures %s, a %s of %d MB. It is shared with the workers, not copied, but each submission reads all "
            "of it to see whether it has changed; a map(...) of many runs reads it once.",
            task,
            path,
            type(value).__qualname__,
            large // 1_000_000,
        )


def _captured(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    for part in read_captures(function).seen:
        if isinstance(part, types.FunctionType):
            yield from carried_along(part)


def size_of(value: Any) -> int:
    """About how many bytes *value* holds; of an unknown type only what it says itself."""
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return int(value.memory_usage().sum())
    if isinstance(value, dict):
        return sum(size_of(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return sys.getsizeof(value) + sum(size_of(part) for part in value[:1000])
    return sys.getsizeof(value, 0)

"""Runs after which nothing has to be looked at: what happens between two of them is what makes small ones slow.

A run is *plain* if it was short, returned an atom, and did nothing that the next one could notice or that has to be
told apart (see :class:`Notes`).
"""

from __future__ import annotations

import marshal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from flowrra.pool.encoding.maps import FIXED, LONGEST, SIZED
from flowrra.pool.process.notes import Notes
from flowrra.pool.process.reporter import Reporter
from flowrra.pool.process.work import Arguments
from flowrra.pool.transport.page import DONE, FULL, LARGE, SKIPS, VERSION

NOTHING = object()
"""In the place of a value: the run at hand has not begun."""
SHORT = 50e-6
"""Seconds. After a longer run a few system calls do not matter."""


def is_atom(value: Any) -> bool:
    kind = type(value)
    return kind in FIXED or (kind in SIZED and len(value) <= LONGEST)


def execute_plain(
    function: Callable[..., Any],
    calls: Iterator[Arguments],
    index: int,
    last: int,
    enough: float,
    reporter: Reporter,
    notes: Notes,
) -> tuple[int, Any]:
    """Execute the runs from *index* on until one is not plain, or the *last* one, or the clock reads *enough*.

    Returns the index of that run and its value, or ``NOTHING`` if it has not begun. Raises what a run raises; the page
    has its index.
    """
    page = reporter.page
    area, words, starts, skipped = page.map, page.words, page.starts, page.skipped
    now_is, dumps = time.monotonic, marshal.dumps
    stdout, stderr, path, filters = sys.stdout, sys.stderr, sys.path[:], warnings.filters[:]
    modules, logging = sys.modules, sys.modules.get("logging")
    root = logging.getLogger() if logging is not None else None
    level = root.level if root is not None else 0
    done, end = words[DONE], reporter.end
    began = now_is()
    try:
        for args, kwargs in calls:
            if words[SKIPS] and skipped[index] == done:
                return index, NOTHING
            value = function(*args, **kwargs)
            now = now_is()
            kind = type(value)
            if (
                now - began > SHORT
                or notes.fresh
                or index == last
                or not (kind in FIXED or (kind in SIZED and len(value) <= LONGEST))
                or sys.stdout is not stdout
                or sys.stderr is not stderr
                or sys.path != path
                or warnings.filters != filters
                or (root.level != level if root is not None else "logging" in modules)
                or now >= enough
                or end >= FULL
            ):
                return index, value
            entry = dumps(value, VERSION)
            if len(entry) > LARGE:
                return index, value
            area[end : end + len(entry)] = entry
            index += 1
            starts[index] = now
            done += 1
            words[DONE] = done
            end += len(entry)
            began = now
    finally:
        reporter.end = end
    return index, NOTHING

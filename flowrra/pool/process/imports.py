"""Watches which of the user's own files this worker imports, so that it can be replaced when one of them is edited."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader

from flowrra.pool.process.answers import Answers
from flowrra.pool.transport.messages import Imported

_OTHERS = ("/site-packages/", "/dist-packages/")
_STANDARD = os.path.dirname(os.__file__) + os.sep
_PRODUCT = os.path.dirname(os.path.dirname(os.path.dirname(__file__))) + os.sep
_DOUBT = 50_000_000
"""Nanoseconds: a cache written so soon after the latest edit may be of what was there before."""


def is_own(path: str) -> bool:
    """Whether the user may edit it while an app runs: it is neither installed nor part of Python or of this package."""
    return not (path.startswith((_STANDARD, _PRODUCT)) or any(part in path for part in _OTHERS))


def watch_imports(answers: Answers) -> None:
    """Tell the engine of each such file that is imported from now on.

    Import looks at a file's time and size just before it reads it, or takes the cached code instead; only that look is
    sure to tell the version that was imported.
    """
    look, watcher = SourceFileLoader.path_stats, os.getpid()

    def path_stats(self: SourceFileLoader, path: str) -> Mapping[str, float]:
        whole = os.path.abspath(path)
        if not is_own(whole):
            return look(self, path)
        found = os.stat(path)
        if os.getpid() == watcher:  # what a process imports that a run has forked ends with it
            answers.send(Imported(whole, found.st_mtime_ns, found.st_size, found.st_ino))
        if _is_doubtful(path, found.st_mtime_ns):
            raise OSError(f"the cached code of {path} may be older than the file")  # import reads the file then
        return {"mtime": found.st_mtime, "size": found.st_size}

    SourceFileLoader.path_stats = path_stats  # type: ignore[method-assign]  # there is no hook for it


def _is_doubtful(path: str, modified: int) -> bool:
    """Whether the cached code is as old as *modified*. Import compares whole seconds, and sizes, which may be equal."""
    try:
        return os.stat(importlib.util.cache_from_source(path)).st_mtime_ns < modified + _DOUBT
    except OSError:
        return False

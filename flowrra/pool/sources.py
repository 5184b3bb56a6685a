"""Which worker has imported which version of the user's own files; whoever has an old one is to be replaced."""

from __future__ import annotations

import os
import threading
import time

from flowrra import log
from flowrra.core.tuples import NamedTuple

_MOST_FILES = 300
"""Looked at for a submission: those that were imported last."""
_SHARE = 0.05
"""Of the time that may go into looking,"""
_AHEAD = 0.05
"""and seconds of it that may be spent at once: many submissions in a row must not wait for a slow file system each."""


class Version(NamedTuple):
    """What tells one content of a file of another. All zero: there is no such file."""

    modified: int
    """Nanoseconds."""
    size: int
    inode: int


_GONE = Version(0, 0, 0)


def version_of(path: str) -> Version:
    """The version that is there now."""
    try:
        found = os.stat(path)
    except OSError:
        return _GONE
    return Version(found.st_mtime_ns, found.st_size, found.st_ino)


class Sources:
    """Told of imports on the engine's loop, looked at on the threads of submitters."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        """Held by whoever looks: others, whose submissions depend on it, wait for that."""
        self._files: dict[str, dict[int, Version]] = {}
        """By path and worker, the file that was imported last at the end."""
        self._credit = _AHEAD
        """Seconds that may go into looking."""
        self._credited = time.monotonic()
        self.outdated: set[int] = set()
        """Workers that have imported what has changed since."""

    def imported(self, worker: int, path: str, version: Version) -> None:
        with self._lock:
            holders = self._files.pop(path, {})
            holders[worker] = version
            self._files[path] = holders

    def forget(self, worker: int) -> None:
        """*worker* has ended."""
        with self._lock:
            self.outdated.discard(worker)
            for holders in self._files.values():
                holders.pop(worker, None)
            self._files = {path: holders for path, holders in self._files.items() if holders}

    def clear(self) -> None:
        """All workers have ended; those to come are counted from one again."""
        with self._lock:
            self._files.clear()
            self.outdated.clear()

    def take_outdated(self) -> set[int]:
        with self._lock:
            outdated, self.outdated = self.outdated, set()
        return outdated

    def look(self) -> None:
        """Find out what has changed, and say so, once for each change. To be called before a submission."""
        if not self._files:
            return
        with self._looking:
            begun = time.monotonic()
            self._credit = min(_AHEAD, self._credit + _SHARE * (begun - self._credited))
            self._credited = begun
            if self._credit <= 0:
                return
            with self._lock:
                paths = list(self._files)[-_MOST_FILES:]
            changed = [path for path in paths if self._compare(path, version_of(path))]
            self._credit -= time.monotonic() - begun
        if changed:
            log.pool.warning("%s changed on disk; workers that had imported it are replaced", _in_words(changed))

    def _compare(self, path: str, version: Version) -> bool:
        """Whether anybody has another version of it than this."""
        with self._lock:
            holders = self._files.get(path, {})
            outdated = [worker for worker, known in holders.items() if known != version]
            self.outdated.update(outdated)
            for worker in outdated:
                del holders[worker]
        return bool(outdated)


def _in_words(paths: list[str]) -> str:
    first = os.path.relpath(paths[0])
    name = paths[0] if first.startswith(os.pardir) else first
    return f"{name} has" if len(paths) == 1 else f"{name} and {len(paths) - 1} more of your files have"

"""A folder of files that processes share by name, and what happens to it when its owner ends, one way or the other."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
import weakref
from contextlib import suppress

from flowrra.pool.data.memory import spill_directory

_PREFIX = "flowrra-pool-"
_LOCK = "lock"
_FRESH = 60.0
"""Seconds after which a folder that nobody holds a lock of is one that somebody has left, not one in the making."""


class Folder:
    """Exists as long as this object, at most as long as its process; the lock tells others that it is in use.

    Raises ``OSError``. What an owner that was killed has left is removed when the next one makes its own.
    """

    def __init__(self) -> None:
        base = spill_directory()
        remove_left_behind(base)
        self.path = tempfile.mkdtemp(prefix=_PREFIX, dir=base)
        self._lock = os.open(os.path.join(self.path, _LOCK), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self.pid = os.getpid()
        self._numbers = itertools.count(1)
        # Also when the interpreter ends: nobody may have let go of what refers to this by then.
        weakref.finalize(self, _dissolve, self.path, self._lock, self.pid)
        if not _locked(self._lock):
            raise OSError(f"{self.path} cannot be locked")

    def new_name(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers)}"

    def path_of(self, name: str) -> str:
        """Raises ``ValueError`` for what is no name of a file in here."""
        if os.path.basename(name) != name or not name:
            raise ValueError(f"{name!r} is no name of a shared file")
        return os.path.join(self.path, name)

    def remove(self, name: str) -> None:
        """Delete a file, if it is there. One that is open stays until the folder goes, where the system insists."""
        if os.getpid() == self.pid:
            with suppress(FileNotFoundError, PermissionError):
                os.unlink(self.path_of(name))


class Folders:
    """The folder of this process, made when it is first needed and again after everybody has let go of it."""

    def __init__(self) -> None:
        self._latest: weakref.ref[Folder] | None = None

    def current(self) -> Folder:
        """Whoever keeps something in it has to keep the folder. Raises ``OSError``."""
        folder = self._latest() if self._latest is not None else None
        if folder is None or folder.pid != os.getpid():
            folder = Folder()
            self._latest = weakref.ref(folder)
        return folder


def remove_left_behind(base: str) -> None:
    """Remove the folders of owners that are no more."""
    for entry in list(os.scandir(base)):
        if not entry.name.startswith(_PREFIX):
            continue
        # Another user's, gone meanwhile, or held by somebody: none of our business.
        with suppress(OSError):
            lock = os.open(os.path.join(entry.path, _LOCK), os.O_RDWR)
            try:
                if time.time() - os.fstat(lock).st_mtime < _FRESH or not _locked(lock):
                    continue
            finally:
                os.close(lock)
            shutil.rmtree(entry.path, ignore_errors=True)


def _locked(fd: int) -> bool:
    """Lock the file, unless somebody else has; the lock ends with the process, however that ends."""
    try:
        import fcntl
    except ImportError:
        return _locked_on_windows(fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _locked_on_windows(fd: int) -> bool:
    import msvcrt

    try:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]  # not on the system of the type checker
    except OSError:
        return False
    return True


def _dissolve(path: str, lock: int, pid: int) -> None:
    if os.getpid() == pid:
        os.close(lock)
        shutil.rmtree(path, ignore_errors=True)

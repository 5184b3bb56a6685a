"""Ending what workers have started: their process groups, and whatever has left these.

Spared for a moment are the resource trackers of multiprocessing and joblib: when everybody whom they serve has ended,
they remove what these have left in shared memory, and end by themselves.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress

_SPARED = 0.3
"""Seconds that a resource tracker has, which takes some milliseconds."""


class Orphans:
    """Children of this process that are no workers: what dead workers have left. A living one adopts its own."""

    def __init__(self) -> None:
        self._spared: dict[int, float] = {}
        """Resource trackers, and until when they may go on."""

    def end_group(self, worker: int, workers: Collection[int]) -> None:
        """End the process group that *worker* leads, which has ended and was not reaped yet."""
        left = [pid for pid in _children_of(os.getpid()) if pid not in workers and pid != worker]
        if any(_tracks_resources(pid) for pid in left):
            return  # the others are ended one by one
        with suppress(ProcessLookupError, PermissionError):  # nobody in it any more, or only zombies
            os.killpg(worker, signal.SIGKILL)

    def end(self, workers: Collection[int]) -> bool:
        """End all of them. True: there may be more when these have ended."""
        left = [pid for pid in _children_of(os.getpid()) if pid not in workers]
        now = time.monotonic()
        self._spared = {pid: until for pid, until in self._spared.items() if pid in left}
        for pid in left:
            if pid not in self._spared:
                self._spared[pid] = now + _SPARED if _tracks_resources(pid) else now
            if now >= self._spared[pid]:
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, os.WNOHANG)
        return bool(left)


def _tracks_resources(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"resource_tracker" in file.read()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _children_of(pid: int) -> list[int]:
    try:
        with open(f"/proc/self/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        everybody = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [child for child in everybody if _parent_of(child) == pid]


def _parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0

"""How much memory processes use, as the kernel tells it, and whether it has ended one for want of memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

_KIB = 1024
_CGROUP = "/proc/self/cgroup"
_MOUNTED = "/sys/fs/cgroup"


class MemoryUse:
    """What was measured of one worker."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._run = 0
        self.peak = 0
        """Bytes, of the latest run that was measured."""
        self.exceeded = (0, 0)
        """(run, limit) for which it was ended."""

    def measure(self, executing: Callable[[], tuple[int, int]], tell: Callable[[int, int], None]) -> None:
        """Measure the run that *executing* names with its limit, and *tell* its peak.

        End the worker if the run uses more than that.
        """
        run, limit = executing()
        if not run:
            return
        self._note(run)
        tell(run, self.peak)
        if not limit or self.peak <= limit:
            return
        # Stopped, so that the run cannot end between a last look and the kill: another one would pay for it.
        os.kill(self._pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if executing() == (run, limit):
            self.exceeded = run, limit
            os.kill(self._pid, signal.SIGKILL)
        else:
            os.kill(self._pid, signal.SIGCONT)

    def _note(self, run: int) -> None:
        if run != self._run:
            self._run, self.peak = run, 0
        self.peak = max(self.peak, private_memory(self._pid))


def private_memory(pid: int | str) -> int:
    """Bytes that belong to the process and to no file: anonymous pages, in memory or swapped out. 0: it has ended.

    Pages that it still shares with the template it was forked from count, too; shared memory of arguments does not.
    """
    total = 0
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith((b"RssAnon:", b"VmSwap:")):
                    total += int(line.split()[1]) * _KIB
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return total


def oom_kills() -> int | None:
    """How many processes of this control group the kernel has ended for want of memory; None: not to be known."""
    try:
        with open(_CGROUP, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            base, name = _MOUNTED, "memory.events"
        elif "memory" in controllers.split(","):
            base, name = f"{_MOUNTED}/memory", "memory.oom_control"
        else:
            continue
        # In a container the files of the group may be mounted at the top.
        for folder in (base + group, base):
            count = _oom_kills_in(f"{folder}/{name}")
            if count is not None:
                return count
    return None


def _oom_kills_in(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)

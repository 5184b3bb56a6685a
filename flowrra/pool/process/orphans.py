"""Ending what workers have started: their process groups, and whatever has left these."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection


def end_group(pid: int) -> None:
    """End the process group that the worker *pid* leads."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # nobody in it any more, or only zombies
        return


def end_orphans(workers: Collection[int]) -> bool:
    """End what dead workers left behind. True: there may be more when these have ended.

    A living worker adopts its own orphans, so whoever is a child of this process and no worker belongs to the dead.
    """
    left = [pid for pid in _children_of(os.getpid()) if pid not in workers]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, os.WNOHANG)
    return bool(left)


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

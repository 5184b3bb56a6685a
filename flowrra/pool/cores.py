"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def available_cores(cgroups: Path = _CGROUPS, own: Path = _OWN) -> int:
    """Cores that the scheduler lets this process run on, no more than its control groups pay for; at least 1.

    *own* is where the kernel lists the control groups of this process.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for group in _groups(cgroups, own) if (quota := _quota(group)) is not None]
    return max(1, min([cores, *map(math.ceil, quotas)]))


def _groups(cgroups: Path, own: Path) -> list[Path]:
    """The process's group and those around it, each of which may have a quota of its own, up to the root.

    In a container the root is often all there is, while the path is that of the machine outside.
    """
    try:
        lines = own.read_text(errors="replace").splitlines()
    except OSError:
        return [cgroups]
    path = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    group = cgroups / path if path and ".." not in Path(path).parts else cgroups
    return [group, *(parent for parent in group.parents if parent.is_relative_to(cgroups))]


def _quota(group: Path) -> float | None:
    """Cores' worth of time per second, from version 2 or 1 of the interface; None: unlimited or not to be read."""
    try:
        limit, period = (group / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            limit = (group / "cpu/cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (group / "cpu/cpu.cfs_period_us").read_text(encoding="ascii")
        except OSError:
            return None
    if limit == "max" or int(limit) <= 0:
        return None
    return int(limit) / int(period)

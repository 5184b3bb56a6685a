"""How much memory slabs may take on this machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
_FEW = 256
"""Open files that any system allows."""


def free_bytes() -> int:
    """What could be taken now: MemAvailable, or less if the control group allows less.

    Where the system does not tell, what the disk has room for: there slabs are files.
    """
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return shutil.disk_usage(spill_directory()).free
    available = _UNLIMITED
    for line in lines:
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    return max(0, min(available, _left_in_cgroup()))


def most_open() -> int:
    """A quarter of the descriptors this process may have; the rest is the user's."""
    try:
        import resource
    except ImportError:
        return _FEW
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(2, (limit if limit > 0 else 1024) // 4)


def spill_directory() -> str:
    """Where slabs go as files when memory is scarce: ``FLOWRRA_SPILL``, else the folder for temporary files."""
    return os.environ.get("FLOWRRA_SPILL") or tempfile.gettempdir()


def _left_in_cgroup() -> int:
    left = _UNLIMITED
    try:
        lines = _CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return left
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            left = min(left, _left_below(_MOUNTED, path, "memory.max", "memory.current"))
        elif "memory" in controllers.split(","):
            base = _MOUNTED / "memory"
            left = min(left, _left_below(base, path, "memory.limit_in_bytes", "memory.usage_in_bytes"))
    return left


def _left_below(base: Path, path: str, limit: str, usage: str) -> int:
    """The least that is left in the group *path* and in those around it; in a container *path* may not be visible."""
    left = _UNLIMITED
    group = base / path.lstrip("/")
    for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(base))):
        try:
            most = (folder / limit).read_text(encoding="ascii").strip()
            if most != "max":
                left = min(left, int(most) - int((folder / usage).read_text(encoding="ascii")))
        except OSError:
            continue
    return left

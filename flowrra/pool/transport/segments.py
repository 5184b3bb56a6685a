"""Bytes in shared memory: anonymous files (memfd) that are passed between processes as descriptors.

Nothing has a name, so nothing can be left behind in /dev/shm, however a process ends. A segment is sealed after it is
written and mapped ``MAP_PRIVATE``: whoever writes to a mapping gets private copies of the pages it touches.
"""

from __future__ import annotations

import fcntl
import os
import resource
from collections.abc import Callable, Sequence

from flowrra.pool.native import map_private
from flowrra.pool.transport.messages import Table

ALIGNMENT = 64
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL

_open: set[int] = set()
"""Descriptors held by segments of this process; a set, because adding to one is atomic and counting up is not."""


class Segment:
    """Some buffers, snapshotted when this is made; in a memfd, or in this process while too many memfds are open."""

    __slots__ = ("_fd", "_parts", "size", "table")

    def __init__(self, parts: Sequence[memoryview]) -> None:
        self.table = layout([part.nbytes for part in parts])
        self.size = sum(length for _, length in self.table)
        self._fd = -1
        self._parts: tuple[bytes, ...] = ()
        if len(_open) < _most_open():
            self._fd = write_segment(parts, self.table)
            _open.add(self._fd)
        else:
            self._parts = tuple(bytes(part) for part in parts)

    def descriptor(self) -> int:
        """A new descriptor, the caller's to close."""
        if self._fd >= 0:
            return os.dup(self._fd)
        return write_segment([memoryview(part) for part in self._parts], self.table)

    def feed(self, hashing: Callable[[memoryview], object]) -> None:
        """Pass all bytes to *hashing*."""
        fd = self.descriptor()
        try:
            for part in map_segment(fd, self.table):
                hashing(part)
        finally:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            _open.discard(self._fd)
            os.close(self._fd)


def _most_open() -> int:
    """A quarter of the descriptors this process may have; the rest is the user's."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4


def layout(sizes: Sequence[int]) -> Table:
    """Where parts of these *sizes* lie in a segment."""
    table, offset = [], 0
    for size in sizes:
        table.append((offset, size))
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    return tuple(table)


def write_segment(parts: Sequence[memoryview], table: Table) -> int:
    """Copy *parts* into a new sealed memfd and return its descriptor. write(2) is twice as fast as a fresh mapping."""
    fd = os.memfd_create("flowrra", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part, (offset, length) in zip(parts, table, strict=True):
            done = 0
            while done < length:
                done += os.pwrite(fd, part[done:], offset + done)
        os.ftruncate(fd, max(1, table[-1][0] + table[-1][1]))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def map_segment(fd: int, table: Table) -> list[memoryview]:
    """Map a segment privately and return its parts; the mapping lives while one of them does. *fd* may be closed."""
    view = map_private(fd, max(1, table[-1][0] + table[-1][1]))
    return [view[offset : offset + length] for offset, length in table]

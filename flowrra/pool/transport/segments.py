"""Bytes in shared memory: anonymous files (memfd) that are passed between processes as descriptors.

Nothing has a name, so nothing can be left behind in /dev/shm, however a process ends. A segment is sealed after it is
written and mapped ``MAP_PRIVATE``: whoever writes to a mapping gets private copies of the pages it touches.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from flowrra.pool.large_pages import make_large
from flowrra.pool.native import LARGE_PAGE, Mapping, map_private
from flowrra.pool.transport.messages import Table

ALIGNMENT = 64
_MAPPED = 256 * 1024
"""Below this size reading costs no more than mapping, touching and unmapping."""
_SEALS = 0x8 | 0x4 | 0x2 | 0x1
"""F_SEAL_WRITE, GROW, SHRINK, SEAL."""


class Segment:
    """Some buffers, snapshotted when this is made."""

    __slots__ = ("_fd", "size", "table")

    def __init__(self, parts: Sequence[memoryview]) -> None:
        self.table = layout([part.nbytes for part in parts])
        self.size = sum(length for _, length in self.table)
        self._fd = write_segment(parts, self.table)

    def descriptor(self) -> int:
        """A new descriptor, the caller's to close."""
        return os.dup(self._fd)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)


def layout(sizes: Sequence[int]) -> Table:
    """Where parts of these *sizes* lie in a segment."""
    table, offset = [], 0
    for size in sizes:
        table.append((offset, size))
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    return tuple(table)


def write_segment(parts: Sequence[memoryview], table: Table) -> int:
    """Copy *parts* into a new sealed memfd and return its descriptor. write(2) is twice as fast as a fresh mapping."""
    import fcntl  # not on every system, on which there are no such segments

    size = max(1, table[-1][0] + table[-1][1])
    fd = os.memfd_create("flowrra", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        if size >= LARGE_PAGE:
            make_large(fd, Mapping(fd, size, shared=True), 0, size)
        for part, (offset, length) in zip(parts, table, strict=True):
            done = 0
            while done < length:
                done += os.pwrite(fd, part[done:], offset + done)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def map_segment(fd: int, table: Table) -> list[memoryview]:
    """The parts of a segment, privately and writable; *fd* may be closed.

    Large ones are mapped, and the mapping lives while one of them does. A process may have only so many mappings.
    """
    size = max(1, table[-1][0] + table[-1][1])
    view = map_private(fd, size) if size >= _MAPPED else _read(fd, size)
    return [view[offset : offset + length] for offset, length in table]


def _read(fd: int, size: int) -> memoryview:
    content = bytearray(size)
    os.preadv(fd, [content], 0)
    return memoryview(content)

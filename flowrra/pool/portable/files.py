"""Shared memory as files with names: slabs of what is submitted, segments of results, the page of a worker."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import weakref
from collections.abc import Sequence

from flowrra.pool.data.fingerprints import fingerprint
from flowrra.pool.data.slab import Slab
from flowrra.pool.portable.folder import Folder, Folders
from flowrra.pool.transport.page import SIZE, Page
from flowrra.pool.transport.segments import Segment, layout

_RUN = struct.Struct("<QQ")
_PEAK_AT = SIZE + _RUN.size
_WHOLE = SIZE + 2 * _RUN.size
_BINARY = getattr(os, "O_BINARY", 0)
_GONE_WHEN_CLOSED = getattr(os, "O_TEMPORARY", 0)


class NamedSlab(Slab):
    """A file. What is written to it goes through the system: a full disk is an error then, and no signal later."""

    def __init__(self, number: int, size: int, folders: Folders, *, spilled: bool) -> None:
        self._folder = folders.current()
        self.name = self._folder.new_name("slab")
        super().__init__(number, size, spilled=spilled)

    def _open(self) -> memoryview:
        path = self._folder.path_of(self.name)
        with open(path, "xb") as file:
            file.truncate(self.size)
        with open(path, "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_READ))

    def write(self, offset: int, source: memoryview) -> bytes:
        path = self._folder.path_of(self.name)
        with self._naming_what_is_missing(source.nbytes), open(path, "r+b", buffering=0) as file:
            file.seek(offset)
            done = 0
            while done < source.nbytes:
                done += file.write(source[done:])
        return fingerprint(self.view[offset : offset + source.nbytes])

    def _folder_of_files(self) -> str:
        return os.path.dirname(self._folder.path)

    def __del__(self) -> None:
        self._folder.remove(self.name)


class NamedSegment(Segment):
    """A file that is deleted by whoever receives it, or with the folder."""

    __slots__ = ("name",)

    def __init__(self, parts: Sequence[memoryview], path: str) -> None:
        self.table = layout([part.nbytes for part in parts])
        self.size = sum(length for _, length in self.table)
        self.name = os.path.basename(path)
        with open(path, "xb") as file:
            for part, (offset, _) in zip(parts, self.table, strict=True):
                file.seek(offset)
                file.write(part)


def open_last(path: str) -> int:
    """Open a file that nobody else needs. It is gone when the descriptor is closed, or before. Raises ``OSError``."""
    fd = os.open(path, os.O_RDONLY | _BINARY | _GONE_WHEN_CLOSED)
    if not _GONE_WHEN_CLOSED:
        os.unlink(path)
    return fd


def open_shared(path: str) -> int:
    return os.open(path, os.O_RDONLY | _BINARY)


class SharedPage:
    """A worker's page and, behind it, which run it executes with which memory limit, and what was measured of it."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._map = memoryview(mmap.mmap(file.fileno(), _WHOLE))
        self.page = Page(self._map)

    @staticmethod
    def create(folder: Folder) -> str:
        """A new file's name."""
        name = folder.new_name("page")
        with open(folder.path_of(name), "xb") as file:
            file.write(bytes(_WHOLE))
        return name

    def set_run(self, number: int, memory_limit: int) -> None:
        _RUN.pack_into(self._map, SIZE, number, memory_limit)

    def run(self) -> tuple[int, int]:
        """(number, memory limit) of what the worker executes now, 0: nothing. One may be that of the run before."""
        number, memory_limit = _RUN.unpack_from(self._map, SIZE)
        return number, memory_limit

    def set_peak(self, number: int, peak: int) -> None:
        """Run *number* was seen to use *peak* bytes."""
        _RUN.pack_into(self._map, _PEAK_AT, number, peak)

    def peak(self, number: int) -> int:
        """The most that run *number* was seen to use; 0: nobody looked."""
        measured, peak = _RUN.unpack_from(self._map, _PEAK_AT)
        return int(peak) if measured == number else 0


class CopiedMapping:
    """An area of a file in memory, copied when it is written to."""

    def __init__(self, fd: int, size: int, *, offset: int = 0) -> None:
        self._before = offset % mmap.ALLOCATIONGRANULARITY
        size += self._before
        self._map = mmap.mmap(fd, size, access=mmap.ACCESS_COPY, offset=offset - self._before)

    def view(self) -> tuple[memoryview, weakref.ref[object]]:
        area = (ctypes.c_ubyte * len(self._map)).from_buffer(self._map)
        return memoryview(area).cast("B")[self._before :], weakref.ref(area)

"""The few calls of the C library and the kernel that Python does not offer."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import weakref
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.memmove.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_PROT_NONE, _MAP_FIXED, _MAP_NORESERVE = 0, 0x10, 0x4000
_MADV_DONTNEED, _MADV_DONTFORK, _MADV_POPULATE_WRITE, _MADV_COLLAPSE = 4, 10, 23, 25
LARGE_PAGE = 2 * 1024 * 1024
"""Bytes of a large page on x86 and on most ARM kernels; where it is another size they are merely not made."""
_MAP_FAILED = ctypes.c_void_p(-1).value
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Mapping:
    """An area of a file in memory; unmapped when nobody refers to this object, nor to a view of it.

    Not ``mmap.mmap``: before Python 3.13 it keeps a descriptor for each mapping, and a caller may hold thousands.
    """

    __slots__ = ("__weakref__", "_pid", "address", "size")

    def __init__(self, fd: int, size: int, *, offset: int = 0, shared: bool = False) -> None:
        flags = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE | _MAP_NORESERVE
        self.address, self.size, self._pid = _map(fd, size, offset, flags), size, os.getpid()
        address = self.address
        if shared:
            _libc.madvise(address, size, _MADV_DONTFORK)

    def view(self) -> tuple[memoryview, weakref.ref[object]]:
        """A view of all of it, and a reference that dies with the last object that refers to this view."""
        area = (ctypes.c_ubyte * self.size).from_address(self.address)
        area.mapping = self  # type: ignore[attr-defined]  # any object may be attached
        return memoryview(area).cast("B"), weakref.ref(area)

    def copy_in(self, offset: int, source: memoryview) -> None:
        """Copy *source* to *offset*, without the GIL."""
        _libc.memmove(self.address + offset, _address_of(source), source.nbytes)

    def make_writable(self, offset: int, size: int) -> None:
        """Have the pages of a shared mapping at hand, which is quicker than one fault after the other."""
        _libc.madvise(self.address + offset, size, _MADV_POPULATE_WRITE)  # if it cannot, the faults come

    def make_large(self, offset: int, size: int) -> bool:
        """Gather what the file has there in large pages; both are multiples of one, none is empty. Whether all are."""
        failed: int = _libc.madvise(self.address + offset, size, _MADV_COLLAPSE)
        return not failed

    def restore(self, offset: int, size: int) -> None:
        """Undo what was written to a private mapping, in whole pages."""
        if _libc.madvise(self.address + offset, size, _MADV_DONTNEED) != 0:
            raise OSError(ctypes.get_errno(), "cannot restore shared memory")

    def __del__(self) -> None:
        # A shared mapping does not exist in a forked child, where something else may be in its place.
        if getattr(self, "address", None) and self._pid == os.getpid():
            _libc.munmap(self.address, self.size)


def _map(fd: int, size: int, offset: int, flags: int) -> int:
    """Map so that large pages of the file are large pages here: at an address as far behind a multiple as *offset*."""
    access = mmap.PROT_READ | mmap.PROT_WRITE
    if size < LARGE_PAGE:
        return _mmap(None, size, access, flags, fd, offset)
    room = size + LARGE_PAGE
    reserved = _mmap(None, room, _PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE, -1, 0)
    address = reserved + (offset - reserved) % LARGE_PAGE
    try:
        _mmap(address, size, access, flags | _MAP_FIXED, fd, offset)
    except OSError:
        _libc.munmap(reserved, room)
        raise
    end = address + -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    for start, stop in ((reserved, address), (end, reserved + room)):
        if start < stop:
            _libc.munmap(start, stop - start)
    return address


def _mmap(address: int | None, size: int, access: int, flags: int, fd: int, offset: int) -> int:
    mapped: int = _libc.mmap(address, size, access, flags, fd, offset)
    if mapped == _MAP_FAILED:
        raise OSError(ctypes.get_errno(), f"cannot map {size} bytes of shared memory")
    return mapped


def map_private(fd: int, size: int) -> memoryview:
    """Map *fd* copy-on-write; the mapping lives as long as views of it. *fd* may be closed."""
    return Mapping(fd, size).view()[0]


def map_shared(fd: int, size: int) -> memoryview:
    """As :func:`map_private`, but what is written is seen by whoever maps the same file; a fork does not have it."""
    return Mapping(fd, size, shared=True).view()[0]


def _address_of(source: memoryview) -> int:
    """Where the bytes of *source* are, which may be read-only; it must be kept alive by the caller."""
    holder = _PyBuffer()
    _api.PyObject_GetBuffer(ctypes.py_object(source), ctypes.byref(holder), 0)
    address: int = holder.buf or 0
    _api.PyBuffer_Release(ctypes.byref(holder))
    return address


class _PyBuffer(ctypes.Structure):
    """``Py_buffer`` of the stable ABI."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_api = ctypes.pythonapi
_api.PyObject_GetBuffer.argtypes = (ctypes.py_object, ctypes.c_void_p, ctypes.c_int)
_api.PyBuffer_Release.argtypes = (ctypes.c_void_p,)
_api.PyBuffer_Release.restype = None


class WrittenPages:
    """Finds the pages of private mappings that this process has written to."""

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        self._found = (_Region * _REGIONS)()
        self._can_scan = True

    def of(self, mapping: Mapping, offset: int, size: int) -> list[tuple[int, int]]:
        """(offset, size) of areas within the given one, which is whole pages, that hold all pages written to."""
        if self._can_scan:
            try:
                return self._scan(mapping, offset, size)
            except OSError:  # before Linux 6.7
                self._can_scan = False
        return [(offset, size)] if self._has_private(mapping.address + offset, size) else []

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def _scan(self, mapping: Mapping, offset: int, size: int) -> list[tuple[int, int]]:
        start, end = mapping.address + offset, mapping.address + offset + size
        written = []
        while start < end:
            argument = _ScanArgument(
                size=ctypes.sizeof(_ScanArgument),
                start=start,
                end=end,
                vec=ctypes.addressof(self._found),
                vec_len=_REGIONS,
                category_inverted=_IS_FILE,
                category_mask=_IS_FILE,
                category_anyof_mask=_IS_PRESENT | _IS_SWAPPED,
                return_mask=_IS_FILE,
            )
            count = _libc.ioctl(self._fd, ctypes.c_ulong(_PAGEMAP_SCAN), ctypes.byref(argument))
            if count < 0:
                raise OSError(ctypes.get_errno(), "PAGEMAP_SCAN")
            written += [(one.start - mapping.address, one.end - one.start) for one in self._found[:count]]
            start = argument.walk_end
        return written

    def _has_private(self, address: int, size: int) -> bool:
        count = size // mmap.PAGESIZE
        entries = int.from_bytes(os.pread(self._fd, count * 8, address // mmap.PAGESIZE * 8), "little")
        ones = int.from_bytes(b"\1\0\0\0\0\0\0\0" * count, "little")
        there, of_file = (entries >> 63) | (entries >> 62), entries >> 61
        return bool(there & ~of_file & ones)


_REGIONS = 256
_PAGEMAP_SCAN = 0xC0606610
_IS_FILE, _IS_PRESENT, _IS_SWAPPED = 1 << 2, 1 << 3, 1 << 4


class _Region(ctypes.Structure):
    _fields_ = (("start", ctypes.c_uint64), ("end", ctypes.c_uint64), ("categories", ctypes.c_uint64))


class _ScanArgument(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "size",
            "flags",
            "start",
            "end",
            "walk_end",
            "vec",
            "vec_len",
            "max_pages",
            "category_inverted",
            "category_mask",
            "category_anyof_mask",
            "return_mask",
        )
    )


def flush_c_streams() -> None:
    """Write out what C code has printed so far (``fflush(NULL)``)."""
    _libc.fflush(None)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. A parent that is gone already must be checked for."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, instead of process 1."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


class _LoadedObject(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("headers", ctypes.c_void_p),
        ("header_count", ctypes.c_uint16),
        ("added", ctypes.c_ulonglong),
    )


def _note_added(loaded: Any, _: int, into: Any) -> int:
    into[0] = loaded[0].added
    return 1  # it is the same for all of them


_Count = ctypes.POINTER(ctypes.c_ulonglong)
_visit = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_LoadedObject), ctypes.c_size_t, _Count)(_note_added)


def libraries_loaded() -> int:
    """How many shared libraries this process has ever loaded. Takes microseconds."""
    added = ctypes.c_ulonglong()
    _libc.dl_iterate_phdr(_visit, ctypes.byref(added))
    return added.value

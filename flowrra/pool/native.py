"""The few calls of the C library and the kernel that Python does not offer."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import weakref

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_MAP_FAILED = ctypes.c_void_p(-1).value
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def map_private(fd: int, size: int) -> memoryview:
    """Map *fd* copy-on-write; the mapping lives as long as views of it. *fd* may be closed.

    Not ``mmap.mmap``: before Python 3.13 it keeps a descriptor for each mapping, and a caller may hold thousands.
    """
    return _map(fd, size, mmap.MAP_PRIVATE)


def map_shared(fd: int, size: int) -> memoryview:
    """As :func:`map_private`, but what is written is seen by whoever maps the same file."""
    return _map(fd, size, mmap.MAP_SHARED)


def _map(fd: int, size: int, flags: int) -> memoryview:
    address = _libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, fd, 0)
    if address == _MAP_FAILED:
        raise OSError(ctypes.get_errno(), f"cannot map {size} bytes of shared memory")
    area = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(area, _libc.munmap, address, size).atexit = False
    return memoryview(area).cast("B")


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

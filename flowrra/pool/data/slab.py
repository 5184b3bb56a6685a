"""One piece of shared memory that holds many buffers."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import xxhash

from flowrra.pool.data.budget import MB, SlabFacts, pages
from flowrra.pool.data.fingerprints import in_halves
from flowrra.pool.data.memory import spill_directory
from flowrra.pool.large_pages import make_large
from flowrra.pool.native import LARGE_PAGE, Mapping

_SEALS = 0x10 | 0x4 | 0x2 | 0x1
"""F_SEAL_FUTURE_WRITE: nobody can write any more, except through a mapping made before. And GROW, SHRINK, SEAL."""
_STEP = MB
_AHEAD = MB
"""Small pages are made in steps of this size: of a small buffer, the system calls would cost more than the pages."""


class NoRoomError(OSError):
    """A buffer of *need* bytes could not be kept; ``place`` is the spill directory if it would have gone there."""

    def __init__(self, error: OSError, need: int, place: str) -> None:
        super().__init__(error.errno, error.strerror)
        self.need, self.place = need, place


class Slab:
    """A sealed memfd, or an unlinked file. Its owner serialises all calls but :meth:`write`.

    Raises ``NoRoomError`` if there is no descriptor, memory or disk left.
    """

    def __init__(self, number: int, size: int, *, spilled: bool) -> None:
        self.number, self.size, self.spilled = number, size, spilled
        self.used = 0
        """Bytes given away, from the beginning."""
        self.pins = 0
        self.used_at = 0.0
        self.found = 0
        self.holders: dict[int, int] = {}
        """By worker, how often it was given this slab less how often it has confirmed to have dropped it."""
        self.tainted = False
        """Something may be able to look into it of which nobody will tell when it no longer does."""
        self.digests: list[bytes] = []
        """Of the contents that can be found here."""
        self._made = 0
        """Bytes whose pages exist."""
        self._growing = threading.Lock()
        self.fd = -1
        self._pid = os.getpid()
        with self._naming_what_is_missing(size):
            self.view = self._open()

    def _open(self) -> memoryview:
        """Make the memory; what is returned shows all of it."""
        self._mapping = self._open_file() if self.spilled else self._open_memory()
        return self._mapping.view()[0]

    @contextmanager
    def _naming_what_is_missing(self, need: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise NoRoomError(error, need, self._folder_of_files()) from error

    def _folder_of_files(self) -> str:
        return spill_directory() if self.spilled else ""

    def _open_memory(self) -> Mapping:
        import fcntl  # not on every system, on which there are no such slabs

        self.fd = os.memfd_create("flowrra", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, self.size)
        mapping = Mapping(self.fd, self.size, shared=True)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
        return mapping

    def _open_file(self) -> Mapping:
        writable, path = tempfile.mkstemp(prefix="flowrra-", dir=spill_directory())
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            os.unlink(path)
            os.posix_fallocate(writable, 0, self.size)  # here a full disk is an error, in the mapping it is a SIGBUS
            self._made = self.size
            return Mapping(writable, self.size, shared=True)
        finally:
            os.close(writable)

    def facts(self) -> SlabFacts:
        mapped = self.tainted or bool(self.holders)
        return SlabFacts(self.number, self.size, self.pins > 0, self.used_at, self.found, mapped, self.spilled)

    def has_room(self, size: int) -> bool:
        return self.used + pages(size) <= self.size

    def reserve(self, size: int) -> int:
        """Give away room for *size* bytes; returns the offset. Whole pages: private copies of one hold one buffer."""
        offset = self.used
        self.used += pages(size)
        return offset

    def write(self, offset: int, source: memoryview) -> bytes:
        """Copy *source* into room that was reserved for it, and return the copy's fingerprint.

        From any thread, without the GIL.
        """
        with self._naming_what_is_missing(source.nbytes):
            self._make_large(offset + source.nbytes)
            written = in_halves(source.nbytes, lambda start, end: self._write(offset + start, source[start:end]))
        self._made_until(offset, source.nbytes)  # the second half was not, while the first one was being made
        return written

    def _write(self, offset: int, source: memoryview) -> bytes:
        hashed = xxhash.xxh3_128()
        for start in range(0, source.nbytes, _STEP):
            part = source[start : start + _STEP]
            at = offset + start
            self._make(at, part.nbytes)
            self._mapping.copy_in(at, part)
            hashed.update(self.view[at : at + part.nbytes])  # while it is still in the processor's cache
        return hashed.digest()

    def _make_large(self, end: int) -> None:
        """Have what does not exist yet before *end* made in large pages, as far as there are any."""
        if end <= self._made or self.spilled:
            return
        with self._growing:
            end = min(-(-end // LARGE_PAGE) * LARGE_PAGE, self.size)
            self._made = make_large(self.fd, self._mapping, self._made, end)

    def _make(self, offset: int, size: int) -> None:
        """Make the pages of an area exist, where this mapping has not had them before. May be done twice."""
        if offset + size <= self._made:
            return
        size = min(max(size, _AHEAD), self.size - offset)
        os.posix_fallocate(self.fd, offset, size)
        self._mapping.make_writable(offset, size)
        self._made_until(offset, size)

    def _made_until(self, offset: int, size: int) -> None:
        with self._growing:
            if offset <= self._made:
                self._made = max(self._made, offset + size)

    def rewritten_as(self, number: int) -> None:
        """Begin anew with the same pages. Nobody may be able to look into it."""
        self.number, self.used, self.found, self.digests = number, 0, 0, []

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0 and self._pid == os.getpid():
            os.close(self.fd)

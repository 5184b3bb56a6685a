"""A worker's side: its mappings of slabs, kept between runs."""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from flowrra.pool.data.budget import pages
from flowrra.pool.native import Mapping, WrittenPages
from flowrra.pool.transport.messages import Places


class PrivateMapping(Protocol):
    """An area of a file, copied when it is written to."""

    def view(self) -> tuple[memoryview, weakref.ref[object]]:
        """A view of all of it, and a reference that dies with the last object that refers to this view."""


class MappedSlab:
    """A slab, as this process has it."""

    def __init__(self, fd: int | None, size: int) -> None:
        self.fd, self.size = fd, size
        self.mapping: PrivateMapping | None = None
        self.view: memoryview | None = None
        """For the run that is being prepared or executed."""
        self.in_use: weakref.ref[object] | None = None
        """Alive while an object of that run refers to the view."""
        self.kept: list[weakref.ref[object]] = []
        """The same of earlier runs, which have left something behind."""
        self.handed_out: dict[int, int] = {}
        """Offset and size of the buffers that the run could write to."""


class Mappings:
    """What the engine has supplied, by number. Of the main thread.

    A run gets views of one private mapping per slab, so that pages it writes to are its own. After the run
    :meth:`settle` restores them. If something of the run still refers to the mapping, it is left to that, and the next
    run gets another one.
    """

    def __init__(self) -> None:
        self._slabs: dict[int, MappedSlab] = {}
        self._written: WrittenPages | None = None

    def __contains__(self, number: int) -> bool:
        return number in self._slabs

    def put(self, number: int, fd: int | None, size: int) -> None:
        self.drop(number)
        self._slabs[number] = MappedSlab(fd, size)

    def drop(self, number: int) -> bool:
        """Forget a slab, between runs. Whether nothing in this process, nor in one it has started, can see it now."""
        slab = self._slabs.pop(number, None)
        if slab is None:
            return True
        if slab.fd is not None:
            os.close(slab.fd)
        return not any(ref() is not None for ref in slab.kept) and not _has_children()

    def parts(self, places: Places, *, readonly: bool) -> list[memoryview]:
        """The buffers at *places*, for the run to come. Raises ``OSError`` if they cannot be mapped."""
        found = []
        for number, offset, size in places:
            slab = self._slabs[number]
            if readonly:
                found.append(self._view(slab)[offset : offset + size].toreadonly())
            elif offset in slab.handed_out:
                # The same content twice in one run: writing to one of the two must not change the other.
                view, ref = self._new_mapping(slab, offset, size).view()
                slab.kept.append(ref)
                found.append(view)
            else:
                slab.handed_out[offset] = size
                found.append(self._view(slab)[offset : offset + size])
        return found

    def _view(self, slab: MappedSlab) -> memoryview:
        if slab.view is None:
            if slab.mapping is None:
                slab.mapping = self._new_mapping(slab, 0, slab.size)
            slab.view, slab.in_use = slab.mapping.view()
        return slab.view

    def _new_mapping(self, slab: MappedSlab, offset: int, size: int) -> PrivateMapping:
        return Mapping(descriptor_of(slab), size, offset=offset)

    def settle(self) -> None:
        """A run is over, and nothing of ours refers to its buffers any more."""
        for slab in self._slabs.values():
            if slab.view is None:
                slab.handed_out.clear()
                continue
            slab.view = None
            if slab.in_use is not None and slab.in_use() is not None:
                slab.kept = [ref for ref in slab.kept if ref() is not None]
                slab.kept.append(slab.in_use)
                slab.mapping = None
            elif slab.mapping is not None:
                self._restore(slab)
            slab.in_use = None
            slab.handed_out.clear()

    def _restore(self, slab: MappedSlab) -> None:
        """Have the mapping show what it did before the run."""
        mapping = slab.mapping
        assert isinstance(mapping, Mapping), "made above"
        written_in = self._find_written()
        for offset, size in slab.handed_out.items():
            for start, length in written_in(mapping, offset, pages(size)):
                mapping.restore(start, length)

    def _find_written(self) -> Callable[[Mapping, int, int], list[tuple[int, int]]]:
        if self._written is None:
            with suppress(OSError):  # a container may hide the page map
                self._written = WrittenPages()
        if self._written is None:
            return lambda _mapping, offset, size: [(offset, size)]
        return self._written.of


def descriptor_of(slab: MappedSlab) -> int:
    if slab.fd is None:
        raise OSError(errno.EMFILE, "its shared memory could not be received: too many open files")
    return slab.fd


def _has_children() -> bool:
    """This process has descendants, running or not; an orphan among them has become its child."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True

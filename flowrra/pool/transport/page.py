"""How far a worker has come, in memory that it shares with the engine.

The socket is the way of the answers. The page is for what no message can tell: which run executes just now, and what
had ended when the worker did. It holds two words, written one after the other by single stores, so that a worker killed
between any two instructions leaves a page that can be read:

    flushed   up to which run of which group everything has been sent
    done      up to which run of which group everything has ended; the next one executes

Each is (serial number of the group among those that the worker has claimed, index of a run in it). Between them lie the
entries not sent yet, behind each other, in the form in which they will be sent.

The engine writes which runs are to be left out, and how many cores the worker may keep busy.

An entry is a value written with marshal: an atom (see ``encoding.maps``), a tuple of the fields of :class:`Ending`,
or an empty tuple for a run that was skipped.
"""

from __future__ import annotations

import array
import marshal
import mmap
import os
from typing import Any

from flowrra.core.tuples import NamedTuple
from flowrra.pool.native import map_shared
from flowrra.pool.prefetch import MOST_IN_GROUP
from flowrra.pool.transport.messages import Table

VERSION = 2
"""Of marshal: entries are written one by one and read as a list, which references between them would break."""
FLUSHED, DONE, SKIPS, SHARE = range(4)
_INDEX = 32
"""Bits of a word for the index."""
_HEAD = 64
_STARTS = 8 * (MOST_IN_GROUP + 1)
_SKIPPED = 8 * MOST_IN_GROUP
ENTRIES = -(-(_HEAD + _STARTS + _SKIPPED) // mmap.PAGESIZE) * mmap.PAGESIZE
"""Where the entries begin."""
FULL = ENTRIES + 32 * 1024
"""Beyond this the entries are sent; one more of the largest fits."""
LARGE = 8 * 1024
"""Bytes; an atom that takes more (a number of many digits) travels like other values."""
SIZE = FULL + 96 * 1024


class Ending(NamedTuple):
    """The end of a run whose value is no atom, or that has no value, or that wrote something."""

    outcome: str
    """Value of an ``OutcomeKind``."""
    stopped: bool
    """It ended because of a ``Stop``."""
    wrote: bool
    """It wrote to stdout or stderr: a ``Boundary`` will come from the zygote."""
    kind: int
    head: bytes
    table: Table
    peak: int = 0
    """Bytes of private memory that it was seen to use at most; 0: it was not measured."""


class Page:
    """One side's mapping, which lives as long as this. A descriptor may be closed. Raises ``OSError``."""

    def __init__(self, shared: int | memoryview) -> None:
        self.map = map_shared(shared, SIZE) if isinstance(shared, int) else shared[:SIZE]
        self.words = self.map[:_HEAD].cast("q")
        self.starts = self.map[_HEAD : _HEAD + _STARTS].cast("d")
        """Of each run of the latest group; behind the last one that ended, its end."""
        self.skipped = self.map[_HEAD + _STARTS : _HEAD + _STARTS + _SKIPPED].cast("q")
        """By index: the ``done`` at which the run there is to be left out."""

    @staticmethod
    def create() -> int:
        """A descriptor for a new page. Raises ``OSError``."""
        fd = os.memfd_create("flowrra-page", os.MFD_CLOEXEC)
        os.ftruncate(fd, SIZE)
        return fd

    # The worker's side.

    def begin(self, serial: int) -> int:
        """A group was claimed; returns the ``done`` of its first run."""
        word = serial << _INDEX
        # In this order: a worker that ends in between has claimed something, and begun nothing.
        self.words[FLUSHED] = word
        self.words[DONE] = word
        return word

    def index(self) -> int:
        """Index of the run that executes."""
        return self.words[DONE] & (1 << _INDEX) - 1

    def skips(self, index: int) -> bool:
        return self.words[SKIPS] != 0 and self.skipped[index] == self.words[DONE]

    # The engine's side.

    def reached(self) -> tuple[int, int]:
        """(serial, index) of the run that executes, or executed when the worker ended."""
        return _parts(self.words[DONE])

    def skip(self, serial: int, index: int) -> None:
        """Ask the worker to leave out a run. It may have begun already."""
        self.skipped[index] = serial << _INDEX | index
        self.words[SKIPS] = 1

    def unsent(self, until: int) -> tuple[int, list[Any], list[float]]:
        """(index of the first, entries, their starts and the last one's end) of what ended before the run at *until*.

        Only if the worker cannot have sent anything meanwhile. Raises ``ValueError`` for a page that makes no sense.
        """
        _, first = _parts(self.words[FLUSHED])
        count = until - first
        if count <= 0:
            return first, [], []
        return first, entries_of(count, bytes(self.map[ENTRIES:])), list(self.starts[first : until + 1])


def _parts(word: int) -> tuple[int, int]:
    return word >> _INDEX, word & (1 << _INDEX) - 1


def entries_of(count: int, data: bytes) -> list[Any]:
    """The first *count* entries in *data*. Raises ``ValueError``."""
    try:
        # marshal writes a list as this head and its items, one behind the other.
        entries: list[Any] = marshal.loads(b"[" + count.to_bytes(4, "little") + data)
    except (EOFError, TypeError) as error:
        raise ValueError(f"the entries of {count} runs cannot be read") from error
    return entries


def instants_of(data: bytes) -> list[float]:
    found = array.array("d")
    found.frombytes(data)
    return found.tolist()

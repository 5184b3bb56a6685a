"""The engine's side: where the large buffers of submissions are, by their content."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Protocol

from flowrra.core.tuples import NamedTuple
from flowrra.pool.data import memory
from flowrra.pool.data.budget import (
    SlabFacts,
    fits_into_memory,
    gathered_size,
    goes_alone,
    pages,
    to_give_up,
    to_rewrite,
    to_unmap,
)
from flowrra.pool.data.fingerprints import fingerprint
from flowrra.pool.data.slab import Slab
from flowrra.pool.transport.messages import Places

_LARGE = 1024 * 1024
"""Bytes of a buffer from which on reading it twice is to be avoided."""


class Place(NamedTuple):
    """Where a buffer is."""

    slab: Slab
    offset: int
    size: int


class Order(NamedTuple):
    """A worker is to drop a slab."""

    worker: int
    slab: int


class Blocks:
    """Some buffers that a submission refers to; pinned while this exists."""

    __slots__ = ("_depot", "digests", "places", "size", "slabs")

    def __init__(self, depot: Depot) -> None:
        self._depot = depot
        self.slabs: tuple[Slab, ...] = ()
        """Each once; pinned."""
        self.digests: tuple[bytes, ...] = ()
        self.places: Places = ()
        self.size = 0

    def __del__(self) -> None:
        if self.slabs:
            self._depot.release(self.slabs)


class NewSlab(Protocol):
    def __call__(self, number: int, size: int, *, spilled: bool) -> Slab:
        """Raises ``OSError``."""


class Depot:
    """Keeps each content once. Thread-safe; nothing but :meth:`keep` takes long, and that waits for nobody.

    Memory is given back by :meth:`tidy`, which the owner calls now and then, and when there is too little.
    """

    def __init__(self, new_slab: NewSlab = Slab) -> None:
        self._new = new_slab
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._numbers = itertools.count(1)
        self._slabs: dict[int, Slab] = {}
        self._places: dict[bytes, Place] = {}
        self._sizes: Counter[int] = Counter()
        """How many contents there are of a size."""
        self._gathering: Slab | None = None
        """The slab that takes the next small buffer."""
        self._leaving: dict[int, Slab] = {}
        """Given up, but a worker has not dropped it yet."""
        self._orders: list[Order] = []
        self._released: deque[tuple[Slab, ...]] = deque()
        """Unpinned, possibly by the garbage collector in the middle of anything."""
        self._copied = self._found = 0

    def keep(self, buffers: Sequence[memoryview]) -> Blocks:
        """Snapshot *buffers*: those whose content is here are found, the others are copied.

        Raises ``NoRoomError`` if there is no memory, disk or descriptor left. Nothing is kept then.
        """
        if self._pid != os.getpid():
            self._begin_anew_in_child()
        keys = self._keys(buffers)
        wanted = dict(zip(keys, buffers, strict=True))
        places: dict[bytes | int, Place] = {}
        digests: dict[bytes | int, bytes] = {}
        pinned = Blocks(self)
        with self._lock:
            for key in wanted:
                if isinstance(key, bytes) and (place := self._places.get(key)) is not None:
                    self._pin(pinned, place.slab)
                    place.slab.found += 1
                    self._found += place.size
                    places[key], digests[key] = place, key
            missing = [key for key in wanted if key not in places]
            for key in missing:
                size = wanted[key].nbytes
                slab = self._slab_for(size)
                self._pin(pinned, slab)
                places[key] = Place(slab, slab.reserve(size), size)
                self._copied += size
        self._settle_released()
        for key in missing:
            digests[key] = places[key].slab.write(places[key].offset, wanted[key])
        self._publish({digests[key]: places[key] for key in missing if key == digests[key] or isinstance(key, int)})
        pinned.digests = tuple(map(digests.__getitem__, keys))
        pinned.places = tuple((at.slab.number, at.offset, at.size) for at in map(places.__getitem__, keys))
        pinned.size = sum(buffer.nbytes for buffer in buffers)
        return pinned

    def _keys(self, buffers: Sequence[memoryview]) -> list[bytes | int]:
        """The fingerprints of *buffers*; of one that cannot be here its position, as its copy is going to tell it."""
        sizes = Counter(buffer.nbytes for buffer in buffers)
        return [
            position if size >= _LARGE and size not in self._sizes and sizes[size] == 1 else fingerprint(buffer)
            for position, buffer in enumerate(buffers)
            for size in (buffer.nbytes,)
        ]

    def _pin(self, blocks: Blocks, slab: Slab) -> None:
        if slab not in blocks.slabs:
            blocks.slabs += (slab,)
            slab.pins += 1

    def _publish(self, copies: Mapping[bytes, Place]) -> None:
        """From now on these contents can be found; not those that another thread changed while they were copied."""
        with self._lock:
            for digest, place in copies.items():
                if digest not in self._places:
                    self._places[digest] = place
                    self._sizes[place.size] += 1
                    place.slab.digests.append(digest)
        self._settle_released()

    # Slabs. All of this with the lock held.

    def _slab_for(self, size: int) -> Slab:
        limit = memory.most_open()
        opened = len(self._slabs) + len(self._leaving)
        if goes_alone(size, opened, limit):
            return self._new_slab(pages(size), memory.free_bytes() + self._in_memory())
        if self._gathering is None or not self._gathering.has_room(size):
            held = self._in_memory()
            budget = memory.free_bytes() + held
            self._gathering = self._new_slab(gathered_size(size, opened, limit, held, budget), budget)
        return self._gathering

    def _new_slab(self, size: int, budget: int) -> Slab:
        number = next(self._numbers)
        rewritten = to_rewrite(self._idle_facts(), size, budget)
        if rewritten is not None:
            slab = self._slabs.pop(rewritten)
            self._forget_content(slab)
            slab.rewritten_as(number)
        else:
            self._give_up(size, budget)
            slab = self._new(number, size, spilled=not fits_into_memory(size, self._in_memory(), budget))
        self._slabs[number] = slab
        return slab

    def _in_memory(self) -> int:
        kept = sum(slab.size for slab in self._slabs.values() if not slab.spilled)
        return kept + sum(slab.size for slab in self._leaving.values() if not slab.spilled)

    def _idle_facts(self) -> list[SlabFacts]:
        return [slab.facts() for slab in self._slabs.values() if slab is not self._gathering]

    def _give_up(self, need: int, budget: int) -> None:
        facts = [slab.facts() for slab in self._slabs.values()]
        for number in to_give_up(facts, need, budget, time.monotonic()):
            slab = self._slabs.pop(number)
            self._forget_content(slab)
            if slab is self._gathering:
                self._gathering = None
            self._order_dropped(slab)
            if slab.holders:
                self._leaving[number] = slab

    def _forget_content(self, slab: Slab) -> None:
        for digest in slab.digests:
            size = self._places.pop(digest).size
            self._sizes[size] -= 1
            if not self._sizes[size]:
                del self._sizes[size]
        slab.digests = []

    def _order_dropped(self, slab: Slab) -> None:
        self._orders += [Order(worker, slab.number) for worker in slab.holders]

    # What becomes of pins.

    def release(self, slabs: tuple[Slab, ...]) -> None:
        """Unpin. From any thread, at any moment: the garbage collector calls it."""
        self._released.append(slabs)
        self._settle_released()

    def _settle_released(self) -> None:
        # Whoever holds the lock meanwhile, be it this very thread, comes here after it has let go.
        while self._released and self._lock.acquire(blocking=False):
            try:
                self._unpin_released()
            finally:
                self._lock.release()

    def _unpin_released(self) -> None:
        now = time.monotonic()
        while self._released:
            for slab in self._released.popleft():
                slab.pins -= 1
                slab.used_at = now

    # What workers have. Called on the engine's loop.

    def supplied(self, slab: Slab, worker: int) -> None:
        """*worker* is given *slab*, which is pinned."""
        with self._lock:
            slab.holders[worker] = slab.holders.get(worker, 0) + 1
        self._settle_released()

    def dropped(self, number: int, worker: int, *, clean: bool) -> None:
        """*worker* has done as ordered; not *clean*: something there may still look into it."""
        with self._lock:
            slab = self._slabs.get(number) or self._leaving.get(number)
            if slab is not None and worker in slab.holders:
                slab.tainted |= not clean
                slab.holders[worker] -= 1
                if not slab.holders[worker]:
                    del slab.holders[worker]
                self._leave(slab)
        self._settle_released()

    def ended(self, worker: int) -> None:
        """*worker* is no more. What it has left behind may have its memory still."""
        with self._lock:
            for slab in [*self._slabs.values(), *self._leaving.values()]:
                if slab.holders.pop(worker, 0):
                    slab.tainted = True
                    self._leave(slab)
        self._settle_released()

    def _leave(self, slab: Slab) -> None:
        if not slab.holders:
            self._leaving.pop(slab.number, None)

    # Tidying up.

    def tidy(self) -> None:
        """Give up what has been idle for long, and have workers drop what has been for a while."""
        now = time.monotonic()
        with self._lock:
            self._unpin_released()
            self._give_up(0, memory.free_bytes() + self._in_memory())
            for number in to_unmap([slab.facts() for slab in self._slabs.values()], now):
                self._order_dropped(self._slabs[number])
        self._settle_released()

    def orders(self) -> list[Order]:
        """What workers are to be told since this was asked last; the same order may come again."""
        if not self._orders:
            return []
        with self._lock:
            orders, self._orders = self._orders, []
        self._settle_released()
        return orders

    def is_empty(self) -> bool:
        return not self._slabs and not self._leaving

    def close(self) -> None:
        """The workers are gone. What no submission refers to is given up; the rest when :meth:`tidy` finds it idle."""
        with self._lock:
            self._unpin_released()
            self._leaving.clear()
            self._orders.clear()
            self._gathering = None
            for slab in list(self._slabs.values()):
                slab.tainted |= bool(slab.holders)
                slab.holders.clear()
                if not slab.pins:
                    self._forget_content(slab)
                    del self._slabs[slab.number]
        self._settle_released()

    def describe(self) -> dict[str, int]:
        with self._lock:
            every = [*self._slabs.values(), *self._leaving.values()]
        self._settle_released()
        return {
            "shared_slabs": len(every),
            "mapped_slabs": sum(bool(slab.holders) for slab in every),
            "shared_bytes": sum(slab.used for slab in every if not slab.spilled),
            "pinned_bytes": sum(slab.used for slab in every if slab.pins),
            "spilled_bytes": sum(slab.used for slab in every if slab.spilled),
            "copied_bytes": self._copied,
            "found_bytes": self._found,
        }

    def _begin_anew_in_child(self) -> None:
        """This process was forked from the one that made the slabs, and does not have their mappings."""
        self.__init__(self._new)  # type: ignore[misc]  # exactly what is meant

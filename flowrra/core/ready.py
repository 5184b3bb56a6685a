"""The queue of runs that wait for a slot: best priority first, first come first served among equals, once due."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T", bound=Hashable)


class Place(NamedTuple, Generic[T]):
    """Where an item stands in the queue; smaller is served first."""

    rank: int
    """The negated priority, because larger priorities go first and heaps serve the smallest."""
    seq: int
    """Order of entry; unique, so that items themselves are never compared."""
    item: T


class ReadyQueue(Generic[T]):
    """Runs, or stretches of them. Removing one is O(1): its place is forgotten and skipped when it surfaces.

    Every item is *ready* or *delayed*; a delayed one becomes ready, at its own place, when ``now`` has passed its due
    time. All times are readings of one monotonic clock, in seconds.
    """

    def __init__(self) -> None:
        self._places: dict[T, Place[T]] = {}
        self._ready: list[Place[T]] = []
        self._delayed: list[tuple[float, Place[T]]] = []

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[T]:
        return iter(self._places)

    def __contains__(self, item: object) -> bool:
        return item in self._places

    def push(self, item: T, priority: int, seq: int, due: float | None = None) -> None:
        """Enter *item*, or move it to this place if it is in the queue already."""
        place = Place(-priority, seq, item)
        self._places[item] = place
        if due is None:
            heapq.heappush(self._ready, place)
        else:
            heapq.heappush(self._delayed, (due, place))

    def discard(self, item: T) -> bool:
        """Remove *item*; return whether it was there."""
        if self._places.pop(item, None) is None:
            return False
        self._shed_forgotten()
        return True

    def pop(self, now: float) -> T | None:
        """Take out the item that goes first, or return None if none is ready."""
        place = self.peek(now)
        if place is None:
            return None
        heapq.heappop(self._ready)
        del self._places[place.item]
        return place.item

    def peek(self, now: float) -> Place[T] | None:
        """Return the place that :meth:`pop` would take."""
        self._ripen(now)
        ready = self._ready
        while ready and self._places.get(ready[0].item) is not ready[0]:
            heapq.heappop(ready)
        return ready[0] if ready else None

    def next_due(self) -> float | None:
        """Return when the next delayed item becomes ready, or None if none is delayed."""
        delayed = self._delayed
        while delayed and self._places.get(delayed[0][1].item) is not delayed[0][1]:
            heapq.heappop(delayed)
        return delayed[0][0] if delayed else None

    def delayed(self) -> list[T]:
        """The items whose time has not come."""
        return [place.item for _, place in self._delayed if self._places.get(place.item) is place]

    def _ripen(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            _, place = heapq.heappop(self._delayed)
            if self._places.get(place.item) is place:
                heapq.heappush(self._ready, place)

    def _shed_forgotten(self) -> None:
        # Without this, a queue that is filled and cancelled over and over without ever being served would only grow.
        if len(self._ready) + len(self._delayed) > 64 + 2 * len(self._places):
            self._ready = [place for place in self._ready if self._places.get(place.item) is place]
            self._delayed = [entry for entry in self._delayed if self._places.get(entry[1].item) is entry[1]]
            heapq.heapify(self._ready)
            heapq.heapify(self._delayed)

"""The queue of runs that wait for a slot: best priority first, first come first served among equals, once due."""

from __future__ import annotations

import heapq
from bisect import insort
from collections import deque
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

    Equals nearly always come in order, so they stand in a row per priority, which costs less than a heap; what comes
    out of order (a retry whose time has come, a run that was taken back) waits in a heap beside the rows.
    """

    def __init__(self) -> None:
        self._places: dict[T, Place[T]] = {}
        self._ranks: list[int] = []
        """Those that have a row, in order."""
        self._rows: dict[int, deque[Place[T]]] = {}
        self._late: list[Place[T]] = []
        self._delayed: list[tuple[float, Place[T]]] = []
        self._held = 0
        """Places in rows and heaps, forgotten ones included."""

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
        self._held += 1
        if due is None:
            self._make_ready(place)
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
        self.take(place)
        return place.item

    def take(self, place: Place[T]) -> None:
        """Take out what :meth:`peek` has just returned."""
        if self._late and self._late[0] is place:
            heapq.heappop(self._late)
        else:
            self._rows[place.rank].popleft()
        self._held -= 1
        del self._places[place.item]

    def peek(self, now: float) -> Place[T] | None:
        """Return the place that :meth:`pop` would take."""
        if self._delayed:
            self._ripen(now)
        best = self._first_in_rows()
        late = self._late
        while late and self._places.get(late[0].item) is not late[0]:
            heapq.heappop(late)
            self._held -= 1
        if late and (best is None or late[0][:2] < best[:2]):
            return late[0]
        return best

    @property
    def any_delayed(self) -> bool:
        """Whether the time matters: without delayed items, any reading of the clock gives the same answers."""
        return bool(self._delayed)

    def next_due(self) -> float | None:
        """Return when the next delayed item becomes ready, or None if none is delayed."""
        delayed = self._delayed
        while delayed and self._places.get(delayed[0][1].item) is not delayed[0][1]:
            heapq.heappop(delayed)
            self._held -= 1
        return delayed[0][0] if delayed else None

    def delayed(self) -> list[T]:
        """The items whose time has not come."""
        return [place.item for _, place in self._delayed if self._places.get(place.item) is place]

    def _make_ready(self, place: Place[T]) -> None:
        row = self._rows.get(place.rank)
        if row is None:
            row = self._rows[place.rank] = deque()
            insort(self._ranks, place.rank)
        if not row or row[-1].seq < place.seq:
            row.append(place)
        elif place.seq < row[0].seq:
            row.appendleft(place)
        else:
            heapq.heappush(self._late, place)

    def _first_in_rows(self) -> Place[T] | None:
        places = self._places
        while self._ranks:
            row = self._rows[self._ranks[0]]
            while row:
                place = row[0]
                if places.get(place.item) is place:
                    return place
                row.popleft()
                self._held -= 1
            del self._rows[self._ranks.pop(0)]
        return None

    def _ripen(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            _, place = heapq.heappop(self._delayed)
            if self._places.get(place.item) is place:
                self._make_ready(place)
            else:
                self._held -= 1

    def _shed_forgotten(self) -> None:
        # Without this, a queue that is filled and cancelled over and over without ever being served would only grow.
        if self._held <= 64 + 2 * len(self._places):
            return
        for rank, row in self._rows.items():
            self._rows[rank] = deque(place for place in row if self._places.get(place.item) is place)
        self._late = [place for place in self._late if self._places.get(place.item) is place]
        self._delayed = [entry for entry in self._delayed if self._places.get(entry[1].item) is entry[1]]
        heapq.heapify(self._late)
        heapq.heapify(self._delayed)
        self._held = sum(map(len, self._rows.values())) + len(self._late) + len(self._delayed)

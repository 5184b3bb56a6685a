"""The queue of runs that wait for a slot: best priority first, first come first served among equals, once due."""

from __future__ import annotations

import heapq
from bisect import insort
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Generic, TypeVar

T = TypeVar("T")


class Place(Generic[T]):
    """Where an item stands in the queue; the smaller one is served first."""

    __slots__ = ("item", "rank", "seq")

    def __init__(self, rank: int, seq: int, item: T) -> None:
        self.rank = rank
        """The negated priority, because larger priorities go first and heaps serve the smallest."""
        self.seq = seq
        """Order of entry; unique among the items of a queue."""
        self.item: T | None = item
        """None once it has been taken out."""

    def __lt__(self, other: Place[T]) -> bool:
        return (self.rank, self.seq) < (other.rank, other.seq)


class ReadyQueue(Generic[T]):
    """Runs, or stretches of them. Removing one is O(1): its place is left empty and skipped when it surfaces.

    Every item is *ready* or *delayed*; a delayed one becomes ready, at its own place, when ``now`` has passed its due
    time. All times are readings of one monotonic clock, in seconds.

    Equals nearly always come in order, so they stand in a row per priority, which costs less than a heap; what comes
    out of order (a retry whose time has come, a run that was taken back) waits in a heap beside the rows.
    """

    def __init__(self) -> None:
        self.count = 0
        """How many items there are."""
        self._ranks: list[int] = []
        """Those that have a row, in order."""
        self._rows: dict[int, deque[Place[T]]] = {}
        self._late: list[Place[T]] = []
        self._delayed: list[tuple[float, Place[T]]] = []
        self._held = 0
        """Places in rows and heaps, empty ones included."""

    def __iter__(self) -> Iterator[T]:
        waiting = (place for _, place in self._delayed)
        return (place.item for place in chain(*self._rows.values(), self._late, waiting) if place.item is not None)

    def push(self, item: T, priority: int, seq: int, due: float | None = None) -> Place[T]:
        """Enter *item*; returns its place, for :meth:`discard`."""
        place = Place(-priority, seq, item)
        self.count += 1
        self._held += 1
        if due is None:
            self._make_ready(place)
        else:
            heapq.heappush(self._delayed, (due, place))
        return place

    def discard(self, place: Place[T]) -> bool:
        """Remove the item from its *place*; return whether it was still there."""
        if place.item is None:
            return False
        place.item = None
        self.count -= 1
        self._shed_empty()
        return True

    def pop(self, now: float) -> T | None:
        """Take out the item that goes first, or return None if none is ready."""
        place = self.peek(now)
        return None if place is None else self.take(place)

    def take(self, place: Place[T]) -> T:
        """Take out what :meth:`peek` has just returned."""
        if self._late and self._late[0] is place:
            heapq.heappop(self._late)
        else:
            self._rows[place.rank].popleft()
        self._held -= 1
        self.count -= 1
        item, place.item = place.item, None
        assert item is not None, "an empty place is not peeked at"
        return item

    def peek(self, now: float) -> Place[T] | None:
        """Return the place that :meth:`pop` would take."""
        if self._delayed:
            self._ripen(now)
        best = self._first_in_rows()
        return self._better_of_late(best) if self._late else best

    @property
    def any_delayed(self) -> bool:
        """Whether the time matters: without delayed items, any reading of the clock gives the same answers."""
        return bool(self._delayed)

    def next_due(self) -> float | None:
        """Return when the next delayed item becomes ready, or None if none is delayed."""
        delayed = self._delayed
        while delayed and delayed[0][1].item is None:
            heapq.heappop(delayed)
            self._held -= 1
        return delayed[0][0] if delayed else None

    def delayed(self) -> list[T]:
        """The items whose time has not come."""
        return [place.item for _, place in self._delayed if place.item is not None]

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
        ranks = self._ranks
        while ranks:
            row = self._rows[ranks[0]]
            while row:
                place = row[0]
                if place.item is not None:
                    return place
                row.popleft()
                self._held -= 1
            if len(ranks) == 1:
                # Most runs have the same priority, and the next one comes soon: its row is kept.
                return None
            del self._rows[ranks.pop(0)]
        return None

    def _better_of_late(self, best: Place[T] | None) -> Place[T] | None:
        late = self._late
        while late and late[0].item is None:
            heapq.heappop(late)
            self._held -= 1
        return late[0] if late and (best is None or late[0] < best) else best

    def _ripen(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            _, place = heapq.heappop(self._delayed)
            if place.item is not None:
                self._make_ready(place)
            else:
                self._held -= 1

    def _shed_empty(self) -> None:
        # Without this, a queue that is filled and cancelled over and over without ever being served would only grow.
        if self._held <= 64 + 2 * self.count:
            return
        for rank, row in self._rows.items():
            self._rows[rank] = deque(place for place in row if place.item is not None)
        self._late = [place for place in self._late if place.item is not None]
        self._delayed = [entry for entry in self._delayed if entry[1].item is not None]
        heapq.heapify(self._late)
        heapq.heapify(self._delayed)
        self._held = sum(map(len, self._rows.values())) + len(self._late) + len(self._delayed)

"""What runs that ended without a value were to be executed with, kept within a budget so that they can be retried."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, ref

from flowrra.core.statuses import Status
from flowrra.engine.columns import Columns
from flowrra.engine.run import FromMap, Run
from flowrra.interfaces import Call

ENTRY = 1_000
"""Bytes that are reckoned for an entry besides what it holds: objects of the run and of this book."""

_BUILTIN = (str, bytes, bytearray, list, tuple, dict, set, frozenset)
_WITH_NBYTES = frozenset({"numpy", "pandas", "pyarrow", "polars", "torch"})


class Kept(NamedTuple):
    """A run that can be retried."""

    run: Run
    encoded: Any
    columns: ref[Columns] | None
    """Of its map, if somebody still has it."""
    parts: tuple[tuple[int, int], ...]
    """(identity, bytes) of what it holds; several entries may hold the same."""


class KeptArguments:
    """The latest ones, at most *limit* bytes. Written by the engine's thread, read by any."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._entries: OrderedDict[str, Kept] = OrderedDict()
        self._holders: Counter[int] = Counter()
        self._maps: WeakKeyDictionary[Run, ref[Columns]] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, run_id: str) -> Kept | None:
        return self._entries.get(run_id)

    def stand_in(self, run: Run, old: Kept) -> Callable[[], None]:
        """Have *run*, which repeats *old*, take its place in its map; returns what undoes that. From any thread."""
        position = run.submission.position
        if old.columns is None or position is None or (columns := old.columns()) is None:
            return lambda: None
        self._maps[run] = old.columns
        before = columns.retries.get(position)
        columns.retries[position] = run

        def step_back() -> None:
            if before is not None:
                columns.retries[position] = before
            else:
                columns.retries.pop(position, None)

        return step_back

    def add(self, run: Run, columns: Columns | None) -> None:
        """Keep what *run* holds, which ends now, and forget the oldest ones if that is too much. Successes need none.

        The run's own reference to it may be dropped afterwards.
        """
        if run.record.status is Status.SUCCESS or run.encoded is None:
            return
        encoded = _apart(run.encoded)
        parts = tuple((id(part), size) for part, size in _held(encoded))
        map_of_it = self._maps.get(run) if columns is None else ref(columns)
        self._entries[run.id] = Kept(run, encoded, map_of_it, parts)
        self.size += ENTRY
        for part, size in parts:
            self._holders[part] += 1
            if self._holders[part] == 1:
                self.size += size
        while self.size > self.limit and self._entries:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        # Held until the end: an identity means something only as long as its object lives.
        _, kept = self._entries.popitem(last=False)
        self.size -= ENTRY
        for part, size in kept.parts:
            self._holders[part] -= 1
            if not self._holders[part]:
                del self._holders[part]
                self.size -= size


def _apart(encoded: Any) -> Any:
    """The call alone: a map as a whole may hold much that belongs to its other runs."""
    if type(encoded) is not FromMap:
        return encoded
    apart = getattr(encoded.calls, "apart", None)
    return encoded.calls[encoded.position] if apart is None else FromMap(*apart(encoded.position))


def _held(encoded: Any) -> Sequence[tuple[object, int]]:
    """What *encoded* keeps in memory, with the bytes of each, as far as that is known."""
    inner = encoded.calls if type(encoded) is FromMap else encoded
    held = getattr(inner, "held", None)
    if held is not None:
        parts: Sequence[tuple[object, int]] = held()
        return parts
    if isinstance(inner, tuple) and inner and isinstance(inner[0], Call):
        call = inner[0]
        return [(value, _size_of(value)) for value in (*call.args, *call.kwargs.values())]
    return ()


def _size_of(value: object) -> int:
    """Bytes of a value that is kept as it is. Asks builtin types and array libraries alone: no code of the user's."""
    kind = type(value)
    if kind in _BUILTIN:
        return sys.getsizeof(value)
    if kind.__module__.partition(".")[0] not in _WITH_NBYTES:
        return 0
    usage = getattr(value, "memory_usage", None)
    if usage is None:
        return int(getattr(value, "nbytes", 0))
    used = usage()  # of each column of a frame, or of a series
    return int(getattr(used, "sum", lambda: used)())

"""What the executors that run attempts inside this process have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import Context, copy_context
from functools import partial
from threading import RLock
from typing import Any, Generic, TypeVar

from flowrra.core.records import Outcome
from flowrra.core.seeds import Source
from flowrra.interfaces import Attempt, AttemptSink, Call
from flowrra.loops import LoopInbox
from flowrra.running import RunContext, ThinnedReport, become

_making_context = RLock()


class Entry:
    """An attempt that occupies a slot. Once ``answered`` without having ended it is abandoned."""

    # One is made for each attempt, so it is kept cheap: what few functions ask for is made when one asks.
    __slots__ = ("answered", "attempt", "context", "report", "waits")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.answered = False
        self.waits = 0
        """For how many things at a time it waits; others may have its slot meanwhile."""
        self.context: RunContext | None = None
        self.report: ThinnedReport | None = None


E = TypeVar("E", bound=Entry)


class InProcess(Generic[E]):
    """Counts slots and encodes calls: as the objects themselves, with the context variables of the submission.

    Nothing is prefetched: every attempt begins at once. The entries belong to the engine's loop.
    """

    def __init__(self, name: str, slots: int) -> None:
        self.name = name
        self._slots = slots
        self._entries: dict[tuple[str, int], E] = {}
        self._waiting = 0

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return None

    @property
    def slots(self) -> int:
        return self._slots

    def encode(self, call: Call) -> tuple[Call, Context]:
        return call, copy_context()

    def encode_map(self, call: Call, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Call, Context]]:
        context = copy_context()
        return [(call._replace(args=row), context) for row in rows]

    async def start(self, sink: AttemptSink) -> None:
        self._sink = sink
        self._engine = LoopInbox(asyncio.get_running_loop())

    def room(self) -> int:
        return self._slots - len(self._entries) + self._waiting

    def recall(self, above: tuple[int, int] | None = None) -> None:
        """There is nothing to give back."""

    def describe(self) -> Mapping[str, Any]:
        abandoned = sum(entry.answered for entry in self._entries.values())
        return {"slots": self._slots, "running": len(self._entries) - abandoned, "abandoned": abandoned}

    def _occupy(self, entry: E) -> None:
        self._entries[entry.attempt.run_id, entry.attempt.number] = entry

    def _forget_all(self) -> None:
        self._entries.clear()
        self._waiting = 0

    def _executing(self, attempt: Attempt) -> E | None:
        """The attempt's entry, unless its end has been told."""
        entry = self._entries.get((attempt.run_id, attempt.number))
        return None if entry is None or entry.answered else entry

    def _over(self, entry: E, outcome: Outcome, at: float | None = None) -> None:
        attempt = entry.attempt
        # They lead back to the entry; what the user's code has kept of them goes on to work.
        entry.context = entry.report = None
        if self._entries.pop((attempt.run_id, attempt.number), None) is None:
            return
        self._waiting -= bool(entry.waits)
        if entry.context is not None:
            # It leads back to the entry: the arguments must not wait for the garbage collector.
            entry.attempt = attempt._replace(encoded=None)
        if entry.answered:
            self._sink.released(attempt)
        else:
            self._sink.finished(attempt, outcome, at)

    def _become_current(self, entry: E) -> None:
        """Make *entry* what the code that runs from here on finds with ``current_run()``."""
        become(partial(self._context_of, entry))

    def _context_of(self, entry: E) -> RunContext:
        """What ``current_run()``, ``progress`` and waits for other runs find while the attempt executes."""
        # The function may have handed its context variables to other threads, which ask at the same time.
        with _making_context:
            if entry.context is None:
                attempt = entry.attempt
                entry.report = ThinnedReport(partial(self._engine.post, self._sink.progressed, attempt.run_id))
                waiting = partial(self._engine.post, self._set_waiting, entry)
                entry.context = RunContext(
                    attempt.run_id,
                    attempt.number,
                    attempt.task_name,
                    attempt.deadline,
                    entry.report,
                    waiting,
                    Source(attempt.seed, attempt.position),
                )
            return entry.context

    def _set_waiting(self, entry: E, waits: bool) -> None:  # noqa: FBT001 - called through the inbox
        before = entry.waits
        entry.waits += 1 if waits else -1
        if (entry.attempt.run_id, entry.attempt.number) not in self._entries:
            return
        self._waiting += bool(entry.waits) - bool(before)
        if waits:
            self._sink.room_changed()

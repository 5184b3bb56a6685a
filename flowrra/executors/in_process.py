"""What the executors that run attempts inside this process have in common."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextvars import Context, copy_context
from functools import partial
from threading import RLock
from typing import Any, Generic, TypeVar, cast

from flowrra.core.records import Outcome
from flowrra.core.seeds import Source
from flowrra.core.statuses import OutcomeKind
from flowrra.executors.spans import MapCalls, Returned
from flowrra.interfaces import Attempt, AttemptSink, Call, Span, SpanSink
from flowrra.loops import LoopInbox
from flowrra.running import RunContext, ThinnedReport

LOOK_SECONDS = 0.01
"""How often is looked for runs of a map that have begun and do not end soon."""

_making_context = RLock()


class Entry:
    """An attempt that occupies a slot. Once ``answered`` without having ended it is abandoned."""

    # One is made for each attempt, so it is kept cheap: what few functions ask for is made when one asks.
    __slots__ = ("answered", "attempt", "began", "context", "grace", "report", "span", "told", "waits", "worker")

    def __init__(self, attempt: Attempt, span: Span | None) -> None:
        self.attempt = attempt
        self.span = span
        """Set if it came with others of its map: then its begin is told only if it does not end soon."""
        self.began: float | None = None
        self.worker: str | None = None
        self.told = False
        self.answered = False
        self.waits = 0
        """For how many things at a time it waits; others may have its slot meanwhile."""
        self.context: RunContext | None = None
        self.report: ThinnedReport | None = None
        self.grace: asyncio.TimerHandle | None = None
        """Ends its run without it, unless it ends before."""


E = TypeVar("E", bound=Entry)


class InProcess(ABC, Generic[E]):
    """Counts slots and encodes calls: as the objects themselves, with the context variables of the submission.

    Nothing is prefetched: every attempt begins at once. The entries belong to the engine's loop.
    """

    def __init__(self, name: str, slots: int, entry: type[E]) -> None:
        self.name = name
        self._slots = slots
        self._entry = entry
        self._entries: dict[tuple[str, int], E] = {}
        self._waiting = 0
        self._look_timer: asyncio.TimerHandle | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return None

    @property
    def slots(self) -> int:
        return self._slots

    def encode(self, call: Call) -> tuple[Call, Context]:
        return call, copy_context()

    def encode_map(self, call: Call, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Call, Context]]:
        return MapCalls(call, rows, copy_context())

    async def start(self, sink: AttemptSink) -> None:
        self._sink = sink
        self._engine = LoopInbox(asyncio.get_running_loop())
        # Whoever hands over spans hears of them.
        self._returned = Returned(cast("SpanSink", sink), self._engine.loop)

    def begin(self, attempt: Attempt) -> None:
        self._occupy(attempt, None)

    def begin_span(self, span: Span) -> None:
        for position in range(span.first, span.first + span.length):
            self._occupy(span.attempt(position), span)
        self._look_soon()

    @abstractmethod
    def _begin(self, entry: E) -> None:
        """Have its function called. Never from inside this call: the engine is in the middle of deciding."""

    def room(self) -> int:
        return self._slots - len(self._entries) + self._waiting

    def recall(self, above: tuple[int, int] | None = None) -> None:
        """There is nothing to give back."""

    def describe(self) -> Mapping[str, Any]:
        abandoned = sum(entry.answered for entry in self._entries.values())
        return {"slots": self._slots, "running": len(self._entries) - abandoned, "abandoned": abandoned}

    def _occupy(self, attempt: Attempt, span: Span | None) -> None:
        entry = self._entries[attempt.run_id, attempt.number] = self._entry(attempt, span)
        self._begin(entry)

    def _forget_all(self) -> None:
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        self._entries.clear()
        self._waiting = 0

    def _executing(self, attempt: Attempt) -> E | None:
        """The attempt's entry, unless its end has been told."""
        entry = self._entries.get((attempt.run_id, attempt.number))
        return None if entry is None or entry.answered else entry

    def _over(self, entry: E, outcome: Outcome, at: float | None = None) -> None:
        attempt = entry.attempt
        if entry.grace is not None:
            entry.grace.cancel()
        if entry.context is not None:
            # It leads back to the entry, and the user's code may have kept it: the arguments are not to live as long,
            # nor to wait for the garbage collector.
            entry.attempt = attempt._replace(encoded=None)
            entry.context = entry.report = None
        if self._entries.pop((attempt.run_id, attempt.number), None) is None:
            return
        self._waiting -= bool(entry.waits)
        if entry.answered:
            self._sink.released(attempt)
        elif entry.span is None or entry.began is None:
            self._sink.finished(attempt, outcome, at)
        else:
            self._tell_end_of(entry, entry.span, outcome, time.monotonic() if at is None else at)

    # Runs of a map that came together.

    def _tell_end_of(self, entry: E, span: Span, outcome: Outcome, at: float) -> None:
        assert entry.began is not None, "its function was called"
        if outcome.kind is OutcomeKind.RETURNED:
            position = entry.attempt.seq - span.seq + span.first
            self._returned.add(span, position, outcome.value, entry.began, at, entry.worker)
            return
        if not entry.told:
            self._sink.started(entry.attempt, entry.worker, entry.began)
        self._sink.finished(entry.attempt, outcome, at)

    def _look_soon(self) -> None:
        if self._look_timer is None:
            self._look_timer = self._engine.loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """Tell of those that began a while ago. An object for each run of a map would cost more than most runs do."""
        self._look_timer = None
        a_while_ago = time.monotonic() - LOOK_SECONDS
        untold = [entry for entry in self._entries.values() if not (entry.told or entry.answered)]
        for entry in untold:
            if entry.span is not None and entry.began is not None and entry.began <= a_while_ago:
                entry.told = True
                position = entry.attempt.seq - entry.span.seq + entry.span.first
                self._returned.sink.span_began(entry.span, position, entry.worker, entry.began)
        if any(entry.span is not None and not entry.told for entry in untold):
            self._look_soon()

    # While a function executes, on its thread.

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

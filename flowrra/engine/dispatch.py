"""Brings ready runs to executors that have room, best first; holds back what is paused or not yet due."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

from flowrra.clock import Clock, Timer
from flowrra.core.ready import Place, ReadyQueue
from flowrra.core.records import Submission
from flowrra.core.seeds import source_of
from flowrra.core.statuses import Status
from flowrra.engine.columns import Columns
from flowrra.engine.run import FromMap, Run
from flowrra.interfaces import Attempt, Executor, Span, SpanExecutor

EVERYTHING = "*"


class Waiting:
    """Runs of a map that wait together, in a row."""

    __slots__ = ("columns", "first", "length")

    def __init__(self, columns: Columns, first: int, length: int) -> None:
        self.columns, self.first, self.length = columns, first, length

    @property
    def runs(self) -> list[Run]:
        """Those that are not over, as objects."""
        runs = map(self.columns.run, range(self.first, self.first + self.length))
        return [run for run in runs if not run.record.is_terminal]


Item = Run | Waiting
_NOTHING_GIVEN = (-sys.maxsize, 0)


class Dispatch:
    """One ready queue per executor. A run is in its queue, set aside because its task is paused, or in an executor."""

    def __init__(self, executors: Mapping[str, Executor], clock: Clock) -> None:
        self._executors = executors
        self._clock = clock
        self._queues: dict[str, ReadyQueue[Item]] = {name: ReadyQueue() for name in executors}
        self._alarms: dict[str, tuple[float, Timer]] = {}
        self._paused: set[str] = set()
        self._set_aside: dict[Item, Place[Item]] = {}
        self._entries = 0
        self._serving: set[str] = set()
        self._suspended = 0
        self._worst_given = dict.fromkeys(executors, _NOTHING_GIVEN)
        """(rank, seq) of the last place that each executor was ever given: what waits behind it overtakes nothing."""

    # Coming and going.

    def enqueue(self, run: Run, due: float | None) -> None:
        """Put *run* behind its equals that are here by now, ready when the clock reads *due*."""
        self._entries += 1
        submission = run.submission
        self._queues[submission.executor].push(run, submission.priority, self._entries, due)

    def enqueue_columns(self, columns: Columns, due: float | None) -> None:
        """Put the runs of a map behind their equals, one after the other."""
        submission = columns.submission
        columns.seq = self._entries + 1
        self._entries += len(columns)
        waiting = Waiting(columns, 0, len(columns))
        self._queues[submission.executor].push(waiting, submission.priority, columns.seq, due)

    def reenter(self, run: Run, seq: int) -> None:
        """Put *run* back to the place that it had."""
        submission = run.submission
        self._queues[submission.executor].push(run, submission.priority, seq)

    def reenter_span(self, columns: Columns, span: Span) -> None:
        """Put runs of a map back to the places that they had."""
        waiting = Waiting(columns, span.first, span.length)
        self._queues[columns.submission.executor].push(waiting, span.priority, span.seq)

    def discard(self, run: Run) -> None:
        """Forget *run*, wherever it waits by itself. One that waits in a row is passed over when its turn comes."""
        self._queues[run.submission.executor].discard(run)
        self._set_aside.pop(run, None)

    def close(self) -> None:
        """Cancel the alarms."""
        for _, timer in self._alarms.values():
            timer.cancel()
        self._alarms.clear()

    # Serving.

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Give no executor anything in the block, and not by itself afterwards."""
        self._suspended += 1
        try:
            yield
        finally:
            self._suspended -= 1

    def serve_all(self) -> None:
        for name in self._executors:
            self.serve(name)

    def serve(self, name: str) -> None:
        """Give the executor runs while it has room; if a better one still waits, let it overtake what is prefetched."""
        queue = self._queues[name]
        # Taking back reports to the engine, which serves again: the loop below does that already.
        if not queue or self._suspended or name in self._serving or EVERYTHING in self._paused:
            return
        self._serving.add(name)
        try:
            executor = self._executors[name]
            now = self._clock.mono() if queue.any_delayed else 0.0
            self._fill(name, now)
            while (best := self._best(queue, now)) is not None and best[:2] < self._worst_given[name]:
                executor.recall((-best.rank, best.seq))
                if executor.room() <= 0:
                    break
                self._fill(name, now)
        finally:
            self._serving.discard(name)
        if queue.any_delayed or name in self._alarms:
            self._set_alarm(name, queue.next_due())

    def _fill(self, name: str, now: float) -> None:
        executor, queue = self._executors[name], self._queues[name]
        while (room := executor.room()) > 0 and (place := self._best(queue, now)) is not None:
            queue.take(place)
            item = place.item
            if type(item) is Run:
                self._worst_given[name] = max((place.rank, place.seq), self._worst_given[name])
                item.attempt = _attempt(item, place.seq)
                executor.begin(item.attempt)
            elif isinstance(item, Waiting):
                self._give_some(name, item, place, room)

    def _give_some(self, name: str, waiting: Waiting, place: Place[Item], room: int) -> None:
        """Give as many of a row as there is room for; the others keep their places."""
        executor, columns, first = self._executors[name], waiting.columns, waiting.first
        given = columns.givable(first, min(room, waiting.length) if _takes_spans(executor) else 1)
        gone = given or columns.ended(first, waiting.length)
        waiting.first, waiting.length = first + gone, waiting.length - gone
        if waiting.length:
            # Before anything is given: an executor may report at once, and what is left must be in its place then.
            self._queues[name].push(waiting, columns.submission.priority, place.seq + gone)
        if not given:
            return
        self._worst_given[name] = max((place.rank, place.seq + given - 1), self._worst_given[name])
        if _takes_spans(executor):
            executor.begin_span(columns.give(first, given))
            return
        run = columns.run(first)
        run.attempt = _attempt(run, place.seq)
        executor.begin(run.attempt)

    def _best(self, queue: ReadyQueue[Item], now: float) -> Place[Item] | None:
        """The place that goes first, once runs of paused tasks are out of the way."""
        while (place := queue.peek(now)) is not None:
            if not self._paused or _submission(place.item).task_name not in self._paused:
                return place
            queue.take(place)
            self._set_aside[place.item] = place
        return None

    def _set_alarm(self, name: str, due: float | None) -> None:
        when, timer = self._alarms.get(name, (None, None))
        if when == due:
            return
        if timer is not None:
            timer.cancel()
            del self._alarms[name]
        if due is not None:
            self._alarms[name] = due, self._clock.call_at(due, lambda: self._ring(name))

    def _ring(self, name: str) -> None:
        self._alarms.pop(name, None)
        self.serve(name)

    # Holding back.

    def pause(self, task_name: str | None) -> None:
        """Start no more runs of a task, or at all. What waits inside an executor comes back, what has begun goes on."""
        self._paused.add(EVERYTHING if task_name is None else task_name)
        for executor in self._executors.values():
            executor.recall(None)

    def resume(self, task_name: str | None) -> None:
        """Undo :meth:`pause` of the same; without a name, of everything and of each task."""
        if task_name is None:
            self._paused.clear()
        else:
            self._paused.discard(task_name)
        for item, place in list(self._set_aside.items()):
            submission = _submission(item)
            if submission.task_name not in self._paused:
                del self._set_aside[item]
                self._queues[submission.executor].push(item, submission.priority, place.seq)
        self.serve_all()

    @property
    def paused(self) -> Sequence[str]:
        """Names of the paused tasks; ``"*"`` if everything is."""
        return sorted(self._paused)

    def held(self) -> list[Run]:
        """Runs that will not begin by themselves now: paused, or delayed. A retry that is not yet due is not held."""
        waiting = [item for queue in self._queues.values() for item in queue if self._is_paused(item)]
        delayed = [item for queue in self._queues.values() for item in queue.delayed() if not _has_begun(item)]
        held: dict[Run, None] = {}
        for item in (*self._set_aside, *waiting, *delayed):
            held.update(dict.fromkeys((item,) if isinstance(item, Run) else item.runs))
        return list(held)

    def _is_paused(self, item: Item) -> bool:
        return EVERYTHING in self._paused or _submission(item).task_name in self._paused


def _submission(item: Item) -> Submission:
    return item.submission if isinstance(item, Run) else item.columns.submission


def _has_begun(item: Item) -> bool:
    return isinstance(item, Run) and item.record.status is not Status.PENDING


def _takes_spans(executor: Any) -> TypeGuard[SpanExecutor]:
    return hasattr(executor, "begin_span")


def _attempt(run: Run, seq: int) -> Attempt:
    record = run.record
    submission = record.submission
    encoded = run.encoded
    if type(encoded) is FromMap:
        encoded = encoded.calls[encoded.position]
    return Attempt(
        submission.id,
        record.attempt + 1,
        submission.task_name,
        submission.priority,
        seq,
        encoded,
        submission.deadline,
        *source_of(submission),
    )

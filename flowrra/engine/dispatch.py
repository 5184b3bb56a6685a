"""Brings ready runs to executors that have room, best first; holds back what is paused or not yet due."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

from flowrra.clock import Clock, Timer
from flowrra.core.ready import Place, ReadyQueue
from flowrra.core.records import Submission, quick
from flowrra.core.seeds import seed_of
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


class _Line:
    """What waits for one executor, and how far that has come."""

    __slots__ = ("alarm", "executor", "queue", "serving", "worst_given")

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.queue: ReadyQueue[Item] = ReadyQueue()
        self.serving = False
        self.alarm: tuple[float, Timer] | None = None
        self.worst_given = _NOTHING_GIVEN
        """(rank, seq) of the last place that it was ever given: what waits behind it overtakes nothing."""


class Dispatch:
    """One ready queue per executor. A run is in its queue, set aside because its task is paused, or in an executor."""

    def __init__(self, executors: Mapping[str, Executor], clock: Clock) -> None:
        self._clock = clock
        self._lines = {name: _Line(executor) for name, executor in executors.items()}
        self._paused: set[str] = set()
        self._set_aside: dict[Item, int] = {}
        """With their order of entry."""
        self._entries = 0
        self._suspended = 0

    # Coming and going.

    def enter(self, run: Run, due: float | None) -> None:
        """Put *run* behind its equals that are here by now, ready when the clock reads *due*, and serve."""
        self._entries += 1
        submission = run.submission
        line = self._lines[submission.executor]
        run.place = line.queue.push(run, submission.priority, self._entries, due)
        # As it is the last of its equals, it can overtake what is prefetched only by its priority.
        if due is not None or -submission.priority < line.worst_given[0] or line.executor.room() > 0:
            self._serve(line)

    def enter_columns(self, columns: Columns, due: float | None) -> None:
        """Put the runs of a map behind their equals, one after the other, and serve."""
        submission = columns.submission
        columns.seq = self._entries + 1
        self._entries += len(columns)
        line = self._lines[submission.executor]
        line.queue.push(Waiting(columns, 0, len(columns)), submission.priority, columns.seq, due)
        self._serve(line)

    def reenter(self, run: Run, seq: int) -> None:
        """Put *run* back to the place that it had."""
        submission = run.submission
        run.place = self._lines[submission.executor].queue.push(run, submission.priority, seq)

    def reenter_span(self, columns: Columns, span: Span) -> None:
        """Put runs of a map back to the places that they had."""
        waiting = Waiting(columns, span.first, span.length)
        self._lines[columns.submission.executor].queue.push(waiting, span.priority, span.seq)

    def discard(self, run: Run) -> None:
        """Forget *run*, wherever it waits by itself. One that waits in a row is passed over when its turn comes."""
        place, run.place = run.place, None
        if place is not None:
            self._lines[run.submission.executor].queue.discard(place)
        self._set_aside.pop(run, None)

    def close(self) -> None:
        """Cancel the alarms."""
        for line in self._lines.values():
            self._set_alarm(line, None)

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
        for line in self._lines.values():
            self._serve(line)

    def serve(self, name: str) -> None:
        """Give the executor runs while it has room; if a better one still waits, let it overtake what is prefetched."""
        self._serve(self._lines[name])

    def _serve(self, line: _Line) -> None:
        queue = line.queue
        # Taking back reports to the engine, which serves again: the loop below does that already.
        if not queue.count or self._suspended or line.serving or EVERYTHING in self._paused:
            return
        line.serving = True
        try:
            now = self._clock.mono() if queue.any_delayed else 0.0
            at_worst = self._fill(line, now)
            while not at_worst and (best := self._best(queue, now)) is not None:
                if (best.rank, best.seq) > line.worst_given:
                    break
                line.executor.recall((-best.rank, best.seq))
                if line.executor.room() <= 0:
                    break
                at_worst = self._fill(line, now)
        finally:
            line.serving = False
        if queue.any_delayed or line.alarm is not None:
            self._set_alarm(line, queue.next_due())

    def _fill(self, line: _Line, now: float) -> bool:
        """Give what there is room for; returns whether the last was the worst ever given: then so is all that waits."""
        executor, queue, at_worst = line.executor, line.queue, False
        while (room := executor.room()) > 0 and (place := self._best(queue, now)) is not None:
            item = queue.take(place)
            if type(item) is Run:
                here = place.rank, place.seq
                at_worst = here > line.worst_given
                if at_worst:
                    line.worst_given = here
                item.place = None
                item.attempt = attempt = _attempt(item, place.seq)
                executor.begin(attempt)
            elif isinstance(item, Waiting):
                self._give_some(line, item, place, room)
                at_worst = False
        return at_worst

    def _give_some(self, line: _Line, waiting: Waiting, place: Place[Item], room: int) -> None:
        """Give as many of a row as there is room for; the others keep their places."""
        executor, columns, first = line.executor, waiting.columns, waiting.first
        given = columns.givable(first, min(room, waiting.length) if _takes_spans(executor) else 1)
        gone = given or columns.ended(first, waiting.length)
        waiting.first, waiting.length = first + gone, waiting.length - gone
        if waiting.length:
            # Before anything is given: an executor may report at once, and what is left must be in its place then.
            line.queue.push(waiting, columns.submission.priority, place.seq + gone)
        if not given:
            return
        line.worst_given = max((place.rank, place.seq + given - 1), line.worst_given)
        if _takes_spans(executor):
            executor.begin_span(columns.give(first, given))
            return
        run = columns.run(first)
        run.attempt = _attempt(run, place.seq)
        executor.begin(run.attempt)

    def _best(self, queue: ReadyQueue[Item], now: float) -> Place[Item] | None:
        """The place that goes first, once runs of paused tasks are out of the way."""
        while queue.count and (place := queue.peek(now)) is not None:
            item = place.item
            if not self._paused or item is None or _submission(item).task_name not in self._paused:
                return place
            self._set_aside[queue.take(place)] = place.seq
        return None

    def _set_alarm(self, line: _Line, due: float | None) -> None:
        if line.alarm is not None:
            when, timer = line.alarm
            if when == due:
                return
            timer.cancel()
            line.alarm = None
        if due is not None:
            line.alarm = due, self._clock.call_at(due, lambda: self._ring(line))

    def _ring(self, line: _Line) -> None:
        line.alarm = None
        self._serve(line)

    # Holding back.

    def pause(self, task_name: str | None) -> None:
        """Start no more runs of a task, or at all. What waits inside an executor comes back, what has begun goes on."""
        self._paused.add(EVERYTHING if task_name is None else task_name)
        for line in self._lines.values():
            line.executor.recall(None)

    def resume(self, task_name: str | None) -> None:
        """Undo :meth:`pause` of the same; without a name, of everything and of each task."""
        if task_name is None:
            self._paused.clear()
        else:
            self._paused.discard(task_name)
        for item, seq in list(self._set_aside.items()):
            submission = _submission(item)
            if submission.task_name not in self._paused:
                del self._set_aside[item]
                place = self._lines[submission.executor].queue.push(item, submission.priority, seq)
                if isinstance(item, Run):
                    item.place = place
        self.serve_all()

    @property
    def paused(self) -> Sequence[str]:
        """Names of the paused tasks; ``"*"`` if everything is."""
        return sorted(self._paused)

    def held(self) -> list[Run]:
        """Runs that will not begin by themselves now: paused, or delayed. A retry that is not yet due is not held."""
        waiting = [item for line in self._lines.values() for item in line.queue if self._is_paused(item)]
        delayed = [item for line in self._lines.values() for item in line.queue.delayed() if not _has_begun(item)]
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
    submission, encoded = run.submission, run.encoded
    if type(encoded) is FromMap:
        encoded = encoded.calls[encoded.position]
    fields = (
        submission.id,
        run.attempts + 1,
        submission.task_name,
        submission.priority,
        seq,
        encoded,
        submission.deadline,
        seed_of(submission),
        submission.position or 0,
    )
    return quick(Attempt, fields)

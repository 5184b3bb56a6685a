"""Brings ready runs to executors that have room, best first; holds back what is paused or not yet due."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from flowrra.clock import Clock, Timer
from flowrra.core.ready import Place, ReadyQueue
from flowrra.core.statuses import Status
from flowrra.engine.run import Run
from flowrra.interfaces import Attempt, Executor

EVERYTHING = "*"
_NOTHING_GIVEN = Place(-sys.maxsize, 0, "")


class Dispatch:
    """One ready queue per executor. A run is in its queue, set aside because its task is paused, or in an executor."""

    def __init__(self, executors: Mapping[str, Executor], clock: Clock, active: Mapping[str, Run]) -> None:
        self._executors = executors
        self._clock = clock
        self._active = active
        self._queues = {name: ReadyQueue() for name in executors}
        self._alarms: dict[str, tuple[float, Timer]] = {}
        self._paused: set[str] = set()
        self._set_aside: dict[str, Place] = {}
        self._entries = itertools.count(1)
        self._serving: set[str] = set()
        self._suspended = 0
        self._worst_given = dict.fromkeys(executors, _NOTHING_GIVEN)
        """The last place that each executor has ever been given: what waits behind it has nothing to overtake."""

    # Coming and going.

    def enqueue(self, run: Run, due: float | None) -> None:
        """Put *run* behind its equals that are here by now, ready when the clock reads *due*."""
        self._place(run, next(self._entries), due)

    def reenter(self, run: Run, seq: int) -> None:
        """Put *run* back to the place that it had."""
        self._place(run, seq, None)

    def _place(self, run: Run, seq: int, due: float | None) -> None:
        submission = run.record.submission
        self._queues[submission.executor].push(submission.id, submission.priority, seq, due)

    def discard(self, run: Run) -> None:
        """Forget *run*, wherever it waits."""
        self._queues[run.record.submission.executor].discard(run.id)
        self._set_aside.pop(run.id, None)

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
            now = self._clock.now().mono
            self._fill(name, now)
            while (best := self._best(queue, now)) is not None and best < self._worst_given[name]:
                executor.recall((-best.rank, best.seq))
                if executor.room() <= 0:
                    break
                self._fill(name, now)
        finally:
            self._serving.discard(name)
        self._set_alarm(name, queue.next_due())

    def _fill(self, name: str, now: float) -> None:
        executor, queue = self._executors[name], self._queues[name]
        while executor.room() > 0 and (place := self._best(queue, now)) is not None:
            queue.pop(now)
            self._worst_given[name] = max(place, self._worst_given[name])
            run = self._active[place.run_id]
            run.attempt = _attempt(run, place)
            executor.begin(run.attempt)

    def _best(self, queue: ReadyQueue, now: float) -> Place | None:
        """The place that goes first, once runs of paused tasks are out of the way."""
        while (place := queue.peek(now)) is not None:
            if self._active[place.run_id].record.submission.task_name not in self._paused:
                return place
            queue.pop(now)
            self._set_aside[place.run_id] = place
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
        for run_id, place in list(self._set_aside.items()):
            run = self._active[run_id]
            if run.record.submission.task_name not in self._paused:
                del self._set_aside[run_id]
                self.reenter(run, place.seq)
        self.serve_all()

    @property
    def paused(self) -> Sequence[str]:
        """Names of the paused tasks; ``"*"`` if everything is."""
        return sorted(self._paused)

    def held(self) -> list[str]:
        """Runs that will not begin by themselves now: paused, or delayed. A retry that is not yet due is not held."""
        waiting = [run_id for queue in self._queues.values() for run_id in queue if self._is_paused(run_id)]
        delayed = [run_id for queue in self._queues.values() for run_id in queue.delayed()]
        not_begun = [run_id for run_id in delayed if self._active[run_id].record.status is Status.PENDING]
        return list(dict.fromkeys([*self._set_aside, *waiting, *not_begun]))

    def _is_paused(self, run_id: str) -> bool:
        return EVERYTHING in self._paused or self._active[run_id].record.submission.task_name in self._paused


def _attempt(run: Run, place: Place) -> Attempt:
    record = run.record
    submission = record.submission
    return Attempt(
        submission.id,
        record.attempt + 1,
        submission.task_name,
        submission.priority,
        place.seq,
        run.encoded,
        submission.deadline,
    )

"""Coroutine tasks, on the engine's loop or on another one such as a notebook's."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind, StopReason
from flowrra.errors import AppStopped, TaskCancelled
from flowrra.executors.in_process import Entry, InProcess
from flowrra.failures import outcome_of_exception
from flowrra.interfaces import Attempt, AttemptSink, Call
from flowrra.loops import LoopInbox
from flowrra.running import become

_RETURNED = OutcomeKind.RETURNED

GRACE = 0.4
"""Seconds that a coroutine has to end after its cancellation before its run ends without it."""


class _Coroutine(Entry):
    """Its own fields belong to the loop of the coroutines, and are set when it is launched there."""

    __slots__ = ("stop_before_start", "task")
    stop_before_start: bool
    task: asyncio.Task[None] | None


class AioExecutor(InProcess[_Coroutine]):
    """Runs coroutine functions, at most *concurrency* at a time, each in the context of its submission.

    With *loop* None they run on the engine's loop. A coroutine that swallows its cancellation or blocks its loop keeps
    its slot; its run ends after the grace without it.
    """

    def __init__(self, concurrency: int, loop: asyncio.AbstractEventLoop | None = None, name: str = "io") -> None:
        super().__init__(name, concurrency, _Coroutine)
        self._loop = loop

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return self._loop

    async def start(self, sink: AttemptSink) -> None:
        await super().start(sink)
        self._target = self._engine if self._loop is None else LoopInbox(self._loop)
        self._same_loop = self._target.loop is self._engine.loop

    def _begin(self, entry: _Coroutine) -> None:
        if self._same_loop:
            self._launch(entry)
        elif not self._target.post(self._launch, entry):
            gone = Outcome(OutcomeKind.RAISED, exception=AppStopped("the loop of the coroutine tasks is closed"))
            self._engine.post(self._over, entry, gone)

    def stop(self, attempt: Attempt, reason: StopReason) -> None:
        entry = self._executing(attempt)
        if entry is None or entry.grace is not None:
            return
        # With its loop closed it will never end. Not from inside this call: the engine is in the middle of deciding.
        grace = GRACE if self._target.post(self._cancel, entry) else 0.0
        entry.grace = self._engine.loop.call_later(grace, self._abandon, entry)

    async def close(self) -> None:
        for entry in self._entries.values():
            if entry.grace is not None:
                entry.grace.cancel()
            self._target.post(self._cancel, entry)
        self._forget_all()

    # On the coroutines' loop.

    def _launch(self, entry: _Coroutine) -> None:
        call, context = entry.attempt.encoded
        entry.stop_before_start = False
        # Made here rather than by the loop: a task factory may start it at once, while the engine still decides.
        # A copy for each attempt: what one sets must not be seen by the next, and a context cannot be entered twice.
        entry.task = asyncio.Task(
            self._execute(entry, call), loop=self._target.loop, name=entry.attempt.run_id, context=context.copy()
        )

    async def _execute(self, entry: _Coroutine, call: Call) -> None:
        attempt = entry.attempt
        if entry.stop_before_start:
            stopped = TaskCancelled(attempt.task_name, attempt.run_id)
            self._tell_end(entry, Outcome(OutcomeKind.CANCELLED, exception=stopped))
            return
        entry.began = time.monotonic()
        try:
            if entry.span is None:
                self._tell_begin(attempt, entry.began)
            become(partial(self._context_of, entry))
            outcome = Outcome(_RETURNED, await call.function(*call.args, **call.kwargs))
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its outcome; it must not end the loop
            outcome = outcome_of_exception(attempt.task_name, attempt.run_id, error)
        if entry.report is not None:
            entry.report.finish()
        # The task's context leads back to the entry: without this every run would be left to the garbage collector.
        entry.task = None
        self._tell_end(entry, outcome)

    def _tell_begin(self, attempt: Attempt, at: float) -> None:
        if self._same_loop:
            self._sink.started(attempt, None, at)
        else:
            self._engine.post(self._sink.started, attempt, None, at)

    def _tell_end(self, entry: _Coroutine, outcome: Outcome) -> None:
        # What the run has posted itself, such as its progress, comes before its end. And a cancellation may be that of
        # all tasks when the program has returned: then the engine is about to lose its loop, and has more to say.
        if self._same_loop and entry.context is None and outcome.kind is _RETURNED:
            self._over(entry, outcome)
        else:
            self._engine.post(self._over, entry, outcome, time.monotonic())

    def _cancel(self, entry: _Coroutine) -> None:
        # A task cancelled before its first step would end without entering its body, and nobody would be told.
        if entry.task is None or entry.began is None:
            entry.stop_before_start = True
        else:
            entry.task.cancel()

    # On the engine's loop.

    def _abandon(self, entry: _Coroutine) -> None:
        attempt = entry.attempt
        entry.answered = True
        error = TaskCancelled(attempt.task_name, attempt.run_id, "it did not end within the grace and goes on unheard")
        self._sink.finished(attempt, Outcome(OutcomeKind.CANCELLED, exception=error, abandoned=True))

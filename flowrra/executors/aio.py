"""Coroutine tasks, on the engine's loop or on another one such as a notebook's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any

from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind, StopReason
from flowrra.errors import AppStopped, TaskCancelled
from flowrra.failures import outcome_of_exception
from flowrra.interfaces import Attempt, AttemptSink, Call
from flowrra.loops import LoopInbox
from flowrra.running import RunContext, ThinnedReport, entered

GRACE = 0.4
"""Seconds that a coroutine has to end after its cancellation before its run ends without it."""

Key = tuple[str, int]


@dataclass(slots=True)
class _Running:
    """Touched by the coroutines' loop, except ``answered`` and ``grace``, which belong to the engine's."""

    attempt: Attempt
    begun: bool = False
    task: asyncio.Task[None] | None = None
    stop_before_start: bool = False
    answered: bool = False
    grace: asyncio.TimerHandle | None = None


class AioExecutor:
    """Runs coroutine functions, at most *concurrency* at a time, each in the context of its submission.

    With *loop* None they run on the engine's loop. A coroutine that swallows its cancellation or blocks its loop keeps
    its slot; its run ends after the grace without it.
    """

    def __init__(self, concurrency: int, loop: asyncio.AbstractEventLoop | None = None, name: str = "io") -> None:
        self.name = name
        self._concurrency = concurrency
        self._given_loop = loop
        self._running: dict[Key, _Running] = {}

    @property
    def slots(self) -> int:
        return self._concurrency

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Where the coroutines run."""
        return self._target.loop if hasattr(self, "_target") else self._given_loop

    def encode(self, call: Call) -> tuple[Call, Context]:
        return call, copy_context()

    def encode_map(self, call: Call, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Call, Context]]:
        context = copy_context()
        return [(call._replace(args=row), context) for row in rows]

    async def start(self, sink: AttemptSink) -> None:
        self._sink = sink
        self._engine = LoopInbox(asyncio.get_running_loop())
        self._target = self._engine if self._given_loop is None else LoopInbox(self._given_loop)
        self._same_loop = self._target.loop is self._engine.loop

    def room(self) -> int:
        return self._concurrency - len(self._running)

    def begin(self, attempt: Attempt) -> None:
        running = _Running(attempt)
        self._running[attempt.run_id, attempt.number] = running
        if self._same_loop:
            self._launch(running)
        elif not self._target.post(self._launch, running):
            gone = Outcome(OutcomeKind.RAISED, exception=AppStopped("the loop of the coroutine tasks is closed"))
            self._engine.post(self._over, running, gone)

    def stop(self, attempt: Attempt, reason: StopReason) -> None:
        running = self._running.get((attempt.run_id, attempt.number))
        if running is None or running.grace is not None or running.answered:
            return
        running.grace = self._engine.loop.call_later(GRACE, self._abandon, running)
        if not self._target.post(self._cancel, running):
            self._abandon(running)

    def recall(self, above: tuple[int, int] | None = None) -> None:
        """Nothing is prefetched: every attempt begins at once."""

    def describe(self) -> Mapping[str, Any]:
        abandoned = sum(running.answered for running in self._running.values())
        return {"running": len(self._running) - abandoned, "slots": self._concurrency, "abandoned": abandoned}

    async def close(self) -> None:
        for running in self._running.values():
            if running.grace is not None:
                running.grace.cancel()
            self._target.post(self._cancel, running)
        self._running.clear()

    # -- on the coroutines' loop

    def _launch(self, running: _Running) -> None:
        call, context = running.attempt.encoded
        # A copy for each attempt: what one sets must not be seen by the next, and a context cannot be entered twice.
        running.task = self._target.loop.create_task(self._execute(running, call), context=context.copy())
        self._answer(self._sink.started, running.attempt, None)

    async def _execute(self, running: _Running, call: Call) -> None:
        attempt = running.attempt
        if running.stop_before_start:
            stopped = TaskCancelled(attempt.task_name, attempt.run_id)
            self._engine.post(self._over, running, Outcome(OutcomeKind.CANCELLED, exception=stopped))
            return
        running.begun = True
        report = ThinnedReport(partial(self._engine.post, self._sink.progressed, attempt.run_id))
        context = RunContext(attempt.run_id, attempt.number, attempt.task_name, attempt.deadline, report)
        try:
            with entered(context):
                value = await call.function(*call.args, **call.kwargs)
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its outcome; it must not end the loop
            outcome = outcome_of_exception(attempt.task_name, attempt.run_id, error)
        else:
            outcome = Outcome(OutcomeKind.RETURNED, value)
        report.finish()
        self._engine.post(self._over, running, outcome)

    def _cancel(self, running: _Running) -> None:
        # A task cancelled before its first step would end without entering its body, and nobody would be told.
        if running.task is None or not running.begun:
            running.stop_before_start = True
        else:
            running.task.cancel()

    def _answer(self, call: Any, *args: Any) -> None:
        if self._same_loop:
            call(*args)
        else:
            self._engine.post(call, *args)

    # -- on the engine's loop

    def _over(self, running: _Running, outcome: Outcome) -> None:
        attempt = running.attempt
        if running.grace is not None:
            running.grace.cancel()
        if self._running.pop((attempt.run_id, attempt.number), None) is None:
            return
        if running.answered:
            self._sink.released(attempt)
        else:
            self._sink.finished(attempt, outcome)

    def _abandon(self, running: _Running) -> None:
        attempt = running.attempt
        running.answered = True
        error = TaskCancelled(attempt.task_name, attempt.run_id, "it did not end within the grace and goes on unheard")
        self._sink.finished(attempt, Outcome(OutcomeKind.CANCELLED, exception=error, abandoned=True))

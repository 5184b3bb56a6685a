"""Plain functions that wait rather than compute, on daemon threads of our own."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any

from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind, StopReason
from flowrra.errors import InvalidTask, TaskCancelled
from flowrra.executors.crew import Crew
from flowrra.failures import outcome_of_exception
from flowrra.interfaces import Attempt, AttemptSink, Call
from flowrra.loops import LoopInbox
from flowrra.running import RunContext, ThinnedReport, entered


@dataclass(slots=True)
class _Running:
    attempt: Attempt
    answered: bool = False


class ThreadExecutor:
    """Runs functions on at most *threads* daemon threads, each in the context of its submission.

    A function on a thread cannot be stopped: its run ends at once, its later answer is dropped, its slot stays taken
    until it returns.
    """

    def __init__(self, threads: int, name: str = "threads") -> None:
        self.name = name
        self._slots = threads
        self._running: dict[tuple[str, int], _Running] = {}

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
        self._crew = Crew()

    def room(self) -> int:
        return self._slots - len(self._running)

    def begin(self, attempt: Attempt) -> None:
        running = _Running(attempt)
        self._running[attempt.run_id, attempt.number] = running
        self._crew.hand(self._execute, running)

    def stop(self, attempt: Attempt, reason: StopReason) -> None:
        running = self._running.get((attempt.run_id, attempt.number))
        if running is None or running.answered:
            return
        running.answered = True
        error = TaskCancelled(attempt.task_name, attempt.run_id, "its thread cannot be stopped and goes on unheard")
        # Not from inside this call: the engine is in the middle of deciding about the run.
        outcome = Outcome(OutcomeKind.CANCELLED, exception=error, abandoned=True)
        self._engine.post(self._sink.finished, attempt, outcome)

    def recall(self, above: tuple[int, int] | None = None) -> None:
        """Nothing is prefetched: every attempt begins at once."""

    def describe(self) -> Mapping[str, Any]:
        abandoned = sum(running.answered for running in self._running.values())
        return {"running": len(self._running) - abandoned, "slots": self._slots, "abandoned": abandoned}

    async def close(self) -> None:
        self._running.clear()
        self._crew.dismiss()

    # -- on the threads

    def _execute(self, running: _Running) -> None:
        attempt = running.attempt
        if running.answered:
            self._engine.post(self._over, running, Outcome(OutcomeKind.CANCELLED))
            return
        call, context = attempt.encoded
        self._engine.post(self._sink.started, attempt, threading.current_thread().name)
        outcome = context.copy().run(self._call, attempt, call)
        self._engine.post(self._over, running, outcome)

    def _call(self, attempt: Attempt, call: Call) -> Outcome:
        report = ThinnedReport(partial(self._engine.post, self._sink.progressed, attempt.run_id))
        try:
            with entered(RunContext(attempt.run_id, attempt.number, attempt.task_name, attempt.deadline, report)):
                value = call.function(*call.args, **call.kwargs)
                if inspect.iscoroutine(value):
                    value.close()
                    raise InvalidTask(
                        f"the function of {attempt.task_name!r} returned a coroutine that nobody awaits; "
                        "decorate a function written with 'async def'"
                    )
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its outcome; it must not end the thread
            return outcome_of_exception(attempt.task_name, attempt.run_id, error)
        finally:
            report.finish()
        return Outcome(OutcomeKind.RETURNED, value)

    # -- on the engine's loop

    def _over(self, running: _Running, outcome: Outcome) -> None:
        attempt = running.attempt
        if self._running.pop((attempt.run_id, attempt.number), None) is None:
            return
        if running.answered:
            self._sink.released(attempt)
        else:
            self._sink.finished(attempt, outcome)

"""Plain functions that wait rather than compute, on daemon threads of our own."""

from __future__ import annotations

import inspect
import threading
import time
from functools import partial

from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind, StopReason
from flowrra.errors import InvalidTask, TaskCancelled
from flowrra.executors.crew import Crew
from flowrra.executors.in_process import Entry, InProcess
from flowrra.failures import outcome_of_exception
from flowrra.interfaces import Attempt, AttemptSink, Call
from flowrra.running import become


class ThreadExecutor(InProcess[Entry]):
    """Runs functions on at most *threads* daemon threads, each in the context of its submission.

    A function on a thread cannot be stopped: its run ends at once, its later answer is dropped, its slot stays taken
    until it returns.
    """

    def __init__(self, threads: int, name: str = "threads") -> None:
        super().__init__(name, threads, Entry)

    async def start(self, sink: AttemptSink) -> None:
        await super().start(sink)
        self._crew = Crew()

    def _begin(self, entry: Entry) -> None:
        self._crew.hand(self._execute, entry)

    def stop(self, attempt: Attempt, reason: StopReason) -> None:
        entry = self._executing(attempt)
        if entry is None:
            return
        entry.answered = True
        error = TaskCancelled(attempt.task_name, attempt.run_id, "its thread cannot be stopped and goes on unheard")
        # Not from inside this call: the engine is in the middle of deciding about the run.
        outcome = Outcome(OutcomeKind.CANCELLED, exception=error, abandoned=True)
        self._engine.post(self._sink.finished, attempt, outcome)

    async def close(self) -> None:
        self._forget_all()
        self._crew.dismiss()

    # On the threads.

    def _execute(self, entry: Entry) -> None:
        attempt = entry.attempt
        if entry.answered:
            self._engine.post(self._over, entry, Outcome(OutcomeKind.CANCELLED))
            return
        call, context = attempt.encoded
        entry.worker = threading.current_thread().name
        entry.began = time.monotonic()
        if entry.span is None:
            self._engine.post(self._sink.started, attempt, entry.worker, entry.began)
        # A copy for each attempt: what one sets must not be seen by the next, and a context cannot be entered twice.
        outcome = context.copy().run(self._call, entry, call)
        if entry.report is not None:
            entry.report.finish()
        self._engine.post(self._over, entry, outcome, time.monotonic())

    def _call(self, entry: Entry, call: Call) -> Outcome:
        attempt = entry.attempt
        try:
            become(partial(self._context_of, entry))
            value = call.function(*call.args, **call.kwargs)
            if inspect.iscoroutine(value):
                value.close()
                raise InvalidTask(
                    f"the function of {attempt.task_name!r} returned a coroutine that nobody awaits; "
                    "decorate a function written with 'async def'"
                )
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its outcome; it must not end the thread
            return outcome_of_exception(attempt.task_name, attempt.run_id, error)
        return Outcome(OutcomeKind.RETURNED, value)

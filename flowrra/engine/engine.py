"""The engine: feeds events to the lifecycle and carries out what it decides. Lives on one event loop.

Every method but those marked as safe from any thread is called on that loop. An executor reports through the
``AttemptSink`` methods; it never calls back from inside ``begin`` with ``finished``: dispatching does not recurse.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

from flowrra import log
from flowrra.clock import Clock, Timer
from flowrra.core.lifecycle import Effect, Ended, Event, Started, StopRequested, advance
from flowrra.core.records import Outcome, RunRecord
from flowrra.core.statuses import OutcomeKind, Status, StopReason
from flowrra.engine.columns import Columns, Maps, Returned, Stretch
from flowrra.engine.dispatch import Dispatch
from flowrra.engine.logs import BoundedLog
from flowrra.engine.run import Progress, Run
from flowrra.engine.saver import STOP_SECONDS, Saver
from flowrra.engine.selections import ColumnsCountdown
from flowrra.engine.waiters import Countdown, wait_here
from flowrra.errors import AppStopped, InvalidTransition
from flowrra.events import Dispatcher, RunEvent
from flowrra.interfaces import Attempt, Executor, ResultBackend, Span
from flowrra.loops import LoopInbox

STORY_LENGTH = 2_000


class Engine:
    """One start of an app. After :meth:`stop` it is never used again; the runs it made still answer."""

    def __init__(
        self, executors: Mapping[str, Executor], backend: ResultBackend, dispatcher: Dispatcher, clock: Clock
    ) -> None:
        self.executors = executors
        self.backend = backend
        self.dispatcher = dispatcher
        self.clock = clock
        self.loop = asyncio.get_running_loop()
        self.inbox = LoopInbox(self.loop)
        self.active: dict[str, Run] = {}
        self._maps = Maps()
        self._arriving: dict[str, Run] = {}
        """Runs on their way to the loop."""
        self.counts: Counter[Status] = Counter()
        self._stopping = False
        self.saver = Saver(backend, self._saved)
        self._dispatch = Dispatch(executors, clock)
        self._idle = asyncio.Event()
        self._idle.set()
        self._story: deque[tuple[str, type[Event], Status, float]] = deque(maxlen=STORY_LENGTH)
        self._random = random.Random()  # noqa: S311 - spreads retries, decides nothing secret

    async def start(self) -> None:
        """Start the executors. If one of them cannot, those already started are closed again."""
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.saver.close)
            for executor in self.executors.values():
                await executor.start(self)
                undo.push_async_callback(executor.close)
            undo.pop_all()

    # From any thread.

    def accept(self, run: Run) -> bool:
        """Take a new run; False if the engine has stopped. On the loop it is queued at once, else in turn."""
        if self._stopping:
            return False
        if self.on_loop:
            self._enter(run)
            return True
        self._arriving[run.id] = run
        # Asked once more: a loop that ends right after the engine may never come to what was posted.
        if not self.inbox.post(self._enter, run) or self._stopping:
            self._arriving.pop(run.id, None)
            return False
        return True

    def accept_map(self, columns: Columns) -> bool:
        """Take the runs of a map, as :meth:`accept` does."""
        if self._stopping:
            return False
        # Known before it is queued: from now on its runs are found by id.
        self._maps.add(columns)
        if self.on_loop:
            self._enter_map(columns)
        elif not self.inbox.post(self._enter_map, columns) or self._stopping:
            self._maps.remove(columns)
            return False
        return True

    def find(self, run_id: str) -> Run | None:
        """The run, if it is not over, or None."""
        return self._arriving.get(run_id) or self.active.get(run_id) or self._maps.find(run_id)

    def unfinished(self) -> list[Run]:
        """The runs that are not over, those that are on their way to the loop included."""
        # In this order: a run that moves over meanwhile is seen twice rather than not at all.
        single = {**self._arriving, **self.active}
        return [*single.values(), *self._maps.unfinished()]

    def forget_waiters(self) -> None:
        """After a fork: those who wait for runs are in the other process."""
        for columns in self._maps:
            columns.forget_listeners()
        for run in self.unfinished():
            run.forget_waiters()

    def request_stop(self, runs: Iterable[Run], reason: StopReason, words: str = "cancel() was called") -> None:
        """Ask *runs* to stop; those that are over are left as they are."""
        self.call(self._stop_runs, list(runs), reason, words)

    def call(self, method: Callable[..., None], *args: Any) -> None:
        """Call *method* on the loop: at once if the caller runs there, so that calls made there keep their order."""
        if self.on_loop:
            method(*args)
        else:
            self.inbox.post(method, *args)

    @property
    def on_loop(self) -> bool:
        """Whether the caller runs inside the engine's loop."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def waits_for(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether a run that is not over needs *loop* to go on."""
        executors = {columns.submission.executor for columns in self._maps}
        runs = (*list(self._arriving.values()), *list(self.active.values()))
        executors.update(run.submission.executor for run in runs)
        return any(self.executors[name].loop is loop for name in executors)

    def loop_needed_by(self, run: Run) -> asyncio.AbstractEventLoop | None:
        """The loop that must be free for *run* to go on, besides the engine's own."""
        return self._executor(run).loop

    # New runs.

    def _enter(self, run: Run) -> None:
        submission = run.submission
        if self._stopping:
            self._turn_away((run,))
            self._arriving.pop(submission.id, None)
            return
        self._idle.clear()
        self.active[submission.id] = run
        self._arriving.pop(submission.id, None)
        self.counts[Status.PENDING] += 1
        self._dispatch.enqueue(run, submission.not_before)
        if submission.deadline is not None:
            run.deadline_timer = self._stop_at(submission.deadline, run, StopReason.DEADLINE)
        if self.dispatcher.watched:
            self._announce(run)
        self._dispatch.serve(submission.executor)

    def _enter_map(self, columns: Columns) -> None:
        if self._stopping:
            self._turn_away(columns.unfinished())
            self._maps.remove(columns)
            # The last run that was waited for may have ended while this map was known.
            self._note_idle()
            return
        self._idle.clear()
        submission = columns.submission
        self.counts[Status.PENDING] += len(columns)
        self._dispatch.enqueue_columns(columns, submission.not_before)
        if submission.deadline is not None:
            columns.deadline_timer = self.clock.call_at(submission.deadline, lambda: self._map_is_late(columns))
        if self.dispatcher.watched:
            for position in range(len(columns)):
                self._announce_position(columns, position, Status.PENDING)
        self._dispatch.serve(submission.executor)

    def _map_is_late(self, columns: Columns) -> None:
        self._stop_runs(columns.unfinished(), StopReason.DEADLINE, "")

    def _turn_away(self, runs: Sequence[Run]) -> None:
        """End runs that an engine which has stopped will not execute. The saver may be gone, so nothing is saved."""
        for run in runs:
            # One that is over already only waits to be saved: it keeps its outcome.
            if not run.record.is_terminal:
                run.record, run.outcome = self._cut_off(run.record)
            self._wake(run)

    def _cut_off(self, record: RunRecord) -> tuple[RunRecord, Outcome]:
        """What *record* becomes when nobody is left who could report the end of its attempt."""
        now = self.clock.mono()
        stopped = advance(record, StopRequested(StopReason.SHUTDOWN, "the app was stopped"), now)
        if stopped.outcome is None:
            unheard = Outcome(OutcomeKind.CANCELLED, exception=AppStopped("the app was stopped"))
            stopped = advance(stopped.record, Ended(unheard, 0.0), now)
        assert stopped.outcome is not None, "an attempt that was asked to stop and has ended is over"
        return stopped.record, stopped.outcome

    # AttemptSink.

    def started(self, attempt: Attempt, worker: str | None, at: float | None = None) -> None:
        run = self._run_of(attempt)
        if run is not None:
            self._start(run, worker, at)

    def _start(self, run: Run, worker: str | None, at: float | None) -> None:
        self._apply(run, Started(worker), at)
        timeout = run.submission.timeout
        if timeout is not None and run.record.started is not None:
            run.timeout_timer = self._stop_at(run.record.started + timeout, run, StopReason.TIMEOUT)

    def finished(self, attempt: Attempt, outcome: Outcome, at: float | None = None) -> None:
        run = self._run_of(attempt)
        if run is None:
            # Nobody waits for it any more, but its slot is free.
            self._dispatch.serve_all()
            return
        run.attempt = None
        self._apply(run, Ended(outcome, self._random.random()), at)
        self._dispatch.serve(run.submission.executor)

    def returned(self, attempt: Attempt) -> None:
        run = self._run_of(attempt)
        # One that was cancelled meanwhile is over, though perhaps not saved yet.
        if run is not None and not run.record.is_terminal:
            run.attempt = None
            self._dispatch.reenter(run, attempt.seq)
        self._dispatch.serve_all()

    # SpanSink.

    def span_began(self, span: Span, position: int, worker: str | None, at: float) -> None:
        columns = self._maps.get(span.batch_id)
        if columns is None:
            return
        run = columns.run(position)
        # Its end may have been decided meanwhile, or a report that came late be overtaken.
        if run.record.status is Status.PENDING and run.attempt is not None:
            self._start(run, worker, at)

    def span_values(
        self, span: Span, first: int, values: Sequence[Any], starts: Sequence[float], end: float, worker: str | None
    ) -> None:
        columns = self._maps.get(span.batch_id)
        if columns is not None:
            stretches, own = columns.succeed(first, values, starts, end, worker)
            for stretch in stretches:
                self.counts[Status.PENDING] -= stretch.length
                self.counts[Status.SUCCESS] += stretch.length
                self.saver.add(stretch)
            for returned in own:
                self._own_has_returned(returned, worker)
            self._dispatch.serve(columns.submission.executor)
        else:
            self._dispatch.serve_all()

    def span_returned(self, span: Span) -> None:
        columns = self._maps.get(span.batch_id)
        if columns is not None:
            columns.take_back(span.first, span.length)
            self._dispatch.reenter_span(columns, span)
        self._dispatch.serve_all()

    def _own_has_returned(self, returned: Returned, worker: str | None) -> None:
        run, value, began, ended = returned
        # Over, taken back, or by itself on another attempt: the report is late.
        if run.attempt is None or run.attempt.number != 1 or run.record.is_terminal:
            return
        if run.record.status is Status.PENDING:
            self._start(run, worker, began)
        run.attempt = None
        self._apply(run, Ended(Outcome(OutcomeKind.RETURNED, value), self._random.random()), ended)

    def released(self, attempt: Attempt) -> None:
        log.engine.info("an abandoned attempt of run %s (%s) has ended at last", attempt.run_id, attempt.task_name)
        self._dispatch.serve_all()

    def progressed(self, run_id: str, done: float, total: float | None, message: str) -> None:
        run = self._active_run(run_id)
        if run is not None:
            run.progress = Progress(done, total, message)
            self._announce(run)

    def logged(self, run_id: str, stream: str, text: str) -> None:
        run = self._active_run(run_id)
        if run is not None:
            if run.log is None:
                run.log = BoundedLog()
            run.log.append(text)
            self._announce(run)

    def room_changed(self) -> None:
        self._dispatch.serve_all()

    # What the lifecycle decides.

    def _apply(self, run: Run, event: Event, at: float | None = None) -> None:
        before, now = run.record, self.clock.mono() if at is None else at
        try:
            record, effect, outcome = advance(before, event, now)
        except InvalidTransition as refused:
            story = self._story_of(run.id)
            log.engine.error("%s", InvalidTransition(refused.run_id, refused.status, refused.event, story))
            return
        if record is before:
            return
        if effect is Effect.SETTLE and not run.conclude(record):
            # cancel() has answered True on another thread, and its request is still on the way.
            self._apply(run, StopRequested(StopReason.CANCEL))
            self._apply(run, event, at)
            return
        run.record = record
        self._story.append((record.submission.id, type(event), record.status, now))
        if record.status is not before.status:
            self.counts[before.status] -= 1
            self.counts[record.status] += 1
            if run.timeout_timer is not None:
                run.timeout_timer.cancel()
                run.timeout_timer = None
        if effect is Effect.SETTLE:
            assert outcome is not None, "the lifecycle settles with an outcome"
            self._settle(run, outcome, waited=before.status is not Status.RUNNING)
            return
        if effect is Effect.REQUEUE:
            self._dispatch.enqueue(run, record.ready_at)
            self._dispatch.serve(record.submission.executor)
        elif effect is Effect.STOP and record.stopping is not None and run.attempt is not None:
            self._executor(run).stop(run.attempt, record.stopping)
        if self.dispatcher.watched:
            self._announce(run)

    def _settle(self, run: Run, outcome: Outcome, *, waited: bool) -> None:
        if waited:
            self._dispatch.discard(run)
        if run.attempt is not None:
            # Cancelled while it waits in an executor: the run is over at once, the attempt's end will be dropped.
            self._executor(run).stop(run.attempt, StopReason.CANCEL)
        if run.deadline_timer is not None:
            run.deadline_timer.cancel()
            run.deadline_timer = None
        error = outcome.exception
        run.outcome = outcome if error is None else outcome._replace(trace=error.__traceback__)
        run.encoded = None
        self.saver.add(run)

    def _saved(self, group: Sequence[Run | Stretch]) -> None:
        for ended in group:
            if isinstance(ended, Stretch):
                ended.columns.settle(ended.first, ended.length)
                self._forget_if_over(ended.columns)
                if self.dispatcher.watched:
                    for position in range(ended.first, ended.first + ended.length):
                        self._announce_position(ended.columns, position, Status.SUCCESS)
            else:
                self.active.pop(ended.id, None)
                self._wake(ended)
                if self.dispatcher.watched:
                    self._announce(ended)
        self._note_idle()

    def _note_idle(self) -> None:
        if not self.active and not self._maps:
            self._idle.set()

    def _wake(self, run: Run) -> None:
        """The outcome of *run* may be seen now."""
        submission = run.submission
        columns = None if submission.batch_id is None else self._maps.get(submission.batch_id)
        if columns is None:
            run.settle()
            return
        columns.settle_own(run)
        self._forget_if_over(columns)

    def _forget_if_over(self, columns: Columns) -> None:
        if not columns.left:
            self._maps.remove(columns)
            if columns.deadline_timer is not None:
                columns.deadline_timer.cancel()

    def _stop_runs(self, runs: Iterable[Run], reason: StopReason, words: str) -> None:
        # Otherwise each stop would make room for another run, which is stopped next.
        with self._dispatch.suspended():
            for run in runs:
                self._apply(run, StopRequested(reason, words))
        self._dispatch.serve_all()

    def _stop_at(self, when: float, run: Run, reason: StopReason) -> Timer:
        return self.clock.call_at(when, lambda: self._stop_runs((run,), reason, ""))

    def _announce(self, run: Run) -> None:
        if not self.dispatcher.watched:
            return
        record = run.record
        submission = record.submission
        self.dispatcher.publish(
            RunEvent(
                run_id=submission.id,
                task_name=submission.task_name,
                status=run.status,
                attempt=record.attempt,
                batch_id=submission.batch_id,
                index=submission.position,
            )
        )

    def _announce_position(self, columns: Columns, position: int, status: Status) -> None:
        submission = columns.submission
        attempt = int(status is not Status.PENDING)
        self.dispatcher.publish(
            RunEvent(columns.run_id(position), submission.task_name, status, attempt, submission.batch_id, position)
        )

    def _active_run(self, run_id: str) -> Run | None:
        return self.active.get(run_id) or self._maps.find(run_id)

    def _run_of(self, attempt: Attempt) -> Run | None:
        """The run that still waits for *attempt*; None if it is over or on another attempt."""
        run = self._active_run(attempt.run_id)
        return run if run is not None and run.attempt is not None and run.attempt.number == attempt.number else None

    def _executor(self, run: Run) -> Executor:
        return self.executors[run.submission.executor]

    def _story_of(self, run_id: str) -> list[str]:
        return [
            f"{mono:.3f} {event.__name__} → {status}" for each, event, status, mono in self._story if each == run_id
        ]

    # Holding back, and the end.

    def pause(self, task_name: str | None) -> None:
        """Start no more runs, of one task or at all; what has begun goes on."""
        self._dispatch.pause(task_name)

    def resume(self, task_name: str | None) -> None:
        self._dispatch.resume(task_name)

    @property
    def paused(self) -> Sequence[str]:
        """Names of the paused tasks; ``"*"`` for all."""
        return self._dispatch.paused

    def give_up_held(self, parts: Sequence[Run | Columns] | None = None) -> list[Run]:
        """Cancel those of the runs and maps in *parts*, or of all, that cannot begin now; return them.

        They are paused, or not yet due.
        """
        held = self._dispatch.held()
        if parts is not None:
            mine = set(map(id, parts))
            held = [run for run in held if id(self._part_of(run)) in mine]
        self._stop_runs(held, StopReason.SHUTDOWN, "the app was left before it could begin")
        return held

    def _part_of(self, run: Run) -> Run | Columns | None:
        batch = run.submission.batch_id
        return run if batch is None else self._maps.get(batch)

    async def until_over(self, parts: Sequence[Run | Columns] | None = None) -> None:
        """Wait until the runs and maps in *parts*, or all, are over; *parts* may grow meanwhile."""
        if parts is None:
            await self._idle.wait()
            return
        waited = 0
        while group := parts[waited:]:
            await wait_here(Countdown([part for part in group if isinstance(part, Run)]))
            for part in group:
                if isinstance(part, Columns):
                    await wait_here(ColumnsCountdown(part, range(len(part))))
            waited += len(group)

    async def stop(self) -> list[Run]:
        """End everything that is not over, then release executors and backend. Returns the runs that were given up.

        Every part is released, even if the release of another one raises; that is raised afterwards. Outcomes that
        cannot be saved within a moment are given up.
        """
        self._stopping = True
        self.saver.give_up_after(STOP_SECONDS)
        unfinished = [run for run in self.unfinished() if not run.record.is_terminal]
        async with AsyncExitStack() as release:
            release.push_async_callback(self.backend.close)
            release.callback(self._dispatch.close)
            release.push_async_callback(self.saver.close)
            for executor in self.executors.values():
                release.push_async_callback(executor.close)
            self._stop_runs(unfinished, StopReason.SHUTDOWN, "the app was stopped")
            await self._until_idle()
        return unfinished

    async def _until_idle(self) -> None:
        """Cannot be cancelled: whoever waits for a run needs its end, and executors and saver are quick to bring it."""
        while not self._idle.is_set():
            # asyncio.run() cancels every task when its program has returned.
            with suppress(asyncio.CancelledError):
                await self._idle.wait()

    def lose_loop(self) -> None:
        """End what is not over after the loop was closed under the engine, so that nobody waits for ever.

        Also for an engine that a fork has copied: its loop runs in the other process.
        """
        self._stopping = True
        self.saver.abandon()
        left, self.active, self._arriving = self.unfinished(), {}, {}
        self._turn_away([run for run in left if not run.settled])
        self._maps.clear()

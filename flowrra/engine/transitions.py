"""Feeds events to the lifecycle and carries out what it decides."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from flowrra import log
from flowrra.clock import Clock, Timer
from flowrra.core.lifecycle import Effect, Ended, Event, Started, StopRequested, advance
from flowrra.core.records import Outcome, RunRecord
from flowrra.core.statuses import OutcomeKind, Status, StopReason
from flowrra.engine.columns import Columns
from flowrra.engine.dispatch import Dispatch
from flowrra.engine.maps import Maps
from flowrra.engine.run import Run
from flowrra.engine.saver import Saver
from flowrra.engine.stretches import Stretch
from flowrra.errors import AppStopped, InvalidTransition
from flowrra.events import Dispatcher, RunEvent
from flowrra.interfaces import Executor, ResultBackend

STORY_LENGTH = 2_000

# What every run passes through. Python 3.11 takes ten times as long to find a member in its enum as in the module.
_RUNNING, _SETTLE, _NOTHING = Status.RUNNING, Effect.SETTLE, Effect.NOTHING
_STARTED = Started()


class Transitions:
    """The runs that are not over, on the engine's loop: every change of one of them goes through here."""

    def __init__(
        self, executors: Mapping[str, Executor], backend: ResultBackend, dispatcher: Dispatcher, clock: Clock
    ) -> None:
        self.executors = executors
        self.dispatcher = dispatcher
        self.clock = clock
        self.active: dict[str, Run] = {}
        """Those that were submitted one by one."""
        self.maps = Maps()
        self.counts = dict.fromkeys(Status, 0)
        """How many runs stand where."""
        self.stopping = False
        """No more runs are taken."""
        self.dispatch = Dispatch(executors, clock)
        self.saver = Saver(backend, self._saved)
        self.idle = asyncio.Event()
        """All runs are over and saved."""
        self.idle.set()
        self._story: deque[tuple[str, type[Event], Status, float]] = deque(maxlen=STORY_LENGTH)

    def find(self, run_id: str) -> Run | None:
        """The run, if it is not over and saved. From any thread."""
        return self.active.get(run_id) or self.maps.find(run_id)

    # What happens to a run.

    def start(self, run: Run, worker: str | None, at: float | None) -> None:
        """User code of *run* began."""
        self.apply(run, _STARTED if worker is None else Started(worker), at)
        timeout = run.submission.timeout
        if timeout is None:
            return
        record = run.record
        # It may have been cancelled meanwhile.
        if record.status is Status.RUNNING and record.started is not None:
            run.timeout_timer = self.stop_at(record.started + timeout, run, StopReason.TIMEOUT)

    def stop_runs(self, runs: Iterable[Run], reason: StopReason, words: str) -> None:
        """Ask *runs* to stop; those that are over are left as they are."""
        # Otherwise each stop would make room for another run, which is stopped next.
        with self.dispatch.suspended():
            for run in runs:
                self.apply(run, StopRequested(reason, words))
        self.dispatch.serve_all()

    def stop_at(self, when: float, run: Run, reason: StopReason) -> Timer:
        return self.clock.call_at(when, lambda: self.stop_runs((run,), reason, ""))

    def turn_away(self, runs: Sequence[Run]) -> None:
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

    # What the lifecycle decides.

    def apply(self, run: Run, event: Event, at: float | None = None) -> None:
        """*event* happens to *run*, now or *at* (monotonic clock)."""
        before, now = run.record, self.clock.mono() if at is None else at
        try:
            record, effect, outcome = advance(before, event, now)
        except InvalidTransition as refused:
            story = self._story_of(run.id)
            log.engine.error("%s", InvalidTransition(refused.run_id, refused.status, refused.event, story))
            return
        if record is before:
            return
        if effect is not _SETTLE:
            run.record = record
        elif not run.conclude(record):
            # cancel() has answered True on another thread, and its request is still on the way.
            self.apply(run, StopRequested(StopReason.CANCEL))
            self.apply(run, event, at)
            return
        self._story.append((record.submission.id, type(event), record.status, now))
        if record.status is not before.status:
            self.counts[before.status] -= 1
            self.counts[record.status] += 1
            if run.timeout_timer is not None:
                run.timeout_timer.cancel()
                run.timeout_timer = None
        if effect is _SETTLE:
            assert outcome is not None, "the lifecycle settles with an outcome"
            self._settle(run, outcome, waited=before.status is not _RUNNING)
            return
        if effect is not _NOTHING:
            self._go_on(run, record, effect)
        if self.dispatcher.watched:
            self.announce(run)

    def _go_on(self, run: Run, record: RunRecord, effect: Effect) -> None:
        if effect is Effect.REQUEUE:
            self.dispatch.enter(run, record.ready_at)
        elif effect is Effect.STOP and record.stopping is not None and run.attempt is not None:
            self._executor(run).stop(run.attempt, record.stopping)

    def _settle(self, run: Run, outcome: Outcome, *, waited: bool) -> None:
        if waited:
            self.dispatch.discard(run)
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
                        self.announce_position(ended.columns, position, Status.SUCCESS)
            else:
                self.active.pop(ended.submission.id, None)
                self._wake(ended)
                if self.dispatcher.watched:
                    self.announce(ended)
        self.note_idle()

    def note_idle(self) -> None:
        if not self.active and not self.maps:
            self.idle.set()

    def _wake(self, run: Run) -> None:
        """The outcome of *run* may be seen now."""
        submission = run.submission
        columns = None if submission.batch_id is None else self.maps.get(submission.batch_id)
        if columns is None:
            run.settle()
            return
        columns.settle_own(run)
        self._forget_if_over(columns)

    def _forget_if_over(self, columns: Columns) -> None:
        if not columns.left:
            self.maps.remove(columns)
            if columns.deadline_timer is not None:
                columns.deadline_timer.cancel()

    def announce(self, run: Run) -> None:
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

    def announce_position(self, columns: Columns, position: int, status: Status) -> None:
        submission = columns.submission
        attempt = int(status is not Status.PENDING)
        self.dispatcher.publish(
            RunEvent(columns.run_id(position), submission.task_name, status, attempt, submission.batch_id, position)
        )

    def _executor(self, run: Run) -> Executor:
        return self.executors[run.submission.executor]

    def _story_of(self, run_id: str) -> list[str]:
        return [
            f"{mono:.3f} {event.__name__} → {status}" for each, event, status, mono in self._story if each == run_id
        ]

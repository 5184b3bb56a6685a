"""What has to become of runs, by a second, simpler account of their lives, and who keeps it up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from flowrra.backends.memory import MemoryBackend
from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind, Status, StopReason
from flowrra.engine.reports import Reports
from flowrra.errors import AppStopped, DeadlineExceeded, TaskCancelled, TaskTimeout
from flowrra.interfaces import Attempt, Span, Stored
from flowrra.testing.clock import ManualClock


class Fate:
    """What has to become of a run, by a second, simpler account of its life."""

    def __init__(self, task: str, priority: int, retries: int, due: float, deadline: float | None,
                 timeout: float | None) -> None:  # fmt: skip
        self.task, self.priority, self.retries, self.due = task, priority, retries, due
        self.deadline, self.timeout = deadline, timeout
        self.times_out_at: float | None = None
        self.attempts = 0
        self.status = Status.PENDING
        self.stopping: StopReason | None = None
        self.wanted = False
        self.error: type[BaseException] | None = None

    @property
    def over(self) -> bool:
        return self.status in (Status.SUCCESS, Status.FAILED, Status.CANCELLED)

    def began(self, at: float) -> None:
        if self.over:
            return
        assert self.status is not Status.RUNNING, "an attempt begins once"
        self.attempts += 1
        self.status = Status.RUNNING
        self.times_out_at = None if self.timeout is None else at + self.timeout

    def stop(self, reason: StopReason) -> None:
        if self.over:
            return
        if self.status is not Status.RUNNING:
            self._settle_stopped(reason)
        elif self.stopping not in (StopReason.CANCEL, StopReason.SHUTDOWN) and not (
            self.stopping is not None and reason is StopReason.TIMEOUT
        ):
            self.stopping = reason

    def ended(self, kind: OutcomeKind) -> None:
        if self.over:
            return
        if self.status is not Status.RUNNING:
            self.attempts += 1
        self.times_out_at = None
        if self.stopping not in (None, StopReason.TIMEOUT):
            self._settle_stopped(self.stopping)
        elif self.stopping is None and kind is OutcomeKind.RETURNED:
            self._settle(Status.SUCCESS, None)
        elif self.attempts <= self.retries:
            self.status, self.stopping = Status.RETRYING, None
        else:
            self._settle(Status.FAILED, ValueError if self.stopping is None else TaskTimeout)

    def _settle_stopped(self, reason: StopReason) -> None:
        match reason:
            case StopReason.DEADLINE:
                self._settle(Status.FAILED, DeadlineExceeded)
            case StopReason.SHUTDOWN:
                self._settle(Status.CANCELLED, AppStopped)
            case _:
                self._settle(Status.CANCELLED, TaskCancelled)

    def _settle(self, status: Status, error: type[BaseException] | None) -> None:
        if self.wanted and status is not Status.CANCELLED:
            status, error = Status.CANCELLED, TaskCancelled
        self.status, self.error, self.times_out_at = status, error, None


class Witness:
    """Stands between executor and engine and notes what the engine hears."""

    def __init__(self, reports: Reports, fates: dict[str, Fate], clock: ManualClock) -> None:
        self._reports, self._fates, self._clock = reports, fates, clock

    def started(self, attempt: Attempt, worker: str | None, at: float | None = None) -> None:
        self._fates[attempt.run_id].began(self._clock.mono())
        self._reports.started(attempt, worker, at)

    def finished(self, attempt: Attempt, outcome: Outcome, at: float | None = None) -> None:
        self._fates[attempt.run_id].ended(outcome.kind)
        self._reports.finished(attempt, outcome, at)

    def returned(self, attempt: Attempt) -> None:
        self._reports.returned(attempt)

    def span_began(self, span: Span, position: int, worker: str | None, at: float) -> None:
        self._fates[span.run_id(position)].began(at)
        self._reports.span_began(span, position, worker, at)

    def span_values(self, span: Span, first: int, values: Sequence[Any], starts: Sequence[float], end: float,
                    worker: str | None) -> None:  # fmt: skip
        for position in range(first, first + len(values)):
            self._fates[span.run_id(position)].ended(OutcomeKind.RETURNED)
        self._reports.span_values(span, first, values, starts, end, worker)

    def span_returned(self, span: Span) -> None:
        self._reports.span_returned(span)


class GatedBackend(MemoryBackend):
    """Saves while its gate is open, and fails while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.failing = False

    async def save(self, done: Sequence[Stored]) -> None:
        await self.gate.wait()
        if self.failing:
            raise OSError("away")
        assert all(self.recent(run.record.submission.id) is None for run in done), "each run is saved once"
        await super().save(done)

    @property
    def works(self) -> bool:
        return self.gate.is_set() and not self.failing

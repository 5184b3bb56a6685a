"""What executors report, made into events for the lifecycle."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from flowrra import log
from flowrra.core.lifecycle import Ended
from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind, Status
from flowrra.engine.columns import Returned
from flowrra.engine.logs import BoundedLog
from flowrra.engine.run import Progress, Run
from flowrra.engine.stretches import Stretch
from flowrra.engine.transitions import Transitions
from flowrra.interfaces import Attempt, Span


class Reports:
    """The :class:`~flowrra.interfaces.AttemptSink` and :class:`~flowrra.interfaces.SpanSink` of all executors."""

    def __init__(self, transitions: Transitions) -> None:
        self._runs = transitions
        self._dispatch = transitions.dispatch
        self._active = transitions.active
        self._chance = random.Random().random  # noqa: S311 - spreads retries, decides nothing secret

    # AttemptSink.

    def started(self, attempt: Attempt, worker: str | None, at: float | None = None) -> None:
        run = self._run_of(attempt)
        if run is not None:
            self._runs.start(run, worker, at)

    def finished(self, attempt: Attempt, outcome: Outcome, at: float | None = None) -> None:
        run = self._run_of(attempt)
        if run is None:
            # Nobody waits for it any more, but its slot is free.
            self._dispatch.serve_all()
            return
        run.attempt = None
        self._runs.apply(run, Ended(outcome, self._chance()), at)
        self._dispatch.serve(run.submission.executor)

    def returned(self, attempt: Attempt) -> None:
        run = self._run_of(attempt)
        # One that was cancelled meanwhile is over, though perhaps not saved yet.
        if run is not None and not run.record.is_terminal:
            run.attempt = None
            self._dispatch.reenter(run, attempt.seq)
        self._dispatch.serve_all()

    def released(self, attempt: Attempt) -> None:
        log.engine.info("an abandoned attempt of run %s (%s) has ended at last", attempt.run_id, attempt.task_name)
        self._dispatch.serve_all()

    def progressed(self, run_id: str, done: float, total: float | None, message: str) -> None:
        run = self._runs.find(run_id)
        if run is not None:
            run.progress = Progress(done, total, message)
            self._runs.announce(run)

    def logged(self, run_id: str, stream: str, text: str) -> None:
        run = self._runs.find(run_id)
        if run is not None:
            if run.log is None:
                run.log = BoundedLog()
            run.log.append(text)
            self._runs.announce(run)

    def room_changed(self) -> None:
        self._dispatch.serve_all()

    # SpanSink.

    def span_began(self, span: Span, position: int, worker: str | None, at: float) -> None:
        columns = self._runs.maps.get(span.batch_id)
        if columns is None:
            return
        run = columns.run(position)
        # Its end may have been decided meanwhile, or a report that came late be overtaken.
        if run.record.status is Status.PENDING and run.attempt is not None:
            self._runs.start(run, worker, at)

    def span_values(
        self, span: Span, first: int, values: Sequence[Any], starts: Sequence[float], end: float, worker: str | None
    ) -> None:
        columns = self._runs.maps.get(span.batch_id)
        if columns is not None:
            stretches, own = columns.succeed(first, values, starts, end, worker)
            for at, length in stretches:
                self._runs.counts[Status.PENDING] -= length
                self._runs.counts[Status.SUCCESS] += length
                self._runs.saver.add(Stretch(columns, at, length))
            for returned in own:
                self._own_has_returned(returned, worker)
            self._dispatch.serve(columns.submission.executor)
        else:
            self._dispatch.serve_all()

    def span_returned(self, span: Span) -> None:
        columns = self._runs.maps.get(span.batch_id)
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
            self._runs.start(run, worker, began)
        run.attempt = None
        self._runs.apply(run, Ended(Outcome(OutcomeKind.RETURNED, value), self._chance()), ended)

    def _run_of(self, attempt: Attempt) -> Run | None:
        """The run that still waits for *attempt*; None if it is over or on another attempt."""
        run = self._active.get(attempt.run_id) or self._runs.find(attempt.run_id)
        return run if run is not None and run.attempt is not None and run.attempt.number == attempt.number else None

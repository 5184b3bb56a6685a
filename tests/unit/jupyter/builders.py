"""Records, rows and frames with everything that a test does not care about filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flowrra import ErrorInfo, Status, TaskResult
from flowrra_jupyter.lanes import LaneChange
from flowrra_jupyter.view_models import Frame, Row, head_of, row_of

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def record(status: Status = Status.SUCCESS, index: int = 0, **changes: Any) -> TaskResult:
    begun = status is not Status.PENDING
    facts: dict[str, Any] = {
        "task_id": f"run-{index}",
        "task_name": "simulate",
        "status": status,
        "result": None,
        "error": None,
        "submitted_at": EPOCH,
        "started_at": EPOCH + timedelta(seconds=1) if begun else None,
        "finished_at": EPOCH + timedelta(seconds=3) if status in (Status.SUCCESS, Status.FAILED) else None,
        "attempts": int(begun),
        "worker": None,
        "args_preview": f"seed={index}",
        "duration": 2.0 if begun else None,
        "batch_id": "batch",
        "index": index,
        "seed": 42,
        "stopping": False,
    }
    return TaskResult(**{**facts, **changes})


def failure(message: str = "n must be positive", traceback: str = "Traceback: here") -> ErrorInfo:
    return ErrorInfo("ValueError", message, traceback)


def row(status: Status = Status.SUCCESS, index: int = 0, **changes: Any) -> Row:
    told = record(status, index, **changes)
    shown = row_of(index, told, None, EPOCH)
    return shown if told.error is None else {**shown, "traceback": told.error.traceback}


def frame(
    rows: list[Row],
    counts: Mapping[Status, int] | None = None,
    *,
    title: str = "simulate",
    elapsed: float = 10.0,
    rate: float | None = None,
    several_tasks: bool = False,
    lanes: Sequence[LaneChange] = (),
    **more: Any,
) -> Frame:
    counts = {Status.SUCCESS: len(rows)} if counts is None else counts
    head = head_of(title, counts, (), elapsed=elapsed, rate=rate, several_tasks=several_tasks, **more)
    return Frame(head=head, rows=rows, lanes=list(lanes))

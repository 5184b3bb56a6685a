"""What a view shows, as plain JSON: records in, frames out. No widget, no HTML, no clock.

A *frame* is everything that one view shows at one instant: a head (counts, rate, time left), the lanes of the workers
and some rows. The browser and :mod:`flowrra_jupyter.rich` draw the same frames, so that what is shown can be tested
without either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NotRequired, TypedDict

from flowrra import STATUSES, ErrorInfo, Status, TaskResult
from flowrra_jupyter.lanes import LaneChange

Word = Literal["pending", "running", "retrying", "done", "failed", "cancelled"]

WORDS: Final[Mapping[Status, Word]] = {
    Status.PENDING: "pending",
    Status.RUNNING: "running",
    Status.RETRYING: "retrying",
    Status.SUCCESS: "done",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}
BY_CODE: Final[Sequence[Word]] = [WORDS[status] for status in STATUSES]
"""What the codes in a table's column of statuses are called."""
TERMINAL: Final = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELLED})
TRACEBACK_LIMIT: Final = 6_000
"""Characters of a traceback that a view shows; the end of it is what tells."""


class Row(TypedDict):
    """One run, as a line of a view. Times are seconds since the view's epoch (its first submission)."""

    key: int
    """Its row in the view's table."""
    label: str
    """The number in its batch, or the end of its id."""
    task: str
    args: str
    word: Word
    stopping: bool
    attempt: int
    attempts: int
    """How many attempts its retries allow."""
    due: float | None
    """When the next attempt begins, while it is retrying."""
    started: float | None
    """Begin of the attempt while it is running: the reader reckons the duration from it. Otherwise None."""
    seconds: float | None
    """Duration of the latest attempt, once it is over."""
    fraction: float | None
    """Reported progress between 0 and 1, if the task reported a total."""
    message: str
    error: str
    memory: int | None
    """Peak of private memory in bytes, where it was measured."""
    worker: str
    traceback: NotRequired[str]
    """Only where there is no way to ask for it."""


class Head(TypedDict):
    """The totals of a view."""

    title: str
    total: int
    counts: dict[Word, int]
    share: float
    """How much is done, from 0 to 1: ended runs, and what running ones have reported."""
    elapsed: float
    """Seconds from the first submission to now, or to the last end."""
    rate: float | None
    """Ended runs per second: lately while live, over all when it is over."""
    left: float | None
    """Estimated seconds until the last end; None while nobody can tell."""
    live: bool
    several_tasks: bool
    """The rows belong to different tasks, so each has to say which."""
    lasting: bool
    """It is an app's: more runs may come."""
    workers: int | None
    """Processes of the app; None where the view knows no app that runs."""
    paused: bool
    speed_up: float | None
    """Seconds that runs took in workers, for each second that passed."""
    shared: int
    """Bytes of arguments and results in shared memory."""


class Frame(TypedDict):
    """Everything a view shows at one instant."""

    head: Head
    rows: list[Row]
    lanes: list[LaneChange]


class Place(TypedDict):
    """Which part of the table a browser is shown."""

    first: int
    matching: int
    """How many rows pass the filter."""
    searched: float
    """How much of the table the filter has seen, from 0 to 1."""
    held: bool
    """No row changes its place, because details are open."""


class Delta(TypedDict):
    """What changed between two frames: the head, the rows that are new or different, the order if it is another."""

    head: Head
    rows: list[Row]
    order: NotRequired[list[int]]


def short_id(run_id: str) -> str:
    """Return what tells a run from the others of its app: the end of its id."""
    return run_id.rpartition("-")[2]


def short_worker(worker: str | None) -> str:
    """Return what tells a worker from the others: ``w4``."""
    return f"w{worker.rpartition('-')[2]}" if worker else ""


def row_of(key: int, record: TaskResult, progress: Any, epoch: datetime, *, by_index: bool = True) -> Row:
    """Say what one line shows of *record*; *progress* is its handle's, or None.

    With *by_index* a run is called by its number in its batch, which says nothing where there are several batches.
    """
    running = record.status is Status.RUNNING
    error = record.error if record.status in (Status.FAILED, Status.RETRYING) else None
    return Row(
        key=key,
        label=str(record.index) if by_index and record.index is not None else short_id(record.task_id),
        task=record.task_name,
        args=record.args_preview,
        word=WORDS[record.status],
        stopping=record.stopping and record.status not in TERMINAL,
        attempt=record.attempts,
        attempts=record.max_attempts,
        due=_since(epoch, record.retry_at),
        started=_since(epoch, record.started_at) if running else None,
        seconds=None if running or record.duration is None else round(record.duration, 4),
        fraction=_fraction(progress) if running else None,
        message=first_line(progress.message) if running and progress is not None else "",
        error="" if error is None else said(error),
        memory=record.memory_peak,
        worker=short_worker(record.worker),
    )


def said(error: ErrorInfo) -> str:
    """Return *error* in one line, its type without its module."""
    return first_line(str(error._replace(type=error.type.rpartition(".")[2])))


def _since(epoch: datetime, instant: datetime | None) -> float | None:
    return None if instant is None else round((instant - epoch).total_seconds(), 3)


def _fraction(progress: Any) -> float | None:
    if progress is None or not progress.total:
        return None
    return float(min(1.0, max(0.0, progress.done / progress.total)))


def first_line(text: str, limit: int = 160) -> str:
    """Return the first non-empty line of *text*, cut to *limit* characters."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= limit else line[: limit - 1] + "…"


def tail(text: str, limit: int = TRACEBACK_LIMIT) -> str:
    """Return the end of *text*, whole lines, at most *limit* characters."""
    text = text.rstrip()
    return text if len(text) <= limit else "…\n" + text[-limit:].partition("\n")[2]


def head_of(
    title: str,
    counts: Mapping[Status, int],
    fractions: Iterable[float],
    *,
    elapsed: float,
    rate: float | None,
    several_tasks: bool,
    lasting: bool = False,
    workers: int | None = None,
    paused: bool = False,
    busy: float = 0.0,
    shared: int = 0,
) -> Head:
    """Sum up *counts* of runs that have gone on for *elapsed* seconds at *rate* ends per second lately.

    *fractions* is the reported progress of running ones: ten runs that are half done are as good as five that are done.
    *busy* is how many seconds workers have spent.
    """
    total = sum(counts.values())
    ended = sum(counts.get(status, 0) for status in TERMINAL)
    live = ended < total
    if not live:
        worked = ended - counts.get(Status.CANCELLED, 0)
        rate = worked / elapsed if elapsed > 0 and worked else None
    return Head(
        title=title,
        total=total,
        counts={word: counts[status] for status, word in WORDS.items() if counts.get(status)},
        share=round((ended + sum(fractions)) / total, 4) if total else 1.0,
        elapsed=round(elapsed, 3),
        rate=None if rate is None else round(rate, 3),
        left=round((total - ended) / rate, 3) if live and rate else None,
        live=live,
        several_tasks=several_tasks,
        lasting=lasting,
        workers=workers,
        paused=paused,
        speed_up=round(busy / elapsed, 2) if busy and elapsed > 0 and total > 1 else None,
        shared=shared,
    )


class Pace:
    """How fast runs end: over the last *window* seconds, so that an estimate follows a change of pace."""

    def __init__(self, window: float = 10.0) -> None:
        self._window = window
        self._seen: deque[tuple[float, int]] = deque()

    def observe(self, now: float, ended: int) -> None:
        """Note that *ended* runs had ended at *now* (any steadily growing clock)."""
        self._seen.append((now, ended))
        seen = self._seen
        # One that is older than the window stays, so that the window is covered whole.
        while len(seen) > 1 and seen[1][0] <= now - self._window:
            seen.popleft()

    def rate(self) -> float | None:
        """Runs per second, or None while too little has been seen."""
        if not self._seen:
            return None
        (began, before), (now, after) = self._seen[0], self._seen[-1]
        return (after - before) / (now - began) if now > began and after > before else None


def delta(before: Mapping[int, Row], order: Sequence[int], head: Head, rows: Sequence[Row]) -> Delta:
    """Return what turns rows *before*, which are in *order*, into *rows*."""
    change = Delta(head=head, rows=[row for row in rows if before.get(row["key"]) != row])
    now = keys(rows)
    if now != list(order):
        change["order"] = now
    return change


def keys(rows: Iterable[Row]) -> list[int]:
    """Return the rows' keys in their order."""
    return [row["key"] for row in rows]

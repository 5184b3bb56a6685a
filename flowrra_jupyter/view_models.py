"""What a view shows, as plain JSON: records in, frames out. No widget, no HTML, no clock.

A *frame* is everything that one view shows at one instant: a head (counts, rate, time left) and at most ``limit``
rows. The browser and :mod:`flowrra_jupyter.rich` draw the same frames, so the look can be tested without either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Final, Literal, NotRequired, TypedDict

from flowrra import Status, TaskResult

Word = Literal["pending", "running", "retrying", "done", "failed", "cancelled"]

WORDS: Final[Mapping[Status, Word]] = {
    Status.PENDING: "pending",
    Status.RUNNING: "running",
    Status.RETRYING: "retrying",
    Status.SUCCESS: "done",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}
TERMINAL: Final = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELLED})
TRACEBACK_LIMIT: Final = 6_000
"""Characters of a traceback that a view shows; the end of it is what tells."""


class Row(TypedDict):
    """One run, as a line of a view. Times are seconds since the view's epoch (its first submission)."""

    key: str
    label: str
    """The number in its batch, or the end of its id."""
    task: str
    args: str
    word: Word
    stopping: bool
    attempt: int
    started: float | None
    """Begin of the attempt while it is running: the reader reckons the duration from it. Otherwise None."""
    seconds: float | None
    """Duration of the latest attempt, once it is over."""
    fraction: float | None
    """Reported progress between 0 and 1, if the task reported a total."""
    message: str
    error: str
    traceback: str


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


class Frame(TypedDict):
    """Everything a view shows at one instant."""

    head: Head
    rows: list[Row]


class Delta(TypedDict):
    """What changed between two frames: the head, the rows that are new or different, the order if it is another."""

    head: Head
    rows: list[Row]
    order: NotRequired[list[str]]


def by_id(row: Row) -> Row:
    """Label *row* with its run's id, where numbers of different batches would say nothing."""
    labelled = row.copy()
    labelled["label"] = short_id(row["key"])
    return labelled


def short_id(run_id: str) -> str:
    """Return what tells a run from the others of its app: the end of its id."""
    return run_id.rpartition("-")[2]


def row_of(record: TaskResult, progress: Any, epoch: datetime) -> Row:
    """Say what one line shows of *record*; *progress* is its handle's, or None."""
    running = record.status is Status.RUNNING
    error = record.error if record.status in (Status.FAILED, Status.RETRYING) else None
    return Row(
        key=record.task_id,
        label=short_id(record.task_id) if record.index is None else str(record.index),
        task=record.task_name,
        args=record.args_preview,
        word=WORDS[record.status],
        stopping=record.stopping and record.status not in TERMINAL,
        attempt=record.attempts,
        started=_since(epoch, record.started_at) if running else None,
        seconds=None if running else record.duration,
        fraction=_fraction(progress) if running else None,
        message=progress.message if running and progress is not None else "",
        error="" if error is None else first_line(str(error._replace(type=error.type.rpartition(".")[2]))),
        traceback="" if error is None else tail(error.traceback),
    )


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
    rows: Iterable[Row],
    *,
    elapsed: float,
    rate: float | None,
    several_tasks: bool,
) -> Head:
    """Sum up *counts* of runs that have gone on for *elapsed* seconds at *rate* ends per second lately.

    Of *rows* only the reported progress counts: ten runs that are half done are as good as five that are done.
    """
    total = sum(counts.values())
    ended = sum(counts.get(status, 0) for status in TERMINAL)
    live = ended < total
    if not live:
        rate = ended / elapsed if elapsed > 0 and ended else None
    return Head(
        title=title,
        total=total,
        counts={word: counts[status] for status, word in WORDS.items() if counts.get(status)},
        share=round((ended + sum(row["fraction"] or 0.0 for row in rows)) / total, 4) if total else 1.0,
        elapsed=round(elapsed, 3),
        rate=None if rate is None else round(rate, 3),
        left=round((total - ended) / rate, 3) if live and rate else None,
        live=live,
        several_tasks=several_tasks,
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


class Standings:
    """Which run of a batch has which status, by index; it picks the few that are worth a line.

    Fed by status changes, so that a frame of a hundred thousand runs costs as much as one of two hundred.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._status: dict[int, Status] = {}
        self._groups: dict[Status, dict[int, None]] = {status: {} for status in WORDS}

    def note(self, index: int, status: Status) -> None:
        """Run *index* is *status* now. A late message never takes a run back out of a terminal status."""
        before = self._status.get(index, Status.PENDING)
        if before is status or before in TERMINAL:
            return
        self._groups[before].pop(index, None)
        self._status[index] = status
        if status is not Status.PENDING:
            self._groups[status][index] = None

    def counts(self) -> dict[Status, int]:
        """How many runs have each status; those never heard of are pending."""
        counts = {status: len(group) for status, group in self._groups.items()}
        counts[Status.PENDING] = self.total - sum(counts.values())
        return counts

    @property
    def ended(self) -> int:
        """How many runs are over."""
        return sum(len(self._groups[status]) for status in TERMINAL)

    def pick(self, limit: int) -> list[int]:
        """Choose up to *limit* runs: what runs, waits for a retry or failed, then the latest ends, then what is next.

        Failures keep room even when more runs are running than there are lines. Once all is over, the order is that
        of the input.
        """
        groups = self._groups
        failed = _latest(groups[Status.FAILED], limit)
        busy_room = limit - min(len(failed), limit // 2)
        busy = [*sorted(groups[Status.RUNNING]), *sorted(groups[Status.RETRYING])][:busy_room]
        chosen = [*busy, *sorted(failed[: limit - len(busy)])]
        over = self.ended == self.total
        for group in (groups[Status.SUCCESS], groups[Status.CANCELLED]):
            room = max(0, limit - len(chosen))
            chosen += sorted(group)[:room] if over else _latest(group, room)
        return chosen + self._next_pending(limit - len(chosen))

    def _next_pending(self, count: int) -> list[int]:
        chosen: list[int] = []
        for index in range(self.total):
            if len(chosen) >= count:
                break
            if self._status.get(index, Status.PENDING) is Status.PENDING:
                chosen.append(index)
        return chosen


def _latest(group: dict[int, None], count: int) -> list[int]:
    return list(islice(reversed(group), count))


def delta(before: Frame, after: Frame) -> Delta:
    """Return what turns *before* into *after*."""
    known = {row["key"]: row for row in before["rows"]}
    change = Delta(head=after["head"], rows=[row for row in after["rows"] if known.get(row["key"]) != row])
    order = keys(after["rows"])
    if order != keys(before["rows"]):
        change["order"] = order
    return change


def keys(rows: Iterable[Row]) -> list[str]:
    """Return the rows' keys in their order."""
    return [row["key"] for row in rows]

"""What a view is of: it reads runs through the public API and makes frames of them."""

from __future__ import annotations

import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from pathlib import PurePath
from typing import Any, Final, Protocol

from flowrra import Batch, Flowrra, RunEvent, Status, TaskHandle, TaskResult
from flowrra_jupyter.view_models import TERMINAL, Frame, Pace, Row, Standings, by_id, head_of, row_of

VIEW_ROWS: Final = 200

Listener = Callable[[RunEvent], object]
Unsubscribe = Callable[[], None]


class Source(Protocol):
    """The runs behind one view. :meth:`frame` is called by one thread at a time, the rest by any."""

    period: float
    """Seconds that should pass between two frames: the dearer a frame, the more."""

    def subscribe(self, listener: Listener) -> Unsubscribe:
        """Call *listener* with what happens to these runs, on a thread that must not be kept waiting."""

    def note(self, event: RunEvent) -> None:
        """Take in a change; costs next to nothing."""

    def frame(self, now: datetime, *, check: bool = False) -> Frame:
        """Say what the view shows at *now* (aware, UTC). With *check* ask the runs themselves, not only the news."""

    def cancel(self) -> int:
        """Cancel what is not done; returns how many runs."""


def source_of(thing: Batch[Any] | TaskHandle[Any] | Flowrra) -> Source:
    """Return the source for a view of *thing*."""
    if isinstance(thing, Flowrra):
        return AppSource(thing)
    if isinstance(thing, Batch):
        return RunsSource(thing.task_name, thing, thing)
    return RunsSource(thing.task_name, [thing], _Single(thing))


def latest_runs(app: Flowrra, status: Status | None = None, limit: int = 100) -> list[TaskResult]:
    """Return the latest runs of *app*, whether it is running or not, on whatever thread."""
    if app.running:
        return app.blocking.runs(status=status, limit=limit)
    # A stopped app reads its records in a loop made for that, which needs a thread that does not run one already.
    found: list[TaskResult] = []
    reader = threading.Thread(target=lambda: found.extend(app.blocking.runs(status=status, limit=limit)), daemon=True)
    reader.start()
    reader.join()
    return found


class _Many(Protocol):
    """What several runs can be asked and told together: a batch, or one handle behind :class:`_Single`."""

    def counts(self) -> Mapping[Status, int]: ...
    def cancel(self) -> int: ...
    def subscribe(self, callback: Listener) -> Unsubscribe: ...


class _Single:
    def __init__(self, handle: TaskHandle[Any]) -> None:
        self._handle = handle
        self.subscribe = handle.subscribe

    def counts(self) -> Mapping[Status, int]:
        return {self._handle.status: 1}

    def cancel(self) -> int:
        return int(self._handle.cancel())


class RunsSource:
    """The runs of one batch (or a slice of it), or a single one.

    It follows events, so that a frame costs as much as the rows that changed, not as the batch is long. Where events
    cannot be relied on it surveys: at the beginning, from time to time (they may be lost), and when all seems done.
    """

    period = 0.1

    def __init__(self, title: str, handles: Sequence[TaskHandle[Any]], together: _Many) -> None:
        self.subscribe, self.cancel = together.subscribe, together.cancel
        self._title, self._handles, self._counts = title, handles, together.counts
        self._total = len(handles)
        self._position = _positions(handles)
        self._standings = Standings(self._total)
        self._pace = Pace()
        self._rows: dict[int, Row] = {}
        self._news: deque[RunEvent] = deque()
        self._surveyed = False
        self._epoch: datetime | None = handles[0].info().submitted_at if self._total else None
        self._last_end = self._epoch

    def note(self, event: RunEvent) -> None:
        self._news.append(event)

    def frame(self, now: datetime, *, check: bool = False) -> Frame:
        stale = self._take_news()
        if check or not self._surveyed or self._standings.ended == self._total:
            self._compare()
        rows = self._pick_rows(stale)
        counts, ended = self._standings.counts(), self._standings.ended
        until = now if ended < self._total else self._last_end
        elapsed = 0.0 if self._epoch is None or until is None else (until - self._epoch).total_seconds()
        self._pace.observe(elapsed, ended)
        head = head_of(self._title, counts, rows, elapsed=elapsed, rate=self._pace.rate(), several_tasks=False)
        return Frame(head=head, rows=rows)

    def _take_news(self) -> set[int]:
        """Learn what happened since; returns the positions of the runs it happened to."""
        stale: set[int] = set()
        while self._news:
            event = self._news.popleft()
            position = self._position(event.index)
            if position is not None:
                self._standings.note(position, event.status)
                stale.add(position)
        return stale

    def _compare(self) -> None:
        self._surveyed = True
        known = self._standings.counts()
        if any(known[status] != number for status, number in self._counts().items()):
            self._survey()

    def _survey(self) -> None:
        """Ask every run where it stands."""
        records = [(position, handle.info()) for position, handle in enumerate(self._handles)]
        for position, record in sorted(records, key=lambda pair: _when_ended(pair[1])):
            self._standings.note(position, record.status)
            self._remember_end(record)
        self._rows.clear()

    def _pick_rows(self, stale: set[int]) -> list[Row]:
        chosen = self._standings.pick(VIEW_ROWS)
        kept = self._rows
        self._rows = {i: self._read(i) if i in stale or i not in kept else kept[i] for i in chosen}
        return list(self._rows.values())

    def _read(self, position: int) -> Row:
        handle = self._handles[position]
        record = handle.info()
        self._remember_end(record)
        assert self._epoch is not None, "there is a run"
        return row_of(record, handle.progress, self._epoch)

    def _remember_end(self, record: TaskResult) -> None:
        if record.finished_at is not None and (self._last_end is None or record.finished_at > self._last_end):
            self._last_end = record.finished_at


def _positions(handles: Sequence[TaskHandle[Any]]) -> Callable[[int | None], int | None]:
    """Return what finds the place among *handles* of a run by its index in its batch; None if it is not among them."""
    total = len(handles)
    if total and (handles[0].info().index, handles[-1].info().index) == (0, total - 1):
        return lambda index: index if index is not None and index < total else None  # else of a longer batch
    places = {handle.info().index: place for place, handle in enumerate(handles)}
    return places.get


def _when_ended(record: TaskResult) -> tuple[bool, datetime]:
    return record.finished_at is not None, record.finished_at or record.submitted_at


class AppSource:
    """The active and the latest runs of an app."""

    _RANKS: Final = (
        Status.RUNNING, Status.RETRYING, Status.FAILED, Status.SUCCESS, Status.CANCELLED, Status.PENDING
    )  # fmt: skip

    period = 0.5

    def __init__(self, app: Flowrra) -> None:
        self.subscribe = app.subscribe
        self._app = app
        self._pace = Pace()
        self._epoch: datetime | None = None

    def note(self, event: RunEvent) -> None:
        """Nothing to remember: a frame asks the app."""

    def frame(self, now: datetime, *, check: bool = False) -> Frame:
        records = self._records()
        # An app that was stopped has no numbers of its own any more, but its runs still answer.
        counts = self._app.stats().counts if self._app.running else Counter(record.status for record in records)
        epoch = self._epoch = min([record.submitted_at for record in records] + [self._epoch or now])
        total, ended = sum(counts.values()), sum(counts.get(status, 0) for status in TERMINAL)
        until = now if ended < total else max((r.finished_at for r in records if r.finished_at), default=now)
        self._pace.observe(now.timestamp(), ended)
        rows = [self._row(record, epoch) for record in records]
        head = head_of(
            PurePath(self._app.name).name,
            counts,
            rows,
            elapsed=(until - epoch).total_seconds(),
            rate=self._pace.rate(),
            several_tasks=len({record.task_name for record in records}) > 1,
        )
        return Frame(head=head, rows=rows)

    def cancel(self) -> int:
        # Asked for at once: a run that changes its status between two questions would be found twice, or not at all.
        active = [record for record in latest_runs(self._app, limit=sys.maxsize) if record.status not in TERMINAL]
        return sum(self._app.handle(record.task_id).cancel() for record in active)

    def _records(self) -> list[TaskResult]:
        """What is worth a line: all that has begun, the failures, and the latest of the rest."""
        first = [latest_runs(self._app, status, VIEW_ROWS // 2) for status in self._RANKS[:3]]
        by_id = {record.task_id: record for record in chain(*first, latest_runs(self._app, limit=VIEW_ROWS))}
        return sorted(by_id.values(), key=lambda record: self._RANKS.index(record.status))[:VIEW_ROWS]

    def _row(self, record: TaskResult, epoch: datetime) -> Row:
        running = record.status is Status.RUNNING
        return by_id(row_of(record, self._app.handle(record.task_id).progress if running else None, epoch))

"""The runs behind one view: batches, single runs and apps, and frames of them."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import PurePath
from typing import Any, Final, TypeVar

from flowrra import (
    STATUSES,
    AppStats,
    Batch,
    Changes,
    Flowrra,
    RunTable,
    Status,
    TaskHandle,
    TaskResult,
    UnknownRun,
    app_of,
    table_of,
)
from flowrra_jupyter.lanes import Executed, Lanes, Now, Told, end_of_cell
from flowrra_jupyter.ordering import FAILING, Arrangement, Query, pick
from flowrra_jupyter.view_models import (
    BY_CODE,
    TERMINAL,
    Frame,
    Head,
    Pace,
    Row,
    head_of,
    row_of,
    short_id,
    short_worker,
    tail,
)  # fmt: skip

VIEW_ROWS: Final = 60
"""How many rows are shown where nobody can ask for others."""
KEPT_ROWS: Final = 1_000
STATS_PERIOD: Final = 0.5
ENDED: Final = frozenset(code for code, status in enumerate(STATUSES) if status in TERMINAL)
_RUNNING: Final = STATUSES.index(Status.RUNNING)

Stretch = tuple[int, int]
"""(first, length) of neighbouring rows."""
Shown = Batch[Any] | TaskHandle[Any] | Flowrra
T = TypeVar("T")


def source_of(thing: Shown) -> Source:
    """Return the source for a view of *thing*."""
    if isinstance(thing, Flowrra):
        table = thing.blocking.table() if thing.running else _on_a_thread(thing.blocking.table)
        return AppSource(PurePath(thing.name).name, table, thing)
    return RunsSource(thing)


def latest_runs(app: Flowrra, status: Status | None = None, limit: int = 100) -> list[TaskResult]:
    """Return the latest runs of *app*, whether it is running or not, on whatever thread."""
    if app.running:
        return app.blocking.runs(status=status, limit=limit)
    return _on_a_thread(lambda: app.blocking.runs(status=status, limit=limit))


def cancel_all(app: Flowrra) -> int:
    """Cancel what is not done of *app*; returns how many runs."""
    table = _on_a_thread(app.blocking.table) if not app.running else app.blocking.table()
    table.refresh()
    table.close()
    unfinished = (row for row, code in enumerate(table.codes) if code not in ENDED)
    return sum(table.handle(row).cancel() for row in unfinished)


def _on_a_thread(call: Callable[[], T]) -> T:
    # A stopped app reads its records in a loop made for that, which needs a thread that does not run one already.
    found: list[T] = []
    reader = threading.Thread(target=lambda: found.append(call()), daemon=True)
    reader.start()
    reader.join()
    return found[0]


def returned_in(table: RunTable, stretch: Stretch, epoch: float) -> Iterator[tuple[int, Executed]]:
    """What workers have done in a *stretch* of rows: neighbours of one worker that began in one cell, together.

    Their number may be anything, so nothing is done for each of them.
    """
    row, length = stretch
    for worker, same in groupby(table.workers[row : row + length]):
        stop = row + len(list(same))
        while row < stop:
            start = table.started[row]
            after = bisect_left(table.started, epoch + end_of_cell(start - epoch), row + 1, stop)
            last = after - 1
            end = table.started[last] + table.seconds[last]
            if worker:
                yield worker, Executed(start - epoch, end - epoch, "done", row, after - row)
            row = after


class Source:
    """What one view is about. Used by one thread at a time; ``app``, ``cancel_all`` and ``run`` by any."""

    lasting = False
    """More may come when all that is known is over."""

    def __init__(self, title: str, table: RunTable, app: Flowrra | None, *, by_index: bool) -> None:
        self.table = table
        self.app = app
        self.lanes = Lanes()
        self._title, self._by_index = title, by_index
        self._pace = Pace()
        self._stats: AppStats | None = None
        self._stats_until = 0.0
        self._rows: dict[int, Row] = {}
        self._since: datetime | None = None
        self.update()

    # Following.

    def update(self) -> Sequence[Stretch]:
        """Look at the runs; returns the stretches of rows that are new or different."""
        changes = self.table.refresh()
        stretches = changes.stretches()
        for first, length in stretches:
            if length > len(self._rows):
                for row in [row for row in self._rows if first <= row < first + length]:
                    del self._rows[row]
            else:
                for row in range(first, first + length):
                    self._rows.pop(row, None)
        self._feed_lanes(changes)
        return stretches

    def _feed_lanes(self, changes: Changes) -> None:
        table, epoch = self.table, self.table.epoch
        if epoch is None or len(table.worker_names) == 1:
            return
        executed: dict[int, list[Executed]] = {}
        for stretch in changes.returned:
            for worker, runs in returned_in(table, stretch, epoch):
                executed.setdefault(worker, []).append(runs)
        for row in changes.others:
            worker, word = table.workers[row], BY_CODE[table.codes[row]]
            if worker and word not in ("running", "pending") and table.started[row]:
                start = table.started[row] - epoch
                executed.setdefault(worker, []).append(Executed(start, start + table.seconds[row], word, row))
        names = [short_worker(name) for name in table.worker_names]
        now: dict[str, Now] = {}
        for row in table.open:
            if table.codes[row] == _RUNNING and table.workers[row]:
                begun = round(table.started[row] - epoch, 3)
                now[names[table.workers[row]]] = Now(key=row, label=self.label(row), started=begun)
        self.lanes.take({names[i]: runs for i, runs in executed.items()}, now, self.elapsed())

    def label(self, row: int) -> str:
        """What that run is called in this view."""
        position = self.table.position(row) if self._by_index else None
        return short_id(self.table.run_id(row)) if position is None else str(position)

    # What a view shows.

    @property
    def ended(self) -> bool:
        """Whether all runs are over."""
        codes = self.table.codes
        return sum(codes.count(code) for code in ENDED) == len(codes)

    def elapsed(self) -> float:
        """Seconds from the first submission to now, or to the last end."""
        table = self.table
        if table.epoch is None:
            return 0.0
        return max(0.0, (table.last_end if self.ended else time.monotonic()) - table.epoch)

    def head(self) -> Head:
        """The totals."""
        counts, elapsed = self.table.counts(), self.elapsed()
        self._pace.observe(elapsed, sum(counts[status] for status in TERMINAL))
        reports = (report for report in self.table.progress().values() if report.total)
        fractions = [min(1.0, max(0.0, report.done / report.total)) for report in reports if report.total]
        app, stats = self.app, self._app_stats()
        in_workers = len(self.table.worker_names) > 1
        return head_of(
            self._title,
            counts,
            fractions,
            elapsed=elapsed,
            rate=self._pace.rate(),
            several_tasks=len(self.table.task_names) > 1,
            lasting=self.lasting,
            workers=None if app is None or stats is None else app.cpu_workers,
            paused=stats is not None and "*" in stats.paused,
            busy=self._busy() if in_workers else 0.0,
            shared=0 if stats is None else int(stats.executors.get("cpu", {}).get("shared_bytes", 0)),
        )

    def _app_stats(self) -> AppStats | None:
        """The numbers of the app, if it runs; they are asked for from time to time."""
        now = time.monotonic()
        if now >= self._stats_until:
            self._stats = self.app.stats() if self.app is not None and self.app.running else None
            self._stats_until = now + STATS_PERIOD
        return self._stats

    def look_again(self) -> None:
        """Ask the app anew for its numbers: they have just been changed."""
        self._stats_until = 0.0

    def _busy(self) -> float:
        table = self.table
        running = (table.seconds[row] for row in table.open if table.codes[row] == _RUNNING and table.workers[row])
        return table.busy + sum(running)

    def rows(self, numbers: Iterable[int], *, tracebacks: bool = False) -> list[Row]:
        """The lines of those rows."""
        rows = [self._row(number) for number in numbers]
        return [self._with_traceback(row) for row in rows] if tracebacks else rows

    def _row(self, number: int) -> Row:
        row = self._rows.get(number)
        if row is None:
            row = self._read(number)
            if len(self._rows) >= KEPT_ROWS:
                self._rows.clear()
            self._rows[number] = row
        return row

    def _read(self, number: int) -> Row:
        try:
            handle = self.table.handle(number, keep=False)
        except UnknownRun:
            return self._forgotten(number)
        return row_of(number, handle.info(), handle.progress, self._epoch(), by_index=self._by_index)

    def _epoch(self) -> datetime:
        if self._since is None:
            assert self.table.epoch is not None, "there is a run"
            self._since = datetime.now(UTC) - timedelta(seconds=time.monotonic() - self.table.epoch)
        return self._since

    def _forgotten(self, number: int) -> Row:
        table = self.table
        word = BY_CODE[table.codes[number]]
        return Row(
            key=number, label=self.label(number), task="", args="(no longer kept)", word=word, stopping=False,
            attempt=table.attempts[number], attempts=1, due=None, started=None,
            seconds=round(table.seconds[number], 4), fraction=None, message="", error="", memory=None,
            worker=short_worker(table.worker_names[table.workers[number]]),
        )  # fmt: skip

    def _with_traceback(self, row: Row) -> Row:
        if not row["error"]:
            return row
        error = self.table.handle(row["key"], keep=False).info().error
        return {**row, "traceback": "" if error is None else tail(error.traceback)}

    def texts(self, first: int, stop: int) -> list[str]:
        """What a filter by text sees of the rows from *first* to before *stop*: number, arguments, error."""
        texts = self.table.texts(first, stop, by_index=self._by_index)
        for row in range(first, stop):
            if self.table.codes[row] in FAILING:
                texts[row - first] += f" {self._row(row)['error']}"
        return texts

    def arranged(self, query: Query) -> Arrangement:
        """The rows for *query*."""
        return Arrangement(self.table, query, self.texts)

    def frame(self) -> Frame:
        """Everything that can be shown where nobody can ask for more."""
        rows = self.rows(pick(self.table.codes, VIEW_ROWS, live=not self.ended), tracebacks=True)
        return Frame(head=self.head(), rows=rows, lanes=Told().news(self.lanes.shown(), self.label))

    def run(self, key: int) -> TaskHandle[Any]:
        """The run in that row, to do something with it; from any thread. Raises ``UnknownRun``."""
        if not 0 <= key < len(self.table):
            raise UnknownRun(str(key))
        return self.table.handle(key)

    def done(self) -> bool:
        """Whether nothing of this is under way, without looking at the runs."""
        raise NotImplementedError

    def cancel_all(self) -> int:
        """Cancel what is not done; returns how many runs."""
        raise NotImplementedError

    def when_done(self, call: Callable[[], None]) -> None:
        """Call *call* on some thread when :meth:`done` turns true."""

    def close(self) -> None:
        """Follow nothing any more."""
        self.table.close()


class RunsSource(Source):
    """The runs of one batch (or a slice of it), or a single one."""

    def __init__(self, runs: Batch[Any] | TaskHandle[Any]) -> None:
        self._runs = runs
        super().__init__(runs.task_name, table_of(runs), app_of(runs), by_index=True)

    def done(self) -> bool:
        return self._runs.done()

    def cancel_all(self) -> int:
        return int(self._runs.cancel())

    def when_done(self, call: Callable[[], None]) -> None:
        self._runs.add_done_callback(lambda _: call())


class AppSource(Source):
    """All runs of an app, while it runs."""

    def __init__(self, title: str, table: RunTable, app: Flowrra) -> None:
        self._app = app
        super().__init__(title, table, app, by_index=False)

    @property
    def lasting(self) -> bool:  # type: ignore[override]  # it ends with the app
        return self._app.running

    def done(self) -> bool:
        stats = self._app_stats()
        return stats is None or all(status in TERMINAL or not number for status, number in stats.counts.items())

    def cancel_all(self) -> int:
        return cancel_all(self._app)

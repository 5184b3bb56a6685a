"""Very many runs as columns that follow what happens to them, for views: no object for each, and no event either.

An event for each change of each run would cost a fast run more than its execution does. A table looks for itself when
it is refreshed: at the few runs that are objects, and at the columns of maps for what is new in them.
"""

from __future__ import annotations

import operator
import weakref
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from flowrra.batch import Batch
from flowrra.clock import SystemClock
from flowrra.core.records import RunRecord
from flowrra.core.statuses import Status
from flowrra.engine.columns import Columns
from flowrra.engine.run import Progress, Run
from flowrra.errors import UnknownRun
from flowrra.events import Dispatcher
from flowrra.handle import TaskHandle

STATUSES: Final = tuple(Status)
"""What the bytes in ``RunTable.codes`` stand for."""
_SUCCESS: Final = STATUSES.index(Status.SUCCESS)
_RETRYING: Final = STATUSES.index(Status.RETRYING)
_CODES: Final = {status: code for code, status in enumerate(STATUSES)}
_MOST: Final = 255
_FRESH: Final = 1.0
"""Seconds within which looking again sees about when something happened."""

Stretch = tuple[int, int]
"""(first, length) of neighbouring rows."""


class Changes(NamedTuple):
    """What a refresh has found. A row may be in several of them."""

    new: list[Stretch]
    returned: list[Stretch]
    """Neighbours that have returned, as columns told; what one worker did is in order in them."""
    others: list[int]
    """Rows of which anything else is new."""

    def __bool__(self) -> bool:
        return bool(self.new or self.returned or self.others)

    def stretches(self) -> list[Stretch]:
        """All of them."""
        return [*self.new, *self.returned, *((row, 1) for row in self.others)]


class RunTable:
    """Rows are numbered from 0 and never move; new ones come at the end. Used by one thread at a time.

    Instants are seconds on the monotonic clock. A table keeps its runs, and so their values, unless it was made with
    *find*, which then looks up those that are over by their id.
    """

    def __init__(self, find: Callable[[str], TaskHandle[Any]] | None = None) -> None:
        self.codes = bytearray()
        """The status of each row, as an index into :data:`STATUSES`."""
        self.attempts = bytearray()
        """How many attempts have begun; 255 stands for more, too."""
        self.started = array("d")
        """Begin of the latest attempt; 0 where none has begun."""
        self.seconds = array("d")
        """Duration of the latest attempt, so far while it executes; -1 where none has begun."""
        self.workers = array("H")
        """Index into ``worker_names``; 0 is none."""
        self.worker_names: list[str] = [""]
        self.epoch: float | None = None
        """The first submission."""
        self.last_end = 0.0
        self.busy = 0.0
        """Seconds that attempts which are over have taken, each run's latest."""
        self.task_names: set[str] = set()
        self.open: dict[int, Run] = {}
        """Runs that are objects and not over."""
        self._find = find
        self._maps: list[_MapRows] = []
        self._firsts: list[int] = []
        self._following: list[_MapRows] = []
        self._singles: dict[int, Run | str] = {}
        self._told: dict[int, tuple[object, ...]] = {}
        self._arriving: deque[object] = deque()
        self._looked = 0.0
        self._leave: Callable[[], None] = _nothing

    def __len__(self) -> int:
        return len(self.codes)

    # What is in it.

    def follow(self, dispatcher: Dispatcher) -> None:
        """Add what is submitted from now on, at the next refresh. Until :meth:`close`."""
        self._leave = dispatcher.follow(self._arriving.append)

    def close(self) -> None:
        """Take no new runs. May be repeated; those it has can still be read."""
        self._leave()

    def add_all(self, over: Iterable[Run], active: Iterable[Run | Columns]) -> None:
        """Add what was submitted before, and what has arrived meanwhile, each once, in order of submission."""
        parts: dict[str, Run | Columns] = {part.id: part for part in active}
        while self._arriving:
            arrived = self._arriving.popleft()
            assert isinstance(arrived, (Run, Columns)), "nothing else is submitted"
            parts[arrived.id] = arrived
        ended = [run for run in over if run.id not in parts and run.submission.batch_id not in parts]
        for part in sorted([*ended, *parts.values()], key=lambda each: each.submission.seq):
            self._add(part)

    def _add(self, submitted: object) -> None:
        if isinstance(submitted, Run):
            self.add_run(submitted)
        # A map is known to the engine before it is announced.
        elif isinstance(submitted, Columns) and not any(part.columns is submitted for part in self._following):
            self.add_map(submitted)

    def add_map(self, columns: Columns, positions: range | None = None) -> None:
        """Add the runs at *positions* of a map."""
        part = _MapRows(len(self), columns, range(len(columns)) if positions is None else positions)
        self._grow(len(part.positions), columns.submission.submitted, columns.submission.task_name)
        self._maps.append(part)
        self._firsts.append(part.first)
        self._following.append(part)

    def add_run(self, run: Run) -> None:
        """Add one run."""
        row = len(self)
        self._grow(1, run.submission.submitted, run.submission.task_name)
        self._singles[row] = run
        self.open[row] = run

    def _grow(self, length: int, submitted: float, task_name: str) -> None:
        self.codes.extend(bytes(length))
        self.attempts.extend(bytes(length))
        self.started.extend(array("d", bytes(8 * length)))
        self.seconds.extend(array("d", (-1.0,)) * length)
        self.workers.extend(array("H", bytes(2 * length)))
        self.epoch = submitted if self.epoch is None else min(self.epoch, submitted)
        self.task_names.add(task_name)

    # Following.

    def refresh(self) -> Changes:
        """Take in what has happened since; returns the rows that it happened to, and those that are new."""
        before = len(self)
        while self._arriving:
            self._add(self._arriving.popleft())
        new = [(before, len(self) - before)] if len(self) > before else []
        returned = [stretch for part in self._following for stretch in part.refresh(self)]
        for part in self._following:
            if not part.left and self._find is not None:
                part.forget()
        self._following = [part for part in self._following if part.left]
        now = SystemClock().mono()
        others = [row for row, run in list(self.open.items()) if self._take(row, run, now)]
        self._looked = now
        return Changes(new, returned, others)

    def fill(self, first: int, columns: Columns, positions: range) -> None:
        """Rows from *first* on have returned, as the columns of their map say."""
        starts, ends, workers, names = columns.instants_in(positions)
        seconds = array("d", map(operator.sub, ends, starts))
        here = slice(first, first + len(positions))
        self.codes[here] = bytes((_SUCCESS,)) * len(positions)
        self.attempts[here] = b"\1" * len(positions)
        self.started[here], self.seconds[here] = starts, seconds
        index = [self._index_of(name) for name in names]
        same = index == list(range(len(index)))
        self.workers[here] = workers if same else array("H", map(index.__getitem__, workers))
        self.busy += sum(seconds)
        self.last_end = max(self.last_end, *ends)

    def _take(self, row: int, run: Run, now: float) -> bool:
        """Read one run; returns whether anything is new about it."""
        # In this order, as in results.snapshot().
        settled, record = run.settled, run.record
        status = Status.RUNNING if record.is_terminal and not settled else record.status
        told = (status, record.attempt, record.worker, run.progress, record.stopping)
        news = self._told.get(row) != told
        # Cancelled while it waited for a retry: its attempt was over before, and counts already.
        told_over = self.codes[row] == _RETRYING and self.attempts[row] == record.attempt
        if record.started is not None and not told_over and (news or status is Status.RUNNING):
            self.seconds[row] = self._duration(record, status, now)
            if status is not Status.RUNNING:
                self.busy += self.seconds[row]
        if settled:
            self._close(row, run)
        elif news:
            self._told[row] = told
        if news:
            self.codes[row] = _CODES[status]
            self.attempts[row] = min(record.attempt, _MOST)
            self.started[row] = record.started or 0.0
            self.workers[row] = self._index_of(record.worker)
        return news or settled

    def _duration(self, record: RunRecord, status: Status, now: float) -> float:
        assert record.started is not None, "the attempt has begun"
        if status is not Status.RETRYING:
            return max(0.0, (now if record.finished is None else record.finished) - record.started)
        # The end of an attempt that another one follows is not recorded: it is about now, if somebody looked before.
        return now - record.started if now - self._looked < _FRESH else 0.0

    def _close(self, row: int, run: Run) -> None:
        del self.open[row]
        self._told.pop(row, None)
        if row in self._singles and self._find is not None:
            self._singles[row] = run.id
        finished = run.record.finished
        if finished is not None:
            self.last_end = max(self.last_end, finished)

    def _index_of(self, worker: str | None) -> int:
        names = self.worker_names
        if not worker:
            return 0
        if names[-1] == worker:
            return len(names) - 1
        if worker in names:
            return names.index(worker)
        if len(names) > 65_535:  # the numbers that a column of workers can hold
            return 0
        names.append(worker)
        return len(names) - 1

    # Reading.

    def counts(self) -> dict[Status, int]:
        """How many rows have each status."""
        return {status: self.codes.count(code) for code, status in enumerate(STATUSES)}

    def progress(self) -> Mapping[int, Progress]:
        """What runs that are executing have reported."""
        return {row: run.progress for row, run in self.open.items() if run.progress is not None}

    def run_id(self, row: int) -> str:
        """The id of the run in *row*."""
        single = self._singles.get(row)
        if single is None:
            part, position = self._place(row)
            return part.run_id(position)
        return single if isinstance(single, str) else single.id

    def position(self, row: int) -> int | None:
        """The place in its batch of the run in *row*; None for a run of its own, or one that is over and forgotten."""
        single = self._singles.get(row)
        if single is None:
            return self._place(row)[1]
        return single.submission.position if isinstance(single, Run) else None

    def texts(self, first: int, stop: int, *, by_index: bool) -> list[str]:
        """Number and arguments of each row from *first* to before *stop*, to be searched.

        The number is that in the batch, or without *by_index* the end of the id. What was forgotten has no text.
        """
        texts: list[str] = []
        while first < stop:
            if first in self._singles:
                texts.append(self._text(first, by_index=by_index))
                first += 1
                continue
            part, _ = self._place(first)
            after = min(stop, part.first + len(part.positions))
            if part.columns is None:
                texts += [self._text(row, by_index=by_index) for row in range(first, after)]
            else:
                preview, added = part.columns.args_preview, 0 if by_index else part.number
                positions = part.positions[first - part.first : after - part.first]
                texts += [f"{position + added} {preview(position)}" for position in positions]
            first = after
        return texts

    def _text(self, row: int, *, by_index: bool) -> str:
        position = self.position(row) if by_index else None
        number = self.run_id(row).rpartition("-")[2] if position is None else position
        try:
            return f"{number} {self.args_preview(row)}"
        except UnknownRun:
            return f"{number}"

    def args_preview(self, row: int) -> str:
        """What the run in *row* was submitted with, in short. Raises ``UnknownRun`` as :meth:`handle` does."""
        if row not in self.open and row not in self._singles:
            part, position = self._place(row)
            if part.columns is not None:
                return part.columns.args_preview(position)
        return self.handle(row, keep=False)._run.args_preview

    def _place(self, row: int) -> tuple[_MapRows, int]:
        part = self._maps[bisect_right(self._firsts, row) - 1]
        return part, part.positions[row - part.first]

    def handle(self, row: int, *, keep: bool = True) -> TaskHandle[Any]:
        """A handle of the run in *row*. Without *keep* it shows the run as it is now, and is not to be kept.

        Raises ``UnknownRun`` if the run is over and was forgotten.
        """
        run = self.open.get(row) or self._singles.get(row)
        if isinstance(run, Run):
            return TaskHandle(run)
        if isinstance(run, str):
            return self._look_up(run)
        part, position = self._place(row)
        columns = part.columns
        if columns is None:
            return self._look_up(part.run_id(position))
        return TaskHandle(columns.run(position) if keep else columns.look(position))

    def _look_up(self, run_id: str) -> TaskHandle[Any]:
        if self._find is None:
            raise UnknownRun(run_id)
        return self._find(run_id)


class _MapRows:
    """The rows that belong to one map."""

    def __init__(self, first: int, columns: Columns, positions: range) -> None:
        self.first, self.positions = first, positions
        self._columns: Columns | None = columns
        self._known_columns = weakref.ref(columns)
        self._prefix, _, number = columns.run_id(0).rpartition("-")
        self.number = int(number)
        self.left = len(positions)
        """Rows not known to be over, or looked at as objects."""
        self._own = 0
        self._known = bytearray(len(positions))
        """A byte for each: over, or an object, so that the columns have nothing to say any more."""

    def run_id(self, position: int) -> str:
        return f"{self._prefix}-{self.number + position}"

    @property
    def columns(self) -> Columns | None:
        """Those of the map, as long as anybody keeps them."""
        return self._known_columns()

    def forget(self) -> None:
        """Let go of the map, and so of its values."""
        self._columns = None

    def refresh(self, table: RunTable) -> list[Stretch]:
        """Tell *table* what is new; returns the rows concerned."""
        columns = self.columns
        assert columns is not None, "not all are over"
        # In this order: what became an object before it was over is read as an object.
        settled = columns.settled_in(self.positions)
        own = columns.own_since(self._own)
        self._own += len(own)
        for position, run in own:
            if position in self.positions:
                row = self.positions.index(position)
                if not self._known[row]:
                    self._known[row] = 1
                    self.left -= 1
                    table.open[self.first + row] = run
        changed = []
        for at, length in fresh(settled, self._known):
            self._known[at : at + length] = b"\1" * length
            self.left -= length
            table.fill(self.first + at, columns, self.positions[at : at + length])
            changed.append((self.first + at, length))
        return changed


def _nothing() -> None:
    """Nobody is followed."""


def fresh(now: bytearray, known: bytearray) -> Iterable[Stretch]:
    """(first, length) of the stretches of ones in *now* that are zeros in *known*."""
    at, end = known.find(0), len(now)
    while at >= 0:
        at = now.find(1, at)
        if at < 0:
            return
        if known[at]:
            at = known.find(0, at)
            continue
        stops = [stop for stop in (now.find(0, at), known.find(1, at)) if stop >= 0]
        stop = min(stops, default=end)
        yield at, stop - at
        at = known.find(0, stop)


def table_of(runs: Batch[Any] | TaskHandle[Any]) -> RunTable:
    """Return a table of the runs of a batch, or of one run. It keeps them."""
    table = RunTable()
    if isinstance(runs, TaskHandle):
        table.add_run(runs._run)
    else:
        selected = runs.selection
        table.add_map(selected.columns, selected.positions)
    return table

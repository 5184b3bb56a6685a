"""What each worker has executed over the last minute: a few segments each, however many runs there were.

Time is cut into cells, and of the runs that begin in one cell one segment is made. So a run that takes longer than a
cell has a segment to itself, and a thousand short ones look like what they are to the eye: one stretch of work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypedDict

WINDOW: Final = 60.0
CELL: Final = 0.2
MOST_LANES: Final = 64

_RANKS: Final = {"done": 0, "cancelled": 1, "retrying": 2, "failed": 3}


def end_of_cell(instant: float) -> float:
    """Where the cell ends that *instant* lies in."""
    return (int(instant / CELL) + 1) * CELL


class Executed(NamedTuple):
    """One attempt that is over, or several in a row that began in one cell. Instants count from the view's epoch."""

    start: float
    end: float
    word: str
    key: int
    """The run's row in the view; of several the first."""
    runs: int = 1


class Now(TypedDict):
    """What a worker executes at the moment."""

    key: int
    label: str
    started: float


class LaneChange(TypedDict):
    """What is new in one lane: its *segments* from number *first* on, and what runs."""

    name: str
    first: int
    segments: list[list[Any]]
    """Each: begin, duration, word, number of runs, how many failed, key and label of one of the worst."""
    now: Now | None


class Segment:
    """Runs of one worker that look like one."""

    __slots__ = ("end", "failed", "key", "runs", "start", "word")

    def __init__(self, run: Executed) -> None:
        self.start, self.end, self.word, self.key, self.runs = run
        self.failed = run.runs if run.word == "failed" else 0

    def join(self, run: Executed, after: float) -> None:
        """Take in *run*, which began in the same cell or before it but not before *after*; the worse word counts."""
        self.start = min(self.start, max(run.start, after))
        self.end = max(self.end, run.end)
        self.runs += run.runs
        self.failed += run.runs if run.word == "failed" else 0
        if _RANKS[run.word] > _RANKS[self.word]:
            self.word, self.key = run.word, run.key

    def told(self, label_of: Callable[[int], str]) -> list[Any]:
        took, label = round(self.end - self.start, 4), label_of(self.key)
        return [round(self.start, 3), took, self.word, self.runs, self.failed, self.key, label]


class Lane:
    """The segments of one worker, numbered as they are made; only the last one ever changes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.segments: deque[Segment] = deque()
        self.first = 0
        """The number of the first segment that is kept."""
        self.version = 0
        self.now: Now | None = None
        self._cell = -1

    def add(self, run: Executed) -> None:
        """Add a run that is over; runs come in about the order in which they began."""
        cell = int(run.start / CELL)
        if self.segments and cell <= self._cell:
            before = self.segments[-2].end if len(self.segments) > 1 else run.start
            self.segments[-1].join(run, before)
        else:
            self.segments.append(Segment(run))
            self._cell = cell
        self.version += 1

    def forget(self, before: float) -> None:
        """Drop the segments that ended before that instant."""
        while self.segments and self.segments[0].end < before:
            self.segments.popleft()
            self.first += 1

    def since(self, number: int, label_of: Callable[[int], str]) -> LaneChange:
        """Tell the segments from *number* on, as far as they are kept."""
        first = max(self.first, number)
        kept = list(self.segments)[first - self.first :]
        return LaneChange(name=self.name, first=first, segments=[each.told(label_of) for each in kept], now=self.now)

    @property
    def next(self) -> int:
        """The number that the next segment will have."""
        return self.first + len(self.segments)


class Lanes:
    """The lanes of a view, by worker."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}

    def take(self, executed: Mapping[str, list[Executed]], now: Mapping[str, Now], instant: float) -> None:
        """Note what each worker has *executed* since, and what it executes *now*; forget what is a minute old."""
        for name, runs in executed.items():
            lane = self._lanes.setdefault(name, Lane(name))
            for run in sorted(runs):
                if run.end >= instant - WINDOW:
                    lane.add(run)
        for name in now:
            self._lanes.setdefault(name, Lane(name))
        for name, lane in list(self._lanes.items()):
            lane.forget(instant - WINDOW)
            lane.now = now.get(name)
            if not lane.segments and lane.now is None:
                del self._lanes[name]

    def shown(self) -> list[Lane]:
        """The lanes in the order of their workers; of too many the latest."""
        return sorted(self._lanes.values(), key=lambda lane: (len(lane.name), lane.name))[-MOST_LANES:]


class Told:
    """What one reader has been told of the lanes, so that the rest is enough."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int, Now | None]] = {}

    def news(self, lanes: Iterable[Lane], label_of: Callable[[int], str]) -> list[LaneChange]:
        """Return what is new in *lanes*: the last segment known (it may have grown) and those after it."""
        changes = []
        for lane in lanes:
            version, number, now = self._known.get(lane.name, (-1, 0, None))
            if (version, now) != (lane.version, lane.now):
                changes.append(lane.since(number if version == lane.version else max(0, number - 1), label_of))
                self._known[lane.name] = (lane.version, lane.next, lane.now)
        return changes

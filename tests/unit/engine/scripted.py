"""An engine whose clock and executor do only what the test says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from flowrra.backends.memory import MemoryBackend
from flowrra.batch import Batch
from flowrra.core.records import Outcome, RetryPolicy, Submission
from flowrra.core.statuses import OutcomeKind, StopReason
from flowrra.engine.columns import Columns
from flowrra.engine.engine import Engine
from flowrra.engine.run import Run
from flowrra.engine.selections import MappedRuns
from flowrra.events import Dispatcher
from flowrra.interfaces import Attempt, AttemptSink, Call, ResultBackend, Span, Stored
from flowrra.testing.clock import ManualClock

VALUE = Outcome(OutcomeKind.RETURNED, 42)
FAILURE = Outcome(OutcomeKind.RAISED, exception=ValueError("no"))
STOPPED = Outcome(OutcomeKind.CANCELLED, exception=RuntimeError("stopped"))


def _no_retry(_: Sequence[Run]) -> Sequence[Run]:
    raise AssertionError("an engine alone retries nothing: its app does")


class ScriptedExecutor:
    """Implements :class:`flowrra.interfaces.Executor`: takes attempts, starts and ends them when the test says so.

    ``slots`` of them can run, ``prefetch`` more may wait. One that is stopped ends at once unless ``stubborn``.
    """

    name = "scripted"
    loop = None
    clock: ManualClock

    def __init__(self, slots: int = 1, prefetch: int = 0) -> None:
        self.slots = slots
        self.prefetch = prefetch
        self.stubborn = False
        self.held: dict[str, Attempt] = {}
        self.begun: list[str] = []
        self.began: list[str] = []
        self.stopped: list[tuple[str, StopReason]] = []
        self.recalled: list[tuple[int, int] | None] = []
        self.abandoned: set[str] = set()
        self.closed = False

    def encode(self, call: Call) -> Any:
        return call

    def encode_map(self, call: Call, rows: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        return [call._replace(args=row) for row in rows]

    async def start(self, sink: AttemptSink) -> None:
        self.sink = sink

    def room(self) -> int:
        return self.slots + self.prefetch - len(self.held) - len(self.abandoned)

    def begin(self, attempt: Attempt) -> None:
        assert self.room() > 0, "the engine gives no more than there is room for"
        self.held[attempt.run_id] = attempt
        self.begun.append(attempt.run_id)

    def stop(self, attempt: Attempt, reason: StopReason) -> None:
        self.stopped.append((attempt.run_id, reason))
        if attempt.run_id in self.held and not self.stubborn:
            asyncio.get_running_loop().call_soon(self.end, attempt.run_id, STOPPED)

    def recall(self, above: tuple[int, int] | None = None) -> None:
        self.recalled.append(above)
        waiting = [attempt for run_id, attempt in self.held.items() if run_id not in self.began]
        if above is not None:
            waiting = [a for a in waiting if (-a.priority, a.seq) > (-above[0], above[1])][-1:]
        for attempt in waiting:
            del self.held[attempt.run_id]
            self.sink.returned(attempt)

    def describe(self) -> Mapping[str, Any]:
        return {"held": len(self.held)}

    async def close(self) -> None:
        self.closed = True

    def here(self) -> list[str]:
        """The runs that it has."""
        return list(self.held)

    # What the test says.

    def start_run(self, run: Run) -> None:
        """User code of *run* begins."""
        self.began.append(run.id)
        self.sink.started(self.held[run.id], "w1")

    def end(self, run_id: str, outcome: Outcome) -> None:
        """The attempt of the run ends, if it is still here."""
        attempt = self.held.pop(run_id, None)
        if run_id in self.began:
            self.began.remove(run_id)
        if attempt is not None:
            self.sink.finished(attempt, outcome)

    def abandon(self, run: Run) -> Attempt:
        """The attempt cannot be stopped: it ends for the engine, and keeps its slot."""
        attempt = self.held[run.id]
        self.abandoned.add(run.id)
        self.end(run.id, STOPPED._replace(abandoned=True))
        return attempt

    def release(self, attempt: Attempt) -> None:
        """The abandoned attempt returns at last."""
        self.abandoned.remove(attempt.run_id)
        self.sink.released(attempt)


class ScriptedSpans(ScriptedExecutor):
    """A scripted executor that takes runs of a map together."""

    def __init__(self, slots: int = 1, prefetch: int = 0) -> None:
        super().__init__(slots, prefetch)
        self.spans: list[Span] = []
        """As they were given."""
        self.items: dict[str, tuple[Span, int]] = {}
        """What came in spans and is here: its span and its position in the batch."""

    def room(self) -> int:
        return super().room() - len(self.items)

    def begin_span(self, span: Span) -> None:
        assert 1 <= span.length <= self.room(), "the engine gives no more than there is room for"
        self.spans.append(span)
        for position in range(span.first, span.first + span.length):
            run_id = span.run_id(position)
            assert run_id not in self.items, "a run is given once"
            self.items[run_id] = span, position
            self.begun.append(run_id)

    def stop(self, attempt: Attempt, reason: StopReason) -> None:
        super().stop(attempt, reason)
        if attempt.run_id in self.items and not self.stubborn:
            asyncio.get_running_loop().call_soon(self.end, attempt.run_id, STOPPED)

    def here(self) -> list[str]:
        return [*self.held, *self.items]

    def recall(self, above: tuple[int, int] | None = None) -> None:
        waiting = {
            run_id: (-span.priority, span.seq + position - span.first)
            for run_id, (span, position) in self.items.items()
            if run_id not in self.began
        }
        if above is None:
            super().recall(None)
            self.hand_back(list(waiting))
            return
        singles = [(-a.priority, a.seq) for run_id, a in self.held.items() if run_id not in self.began]
        worst = max(waiting, key=waiting.__getitem__, default=None)
        if worst is None or waiting[worst] < max(singles, default=(0, 0)) or waiting[worst] < (-above[0], above[1]):
            super().recall(above)
        else:
            self.recalled.append(above)
            self.hand_back([worst])

    # What the test says.

    def start_run(self, run: Run) -> None:
        if run.id not in self.items:
            super().start_run(run)
            return
        span, position = self.items[run.id]
        self.began.append(run.id)
        self.sink.span_began(span, position, "w1", self.clock.now().mono)

    def end(self, run_id: str, outcome: Outcome) -> None:
        """The run ends as an attempt of its own, if it is still here."""
        if run_id not in self.items:
            super().end(run_id, outcome)
            return
        span, position = self.items.pop(run_id)
        attempt = span.attempt(position)
        if run_id in self.began:
            self.began.remove(run_id)
        elif outcome is not STOPPED:
            self.sink.started(attempt, "w1")
        self.sink.finished(attempt, outcome)

    def neighbours(self, run_id: str, *, unbegun: bool = False) -> list[str]:
        """The run and those behind it in its batch without a gap, as far as they are here in spans."""
        span, position = self.items[run_id]
        found = []
        while (each := span.run_id(position)) in self.items and not (unbegun and each in self.began):
            found.append(each)
            position += 1
        return found

    def return_values(self, run_ids: Sequence[str], seconds: float = 0.0) -> None:
        """Neighbours return, each its own id, after *seconds* each."""
        span, first = self.items[run_ids[0]]
        for run_id in run_ids:
            del self.items[run_id]
            if run_id in self.began:
                self.began.remove(run_id)
        end = self.clock.now().mono
        starts = [end - seconds * left for left in range(len(run_ids), 0, -1)]
        self.sink.span_values(span, first, run_ids, starts, end, "w1")

    def hand_back(self, run_ids: Sequence[str]) -> None:
        """Runs that have not begun go back to the engine, neighbours together."""
        left = sorted((self.items.pop(run_id) for run_id in run_ids), key=lambda item: (item[0].seq, item[1]))
        while left:
            span, first = left[0]
            together = [each for at, each in enumerate(left) if each == (span, first + at)]
            del left[: len(together)]
            self.sink.span_returned(span.part(first, len(together)))


class LaterBackend(MemoryBackend):
    """Saves like a backend that has to wait for something."""

    async def save(self, done: Sequence[Stored]) -> None:
        await super().save(done)


class Bench:
    """An engine with one scripted executor and a clock that stands still."""

    def __init__(self, executor: ScriptedExecutor, engine: Engine, clock: ManualClock) -> None:
        self.executor, self.engine, self.clock = executor, engine, clock
        self._numbers = itertools.count(1)

    def submit(self, task_name: str = "f", *, retries: int = 0, retry_delay: float = 2.0, delay: float | None = None,
               deadline: float | None = None, **options: Any) -> Run:  # fmt: skip
        now, number = self.clock.now(), next(self._numbers)
        submission = Submission(
            f"1-{number}",
            task_name,
            "scripted",
            number,
            now.mono,
            now.wall,
            retry=RetryPolicy(retries, retry_delay),
            not_before=None if delay is None else now.mono + delay,
            deadline=None if deadline is None else now.mono + deadline,
            **options,
        )
        run = Run(submission, self.engine, None, "")
        assert self.engine.accept(run)
        return run

    def map(self, length: int, task_name: str = "f", *, retries: int = 0, delay: float | None = None,
            deadline: float | None = None, **options: Any) -> Batch[Any]:  # fmt: skip
        now = self.clock.now()
        numbers = [next(self._numbers) for _ in range(length + 1)]
        first = Submission(
            f"1-{numbers[1]}",
            task_name,
            "scripted",
            numbers[1],
            now.mono,
            now.wall,
            retry=RetryPolicy(retries, 2.0),
            not_before=None if delay is None else now.mono + delay,
            deadline=None if deadline is None else now.mono + deadline,
            batch_id=f"1-b{numbers[0]}",
            position=0,
            **options,
        )
        columns = Columns(first, length, self.engine, range(length), lambda position: f"n={position}")
        assert self.engine.accept_map(columns)
        return Batch(columns.id, task_name, MappedRuns(columns, range(length)), _no_retry)

    def attempt(self, run: Run, outcome: Outcome) -> None:
        """One whole attempt."""
        self.executor.start_run(run)
        self.executor.end(run.id, outcome)

    async def settle(self) -> None:
        """Let everything happen that happens without time passing."""
        for _ in range(20):
            await asyncio.sleep(0)

    def served(self) -> list[str]:
        """The runs in the order in which the executor got them."""
        return self.executor.begun


@asynccontextmanager
async def bench(
    slots: int = 1, prefetch: int = 0, executor: ScriptedExecutor | None = None, backend: ResultBackend | None = None
) -> AsyncIterator[Bench]:
    executor, clock = executor or ScriptedExecutor(slots, prefetch), ManualClock()
    executor.clock = clock
    engine = Engine({"scripted": executor}, backend or LaterBackend(), Dispatcher("bench"), clock)
    await engine.start()
    try:
        yield Bench(executor, engine, clock)
    finally:
        executor.stubborn = False
        async with asyncio.timeout(5):
            for run_id in executor.here():
                executor.end(run_id, VALUE)
            await engine.stop()

"""A CPU executor with a recording sink in place of the engine, for tests that need real worker processes."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind, StopReason
from flowrra.executors.cpu import CpuExecutor
from flowrra.interfaces import Attempt, Call, Span

PATIENCE = 20.0


class RecordingSink:
    """Keeps what an executor reports, checks its order, and wakes whoever waits for it."""

    def __init__(self) -> None:
        self.workers: dict[str, str | None] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.given_back: list[Attempt] = []
        self.progress: list[tuple[str, float, float | None, str]] = []
        self.texts: dict[tuple[str, str], str] = {}
        self.spans_given_back: list[Span] = []
        self.on_room: Callable[[], None] = lambda: None
        self._changed = asyncio.Event()

    def started(self, attempt: Attempt, worker: str | None, at: float | None = None) -> None:
        assert attempt.run_id not in self.workers
        assert attempt.run_id not in self.outcomes
        self.workers[attempt.run_id] = worker
        self._changed.set()

    def finished(self, attempt: Attempt, outcome: Outcome, at: float | None = None) -> None:
        assert attempt.run_id not in self.outcomes
        self.outcomes[attempt.run_id] = outcome
        self._changed.set()
        self.on_room()

    def returned(self, attempt: Attempt) -> None:
        assert attempt.run_id not in self.workers
        self.given_back.append(attempt)
        self._changed.set()

    def span_began(self, span: Span, position: int, worker: str | None, at: float) -> None:
        self.started(span.attempt(position), worker, at)

    def span_values(
        self, span: Span, first: int, values: Sequence[Any], starts: Sequence[float], end: float, worker: str | None
    ) -> None:
        assert len(values) == len(starts)
        assert list(starts) == sorted(starts)
        assert starts[-1] <= end
        for position, value in enumerate(values, start=first):
            run_id = span.run_id(position)
            assert run_id not in self.outcomes
            self.workers.setdefault(run_id, worker)
            self.outcomes[run_id] = Outcome(OutcomeKind.RETURNED, value)
        self._changed.set()
        self.on_room()

    def span_returned(self, span: Span) -> None:
        assert not any(span.run_id(at) in self.workers for at in range(span.first, span.first + span.length))
        self.spans_given_back.append(span)
        self._changed.set()

    def released(self, attempt: Attempt) -> None:
        raise AssertionError("a process can always be stopped")

    def progressed(self, run_id: str, done: float, total: float | None, message: str) -> None:
        self.progress.append((run_id, done, total, message))
        self._changed.set()

    def logged(self, run_id: str, stream: str, text: str) -> None:
        self.texts[run_id, stream] = self.texts.get((run_id, stream), "") + text
        self._changed.set()

    def room_changed(self) -> None:
        self.on_room()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until *condition* holds; looked at after each report."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class Pool:
    """Submits functions the way the engine does: encode, begin when there is room, take what was returned again."""

    def __init__(self, executor: CpuExecutor, sink: RecordingSink) -> None:
        self.executor, self.sink = executor, sink
        self._ids = itertools.count(1)
        self.waiting: list[Attempt] = []
        self.spans: list[Span] = []
        sink.on_room = self.fill

    def attempt(self, function: Callable[..., Any], /, *args: Any, priority: int = 0, **kwargs: Any) -> Attempt:
        name = getattr(function, "__name__", "task")
        encoded = self.executor.encode(Call(name, function, args, kwargs))
        number = next(self._ids)
        return Attempt(f"run-{number}", 1, name, priority, number, encoded, seed=f"run-{number}")

    def submit(self, function: Callable[..., Any], /, *args: Any, priority: int = 0, **kwargs: Any) -> Attempt:
        attempt = self.attempt(function, *args, priority=priority, **kwargs)
        self.waiting.append(attempt)
        self.fill()
        return attempt

    def map(self, function: Callable[..., Any], rows: Sequence[tuple[Any, ...]], /, **constants: Any) -> Span:
        """Begin a run for each of *rows*, as one span, as far as there is room, and the rest when there is more."""
        name = getattr(function, "__name__", "task")
        encoded = self.executor.encode_map(Call(name, function, (), constants), rows)
        first = next(self._ids)
        for _ in range(len(rows) - 1):
            next(self._ids)
        span = Span(f"batch-{first}", 0, len(rows), name, 0, first, encoded, "run", first)
        self.spans.append(span)
        self.fill()
        return span

    async def outcomes(self, span: Span) -> list[Outcome]:
        ids = [span.run_id(at) for at in range(span.first, span.first + span.length)]
        await self.sink.until(lambda: all(run_id in self.sink.outcomes for run_id in ids))
        return [self.sink.outcomes[run_id] for run_id in ids]

    def fill(self) -> None:
        while self.spans and (room := self.executor.room()) > 0:
            span = self.spans.pop(0)
            if span.length > room:
                self.spans.insert(0, span.part(span.first + room, span.length - room))
                span = span.part(span.first, room)
            self.executor.begin_span(span)
        while self.waiting and self.executor.room() > 0:
            self.executor.begin(self.waiting.pop(0))

    def take_again(self) -> None:
        """Put what was returned back in line, at its place."""
        self.spans[:0] = self.sink.spans_given_back
        self.sink.spans_given_back.clear()
        self.waiting[:0] = self.sink.given_back
        self.sink.given_back.clear()
        self.fill()

    def stop(self, attempt: Attempt) -> None:
        self.executor.stop(attempt, StopReason.CANCEL)

    async def outcome(self, attempt: Attempt) -> Outcome:
        await self.sink.until(lambda: attempt.run_id in self.sink.outcomes)
        return self.sink.outcomes[attempt.run_id]

    async def run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Its value; raises what it raised."""
        outcome = await self.outcome(self.submit(function, *args, **kwargs))
        if outcome.exception is not None:
            raise outcome.exception
        return outcome.value

    async def up(self, workers: int) -> None:
        """Start everybody, and wait until *workers* are there: an interpreter takes its time."""
        await self.run(os.getpid)
        async with asyncio.timeout(PATIENCE):
            while len(self.executor.describe()["pids"]) < workers:
                await asyncio.sleep(0.01)

    async def started(self, attempt: Attempt) -> None:
        await self.sink.until(lambda: attempt.run_id in self.sink.workers)

    async def wrote(self, attempt: Attempt) -> None:
        """Until its function has written something: it has begun before its arguments are rebuilt."""
        await self.sink.until(lambda: self.text(attempt))

    def text(self, attempt: Attempt, stream: str = "stdout") -> str:
        return self.sink.texts.get((attempt.run_id, stream), "")


@asynccontextmanager
async def pool(workers: int = 2, **settings: Any) -> AsyncIterator[Pool]:
    settings.setdefault("workers_by", os.environ.get("FLOWRRA_WORKERS_BY"))
    executor, sink = CpuExecutor(workers, **settings), RecordingSink()
    await executor.start(sink)
    try:
        yield Pool(executor, sink)
    finally:
        await executor.close()

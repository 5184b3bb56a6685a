"""An engine whose clock and executor do only what the test says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from flowrra.backends.memory import MemoryBackend
from flowrra.core.records import Outcome, RetryPolicy, Submission
from flowrra.core.statuses import OutcomeKind, StopReason
from flowrra.engine.engine import Engine
from flowrra.engine.run import Run
from flowrra.events import Dispatcher
from flowrra.interfaces import Attempt, AttemptSink, Call, Stored
from flowrra.testing.clock import ManualClock

VALUE = Outcome(OutcomeKind.RETURNED, 42)
FAILURE = Outcome(OutcomeKind.RAISED, exception=ValueError("no"))
STOPPED = Outcome(OutcomeKind.CANCELLED, exception=RuntimeError("stopped"))


class ScriptedExecutor:
    """Implements :class:`flowrra.interfaces.Executor`: takes attempts, starts and ends them when the test says so.

    ``slots`` of them can run, ``prefetch`` more may wait. One that is stopped ends at once unless ``stubborn``.
    """

    name = "scripted"
    loop = None

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
async def bench(slots: int = 1, prefetch: int = 0) -> AsyncIterator[Bench]:
    executor, clock = ScriptedExecutor(slots, prefetch), ManualClock()
    engine = Engine({"scripted": executor}, LaterBackend(), Dispatcher("bench"), clock)
    await engine.start()
    try:
        yield Bench(executor, engine, clock)
    finally:
        executor.stubborn = False
        async with asyncio.timeout(5):
            for attempt in list(executor.held.values()):
                executor.end(attempt.run_id, VALUE)
            await engine.stop()

"""What every executor has to do, as tests: subclass :class:`ExecutorKit` and say how to make yours.

The tests are coroutine methods and plain ones; any runner that knows both (pytest with pytest-asyncio in auto mode, for
one) collects them from the subclass. They take a few seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn, Protocol, TypeGuard

from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind, StopReason
from flowrra.errors import TaskExit
from flowrra.interfaces import Attempt, Call, Executor, Span, SpanExecutor
from flowrra.running import current_run, progress

SOON = 10.0
"""Seconds within which anything that must happen has happened, on a machine that is busy with other things."""


class Recorder:
    """An ``AttemptSink`` that remembers what it was told, in order, and lets a test wait for it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Attempt]] = []
        self.outcomes: dict[str, Outcome] = {}
        self.progress: dict[str, list[tuple[float, float | None, str]]] = {}
        self.values: dict[int, Any] = {}
        """Of runs of a span, by position."""
        self.begun: set[int] = set()
        """Positions of runs of a span that were told to have begun."""
        self.parts_returned: list[Span] = []
        self.positions: dict[str, int] = {}
        """Of the runs of spans, by their ids."""
        self._news = asyncio.Event()

    def started(self, attempt: Attempt, worker: str | None, at: float | None = None) -> None:
        self._tell("started", attempt)

    def finished(self, attempt: Attempt, outcome: Outcome, at: float | None = None) -> None:
        self.outcomes[attempt.run_id] = outcome
        position = self.positions.get(attempt.run_id)
        if position is not None and outcome.kind is OutcomeKind.RETURNED:
            assert position not in self.values, "told twice"
            self.values[position] = outcome.value
        self._tell("finished", attempt)

    def returned(self, attempt: Attempt) -> None:
        self._tell("returned", attempt)

    def released(self, attempt: Attempt) -> None:
        self._tell("released", attempt)

    def progressed(self, run_id: str, done: float, total: float | None, message: str) -> None:
        self.progress.setdefault(run_id, []).append((done, total, message))

    def logged(self, run_id: str, stream: str, text: str) -> None:
        """Output is the executor's own affair."""

    def room_changed(self) -> None:
        self._news.set()

    def span_began(self, span: Span, position: int, worker: str | None, at: float) -> None:
        assert position not in self.begun, "told twice"
        assert position not in self.values, "told too late"
        self.begun.add(position)
        self._news.set()

    def span_values(
        self, span: Span, first: int, values: Sequence[Any], starts: Sequence[float], end: float, worker: str | None
    ) -> None:
        assert len(values) == len(starts)
        assert [*starts, end] == sorted([*starts, end])
        for position, value in enumerate(values, start=first):
            assert position not in self.values, "told twice"
            self.values[position] = value
        self._news.set()

    def span_returned(self, span: Span) -> None:
        self.parts_returned.append(span)
        self._news.set()

    def story(self, attempt: Attempt) -> list[str]:
        """What was told of *attempt*."""
        return [what for what, told in self.told if told.run_id == attempt.run_id]

    async def until(self, what: str, *attempts: Attempt) -> None:
        """Wait until *what* was told of each of *attempts*. Raises ``TimeoutError``."""
        await self.until_true(lambda: all(what in self.story(attempt) for attempt in attempts))

    async def until_true(self, seen: Callable[[], bool]) -> None:
        """Wait until *seen*, looking whenever there is news. Raises ``TimeoutError``."""
        async with asyncio.timeout(SOON):
            while not seen():
                self._news.clear()
                await self._news.wait()

    async def until_more(self) -> None:
        """Wait until one more attempt than now has finished. Raises ``TimeoutError``."""
        over = len(self.outcomes)
        await self.until_true(lambda: len(self.outcomes) > over)

    def _tell(self, what: str, attempt: Attempt) -> None:
        self.told.append((what, attempt))
        self._news.set()


class Rig:
    """A started executor with a recorder, and attempts for it."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.sink = Recorder()
        self._numbers = itertools.count(1)

    def attempt(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Attempt:
        """An attempt that was not begun."""
        number = next(self._numbers)
        encoded = self.executor.encode(Call(function.__name__, function, args, kwargs))
        return Attempt(f"1-{number}", 1, function.__name__, 0, number, encoded)

    def begin(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Attempt:
        attempt = self.attempt(function, *args, **kwargs)
        self.executor.begin(attempt)
        return attempt

    @property
    def span_executor(self) -> SpanExecutor:
        assert _takes_spans(self.executor)
        return self.executor

    def begin_span(
        self, function: Callable[..., Any], rows: Sequence[tuple[Any, ...]], **constants: Any
    ) -> Span | None:
        """The runs of a map, begun together; None if the executor takes each alone. There must be room for them."""
        if not _takes_spans(self.executor):
            return None
        encoded = self.executor.encode_map(Call(function.__name__, function, (), constants), rows)
        numbers = [next(self._numbers) for _ in rows]
        span = Span("batch", 0, len(rows), function.__name__, 0, numbers[0], encoded, "span", numbers[0])
        self.sink.positions.update({span.run_id(position): position for position in range(len(rows))})
        self.executor.begin_span(span)
        return span

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Outcome:
        """One attempt from begin to end."""
        attempt = self.begin(function, *args, **kwargs)
        await self.sink.until("finished", attempt)
        return self.sink.outcomes[attempt.run_id]


class _TakesSpans(Executor, SpanExecutor, Protocol):
    """Both."""


def _takes_spans(executor: Executor) -> TypeGuard[_TakesSpans]:
    return hasattr(executor, "begin_span")


class ExecutorKit:
    """Subclass it, with a name that your runner collects; say what it can and implement ``open_executor``."""

    coroutines = False
    """It runs coroutine functions; otherwise plain ones."""
    kills = True
    """It ends what it is told to stop, whatever that does; otherwise some attempts end ``abandoned``."""
    on_engine_loop = False
    """A function that blocks holds up the engine: tests in which one does are left out."""

    def open_executor(self, slots: int) -> Executor:
        """Make one with so many slots; not started."""
        raise NotImplementedError

    @asynccontextmanager
    async def rig(self, slots: int = 2) -> AsyncIterator[Rig]:
        """A started executor, which is closed afterwards."""
        rig = Rig(self.open_executor(slots))
        await rig.executor.start(rig.sink)
        try:
            yield rig
        finally:
            await rig.executor.close()

    def fit(self, plain: Callable[..., Any], coroutine: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        """The one of two functions that the executor runs."""
        return coroutine if self.coroutines else plain

    # Outcomes.

    async def test_a_value_comes_back(self) -> None:
        async with self.rig() as rig:
            outcome = await rig.run(self.fit(add, add_async), 40, b=2)
            assert (outcome.kind, outcome.value, outcome.exception) == (OutcomeKind.RETURNED, 42, None)

    async def test_an_error_comes_back_with_its_type_and_its_text(self) -> None:
        async with self.rig() as rig:
            outcome = await rig.run(self.fit(fail, fail_async), "no such thing")
            assert outcome.kind is OutcomeKind.RAISED
            assert isinstance(outcome.exception, LookupError)
            assert outcome.error is not None
            assert (outcome.error.type, outcome.error.message) == ("LookupError", "no such thing")
            assert outcome.error.traceback.rstrip().endswith("LookupError: no such thing")

    async def test_nothing_that_a_function_raises_ends_the_executor(self) -> None:
        async with self.rig() as rig:
            for error, kind in ENDINGS.items():
                outcome = await rig.run(self.fit(raise_named, raise_named_async), error)
                assert outcome.kind is kind, error
                assert outcome.exception is not None
            assert (await rig.run(self.fit(add, add_async), 1, 2)).value == 3

    async def test_a_task_that_asks_the_interpreter_to_end_fails_as_task_exit(self) -> None:
        async with self.rig() as rig:
            for error in ("SystemExit", "KeyboardInterrupt"):
                outcome = await rig.run(self.fit(raise_named, raise_named_async), error)
                assert isinstance(outcome.exception, TaskExit)
                assert error in str(outcome.exception)

    async def test_the_function_knows_its_run_and_reports_its_progress(self) -> None:
        async with self.rig() as rig:
            attempt = rig.begin(self.fit(whoami, whoami_async))
            await rig.sink.until("finished", attempt)
            assert rig.sink.outcomes[attempt.run_id].value == (attempt.run_id, 1)
            assert rig.sink.progress[attempt.run_id][-1] == (2, 3, "two of three")

    # Reports.

    async def test_each_attempt_starts_once_and_then_finishes_once(self) -> None:
        async with self.rig() as rig:
            attempts: list[Attempt] = []
            for number in range(60):
                while rig.executor.room() <= 0:
                    await rig.sink.until_more()
                attempts.append(rig.begin(self.fit(add, add_async), number, 0))
            await rig.sink.until("finished", *attempts)
            assert [rig.sink.story(attempt) for attempt in attempts] == [["started", "finished"]] * 60
            assert [rig.sink.outcomes[attempt.run_id].value for attempt in attempts] == list(range(60))

    async def test_finished_never_comes_from_inside_begin(self) -> None:
        async with self.rig() as rig:
            attempt = rig.begin(self.fit(add, add_async), 1, 1)
            assert "finished" not in rig.sink.story(attempt)
            await rig.sink.until("finished", attempt)

    async def test_room_shrinks_with_each_attempt_and_comes_back(self) -> None:
        async with self.rig(slots=2) as rig:
            room = rig.executor.room()
            assert room >= rig.executor.slots == 2
            attempts = [rig.begin(self.fit(add, add_async), 1, 1) for _ in range(2)]
            assert rig.executor.room() == room - 2
            await rig.sink.until("finished", *attempts)
            # Other runs may go on only when the engine is told so: with `finished`, or by `room_changed`.
            await rig.sink.until_true(lambda: rig.executor.room() >= room)

    async def test_no_more_run_at_the_same_time_than_there_are_slots(self) -> None:
        async with self.rig(slots=2) as rig:
            attempts = [rig.begin(self.fit(add_slowly, add_slowly_async), 1, 1) for _ in range(rig.executor.room())]
            await rig.sink.until("finished", *attempts)
            running = most = 0
            for what, _ in rig.sink.told:
                running += {"started": 1, "finished": -1}.get(what, 0)
                most = max(most, running)
            assert most <= 2

    # Stopping.

    async def test_what_is_stopped_is_over_soon_and_told_once(self) -> None:
        await self._stop(self.fit(wait_long, wait_long_async), must_end=self.coroutines or self.kills)

    async def test_what_ignores_being_stopped_is_over_soon_and_told_once(self) -> None:
        await self._stop(self.fit(ignore_stop, ignore_stop_async), must_end=self.kills)

    async def test_what_blocks_is_over_soon_and_told_once(self) -> None:
        if not self.on_engine_loop:
            await self._stop(self.fit(block, block_async), must_end=self.kills)

    async def _stop(self, function: Callable[..., Any], *, must_end: bool) -> None:
        async with self.rig(slots=1) as rig:
            attempt = rig.begin(function)
            await rig.sink.until("started", attempt)
            begin = time.monotonic()
            rig.executor.stop(attempt, StopReason.CANCEL)
            rig.executor.stop(attempt, StopReason.CANCEL)
            assert "finished" not in rig.sink.story(attempt), "reported from inside stop()"
            await rig.sink.until("finished", attempt)
            assert time.monotonic() - begin < LONG / 2, "it was waited for"
            outcome = rig.sink.outcomes[attempt.run_id]
            assert not (must_end and outcome.abandoned)
            if outcome.abandoned:
                await rig.sink.until("released", attempt)
            assert rig.executor.room() >= 1
            assert (await rig.run(self.fit(add, add_async), 1, 2)).value == 3
            assert Counter(rig.sink.story(attempt))["finished"] == 1

    async def test_an_abandoned_attempt_keeps_its_slot_until_it_is_released(self) -> None:
        async with self.rig(slots=1) as rig:
            attempt = rig.begin(self.fit(ignore_stop, ignore_stop_async))
            await rig.sink.until("started", attempt)
            room = rig.executor.room()
            rig.executor.stop(attempt, StopReason.TIMEOUT)
            await rig.sink.until("finished", attempt)
            if rig.sink.outcomes[attempt.run_id].abandoned:
                assert rig.executor.room() == room
                await rig.sink.until("released", attempt)
                assert rig.executor.room() == room + 1

    async def test_stopped_before_it_began_it_ends_all_the_same_and_frees_its_slot(self) -> None:
        async with self.rig(slots=1) as rig:
            for _ in range(20):
                attempt = rig.begin(self.fit(wait_long, wait_long_async))
                rig.executor.stop(attempt, StopReason.CANCEL)
                await rig.sink.until("finished", attempt)
                if rig.sink.outcomes[attempt.run_id].abandoned:
                    await rig.sink.until("released", attempt)
            assert (await rig.run(self.fit(add, add_async), 1, 2)).value == 3

    async def test_stopping_what_is_not_there_does_nothing(self) -> None:
        async with self.rig() as rig:
            rig.executor.stop(rig.attempt(self.fit(add, add_async), 1, 2), StopReason.CANCEL)
            assert (await rig.run(self.fit(add, add_async), 1, 2)).value == 3
            assert len(rig.sink.outcomes) == 1

    async def test_what_is_recalled_has_not_begun_and_can_be_begun_again(self) -> None:
        async with self.rig(slots=1) as rig:
            slow = self.fit(add_slowly, add_slowly_async)
            attempts = [rig.begin(slow, number, 0) for number in range(rig.executor.room())]
            await rig.sink.until("started", attempts[0])
            rig.executor.recall(None)
            returned = [attempt for attempt in attempts if "returned" in rig.sink.story(attempt)]
            assert attempts[0] not in returned
            for attempt in returned:
                assert rig.sink.story(attempt) == ["returned"]
                rig.executor.begin(attempt)
            await rig.sink.until("finished", *attempts)
            assert [rig.sink.outcomes[attempt.run_id].value for attempt in attempts] == list(range(len(attempts)))

    # Runs of a map together, for executors that take them so.

    async def test_the_values_of_a_span_come_back_in_their_places(self) -> None:
        async with self.rig(slots=2) as rig:
            span = rig.begin_span(self.fit(add, add_async), [(number,) for number in range(3)], b=10)
            if span is None:
                return
            await rig.sink.until_true(lambda: len(rig.sink.values) == 3)
            assert rig.sink.values == {0: 10, 1: 11, 2: 12}
            assert {outcome.kind for outcome in rig.sink.outcomes.values()} <= {OutcomeKind.RETURNED}

    async def test_a_run_of_a_span_that_fails_is_told_as_an_attempt(self) -> None:
        async with self.rig(slots=2) as rig:
            span = rig.begin_span(self.fit(fail_odd, fail_odd_async), [(number,) for number in range(3)])
            if span is None:
                return
            await rig.sink.until_true(lambda: len(rig.sink.values) == 2 and span.run_id(1) in rig.sink.outcomes)
            assert rig.sink.values == {0: 0, 2: 2}
            outcome = rig.sink.outcomes[span.run_id(1)]
            assert isinstance(outcome.exception, LookupError)
            assert rig.sink.story(span.attempt(1))[-1] == "finished"

    async def test_a_run_of_a_span_is_known_to_run_and_is_stopped_alone(self) -> None:
        async with self.rig(slots=2) as rig:
            span = rig.begin_span(self.fit(wait_if_one, wait_if_one_async), [(number,) for number in range(3)])
            if span is None:
                return
            await rig.sink.until_true(lambda: 1 in rig.sink.begun)
            rig.executor.stop(span.attempt(1), StopReason.CANCEL)
            await rig.sink.until("finished", span.attempt(1))
            assert rig.sink.outcomes[span.run_id(1)].kind is OutcomeKind.CANCELLED
            await rig.sink.until_true(lambda: rig.sink.values == {0: 0, 2: 2})

    async def test_what_is_recalled_of_a_span_can_be_begun_again(self) -> None:
        async with self.rig(slots=1) as rig:
            span = rig.begin_span(self.fit(add_slowly, add_slowly_async), [(number,) for number in range(3)], b=0)
            if span is None:
                return
            await rig.sink.until_true(lambda: 0 in rig.sink.begun)
            rig.executor.recall(None)
            for part in rig.sink.parts_returned:
                assert part.first > 0
                rig.span_executor.begin_span(part)
            await rig.sink.until_true(lambda: rig.sink.values == {0: 0, 1: 1, 2: 2})

    # Encoding.

    async def test_a_map_is_encoded_like_its_calls_one_by_one(self) -> None:
        async with self.rig(slots=2) as rig:
            call = Call("add", self.fit(add, add_async), (), {"b": 5})
            rows = [(1,), (2,)]
            attempts = [
                Attempt(f"2-{number}", 1, "add", 0, number, encoded)
                for number, encoded in enumerate(rig.executor.encode_map(call, rows))
            ]
            for attempt in attempts:
                rig.executor.begin(attempt)
            await rig.sink.until("finished", *attempts)
            assert [rig.sink.outcomes[attempt.run_id].value for attempt in attempts] == [6, 7]

    def test_calls_can_be_encoded_before_it_starts_and_on_many_threads(self) -> None:
        executor = self.open_executor(1)
        call = Call("add", self.fit(add, add_async), (1, 2), {})
        encoded: list[Any] = []
        threads = [threading.Thread(target=lambda: encoded.append(executor.encode(call))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(encoded) == 8

    # Life.

    async def test_it_describes_itself_in_plain_values(self) -> None:
        async with self.rig() as rig:
            facts: Mapping[str, Any] = rig.executor.describe()
            assert all(isinstance(name, str) for name in facts)
            assert all(isinstance(value, int | float | str | list | type(None)) for value in facts.values())
            assert rig.executor.name

    async def test_closing_ends_what_is_left(self) -> None:
        async with self.rig(slots=2) as rig:
            attempts = [rig.begin(self.fit(wait_long, wait_long_async)) for _ in range(2)]
            await rig.sink.until("started", *attempts)
            begin = time.monotonic()
            await rig.executor.close()
            assert time.monotonic() - begin < LONG / 2

    def test_it_can_be_started_again_on_another_loop(self) -> None:
        executor = self.open_executor(1)

        async def once() -> None:
            rig = Rig(executor)
            await executor.start(rig.sink)
            try:
                assert (await rig.run(self.fit(add, add_async), 20, 22)).value == 42
            finally:
                await executor.close()

        asyncio.run(once())
        asyncio.run(once())


# Functions for it, found by import in any process.

LONG = 1.6
"""Seconds that a stubborn function takes; longer than any grace, short enough to wait for."""

ENDINGS = {
    "SystemExit": OutcomeKind.RAISED,
    "KeyboardInterrupt": OutcomeKind.RAISED,
    "GeneratorExit": OutcomeKind.RAISED,
    "OfItsOwnKind": OutcomeKind.RAISED,
    "CancelledError": OutcomeKind.CANCELLED,
}


class OfItsOwnKind(BaseException):
    """Neither an ``Exception`` nor one of Python's own."""


def add(a: int, b: int) -> int:
    return a + b


async def add_async(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


def add_slowly(a: int, b: int) -> int:
    time.sleep(0.05)
    return a + b


async def add_slowly_async(a: int, b: int) -> int:
    await asyncio.sleep(0.05)
    return a + b


def fail_odd(number: int) -> int:
    if number % 2:
        raise LookupError(number)
    return number


async def fail_odd_async(number: int) -> int:
    return fail_odd(number)


def wait_if_one(number: int) -> int:
    if number == 1:
        wait_long()
    return number


async def wait_if_one_async(number: int) -> int:
    if number == 1:
        await wait_long_async()
    return number


def fail(text: str) -> NoReturn:
    raise LookupError(text)


async def fail_async(text: str) -> NoReturn:
    raise LookupError(text)


def raise_named(name: str) -> NoReturn:
    kinds = {kind.__name__: kind for kind in (SystemExit, KeyboardInterrupt, GeneratorExit, OfItsOwnKind)}
    raise kinds.get(name, asyncio.CancelledError)


async def raise_named_async(name: str) -> NoReturn:
    raise_named(name)


def whoami() -> tuple[str, int]:
    progress.update(2, 3, "two of three")
    return current_run().id, current_run().attempt


async def whoami_async() -> tuple[str, int]:
    return whoami()


def wait_long() -> None:
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        time.sleep(0.01)


async def wait_long_async() -> None:
    await asyncio.sleep(LONG)


def ignore_stop() -> None:
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        try:
            time.sleep(0.01)
        except BaseException:  # noqa: BLE001, S112 - a function that cannot be asked to end is what is wanted
            continue


async def ignore_stop_async() -> None:
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            continue


def block() -> None:
    time.sleep(LONG)


async def block_async() -> None:
    time.sleep(LONG)  # noqa: ASYNC251 - a coroutine that blocks its loop is what is wanted

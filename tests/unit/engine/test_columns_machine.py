# ruff: noqa: SLF001 - what a batch keeps its runs in is what is tested
"""Whatever happens to maps and single runs, in whatever order, each run ends once and as it has to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flowrra.backends.memory import MemoryBackend
from flowrra.batch import Batch
from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind, Status, StopReason
from flowrra.engine.engine import Engine
from flowrra.engine.run import Run
from flowrra.engine.selections import ColumnsArrivals, ColumnsCountdown
from flowrra.events import Dispatcher
from flowrra.interfaces import Span
from flowrra.testing.clock import ManualClock
from tests.unit.engine.fates import Fate, GatedBackend, Witness
from tests.unit.engine.scripted import FAILURE, STOPPED, Bench, ScriptedExecutor, ScriptedSpans

EVERYTHING = "*"
TASKS = st.sampled_from(["f", "g"])
POINT = st.integers(0, 10_000)
"""Chooses one of however many there are."""
SELDOM = st.sampled_from([False, False, False, True])


class Bell:
    """A :class:`~flowrra.engine.waiters.Fire` that counts."""

    def __init__(self) -> None:
        self.rung = 0

    def fire(self) -> None:
        self.rung += 1


class Maps(RuleBasedStateMachine):
    @initialize(spans=st.sampled_from([True, True, False]), slots=st.integers(1, 3), prefetch=st.integers(0, 9),
                at_once=st.booleans(), length=st.sampled_from([3, 12]))  # fmt: skip
    def start(self, spans: bool, slots: int, prefetch: int, at_once: bool, length: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.no_pause = patch("flowrra.engine.saver.RETRY_SECONDS", 0.0)
        self.no_pause.start()
        kind = ScriptedSpans if spans else ScriptedExecutor
        self.executor, self.clock = kind(slots, prefetch), ManualClock()
        self.executor.clock = self.clock
        self.fates: dict[str, Fate] = {}
        self.batches: list[Batch[Any]] = []
        self.runs: dict[str, Run] = {}
        self.paused: set[str] = set()
        self.announced: list[Run] = []
        self.countdowns: list[tuple[ColumnsCountdown, Batch[Any], bool, Bell, bool]] = []
        self.arrivals: list[tuple[ColumnsArrivals, Batch[Any], Bell, list[int]]] = []
        self.stopped = False
        self.ended: Counter[str] = Counter()

        async def begin() -> None:
            self.backend: Any = MemoryBackend() if at_once else GatedBackend()
            self.engine = Engine({"scripted": self.executor}, self.backend, Dispatcher("machine"), self.clock)
            await self.engine.start()
            self.bench = Bench(self.executor, self.engine, self.clock)
            self.reports: Any = self.executor.sink
            self.executor.sink = Witness(self.reports, self.fates, self.clock)  # type: ignore[assignment]

        self.loop.run_until_complete(begin())
        self.map(length, "f", 0, retries=1, timeout=None, deadline=None, delay=None)

    def do(self, call: Callable[..., Any], *args: Any) -> Any:
        async def inside() -> Any:
            result = call(*args)
            await self.bench.settle()
            return result

        return self.loop.run_until_complete(inside())

    @property
    def saving(self) -> bool:
        return not isinstance(self.backend, GatedBackend) or self.backend.works

    # Submitting.

    @rule(length=st.sampled_from([1, 3, 9, 20]), task=TASKS, priority=st.integers(-1, 1),
          retries=st.integers(0, 1), timeout=SELDOM.map(lambda seldom: 5.0 if seldom else None),
          deadline=SELDOM.map(lambda seldom: 7.0 if seldom else None),
          delay=SELDOM.map(lambda seldom: 3.0 if seldom else None))  # fmt: skip
    def map(self, length: int, task: str, priority: int, retries: int, timeout: float | None, deadline: float | None,
            delay: float | None) -> None:  # fmt: skip
        def submit() -> Batch[Any]:
            columns_id = next(self.bench._numbers)
            for offset in range(2, length + 2):
                self.fates[f"1-{columns_id + offset}"] = self._fate(task, priority, retries, timeout, deadline, delay)
            return self.bench.map(length, task, priority=priority, retries=retries, timeout=timeout,
                                  deadline=deadline, delay=delay)  # fmt: skip

        self.batches.append(self.do(submit))

    @rule(task=TASKS, priority=st.integers(-1, 1), retries=st.integers(0, 1), timeout=st.none() | st.just(5.0))
    def submit(self, task: str, priority: int, retries: int, timeout: float | None) -> None:
        def submit() -> Run:
            number = next(self.bench._numbers)
            self.fates[f"1-{number + 1}"] = self._fate(task, priority, retries, timeout, None, None)
            return self.bench.submit(task, priority=priority, retries=retries, timeout=timeout)

        run = self.do(submit)
        self._know(run)

    def _fate(self, task: str, priority: int, retries: int, timeout: float | None, deadline: float | None,
              delay: float | None) -> Fate:  # fmt: skip
        now = self.clock.mono()
        until = None if deadline is None else now + deadline
        return Fate(task, priority, retries, now + (delay or 0.0), until, timeout)

    def _know(self, run: Run) -> Run:
        known = self.runs.setdefault(run.id, run)
        assert known is run, "one object for each run"
        return run

    # Looking.

    @precondition(lambda self: self.batches)
    @rule(batch=POINT, positions=st.lists(POINT, min_size=1, max_size=4))
    def ask_for_handles(self, batch: int, positions: list[int]) -> None:
        chosen = self.batches[batch % len(self.batches)]
        for position in positions:
            handle = chosen[position % len(chosen)]
            self._know(handle._run)
            assert handle.status is self._shown(chosen, position % len(chosen))

    @precondition(lambda self: self.fates)
    @rule(which=POINT)
    def find_by_id(self, which: int) -> None:
        run_id = list(self.fates)[which % len(self.fates)]
        run = self.engine.find(run_id)
        fate = self.fates[run_id]
        if run is not None:
            self._know(run)
            assert not run.settled
        elif not (fate.over and self.saving):
            assert self.backend.recent(run_id) is not None, "a run is found, over or not"
        stored = self.backend.recent(run_id)
        assert (run is None) == (stored is not None)
        if stored is not None:
            assert stored.record.status is fate.status
            assert str(stored.arguments) in ("", f"n={stored.record.submission.position}")

    @precondition(lambda self: self.batches)
    @rule(batch=POINT, cut=st.slices(20), strict=st.booleans())
    def count_down(self, batch: int, cut: slice, strict: bool) -> None:
        chosen = self.batches[batch % len(self.batches)][cut]
        countdown, bell = chosen._runs.all_over(stop_on_failure=strict), Bell()
        self.countdowns.append((countdown, chosen, strict, bell, countdown.arm(bell)))

    @precondition(lambda self: self.countdowns)
    @rule(which=POINT)
    def stop_counting(self, which: int) -> None:
        countdown, _, _, bell, _ = self.countdowns.pop(which % len(self.countdowns))
        countdown.disarm()
        before = bell.rung
        assert before <= 1

    @precondition(lambda self: self.batches)
    @rule(batch=POINT, cut=st.slices(20))
    def listen(self, batch: int, cut: slice) -> None:
        chosen = self.batches[batch % len(self.batches)][cut]
        self.arrivals.append((chosen._runs.arrivals(), chosen, Bell(), []))

    @precondition(lambda self: self.arrivals)
    @rule(which=POINT)
    def take_what_arrived(self, which: int) -> None:
        arrivals, batch, bell, taken = self.arrivals[which % len(self.arrivals)]
        while (run := arrivals.take()) is not None:
            assert run.settled
            taken.append(self._know(run).submission.position or 0)
        assert sorted(taken) == sorted(self._settled(batch))
        assert arrivals.arm(bell)

    @precondition(lambda self: self.arrivals)
    @rule(which=POINT)
    def stop_listening(self, which: int) -> None:
        self.arrivals.pop(which % len(self.arrivals))[0].close()

    # What the executor reports.

    @precondition(lambda self: self.executor.here())
    @rule(which=POINT)
    def begin(self, which: int) -> None:
        waiting = [run_id for run_id in self.executor.here() if run_id not in self.executor.began]
        if waiting:
            self.do(self.executor.start_run, self._run(waiting[which % len(waiting)]))

    @precondition(lambda self: self.executor.here())
    @rule(which=POINT, length=st.integers(1, 12), looks=st.lists(st.integers(0, 11), max_size=3),
          again=st.booleans(), late=st.booleans())  # fmt: skip
    def return_values(self, which: int, length: int, looks: list[int], again: bool, late: bool) -> None:
        """Some are looked at when they have returned and are, perhaps, not saved yet; some are reported twice."""
        run_id = self.executor.here()[which % len(self.executor.here())]
        if late and isinstance(self.backend, GatedBackend):
            self.backend.gate.clear()
        if isinstance(self.executor, ScriptedSpans) and run_id in self.executor.items:
            span, first = self.executor.items[run_id]
            together = self.executor.neighbours(run_id)[:length]
            self.do(self.executor.return_values, together, 0.5)
            for look in looks:
                self._run(together[look % len(together)])
            if again:
                now = self.clock.mono()
                late_values = ["late"] * len(together), [now] * len(together)
                self.do(self.reports.span_values, span, first, *late_values, now, "w1")
        else:
            self.do(self._end, run_id, Outcome(OutcomeKind.RETURNED, run_id))
        if late and isinstance(self.backend, GatedBackend):
            for look in looks:
                self.count_down(look, slice(None), strict=False)
                self.listen(look, slice(None))
            self.do(self.backend.gate.set)

    @precondition(lambda self: self.executor.here())
    @rule(which=POINT)
    def fail(self, which: int) -> None:
        self.do(self._end, self.executor.here()[which % len(self.executor.here())], FAILURE)

    def _end(self, run_id: str, outcome: Outcome) -> None:
        if run_id in self.executor.held and run_id not in self.executor.began:
            self.executor.start_run(self._run(run_id))
        self.executor.end(run_id, outcome)

    @precondition(lambda self: isinstance(self.executor, ScriptedSpans) and self.executor.items)
    @rule(which=POINT, length=st.integers(1, 12))
    def hand_back(self, which: int, length: int) -> None:
        waiting = [run_id for run_id in self.executor.items if run_id not in self.executor.began]
        if waiting:
            together = self.executor.neighbours(waiting[which % len(waiting)], unbegun=True)
            self.do(self.executor.hand_back, together[:length])

    @precondition(lambda self: self.batches)
    @rule(batch=POINT, position=POINT)
    def say_again_what_is_over_or_not_there(self, batch: int, position: int) -> None:
        """What an executor says of runs that it does not have changes nothing."""
        chosen = self.batches[batch % len(self.batches)]
        columns, first = chosen._runs.columns, position % len(chosen)
        if columns.run_id(first) in self.executor.here():
            return
        name = columns.submission.task_name
        span = Span(columns.id, first, 1, name, 0, columns.seq + first, range(len(chosen)), "1", columns.numbers.start)
        now = self.clock.mono()
        self.do(self.reports.span_values, span, first, ["late"], [now], now, "w1")
        self.do(self.reports.span_began, span, first, "w1", now)
        if self.fates[columns.run_id(first)].over:
            self.do(self.reports.finished, span.attempt(first), FAILURE)
            self.do(self.reports.returned, span.attempt(first))

    # What people and clocks want.

    @precondition(lambda self: self.fates)
    @rule(which=POINT)
    def cancel(self, which: int) -> None:
        run = self._run(list(self.fates)[which % len(self.fates)])
        fate = self.fates[run.id]
        assert run.want_stop() == (not fate.over)
        fate.wanted = not fate.over
        fate.stop(StopReason.CANCEL)
        self.do(self.engine.request_stop, [run], StopReason.CANCEL)

    @precondition(lambda self: self.batches)
    @rule(batch=POINT, cut=st.slices(20), seldom=SELDOM)
    def cancel_some(self, batch: int, cut: slice, seldom: bool) -> None:
        chosen = self.batches[batch % len(self.batches)][cut]
        chosen = chosen if seldom else chosen[:2]
        ids = [chosen._runs.columns.run_id(position) for position in chosen._runs.positions]
        asked = [self.fates[run_id] for run_id in ids if not self.fates[run_id].over]
        for fate in asked:
            fate.wanted = True
            fate.stop(StopReason.CANCEL)
        assert self.do(chosen.cancel) == len(asked)

    @precondition(lambda self: self.fates)
    @rule(which=POINT)
    def want_to_cancel_from_another_thread(self, which: int) -> None:
        run = self._run(list(self.fates)[which % len(self.fates)])
        if run.want_stop():
            self.fates[run.id].wanted = True
            self.announced.append(run)

    @precondition(lambda self: self.announced)
    @rule()
    def hear_of_it(self) -> None:
        for run in self.announced:
            self.fates[run.id].stop(StopReason.CANCEL)
        self.do(self.engine.request_stop, self.announced, StopReason.CANCEL)
        self.announced = []

    @rule(seconds=st.sampled_from([0.5, 2.0, 3.0, 6.0]))
    def pass_time(self, seconds: float) -> None:
        end = self.clock.mono() + seconds
        alarms = []
        for fate in self.fates.values():
            if fate.deadline is not None and fate.deadline <= end:
                alarms.append((fate.deadline, 0, id(fate), fate, StopReason.DEADLINE))
            if fate.times_out_at is not None and fate.times_out_at <= end:
                alarms.append((fate.times_out_at, 1, id(fate), fate, StopReason.TIMEOUT))
        for *_, fate, reason in sorted(alarms, key=lambda alarm: alarm[:3]):
            fate.stop(reason)
        self.do(self.clock.advance, seconds)

    @rule(task=TASKS | SELDOM.map(lambda seldom: None if seldom else "f"))
    def pause(self, task: str | None) -> None:
        self.paused.add(task or EVERYTHING)
        self.do(self.engine.pause, task)

    @rule(task=TASKS | st.none())
    def resume(self, task: str | None) -> None:
        self.paused = self.paused - {task} if task else set()
        self.do(self.engine.resume, task)

    @rule(stubborn=st.booleans())
    def obey_or_not(self, stubborn: bool) -> None:
        self.executor.stubborn = stubborn

    @precondition(lambda self: isinstance(self.backend, GatedBackend))
    @rule(open_=st.booleans(), failing=st.booleans())
    def backend_changes(self, open_: bool, failing: bool) -> None:
        def change() -> None:
            self.backend.failing = failing
            self.backend.gate.set() if open_ else self.backend.gate.clear()

        self.do(change)

    @rule(some=st.booleans(), seldom=SELDOM)
    def leave_a_block(self, some: bool, seldom: bool) -> None:
        """What cannot begin by itself is given up."""
        if not seldom:
            return
        parts = [batch._runs.columns for batch in self.batches[::2]] if some else None
        mine = {batch._runs.columns.id for batch in self.batches[::2]}
        here, expected = self.executor.here(), set()
        for run_id, fate in self.fates.items():
            cannot = fate.task in self.paused or EVERYTHING in self.paused
            cannot = cannot or (fate.status is Status.PENDING and fate.due > self.clock.mono())
            if fate.status is Status.RETRYING and not self._retry_due(run_id) and EVERYTHING not in self.paused:
                cannot = cannot and fate.task in self.paused
            if cannot and not fate.over and run_id not in here and (not some or self._batch_of(run_id) in mine):
                expected.add(run_id)
        for run_id in expected:
            self.fates[run_id].stop(StopReason.SHUTDOWN)
        given_up = self.do(self.engine.give_up_held, parts)
        assert {run.id for run in given_up} == expected

    # What holds all the time.

    def _run(self, run_id: str) -> Run:
        if run_id in self.runs:
            return self.runs[run_id]
        columns = next(b._runs.columns for b in self.batches if b._runs.columns.position_of(run_id) is not None)
        return self._know(columns.run(columns.position_of(run_id) or 0))

    def _batch_of(self, run_id: str) -> str | None:
        found = (b._runs.columns for b in self.batches if b._runs.columns.position_of(run_id) is not None)
        return next((columns.id for columns in found), None)

    def _retry_due(self, run_id: str) -> bool:
        return (self._run(run_id).record.ready_at or 0.0) <= self.clock.mono()

    def _settled(self, batch: Batch[Any]) -> list[int]:
        return [position for position in batch._runs.positions if batch._runs.columns.is_settled(position)]

    @invariant()
    def each_run_stands_where_it_should(self) -> None:
        for run_id, run in self.runs.items():
            fate = self.fates[run_id]
            assert run.record.status is fate.status
            assert run.record.attempt == fate.attempts
            assert run.settled <= fate.over
            if self.saving:
                assert run.settled == fate.over

    @invariant()
    def columns_know_what_is_over(self) -> None:
        for batch in self.batches:
            columns = batch._runs.columns
            over = [self.fates[columns.run_id(position)].over for position in range(len(batch))]
            settled = [columns.is_settled(position) for position in range(len(batch))]
            assert all(o or not s for o, s in zip(over, settled, strict=True))
            if self.saving:
                assert settled == over
            assert columns.left == settled.count(False)
            assert batch.done() == all(settled)

    @invariant()
    def counts_of_a_batch_are_those_of_its_handles(self) -> None:
        for batch in self.batches:
            for part in (batch, batch[::-2], batch[1:4]):
                expected = dict.fromkeys(Status, 0)
                for position in part._runs.positions:
                    expected[self._shown(batch, position)] += 1
                assert part.counts() == expected

    def _shown(self, batch: Batch[Any], position: int) -> Status:
        columns = batch._runs.columns
        fate = self.fates[columns.run_id(position)]
        return Status.RUNNING if fate.over and not columns.is_settled(position) else fate.status

    @invariant()
    def errors_are_those_of_the_runs_that_failed(self) -> None:
        for batch in self.batches:
            columns = batch._runs.columns
            expected = {
                position: self.fates[columns.run_id(position)].error
                for position in range(len(batch))
                if columns.is_settled(position) and self.fates[columns.run_id(position)].error is not None
            }
            assert {position: type(error) for position, error in batch.errors.items()} == expected

    @invariant()
    def the_app_counts_every_run_once(self) -> None:
        expected = Counter(fate.status for fate in self.fates.values())
        assert +Counter(self.engine.counts) == expected
        assert min(self.engine.counts.values(), default=0) >= 0

    @invariant()
    def waits_end_exactly_when_they_should(self) -> None:
        for _, batch, strict, bell, armed in self.countdowns:
            columns, settled = batch._runs.columns, self._settled(batch)
            failed = strict and any(self.fates[columns.run_id(position)].error is not None for position in settled)
            over = len(settled) == len(batch) or failed
            assert bell.rung == (1 if armed and over else 0)
            assert armed or over

    @invariant()
    def nothing_waits_while_there_is_room(self) -> None:
        here, now = self.executor.here(), self.clock.mono()
        if self.stopped or EVERYTHING in self.paused:
            return
        ready = [
            fate
            for run_id, fate in self.fates.items()
            if not fate.over and run_id not in here and fate.task not in self.paused and fate.due <= now
            if fate.status is Status.PENDING or (fate.status is Status.RETRYING and self._retry_due(run_id))
        ]  # fmt: skip
        assert not ready or self.executor.room() <= 0
        prefetched = [self.fates[run_id] for run_id in here if run_id not in self.executor.began]
        worst = min((fate.priority for fate in prefetched if not fate.over), default=2)
        assert all(fate.priority <= worst for fate in ready)

    @invariant()
    def nothing_is_kept_of_what_is_over(self) -> None:
        if self.saving:
            idle = all(fate.over for fate in self.fates.values())
            assert bool(self.engine.unfinished()) != idle if idle else True
            assert self.engine._runs.idle.is_set() == idle

    # The end.

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self._end_all()
        finally:
            self.no_pause.stop()
            self.loop.close()

    def _end_all(self) -> None:
        if isinstance(self.backend, GatedBackend):
            self.backend_changes(open_=True, failing=False)
        if self.announced:
            self.hear_of_it()
        self.stopped = True
        self.executor.stubborn = False
        for run_id in [run_id for run_id in self.executor.here() if self.fates[run_id].stopping is not None]:
            self.do(self._end, run_id, STOPPED)
        for fate in self.fates.values():
            fate.stop(StopReason.SHUTDOWN)

        async def stop() -> None:
            async with asyncio.timeout(5):
                await self.engine.stop()

        self.loop.run_until_complete(stop())
        assert not self.engine.unfinished()
        self.each_run_stands_where_it_should()
        self.waits_end_exactly_when_they_should()
        self.counts_of_a_batch_are_those_of_its_handles()
        self.errors_are_those_of_the_runs_that_failed()
        self.the_app_counts_every_run_once()
        for arrivals, batch, _, taken in self.arrivals:
            while (run := arrivals.take()) is not None:
                taken.append(run.submission.position or 0)
            assert sorted(taken) == sorted(batch._runs.positions)
            arrivals.close()
        for batch in self.batches:
            columns = batch._runs.columns
            ids = [columns.run_id(position) for position in range(len(batch))]
            fates = [self.fates[run_id] for run_id in ids]
            found = [type(v) if isinstance(v, BaseException) else v for v in batch.result(on_error="return")]
            assert found == [fate.error or run_id for run_id, fate in zip(ids, fates, strict=True)]
            for run_id, fate in zip(ids, fates, strict=True):
                stored = self.backend.recent(run_id)
                assert stored.record.status is fate.status
                assert stored.outcome.value == (run_id if fate.error is None else None)


TestMaps = Maps.TestCase
TestMaps.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

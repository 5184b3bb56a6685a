from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from flowrra.backends.memory import MemoryBackend
from flowrra.core.records import Outcome, RunRecord, Submission
from flowrra.core.statuses import OutcomeKind, Status
from flowrra.engine import saver as module
from flowrra.engine.run import Run
from flowrra.engine.saver import Saver
from flowrra.interfaces import Stored


class Backend(MemoryBackend):
    """Fails while it is ``down``, answers only while ``open`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        self.groups: list[int] = []

    async def save(self, done: Sequence[Stored]) -> None:
        self.asked.set()
        await self.open.wait()
        if self.down:
            raise ConnectionError("away")
        self.groups.append(len(done))
        await super().save(done)


class Bench:
    def __init__(self) -> None:
        self.backend = Backend()
        self.saved: list[Run] = []
        self.changed = asyncio.Event()
        self.saver = Saver(self.backend, self._saved)

    def _saved(self, runs: Sequence[Run]) -> None:
        self.saved += runs
        self.changed.set()

    def add(self, number: int) -> Run:
        record = RunRecord(Submission(f"r{number}", "f", "x", number, 0.0, 0.0), status=Status.SUCCESS)
        run = Run(record.submission, None, None, "", record)
        run.outcome = Outcome(OutcomeKind.RETURNED, number)
        self.saver.add(run)
        return run

    async def until_saved(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.saved) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def bench():  # type: ignore[no-untyped-def]
    made = Bench()
    yield made
    await made.saver.close()


async def test_what_comes_while_a_group_is_saved_is_the_next_group(bench: Bench) -> None:
    bench.backend.open.clear()
    first = bench.add(1)
    await bench.backend.asked.wait()
    others = [bench.add(number) for number in range(2, 5)]
    bench.backend.open.set()
    await bench.until_saved(4)
    assert bench.saved == [first, *others]
    assert bench.backend.groups == [1, 3]


async def test_being_cancelled_from_outside_loses_nothing_and_saves_in_order(bench: Bench) -> None:
    bench.backend.open.clear()
    runs = [bench.add(number) for number in range(3)]
    await bench.backend.asked.wait()
    [task] = [task for task in asyncio.all_tasks() if task.get_name() == "flowrra-saver"]
    task.cancel()
    await asyncio.sleep(0)
    bench.backend.open.set()
    await bench.until_saved(3)
    assert bench.saved == runs
    assert not task.done()
    assert task.cancelling() == 0


async def test_it_tries_without_end_until_it_is_told_otherwise(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(module, "RETRY_MAX_SECONDS", 0.0)
    bench.backend.down = True
    runs = [bench.add(number) for number in range(module.GROUP + 1)]
    for _ in range(20):
        bench.backend.asked.clear()
        await bench.backend.asked.wait()
    assert (bench.saved, bench.saver.given_up) == ([], 0)
    bench.saver.give_up_after(0.0)
    await bench.until_saved(len(runs))
    assert bench.saved == runs
    assert bench.saver.given_up == len(runs), "what waited behind the group shares its fate"


async def test_a_pause_ends_when_it_shall_give_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 3600.0)
    bench.backend.down = True
    bench.add(1)
    await bench.backend.asked.wait()
    await asyncio.sleep(0)
    bench.saver.give_up_after(0.0)
    await bench.until_saved(1)
    assert bench.saver.given_up == 1


async def test_the_last_attempt_may_still_succeed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 3600.0)
    bench.backend.down = True
    bench.add(1)
    await bench.backend.asked.wait()
    await asyncio.sleep(0)
    bench.backend.down = False
    bench.saver.give_up_after(0.0)
    await bench.until_saved(1)
    assert bench.saver.given_up == 0
    assert bench.backend.groups == [1]


async def test_an_attempt_that_hangs_is_given_up_as_well(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_ATTEMPT_SECONDS", 0.01)
    bench.backend.open.clear()
    bench.add(1)
    await bench.backend.asked.wait()
    bench.saver.give_up_after(0.0)
    await bench.until_saved(1)
    assert bench.saver.given_up == 1


async def test_a_backend_that_is_back_in_time_gets_everything(bench: Bench) -> None:
    bench.backend.down = True
    bench.add(1)
    await bench.backend.asked.wait()
    bench.saver.give_up_after(600.0)
    bench.add(2)
    bench.backend.down = False
    await bench.until_saved(2)
    assert bench.saver.given_up == 0


def test_a_backend_that_never_waits_saves_at_once_and_a_subclass_that_does_is_waited_for() -> None:
    class Waits(MemoryBackend):
        async def save(self, done: Sequence[Stored]) -> None:
            await asyncio.sleep(0)
            await super().save(done)

    at_once = module.immediate_save(MemoryBackend())
    assert at_once is not None
    assert module.immediate_save(Waits()) is None

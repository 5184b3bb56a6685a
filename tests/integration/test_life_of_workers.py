"""Workers over time: what they may use, when they are replaced, how many there are."""

from __future__ import annotations

import asyncio
import atexit
import os
import pathlib
import signal
import sys
import time

import pytest

from flowrra import Flowrra, InitializerFailed, MemoryLimitExceeded, WorkerLost
from flowrra.core.statuses import OutcomeKind
from flowrra.errors import InvalidOption
from tests.faults.pool_driver import pool

pytestmark = pytest.mark.usefixtures("each_way")

MB = 10**6


def use(megabytes: int) -> int:
    held = bytearray(megabytes * MB)
    for at in range(0, len(held), 4096):
        held[at] = 1
    time.sleep(0.4)
    return len(held)


async def test_a_run_above_its_memory_limit_ends_alone_and_says_what_it_used() -> None:
    async with Flowrra(cpu_workers=2) as app:
        hungry = app.task(cpu_bound=True, memory_limit="150MB")(use)
        others = [await app.submit(hungry, 1) for _ in range(3)]
        with pytest.raises(MemoryLimitExceeded) as caught:
            await hungry.submit(400)
        assert caught.value.limit == 150 * MB
        assert caught.value.peak > 150 * MB
        assert "memory_limit is 150 MB" in str(caught.value)
        assert isinstance(caught.value, MemoryError)
        assert [await other for other in others] == [MB] * 3
        assert await hungry.submit(2) == 2 * MB


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_a_run_above_its_memory_limit_is_retried_as_its_options_say() -> None:
    async with Flowrra(cpu_workers=1) as app:
        hungry = app.task(cpu_bound=True, memory_limit=100 * MB, max_retries=1, retry_delay=0.0)(use)
        record = await app.wait_for_result(hungry.submit(300))
        assert record.attempts == 2
        unloved = hungry.options(retry_on=(OSError,))
        assert (await app.wait_for_result(unloved.submit(300))).attempts == 1


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_a_memory_limit_that_cannot_be_kept_is_refused() -> None:
    async with Flowrra() as app:
        with pytest.raises(InvalidOption, match="cpu_bound=True"):
            app.task(memory_limit="1GB")(use).submit(1)


def use_and_die(megabytes: int) -> None:
    use(megabytes)
    os.kill(os.getpid(), signal.SIGKILL)


async def test_a_lost_worker_is_reported_with_the_memory_it_used() -> None:
    async with Flowrra(cpu_workers=1) as app:
        with pytest.raises(WorkerLost) as caught:
            await app.task(cpu_bound=True)(use_and_die).submit(100)
        assert caught.value.peak_memory > 100 * MB
        assert "private memory up to" in str(caught.value)


def use_for_a_while(megabytes: int) -> str:
    return f"{use(megabytes)} bytes"


def use_and_fail(megabytes: int) -> None:
    use_for_a_while(megabytes)
    raise ValueError(megabytes)


async def test_a_run_tells_how_much_memory_it_was_seen_to_use() -> None:
    async with Flowrra(cpu_workers=1) as app:
        task = app.task(cpu_bound=True)(use_for_a_while)
        one = await app.submit(task, 100)
        await one
        assert 100 * MB < one.info().memory_peak < 400 * MB
        batch = task.map([5, 100, 5])
        await batch
        small, large, after = [handle.info().memory_peak for handle in batch]
        assert small is not None
        assert after is not None
        assert large - small > 60 * MB
        assert large - after > 60 * MB, "what the run before has used is not its"
        failed = await app.submit(app.task(cpu_bound=True)(use_and_fail), 100)
        assert await asyncio.gather(failed, return_exceptions=True)
        assert failed.info().memory_peak > 100 * MB


async def test_a_run_that_is_too_short_to_be_measured_tells_nothing() -> None:
    async with Flowrra(cpu_workers=1) as app:
        short = app.task(cpu_bound=True)(abs).map(range(1000))
        await short
        assert [handle.info().memory_peak for handle in short].count(None) > 900
        thread = await app.submit(app.task(use_for_a_while), 1)
        await thread
        assert thread.info().memory_peak is None


def pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


async def test_a_pool_grows_and_shrinks_while_it_works_and_loses_nothing() -> None:
    async with Flowrra(cpu_workers=1) as app:
        task = app.task(cpu_bound=True)(pid_after)
        runs = task.map([0.02] * 30)
        await runs[0]
        app.resize(3)
        assert len(set(await runs)) >= 3
        assert app.cpu_workers == 3
        more = task.map([0.02] * 30)
        await more[0]
        app.resize(1)
        pids = await more
        assert len(pids) == 30
        assert len(set(pids[-3:])) == 1
        assert app.stats().executors["cpu"]["lost"] == 0
        with pytest.raises(InvalidOption):
            app.resize(0)


def leaves_a_note(path: str) -> int:
    atexit.register(pathlib.Path(path).write_text, "left")
    return os.getpid()


async def test_an_idle_pool_keeps_a_spare_alone_runs_exit_handlers_and_is_back_at_once(tmp_path: pathlib.Path) -> None:
    async with pool(2, idle=0.1) as made:
        note = tmp_path / "note"
        first = made.submit(leaves_a_note, str(note))
        await made.sink.until(lambda: made.sink.outcomes)
        async with asyncio.timeout(10):
            while len(made.executor.describe()["pids"]) > 1:
                await asyncio.sleep(0.05)
        assert note.read_text() == "left"
        assert made.executor.describe()["workers"] == 0
        again = [made.submit(pid_after, 0.0) for _ in range(4)]
        await made.sink.until(lambda: len(made.sink.outcomes) == 5)
        assert {made.sink.outcomes[run.run_id].kind for run in (first, *again)} == {OutcomeKind.RETURNED}


def grow(megabytes: int) -> int:
    leaked.append(b"x" * (megabytes * MB))
    time.sleep(0.4)
    return os.getpid()


leaked: list[bytes] = []


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_a_worker_that_has_grown_is_replaced_between_runs_which_costs_none() -> None:
    async with Flowrra(cpu_workers=1) as app:
        pids = await app.task(cpu_bound=True)(grow).map([400] * 5)
        assert len(set(pids)) > 1
        assert app.stats().executors["cpu"]["lost"] == 0


def prepare() -> None:
    prepared.append(os.getpid())


prepared: list[int] = []


def preparations(_: int) -> tuple[list[int], int, int]:
    return prepared, os.getpid(), os.nice(0)


async def test_each_worker_is_prepared_once_and_niced() -> None:
    before = os.nice(0)
    async with Flowrra(cpu_workers=2, initializer=prepare, nice=3) as app:
        for pids, pid, nice in await app.task(cpu_bound=True)(preparations).map(range(20)):
            assert pids == [pid]
            assert nice == before + 3


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_a_failing_initializer_fails_runs_with_its_cause_and_is_tried_again(tmp_path: pathlib.Path) -> None:
    key = tmp_path / "key"

    def needs_the_key() -> None:
        key.read_text()

    async with Flowrra(cpu_workers=1, initializer=needs_the_key) as app:
        task = app.task(cpu_bound=True)(pid_after)
        with pytest.raises(InitializerFailed, match="FileNotFoundError") as caught:
            await task.submit(0.0)
        assert isinstance(caught.value.__cause__, FileNotFoundError)
        pid = app.stats().executors["cpu"]["pids"]
        key.touch()
        assert await task.submit(0.0) in pid


@pytest.mark.forked_only("what it is about is the same code for both ways")
@pytest.mark.parametrize("settings", [{"initializer": 3}, {"nice": -1}, {"nice": 20}, {"nice": True}])
def test_a_preparation_that_makes_no_sense_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidOption):
        Flowrra(**settings)


def uses_numpy() -> bool:
    loaded = "numpy" in sys.modules
    import numpy as np

    return loaded and bool(np.ones(1).all())


async def test_the_worker_that_replaces_a_killed_one_has_loaded_what_runs_have_needed() -> None:
    async with Flowrra(cpu_workers=1) as app:
        task = app.task(cpu_bound=True)(uses_numpy)
        await task.submit()
        async with asyncio.timeout(20):
            while True:  # until a spare with numpy has taken the place of the first one, at the latest two deaths later
                with pytest.raises(WorkerLost):
                    await app.task(cpu_bound=True)(use_and_die).submit(1)
                if await task.submit():
                    break

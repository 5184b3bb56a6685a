"""Everything at once, for a while: runs of all kinds that succeed, fail, crash, hang and are cancelled at full load."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest

from flowrra import Flowrra, Status, TaskHandle
from flowrra.core.statuses import TERMINAL
from tests.faults import victims

AHEAD = 200
"""Runs that are under way at any time."""
WARM_UP = 500
"""Runs after which caches and pools have their size."""

Submit = Callable[[int], TaskHandle[Any]]


async def wait_a_little(n: int) -> int:
    await asyncio.sleep(0.005)
    return n * n


async def give_up(_: int) -> None:
    raise ValueError("as it should")


async def hold_on(_: int) -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(60)


def kinds(app: Flowrra) -> tuple[list[tuple[Submit, set[Status]]], list[int]]:
    """How to submit each kind of run, how each may end if nobody cancels it, and how often it comes."""
    cpu, retried = app.task(cpu_bound=True), app.task(cpu_bound=True, max_retries=1, retry_delay=0.01)
    brief = app.task(cpu_bound=True, timeout=0.2)
    mixture: list[tuple[Submit, set[Status], int]] = [
        (cpu(victims.work).submit, {Status.SUCCESS}, 60),
        (cpu(victims.talk).submit, {Status.SUCCESS}, 20),
        (retried(victims.crash).submit, {Status.FAILED}, 2),
        (cpu(victims.segfault).submit, {Status.FAILED}, 1),
        (brief(victims.never_return).submit, {Status.FAILED}, 2),
        (cpu(victims.unpicklable).submit, {Status.FAILED}, 2),
        (app.task(wait_a_little).submit, {Status.SUCCESS}, 40),
        (app.task(max_retries=2, retry_delay=0.001)(give_up).submit, {Status.FAILED}, 5),
        (app.task(timeout=0.05)(hold_on).submit, {Status.FAILED}, 1),
    ]
    return [(submit, ends) for submit, ends, _ in mixture], [weight for _, _, weight in mixture]


def resources() -> tuple[int, int]:
    """Open descriptors, and bytes of private memory of this process."""
    return len(os.listdir("/proc/self/fd")), psutil.Process().memory_full_info().uss


def pool_processes() -> set[int]:
    """Processes that fork workers, and the workers, below this one; not the servers and browsers of other tests."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("flowrra.pool.process" in part for part in process.cmdline()):
                found.add(process.pid)
    return found


def wait_until_only_the_pool_is_left(app: Flowrra, others: set[int]) -> None:
    """Workers that were killed a moment ago are still being reaped and replaced; everything else has to be gone."""
    give_up = time.monotonic() + 10
    while True:
        ours = pool_processes() - others
        workers = set(app.stats().executors["cpu"]["pids"])
        # The workers, which may be about to be replaced, and the one process that forks them.
        if workers <= ours and len(ours - workers) == 1:
            return
        assert time.monotonic() < give_up, f"processes pile up: {sorted(ours)}, of which the workers are {workers}"
        time.sleep(0.05)


def under_way(app: Flowrra, seconds: float, chance: random.Random) -> Iterator[tuple[TaskHandle[Any], set[Status]]]:
    """Keep *AHEAD* runs going for *seconds*, meddle with them, and yield each with the statuses it may end in."""
    choices, weights = kinds(app)
    ends = time.monotonic() + seconds
    going: list[tuple[TaskHandle[Any], set[Status]]] = []
    while time.monotonic() < ends:
        while len(going) < AHEAD:
            submit, statuses = chance.choices(choices, weights)[0]
            going.append((submit(len(going)), statuses))
        if chance.random() < 0.2:
            unlucky = chance.randrange(len(going))
            handle, _ = going[unlucky]
            if handle.cancel():
                going[unlucky] = handle, {Status.CANCELLED}
        if chance.random() < 0.02:
            app.pause()
            app.resume()
        yield going.pop(0)
    yield from going


def soak(seconds: float, seed: int) -> None:
    app = Flowrra(cpu_workers=2, io_concurrency=64)
    seen: Counter[Status] = Counter()
    settled: tuple[int, int] | None = None
    others = pool_processes()
    with app:
        for handle, may_end_in in under_way(app, seconds, random.Random(seed)):
            assert handle.wait(30), f"{handle!r} never ends"
            status = handle.status
            assert status in TERMINAL
            assert status in may_end_in, f"{handle!r}: {handle.info().error}"
            seen[status] += 1
            if seen.total() == WARM_UP:
                settled = resources()
        counts = app.stats().counts
        assert settled is not None, "too few runs to speak of a soak"
        assert {status: counts[status] for status in Status} == {status: seen[status] for status in Status}
        wait_until_only_the_pool_is_left(app, others)
        descriptors, memory = resources()
        assert descriptors <= settled[0] + 10, "descriptors pile up"
        # Records of finished runs are kept, a kilobyte or so each; nothing else may grow.
        assert memory <= settled[1] + 4_000 * seen.total() + 50_000_000, "memory piles up"
    print(f"{seen.total()} runs in {seconds:g} s: {dict(seen)}")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_run_ends_and_nothing_piles_up_under_full_load() -> None:
    soak(15, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_every_run_ends_and_nothing_piles_up_for_ten_minutes() -> None:
    soak(600, seed=int(time.time()))


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(20))
def test_twenty_shorter_soaks_with_other_mixtures(seed: int) -> None:
    soak(20, seed)

"""Large numbers, and everything at once."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import tracemalloc
from collections import Counter
from typing import Any

import pytest

from flowrra import Flowrra, RunEvent, Status, TaskHandle, current_run

MANY = 100_000


def test_a_hundred_thousand_pending_runs_are_taken_and_cancelled_and_cost_little_memory() -> None:
    with Flowrra("scale", cpu_workers=1) as app:
        app.pause()
        task = app.task(name="abs")(abs)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            batch = task.map(range(MANY))
            while app.stats().counts[Status.PENDING] < MANY:
                time.sleep(0.01)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (after - before) / MANY < 2_000, "bytes per pending run"
        begin = time.monotonic()
        assert batch.cancel() == MANY
        assert batch.wait(30)
        assert time.monotonic() - begin < 20
        assert batch.counts()[Status.CANCELLED] == MANY


def test_many_small_runs_go_through() -> None:
    with Flowrra("scale", cpu_workers=1) as app:
        assert sum(app.task(name="abs")(abs).map(range(5_000)).result(timeout=50)) == sum(range(5_000))

        async def same(number: int) -> int:
            return number

        assert sum(app.task(same).map(range(5_000)).result(timeout=50)) == sum(range(5_000))


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_submitted_cancelled_and_timed_out_ends_and_adds_up(seed: int) -> None:
    chance = random.Random(seed)
    finals: Counter[str] = Counter()
    lock = threading.Lock()

    def hear(event: RunEvent) -> None:
        if event.status in (Status.SUCCESS, Status.FAILED, Status.CANCELLED):
            with lock:
                finals[event.run_id] += 1

    async def waits(seconds: float, fails: bool) -> str:
        await asyncio.sleep(seconds)
        if fails and current_run().attempt < 2:
            raise OSError
        return "value"

    def works(seconds: float, fails: bool) -> str:
        time.sleep(seconds)
        if fails:
            raise ValueError
        return "value"

    handles: list[TaskHandle[Any]] = []
    accepted: set[str] = set()
    with Flowrra("soak", cpu_workers=1, io_concurrency=8, io_threads=4) as app:
        app.subscribe(hear)
        tasks = [app.task(waits), app.task(works)]
        for _ in range(300):
            match chance.randrange(10):
                case 0 if handles:
                    victim = chance.choice(handles)
                    if victim.cancel():
                        accepted.add(victim.id)
                case 1:
                    app.pause(chance.choice(["waits", "works", None]))
                case 2 | 3:
                    app.resume()
                case _:
                    task = chance.choice(tasks).options(
                        priority=chance.randrange(-1, 2),
                        timeout=chance.choice([None, 0.005, 1.0]),
                        deadline=chance.choice([None, None, 0.02]),
                        delay=chance.choice([0.0, 0.0, 0.01]),
                        max_retries=chance.randrange(3),
                        retry_delay=0.001,
                    )
                    handles.append(task.submit(chance.choice([0.0, 0.001, 0.01]), chance.random() < 0.3))
        app.resume()
        for handle in handles:
            assert handle.wait(20), handle
        counts = app.stats().counts
    assert counts[Status.PENDING] == counts[Status.RUNNING] == counts[Status.RETRYING] == 0
    assert sum(counts.values()) == len(handles)
    assert Counter(handle.status for handle in handles) == Counter({s: n for s, n in counts.items() if n})
    assert set(finals) == {handle.id for handle in handles}
    assert set(finals.values()) == {1}
    for handle in handles:
        record = handle.info()
        assert record.attempts <= 3
        if handle.id in accepted:
            assert handle.cancelled(), "a cancel that was accepted is kept"

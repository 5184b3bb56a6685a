"""Workers over time: what they may use, when they are replaced, how many there are."""

from __future__ import annotations

import os
import signal
import time

import pytest

from flowrra import Flowrra, MemoryLimitExceeded, WorkerLost
from flowrra.errors import InvalidOption

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


async def test_a_run_above_its_memory_limit_is_retried_as_its_options_say() -> None:
    async with Flowrra(cpu_workers=1) as app:
        hungry = app.task(cpu_bound=True, memory_limit=100 * MB, max_retries=1, retry_delay=0.0)(use)
        record = await app.wait_for_result(hungry.submit(300))
        assert record.attempts == 2
        unloved = hungry.options(retry_on=(OSError,))
        assert (await app.wait_for_result(unloved.submit(300))).attempts == 1


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

from __future__ import annotations

import pytest

from flowrra import ResultGone
from flowrra.backends.memory import MemoryBackend
from flowrra.interfaces import Stored
from flowrra.testing.backend_kit import done


def sized(number: int, size: int) -> Stored:
    run = done(number)
    return run._replace(outcome=run.outcome._replace(size=size))


async def test_beyond_the_number_of_runs_the_oldest_go() -> None:
    backend = MemoryBackend(keep_runs=10)
    for number in range(100):
        await backend.save([done(number)])
    assert await backend.get("1-89") is None
    assert [run.record.submission.seq for run in await backend.query(None, None, 100)] == list(range(99, 89, -1))


async def test_beyond_the_bytes_the_oldest_values_go_and_their_records_stay() -> None:
    backend = MemoryBackend(keep_bytes=100)
    await backend.save([sized(1, 40), sized(2, 40), done(3), sized(4, 40)])
    gone, kept = await backend.get("1-1"), await backend.get("1-2")
    assert gone is not None
    assert kept is not None
    assert gone.record.status == "SUCCESS"
    assert gone.outcome.value is None
    with pytest.raises(ResultGone, match=r"1-1.*keep a handle"):
        raise gone.outcome.exception or AssertionError
    assert kept.outcome.value == 42


async def test_the_latest_value_is_kept_however_large() -> None:
    backend = MemoryBackend(keep_bytes=100)
    await backend.save([sized(1, 40), sized(2, 4000)])
    first, second = await backend.get("1-1"), await backend.get("1-2")
    assert first is not None
    assert second is not None
    assert (first.outcome.value, second.outcome.value) == (None, 42)


async def test_the_bytes_of_a_run_that_went_are_free_again() -> None:
    backend = MemoryBackend(keep_runs=2, keep_bytes=100)
    for number in range(50):
        await backend.save([sized(number, 45)])
    found = await backend.query(None, None, 10)
    assert [run.outcome.value for run in found] == [42, 42]


async def test_a_run_saved_twice_is_counted_once() -> None:
    backend = MemoryBackend(keep_bytes=100)
    for _ in range(5):
        await backend.save([sized(1, 40), sized(2, 40)])
    found = await backend.query(None, None, 10)
    assert [run.outcome.value for run in found] == [42, 42]


async def test_what_it_keeps_can_be_read_after_closing() -> None:
    backend = MemoryBackend()
    await backend.save([done(1)])
    await backend.close()
    assert backend.recent("1-1") is not None

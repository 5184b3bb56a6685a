from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import pytest

from flowrra import ResultGone
from flowrra.backends.memory import MemoryBackend
from flowrra.core.statuses import Status
from flowrra.interfaces import Stored, StoredSpan
from flowrra.testing.backend_kit import done


class Neighbours(StoredSpan):
    """Runs ``1-first …``, made when they are looked at."""

    def __init__(self, first: int, length: int) -> None:
        self._numbers = range(first, first + length)

    @property
    def numbers(self) -> range:
        return self._numbers

    def index_of(self, run_id: str) -> int | None:
        return next((index for index, number in enumerate(self._numbers) if run_id == f"1-{number}"), None)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Stored: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Stored]: ...
    def __getitem__(self, index: int | slice) -> Stored | Sequence[Stored]:
        chosen = self._numbers[index]
        return [done(number) for number in chosen] if isinstance(chosen, range) else done(chosen)


async def numbers_of(backend: MemoryBackend, limit: int, status: Status | None = None) -> list[int]:
    return [run.record.submission.seq for run in await backend.query(status, None, limit)]


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


@pytest.mark.parametrize("length", [3, 20])
async def test_runs_saved_together_are_found_by_id_one_by_one(length: int) -> None:
    backend = MemoryBackend()
    await backend.save([done(1)])
    await backend.save(Neighbours(100, length))
    await backend.save(Neighbours(10, length))
    await backend.save([done(50)])
    for number in (1, 50, *range(10, 10 + length), *range(100, 100 + length)):
        found = await backend.get(f"1-{number}")
        assert found is not None
        assert found.record.submission.id == f"1-{number}"
    for missing in (0, 2, 9, 10 + length, 51, 99, 100 + length):
        assert await backend.get(f"1-{missing}") is None
    assert await backend.get("2-10") is None


async def test_the_latest_of_runs_saved_together_come_first_and_no_more_than_asked_for() -> None:
    backend = MemoryBackend()
    await backend.save([done(1, status=Status.FAILED)])
    await backend.save(Neighbours(10, 10))
    await backend.save([done(30)])
    assert await numbers_of(backend, 4) == [30, 19, 18, 17]
    assert await numbers_of(backend, 12) == [30, *range(19, 9, -1), 1]
    assert await numbers_of(backend, 100) == [30, *range(19, 9, -1), 1]
    assert await numbers_of(backend, 100, Status.FAILED) == [1]
    assert await numbers_of(backend, 0) == []
    assert await backend.query(None, "another", 100) == []


async def test_runs_saved_together_go_together_when_they_are_the_oldest() -> None:
    backend = MemoryBackend(keep_runs=25)
    for first in (10, 40, 20):
        await backend.save(Neighbours(first, 10))
    assert await backend.get("1-10") is None
    assert await numbers_of(backend, 100) == [*range(29, 19, -1), *range(49, 39, -1)]
    await backend.save([done(number) for number in range(60, 80)])
    assert await numbers_of(backend, 100) == list(range(79, 59, -1))
    assert backend.recent("1-20") is None


async def test_runs_saved_together_twice_are_counted_once() -> None:
    backend = MemoryBackend(keep_runs=25)
    for _ in range(5):
        await backend.save(Neighbours(10, 10))
    await backend.save(Neighbours(30, 10))
    assert len(await backend.query(None, None, 100)) == 20
    await backend.save(Neighbours(50, 10))
    assert await numbers_of(backend, 100) == [*range(59, 49, -1), *range(39, 29, -1)]
    assert await backend.get("1-15") is None

"""What every result backend has to do, as tests: subclass :class:`BackendKit` and say how to make yours.

The tests are coroutine methods; any runner that knows those (pytest with pytest-asyncio in auto mode, for one) collects
them from the subclass.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flowrra.core.lifecycle import Ended, Started, StopRequested, advance
from flowrra.core.records import Outcome, RetryPolicy, RunRecord, Submission
from flowrra.core.statuses import OutcomeKind, Status, StopReason
from flowrra.failures import outcome_of_exception
from flowrra.interfaces import ResultBackend, Stored


def done(number: int, status: Status = Status.SUCCESS, task_name: str = "f", value: object = 42) -> Stored:
    """A run that is over, as the engine would hand it over."""
    now, wall = 1000.0 + number, 1_700_000_000.0 + number
    retry = RetryPolicy(delay=2.0)
    submission = Submission(f"1-{number}", task_name, "threads", number, now, wall, retry=retry)
    begun = advance(RunRecord(submission), Started("w1"), now).record
    if status is Status.CANCELLED:
        begun = advance(begun, StopRequested(StopReason.CANCEL), now).record
    failed = outcome_of_exception(task_name, submission.id, LookupError("no such thing"))
    ended = failed if status is Status.FAILED else Outcome(OutcomeKind.RETURNED, value)
    record, _, outcome = advance(begun, Ended(ended), now)
    assert outcome is not None, "the attempt was its last"
    return Stored(record, outcome, f"n={number}")


class BackendKit:
    """Subclass it, with a name that your runner collects, and implement ``open_backend``."""

    async def open_backend(self) -> ResultBackend:
        """Make one that holds nothing yet."""
        raise NotImplementedError

    @asynccontextmanager
    async def backend(self) -> AsyncIterator[ResultBackend]:
        opened = await self.open_backend()
        try:
            yield opened
        finally:
            await opened.close()

    async def test_what_is_saved_can_be_read_again(self) -> None:
        async with self.backend() as backend:
            runs = [done(1), done(2, Status.FAILED), done(3, Status.CANCELLED)]
            await backend.save(runs)
            for run in runs:
                found = await backend.get(run.record.submission.id)
                assert found is not None
                assert found.record == run.record
                assert (found.outcome.kind, found.outcome.value) == (run.outcome.kind, run.outcome.value)
                assert str(found.outcome.exception) == str(run.outcome.exception)
                assert str(found.arguments) == str(run.arguments)

    async def test_what_was_never_saved_is_none(self) -> None:
        async with self.backend() as backend:
            assert await backend.get("9-9") is None
            assert backend.recent("9-9") is None
            assert await backend.query(None, None, 10) == []

    async def test_what_is_at_hand_is_what_was_saved(self) -> None:
        async with self.backend() as backend:
            run = done(1)
            await backend.save([run])
            found = backend.recent("1-1")
            assert found is None or found.record == run.record

    async def test_the_latest_come_first_and_no_more_than_asked_for(self) -> None:
        async with self.backend() as backend:
            await backend.save([done(number) for number in range(1, 6)])
            await backend.save([done(number) for number in range(6, 11)])
            assert self._numbers(await backend.query(None, None, 100)) == list(range(10, 0, -1))
            assert self._numbers(await backend.query(None, None, 3)) == [10, 9, 8]
            assert self._numbers(await backend.query(None, None, 0)) == []

    async def test_runs_are_found_by_status_and_by_task(self) -> None:
        async with self.backend() as backend:
            await backend.save([done(1), done(2, Status.FAILED), done(3, task_name="g"), done(4, Status.FAILED, "g")])
            assert self._numbers(await backend.query(Status.FAILED, None, 10)) == [4, 2]
            assert self._numbers(await backend.query(None, "g", 10)) == [4, 3]
            assert self._numbers(await backend.query(Status.FAILED, "g", 10)) == [4]
            assert self._numbers(await backend.query(Status.CANCELLED, None, 10)) == []

    async def test_the_limit_counts_what_matches(self) -> None:
        async with self.backend() as backend:
            await backend.save([done(1, Status.FAILED), *(done(number) for number in range(2, 50))])
            assert self._numbers(await backend.query(Status.FAILED, None, 1)) == [1]

    async def test_saving_a_run_again_is_harmless(self) -> None:
        async with self.backend() as backend:
            await backend.save([done(1)])
            await backend.save([done(1)])
            assert self._numbers(await backend.query(None, None, 10)) == [1]

    async def test_saving_nothing_is_fine(self) -> None:
        async with self.backend() as backend:
            await backend.save([])

    async def test_none_is_a_value(self) -> None:
        async with self.backend() as backend:
            await backend.save([done(1, value=None)])
            found = await backend.get("1-1")
            assert found is not None
            assert (found.outcome.kind, found.outcome.value) == (OutcomeKind.RETURNED, None)

    async def test_a_large_group_is_saved_as_one(self) -> None:
        async with self.backend() as backend:
            await backend.save([done(number) for number in range(500)])
            assert len(await backend.query(None, "f", 1000)) == 500

    async def test_it_can_be_closed_twice(self) -> None:
        async with self.backend() as backend:
            await backend.close()

    async def test_it_has_a_url(self) -> None:
        async with self.backend() as backend:
            assert "://" in backend.url

    def _numbers(self, runs: object) -> list[int]:
        assert isinstance(runs, list | tuple)
        return [run.record.submission.seq for run in runs]

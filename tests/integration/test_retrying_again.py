"""``app.retry()`` and ``batch.retry_failed()``: a new run with the code, arguments, options and seed of the old one."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pandas
import pytest

from flowrra import AppNotRunning, ArgumentsGone, Batch, Flowrra, FlowrraError, NotRetryable, Status, current_run

FAST = 20.0


class Refused(Exception):
    """What the tasks of these tests raise as long as their gate is shut."""


def gated(item: int, gate: str) -> tuple[int, float]:
    drawn = current_run().random.random()
    if item % 2 and not Path(gate).exists():
        raise Refused(drawn)
    return item, drawn


async def gated_async(item: int, gate: str) -> tuple[int, float]:
    return gated(item, gate)


KINDS = [(gated, {"cpu_bound": True}), (gated, {}), (gated_async, {})]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def waited(batch: Batch[Any]) -> Batch[Any]:
    assert batch.wait(FAST)
    return batch


@pytest.mark.parametrize(("function", "options"), KINDS)
def test_a_retried_run_is_a_new_one_with_the_same_arguments_and_draws(
    function: Any, options: dict[str, Any], gate: Path
) -> None:
    with Flowrra(cpu_workers=1) as app:
        old = app.task(**options)(function).submit(7, gate=str(gate))
        error = old.exception(FAST)
        assert isinstance(error, Refused)
        gate.touch()
        new = app.blocking.retry(old)
        assert new.result(FAST) == (7, error.args[0])
        assert new.id != old.id
        assert (new.info().retry_of, new.info().seed) == (old.id, old.info().seed)
        assert new.info().args_preview == old.info().args_preview
        assert (old.status, old.info().retry_of) == (Status.FAILED, None)
        assert app.handle(new.id) == new
        assert app.blocking.retry(old.id).result(FAST)[0] == 7


@pytest.mark.parametrize(("function", "options"), KINDS)
def test_a_batch_shows_the_newest_run_of_each_item(function: Any, options: dict[str, Any], gate: Path) -> None:
    with Flowrra(cpu_workers=2) as app:
        batch = waited(app.task(**options)(function).map(range(6), gate=str(gate)))
        firsts = [handle.id for handle in batch]
        drawn = {index: error.args[0] for index, error in batch.errors.items()}
        assert batch.retry_failed() == 3
        assert sorted(waited(batch).errors) == [1, 3, 5]
        seconds = [handle.id for handle in batch]
        gate.touch()
        assert batch.retry_failed() == 3
        values = batch.result(timeout=FAST)
        assert [item for item, _ in values] == list(range(6))
        assert {index: values[index][1] for index in drawn} == drawn
        assert batch.counts()[Status.SUCCESS] == 6
        assert batch.errors == {}
        assert [handle.info().retry_of for handle in batch] == [None, seconds[1], None, seconds[3], None, seconds[5]]
        assert seconds[::2] == firsts[::2]
        assert {handle.id for handle in batch.as_completed()} == {handle.id for handle in batch}
        assert [handle.id for handle in batch[3:]] == [handle.id for handle in batch][3:]
        assert batch[1::2].result(timeout=FAST) == values[1::2]
        assert batch.retry_failed() == 0


def test_a_retry_of_one_run_takes_its_place_in_the_batch_too(gate: Path) -> None:
    with Flowrra() as app:
        batch = waited(app.task(gated).map(range(4), gate=str(gate)))
        gate.touch()
        new = app.blocking.retry(batch[1])
        assert new.result(FAST)[0] == 1
        assert batch[1] == new
        assert list(batch.errors) == [3]


def test_a_wait_that_is_under_way_waits_for_the_retries_too(gate: Path) -> None:
    hold = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            hold.wait(FAST)
        return gated(item, str(gate))[0]

    with Flowrra() as app:
        batch = app.task(work).map(range(3))
        got: list[Any] = []
        waiter = threading.Thread(target=lambda: got.extend(batch.result(on_error="return", timeout=FAST)))
        waiter.start()
        assert isinstance(batch[1].exception(FAST), Refused)
        assert batch.retry_failed() == 1
        assert isinstance(batch[1].exception(FAST), Refused)
        gate.touch()
        assert batch.retry_failed() == 1
        assert not batch.done()
        hold.set()
        waiter.join(FAST)
        assert got == [0, 1, 2]


async def test_cancelled_runs_are_retried_as_failed_ones_are() -> None:
    async with Flowrra(io_concurrency=1) as app:
        go_on = asyncio.Event()

        async def work(item: int) -> int:
            await go_on.wait()
            return item

        batch = app.task(work).map(range(50))
        await asyncio.sleep(0)
        assert batch.cancel() == 50
        while not batch.done():
            await asyncio.sleep(0.001)
        assert batch.counts()[Status.CANCELLED] == 50
        go_on.set()
        assert batch.retry_failed() == 50
        assert await batch == list(range(50))


async def test_retrying_is_refused_where_it_makes_no_sense(gate: Path) -> None:
    app = Flowrra()
    async with app:
        done = app.task(gated).submit(0, gate=str(gate))
        await done
        with pytest.raises(NotRetryable, match="is SUCCESS"):
            await app.retry(done)
        stay = asyncio.Event()
        running = app.task(stay.wait).submit()
        with pytest.raises(NotRetryable, match="wait until it is over"):
            await app.retry(running)
        stay.set()
        failed = app.task(gated).submit(1, gate=str(gate))
        with pytest.raises(Refused):
            await failed
    with pytest.raises(AppNotRunning):
        await app.retry(failed)


def test_arguments_are_kept_within_the_budget_and_the_latest_longest() -> None:
    def refuse(data: bytes) -> None:
        raise Refused(len(data))

    with Flowrra(cpu_workers=1, keep_arguments="1MB") as app:
        task = app.task(cpu_bound=True)(refuse)
        handles = [task.submit(bytes([number]) * 300_000) for number in range(5)]
        assert all(isinstance(handle.exception(FAST), Refused) for handle in handles)
        with pytest.raises(ArgumentsGone, match="keep_arguments='1GB'"):
            app.blocking.retry(handles[0])
        assert isinstance(app.blocking.retry(handles[-1]).exception(FAST), Refused)
        batch = waited(task.map([b"x" * 400_000, b"y" * 400_000, b"z" * 400_000]))
        with pytest.raises(ArgumentsGone):
            batch.retry_failed()
        assert [handle.info().retry_of for handle in batch] == [None] * 3


def test_what_runs_share_is_counted_once() -> None:
    def refuse(item: int, common: bytes) -> None:
        raise Refused(item, len(common))

    with Flowrra(cpu_workers=1, keep_arguments="1MB") as app:
        batch = waited(app.task(cpu_bound=True)(refuse).map(range(20), common=b"c" * 500_000))
        assert batch.retry_failed() == 20
        assert sorted(error.args for error in waited(batch).errors.values()) == [(n, 500_000) for n in range(20)]


def test_without_a_budget_nothing_is_kept() -> None:
    with Flowrra(keep_arguments=0) as app:
        failed = app.task(gated).submit(1, gate="nowhere")
        assert isinstance(failed.exception(FAST), Refused)
        with pytest.raises(ArgumentsGone):
            app.blocking.retry(failed)


def test_leaving_the_app_waits_for_retries(gate: Path) -> None:
    with Flowrra() as app:
        batch = waited(app.task(gated).map(range(3), gate=str(gate)))
        gate.touch()
        assert batch.retry_failed() == 1
    assert [item for item, _ in batch.result(timeout=0)] == [0, 1, 2]


def test_stopping_the_app_ends_retries_that_are_under_way() -> None:
    app = Flowrra()
    opened = threading.Event()

    def work(item: int) -> None:
        if opened.is_set():
            threading.Event().wait(1)
        raise Refused(item)

    with app:
        batch = waited(app.task(work).map(range(3)))
        opened.set()
        assert batch.retry_failed() == 3
        app.blocking.stop(drain=False)
        assert batch.wait(FAST)
        assert {type(error).__name__ for error in batch.errors.values()} <= {"AppStopped", "Refused"}


def test_to_frame_has_a_row_per_run(gate: Path) -> None:
    with Flowrra() as app:
        batch = waited(app.task(gated).map(range(3), gate=str(gate)))
        frame = batch.to_frame()
        assert isinstance(frame, pandas.DataFrame)
        assert list(frame.index) == [0, 1, 2]
        assert list(frame["status"]) == ["SUCCESS", "FAILED", "SUCCESS"]
        assert frame["result"][0] == batch[0].result()
        assert "Refused" in frame["error"][1]
        assert frame["attempts"].sum() == 3
        assert len(app.task(gated).map([], gate="").to_frame()) == 0


def test_to_frame_without_pandas_says_what_to_install(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with Flowrra() as app:
        batch = waited(app.task(gated).map([0], gate=str(gate)))
        with pytest.raises(FlowrraError, match="pip install pandas"):
            batch.to_frame()

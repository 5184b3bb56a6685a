"""Columns that follow runs: whatever happens to a run, its row says the same as its record."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrra import STATUSES, Flowrra, RunTable, Status, UnknownRun, app_of, table_of
from flowrra.backends.memory import MemoryBackend
from flowrra.tables import fresh


@pytest.fixture
def app() -> Iterator[Flowrra]:
    with Flowrra("study.ipynb", io_threads=4) as app:
        yield app


def statuses(table: RunTable) -> list[Status]:
    return [STATUSES[code] for code in table.codes]


def wait_for(seen: Callable[[], Any], timeout: float = 10) -> None:
    give_up = time.monotonic() + timeout
    while not seen():
        assert time.monotonic() < give_up, "it did not come"
        time.sleep(0.005)


def agrees(table: RunTable) -> bool:
    """Whether each row says what the record of its run says."""
    for row in range(len(table)):
        record = table.handle(row, keep=False).info()
        assert STATUSES[table.codes[row]] is record.status
        assert table.attempts[row] == record.attempts
        assert table.worker_names[table.workers[row]] == (record.worker or "")
        if record.finished_at is not None and record.duration is not None:
            assert table.seconds[row] == pytest.approx(record.duration)
    return True


def halve(x: int) -> float:
    return 1 / (x - 3)


async def same(x: int) -> int:
    return x


@given(st.lists(st.booleans(), max_size=40).flatmap(lambda now: st.tuples(st.just(now), st.permutations(now))))
def test_fresh_finds_every_new_one_once(pair):
    now, known = (bytearray(each) for each in pair)
    found = [at for first, length in fresh(now, known) for at in range(first, first + length)]
    assert found == [at for at in range(len(now)) if now[at] and not known[at]]


def test_rows_agree_with_the_records_of_a_batch_that_succeeds_and_fails(app: Flowrra):
    batch = app.task(halve).map(range(20))
    batch.wait(10)
    table = table_of(batch)
    changed = table.refresh().stretches()
    assert sorted(row for first, length in changed for row in range(first, first + length)) == list(range(20))
    assert statuses(table)[3] is Status.FAILED
    assert agrees(table)
    assert not table.refresh()


def test_rows_follow_runs_as_they_begin_and_end(app: Flowrra):
    go = threading.Event()
    batch = app.task(lambda x: x and go.wait(10), name="wait").map(range(30))
    table = table_of(batch)
    wait_for(lambda: table.refresh() and table.counts()[Status.RUNNING] == 4)
    assert table.counts()[Status.PENDING] == 25
    assert len(table.open) < 10, "what waits needs no object"
    go.set()
    batch.wait(10)
    table.refresh()
    assert table.counts()[Status.SUCCESS] == 30
    assert agrees(table)


def test_a_fast_map_leaves_no_object_for_each_run(app: Flowrra):
    batch = app.task(same).map(range(2000))
    table = table_of(batch)
    batch.wait(10)
    table.refresh()
    assert table.counts()[Status.SUCCESS] == 2000
    assert table.args_preview(1234) == "x=1234"
    assert table.handle(1234, keep=False).info().result == 1234
    assert batch.selection.columns.existing(1234) is None


@pytest.mark.parametrize("chosen", [slice(3, 9), slice(None, None, -1), slice(18, 2, -5), slice(7, 8)])
def test_a_slice_has_rows_of_its_own_runs_in_its_own_order(app: Flowrra, chosen: slice):
    batch = app.task(halve).map(range(20))
    batch.wait(10)
    part = batch[chosen]
    table = table_of(part)
    table.refresh()
    assert [table.run_id(row) for row in range(len(table))] == [handle.id for handle in part]
    assert [table.position(row) for row in range(len(table))] == list(range(20))[chosen]
    assert agrees(table)


def test_a_retrying_run_is_one_row_and_its_attempts_are_counted(app: Flowrra):
    tries = []

    def flaky() -> int:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise OSError("reset")
        return 5

    handle = app.task(max_retries=3, retry_delay=0.05)(flaky).submit()
    table = table_of(handle)
    seen = set()

    def look() -> bool:
        table.refresh()
        seen.update(statuses(table))
        return handle.done()

    wait_for(look)
    table.refresh()
    assert Status.RETRYING in seen
    assert table.attempts[0] == 3
    assert agrees(table)
    record = handle.info()
    assert (len(record.errors), record.max_attempts, record.retry_at) == (2, 4, None)


def test_cancelled_while_it_waits_for_a_retry_a_run_took_as_long_as_its_attempt_did(app: Flowrra):
    def fail() -> None:
        raise OSError("reset")

    handle = app.task(max_retries=1, retry_delay=60.0)(fail).submit()
    table = table_of(handle)
    wait_for(lambda: table.refresh() and statuses(table) == [Status.RETRYING])
    assert handle.info().retry_at is not None
    time.sleep(0.3)
    table.refresh()
    handle.cancel()
    handle.wait(10)
    table.refresh()
    assert statuses(table) == [Status.CANCELLED]
    assert table.seconds[0] < 0.25
    assert table.busy < 0.25


def test_the_table_of_an_app_has_what_was_what_is_and_what_comes_each_once(app: Flowrra):
    go = threading.Event()
    app.task(halve).map(range(3)).wait(10)
    app.task(halve).submit(8).wait(10)
    waiting = app.task(lambda x: go.wait(10), name="wait").map(range(9))
    single = app.task(lambda: go.wait(10), name="waits_too").submit()
    table = app.blocking.table()
    table.refresh()
    assert len(table) == 3 + 1 + 9 + 1
    later = [app.task(halve).submit(9), *app.task(same).map(range(50))]
    go.set()
    for handle in (*waiting, single, *later):
        handle.wait(10)
    table.refresh()
    assert len(table) == 14 + 51
    ids = [table.run_id(row) for row in range(len(table))]
    assert len(set(ids)) == len(ids)
    assert set(statuses(table)) == {Status.SUCCESS}
    assert [table.handle(row).id for row in range(len(table))] == ids
    table.close()
    app.task(halve).submit(9).wait(10)
    table.refresh()
    assert len(table) == 65


def test_the_table_of_an_app_lets_go_of_values():
    with Flowrra("study.ipynb", backend=MemoryBackend(keep_runs=150)) as app:
        table = app.blocking.table()
        batch = app.task(same).map(range(100))
        batch.wait(10)
        table.refresh()
        assert table.args_preview(99) == "x=99", "by its id"
        columns = weakref.ref(batch.selection.columns)
        del batch
        for _ in range(2):
            app.task(same).map(range(100)).wait(10)
        table.refresh()
        wait_for(lambda: gc.collect() is not None and columns() is None)
        with pytest.raises(UnknownRun):
            table.args_preview(99)
        assert table.counts()[Status.SUCCESS] == 300


def test_runs_know_the_app_that_runs_them(app: Flowrra):
    batch, handle = app.task(halve).map(range(3)), app.task(halve).submit(9)
    assert app_of(batch) is app
    assert app_of(handle) is app
    batch.wait(10)

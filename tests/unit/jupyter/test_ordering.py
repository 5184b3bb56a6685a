from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrra import STATUSES, Status
from flowrra_jupyter.ordering import RANKED, Arrangement, Query, by_status, pick, rows_with

CODE = {status: STATUSES.index(status) for status in Status}
codes = st.lists(st.sampled_from(list(CODE.values())), max_size=60).map(bytearray)


class Table(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.codes)


def of(codes: bytearray, seconds: list[float] | None = None) -> Any:
    length = len(codes)
    return Table(
        codes=codes,
        seconds=array("d", range(length) if seconds is None else seconds),
        attempts=bytearray(length),
        workers=array("H", bytes(2 * length)),
    )


class Clock:
    """A clock that moves by a fixed step whenever it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def text_of(row: int) -> str:
    return f"seed={row}"


def texts(first: int, stop: int) -> list[str]:
    return [text_of(row) for row in range(first, stop)]


def arranged(table: Any, query: Query, *, live: bool = True) -> Arrangement:
    arrangement = Arrangement(table, query, texts)
    arrangement.update([(0, len(table))], Clock(), live=live, until=10_000)
    return arrangement


def everything(arrangement: Arrangement) -> list[int]:
    return list(arrangement.window(0, 10_000))


@given(codes, st.integers(0, 5), st.integers(0, 20), st.integers(1, 20), st.booleans())
def test_the_rows_of_a_status_are_found_wherever_a_window_begins(codes, code, skip, count, latest_first):
    rows = [row for row, each in enumerate(codes) if each == code]
    rows = rows[::-1] if latest_first else rows
    assert rows_with(codes, code, skip, count, latest_first=latest_first) == rows[skip : skip + count]


def test_windows_cross_the_blocks_that_are_counted():
    codes = bytearray(20_000)
    codes[4095:4097] = b"\1\1"
    codes[19_999] = 1
    assert rows_with(codes, 1, 1, 5) == [4096, 19_999]
    assert rows_with(codes, 1, 0, 2, latest_first=True) == [19_999, 4096]
    assert rows_with(codes, 0, 12_000, 2) == [12_002, 12_003]


@given(codes, st.integers(0, 60), st.integers(1, 30), st.booleans())
def test_windows_of_the_usual_order_are_parts_of_one_list(codes, first, count, live):
    whole = by_status(codes, RANKED, 0, len(codes) or 1, live=live)
    assert sorted(whole) == list(range(len(codes)))
    assert by_status(codes, RANKED, first, count, live=live) == whole[first : first + count]
    ranks = [RANKED.index(codes[row]) for row in whole]
    assert ranks == sorted(ranks)


def test_the_latest_ends_come_first_until_all_is_over():
    codes = bytearray([CODE[Status.SUCCESS]] * 3)
    assert by_status(codes, RANKED, 0, 3, live=True) == [2, 1, 0]
    assert by_status(codes, RANKED, 0, 3, live=False) == [0, 1, 2]


def test_failures_keep_room_beside_a_flood_of_running_runs():
    codes = bytearray([CODE[Status.RUNNING]] * 90 + [CODE[Status.PENDING]] * 5 + [CODE[Status.FAILED]])
    chosen = pick(codes, 20, live=True)
    assert 95 in chosen
    assert len(chosen) == 20


@given(codes, st.integers(0, 80))
def test_no_run_is_picked_twice(codes, limit):
    chosen = pick(codes, limit, live=True)
    assert len(chosen) == len(set(chosen)) == min(limit, len(codes))


@given(codes, st.data(), st.booleans(), st.sampled_from(["", "1", "seed=2"]))
def test_sorted_and_filtered_rows_are_those_of_a_plain_sort(codes, data, descending, text):
    seconds = data.draw(st.lists(st.floats(0, 9), min_size=len(codes), max_size=len(codes)))
    wanted = data.draw(st.frozensets(st.sampled_from(RANKED), max_size=2))
    query = Query("time", descending, wanted, text)
    rows = [row for row in range(len(codes)) if (not wanted or codes[row] in wanted) and text in text_of(row)]
    arrangement = arranged(of(codes, seconds), query)
    assert everything(arrangement) == sorted(rows, key=seconds.__getitem__, reverse=descending)
    assert len(arrangement) == len(rows)


def test_a_search_goes_on_step_by_step_and_says_how_far_it_is():
    arrangement = Arrangement(of(bytearray(1000)), Query(text="SEED=99"), texts)
    arrangement.update([(0, 1000)], Clock(step=0.02), live=True, until=30)
    assert 0 < arrangement.searched < 1
    clock = Clock()
    clock.now = 100.0
    arrangement.update([], clock, live=True, until=30)
    assert arrangement.searched == 1.0
    assert everything(arrangement) == [99, *range(990, 1000)]


def test_a_row_that_has_failed_since_is_found_by_its_error():
    said = {}
    columns = of(bytearray([CODE[Status.RUNNING]] * 3))
    arrangement = Arrangement(
        columns, Query(text="oserror"), lambda first, stop: [said.get(row, "") for row in range(first, stop)]
    )
    arrangement.update([(0, 3)], Clock(), live=True, until=30)
    assert everything(arrangement) == []
    columns.codes[1], said[1] = CODE[Status.FAILED], "OSError: connection reset"
    clock = Clock()
    clock.now = 10.0
    arrangement.update([(1, 1)], clock, live=True, until=30)
    assert everything(arrangement) == [1]


def test_a_sort_that_takes_long_is_not_repeated_before_it_has_paid_off():
    columns = of(bytearray(2), [1.0, 2.0])
    arrangement = Arrangement(columns, Query("time"), texts)
    clock = Clock(step=1.0)
    arrangement.update([(0, 2)], clock, live=True, until=30)
    columns.seconds[0] = 3.0
    clock.step = 0.0
    arrangement.update([(0, 1)], clock, live=True, until=30)
    assert everything(arrangement) == [0, 1]
    clock.now += 11.0
    arrangement.update([], clock, live=True, until=30)
    assert everything(arrangement) == [1, 0]


def test_rows_keep_their_places_while_somebody_reads_details():
    codes = bytearray([CODE[Status.RUNNING]] * 3)
    arrangement = arranged(of(codes), Query())
    arrangement.hold()
    codes[0] = CODE[Status.SUCCESS]
    arrangement.update([(0, 1)], Clock(), live=True, until=30)
    assert (everything(arrangement), len(arrangement)) == ([0, 1, 2], 3)
    arrangement.let_go()
    assert everything(arrangement) == [1, 2, 0]


@pytest.mark.parametrize(("sort", "order"), [("#", [0, 1, 2]), ("attempt", [1, 2, 0]), ("worker", [2, 0, 1])])
def test_every_column_with_numbers_can_be_sorted_by(sort, order):
    columns = of(bytearray(3))
    columns.attempts[:] = bytes([3, 1, 2])
    columns.workers[:] = array("H", [2, 3, 1])
    assert everything(arranged(columns, Query(sort))) == order


@pytest.mark.parametrize("descending", [False, True])
def test_the_first_of_very_many_rows_are_those_of_the_whole_order(descending):
    seconds = [float((row * 7919) % 1000) for row in range(5000)]
    columns = of(bytearray(5000), seconds)
    first = Arrangement(columns, Query("time", descending), texts)
    first.update([(0, 5000)], Clock(), live=True, until=40)
    whole = sorted(range(5000), key=seconds.__getitem__, reverse=descending)
    assert (list(first.window(0, 40)), len(first)) == (whole[:40], 5000)
    first.update([], Clock(), live=True, until=4040)
    assert list(first.window(4000, 40)) == whole[4000:4040]
    first.hold()
    assert everything(first) == whole

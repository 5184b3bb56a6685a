from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrra import ErrorInfo, Status
from flowrra_jupyter.view_models import Pace, Standings, delta, first_line, head_of, keys, row_of, tail
from tests.unit.jupyter.builders import EPOCH, failure, frame, record, row


def test_a_running_row_says_when_it_began_so_that_the_reader_can_move_its_clock():
    shown = row_of(record(Status.RUNNING, duration=4.0), None, EPOCH)
    assert (shown["started"], shown["seconds"], shown["word"]) == (1.0, None, "running")


def test_a_row_that_is_over_says_how_long_it_took():
    shown = row(Status.SUCCESS, duration=2.0)
    assert (shown["started"], shown["seconds"], shown["word"]) == (None, 2.0, "done")


def test_a_failed_row_carries_its_error_in_one_line_and_its_traceback():
    shown = row(Status.FAILED, error=failure("bad\nand more", "Traceback …\nValueError: bad"))
    assert shown["error"] == "ValueError: bad"
    assert shown["traceback"].endswith("ValueError: bad")


def test_a_retrying_row_tells_why():
    assert row(Status.RETRYING, error=failure("again"))["error"] == "ValueError: again"


def test_a_run_that_succeeded_after_a_failure_shows_no_error():
    assert row(Status.SUCCESS, error=failure())["error"] == ""


@pytest.mark.parametrize(("done", "total", "fraction"), [(1, 4, 0.25), (9, 4, 1.0), (3, None, None), (3, 0, None)])
def test_progress_is_a_share_only_where_the_total_is_known(done, total, fraction):
    progress = SimpleNamespace(done=done, total=total, message="epoch 3")
    shown = row_of(record(Status.RUNNING), progress, EPOCH)
    assert (shown["fraction"], shown["message"]) == (fraction, "epoch 3")


def test_a_run_that_was_told_to_stop_is_stopping_only_until_it_is_over():
    assert row(Status.RUNNING, stopping=True)["stopping"]
    assert not row(Status.CANCELLED, stopping=True)["stopping"]


def test_long_texts_are_cut_where_they_matter_least():
    assert first_line("\n  \nsecond" + "x" * 400).endswith("…")
    assert len(first_line("x" * 400)) == 160
    cut = tail("\n".join(f"line {number}" for number in range(2000)), limit=100)
    assert cut.startswith("…\nline")
    assert cut.endswith("line 1999")


def test_the_head_estimates_what_is_left_from_the_latest_pace():
    head = head_of("t", {Status.SUCCESS: 4, Status.PENDING: 6}, [], elapsed=8.0, rate=2.0, several_tasks=False)
    assert (head["live"], head["rate"], head["left"]) == (True, 2.0, 3.0)


def test_the_head_of_a_finished_batch_gives_the_pace_over_all():
    head = head_of("t", {Status.SUCCESS: 9, Status.FAILED: 1}, [], elapsed=5.0, rate=99.0, several_tasks=False)
    assert (head["live"], head["rate"], head["left"]) == (False, 2.0, None)


def test_reported_progress_counts_as_a_part_of_a_run():
    half = row_of(record(Status.RUNNING), SimpleNamespace(done=1, total=2, message=""), EPOCH)
    counts = {Status.SUCCESS: 1, Status.RUNNING: 1, Status.PENDING: 2}
    head = head_of("t", counts, [half, row(Status.SUCCESS)], elapsed=1.0, rate=None, several_tasks=False)
    assert head["share"] == 1.5 / 4


def test_the_error_of_a_cancelled_run_says_nothing_new_and_types_are_named_without_their_module():
    assert row(Status.CANCELLED, error=failure("cancel() was called"))["error"] == ""
    lost = ErrorInfo("flowrra.errors.WorkerLost", "worker 7 ended (exit code 3)", "")
    assert row(Status.FAILED, error=lost)["error"] == "WorkerLost: worker 7 ended (exit code 3)"


def test_nothing_at_all_is_a_finished_view():
    head = head_of("t", {}, [], elapsed=0.0, rate=None, several_tasks=False)
    assert (head["live"], head["counts"], head["rate"]) == (False, {}, None)


def test_the_pace_forgets_what_is_older_than_its_window():
    pace = Pace(window=10)
    for second in range(41):
        pace.observe(second, second if second <= 20 else 20 + 5 * (second - 20))
    assert pace.rate() == pytest.approx(5.0)


def test_there_is_no_pace_before_something_ended():
    pace = Pace()
    assert pace.rate() is None
    pace.observe(0.0, 0)
    pace.observe(5.0, 0)
    assert pace.rate() is None


def test_what_runs_comes_first_then_failures_then_the_latest_ends_then_what_is_next():
    standings = Standings(6)
    for index, status in [(0, Status.SUCCESS), (1, Status.SUCCESS), (2, Status.FAILED), (3, Status.RUNNING)]:
        standings.note(index, Status.RUNNING)
        standings.note(index, status)
    assert standings.pick(10) == [3, 2, 1, 0, 4, 5]
    assert standings.pick(3) == [3, 2, 1]
    assert standings.ended == 3


def test_once_all_is_over_the_rows_are_in_the_order_of_the_input():
    standings = Standings(4)
    for index, status in [(3, Status.SUCCESS), (2, Status.FAILED), (1, Status.SUCCESS), (0, Status.SUCCESS)]:
        standings.note(index, status)
    assert standings.pick(10) == [2, 0, 1, 3]


def test_failures_keep_room_beside_a_flood_of_running_runs():
    standings = Standings(100)
    for index in range(90):
        standings.note(index, Status.RUNNING)
    standings.note(95, Status.FAILED)
    chosen = standings.pick(20)
    assert 95 in chosen
    assert len(chosen) == 20


def test_a_late_message_does_not_reopen_a_run():
    standings = Standings(1)
    standings.note(0, Status.SUCCESS)
    standings.note(0, Status.RUNNING)
    assert standings.counts()[Status.SUCCESS] == 1
    assert standings.counts()[Status.RUNNING] == 0


@given(
    st.lists(st.tuples(st.integers(0, 29), st.sampled_from(list(Status))), max_size=200),
    st.integers(0, 40),
)
def test_whatever_happens_no_run_is_counted_or_shown_twice(changes, limit):
    standings = Standings(30)
    for index, status in changes:
        standings.note(index, status)
    chosen = standings.pick(limit)
    assert sum(standings.counts().values()) == 30
    assert len(chosen) == len(set(chosen)) == min(limit, 30)


def test_a_run_outside_of_a_batch_is_called_by_the_end_of_its_id():
    assert row(Status.SUCCESS, task_id="55e7ce8f-12", index=None)["label"] == "12"


def test_a_delta_carries_only_what_is_new():
    before = frame([row(Status.RUNNING, 0), row(Status.PENDING, 1)])
    after = frame([row(Status.SUCCESS, 0), row(Status.PENDING, 1)])
    change = delta(before, after)
    assert keys(change["rows"]) == ["run-0"]
    assert "order" not in change


@given(st.permutations(range(5)), st.integers(0, 5), st.integers(0, 5))
def test_a_delta_turns_the_one_frame_into_the_other(order, kept, moved):
    before = frame([row(Status.RUNNING, index) for index in range(5)])
    after = frame([row(Status.SUCCESS if i < moved else Status.RUNNING, i, duration=float(i)) for i in order[:kept]])
    change = delta(before, after)
    known = {each["key"]: each for each in [*before["rows"], *change["rows"]]}
    assert [known[key] for key in change.get("order", keys(before["rows"]))] == after["rows"]


def test_times_are_reckoned_from_the_first_submission():
    late = record(Status.RUNNING, started_at=EPOCH + timedelta(minutes=2))
    assert row_of(late, None, EPOCH)["started"] == 120.0

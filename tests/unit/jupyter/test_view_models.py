from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrra import ErrorInfo, Status
from flowrra_jupyter.view_models import Pace, delta, first_line, head_of, keys, row_of, short_worker, tail
from tests.unit.jupyter.builders import EPOCH, failure, frame, record, row


def test_a_running_row_says_when_it_began_so_that_the_reader_can_move_its_clock():
    shown = row_of(0, record(Status.RUNNING, duration=4.0), None, EPOCH)
    assert (shown["started"], shown["seconds"], shown["word"]) == (1.0, None, "running")


def test_a_row_that_is_over_says_how_long_it_took():
    shown = row(Status.SUCCESS, duration=2.0)
    assert (shown["started"], shown["seconds"], shown["word"]) == (None, 2.0, "done")


def test_a_failed_row_carries_its_error_in_one_line():
    assert row(Status.FAILED, error=failure("bad\nand more"))["error"] == "ValueError: bad"


def test_a_retrying_row_tells_why():
    assert row(Status.RETRYING, error=failure("again"))["error"] == "ValueError: again"


def test_a_run_that_succeeded_after_a_failure_shows_no_error():
    assert row(Status.SUCCESS, error=failure())["error"] == ""


@pytest.mark.parametrize(("done", "total", "fraction"), [(1, 4, 0.25), (9, 4, 1.0), (3, None, None), (3, 0, None)])
def test_progress_is_a_share_only_where_the_total_is_known(done, total, fraction):
    progress = SimpleNamespace(done=done, total=total, message="epoch 3")
    shown = row_of(0, record(Status.RUNNING), progress, EPOCH)
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
    counts = {Status.SUCCESS: 1, Status.RUNNING: 1, Status.PENDING: 2}
    head = head_of("t", counts, [0.5], elapsed=1.0, rate=None, several_tasks=False)
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


def test_a_run_outside_of_a_batch_is_called_by_the_end_of_its_id():
    assert row(Status.SUCCESS, task_id="55e7ce8f-12", index=None)["label"] == "12"


def test_a_delta_carries_only_what_is_new():
    before = {0: row(Status.RUNNING, 0), 1: row(Status.PENDING, 1)}
    after = [row(Status.SUCCESS, 0), row(Status.PENDING, 1)]
    change = delta(before, [0, 1], frame(after)["head"], after)
    assert keys(change["rows"]) == [0]
    assert "order" not in change


@given(st.permutations(range(5)), st.integers(0, 5), st.integers(0, 5))
def test_a_delta_turns_the_one_frame_into_the_other(order, kept, moved):
    before = [row(Status.RUNNING, index) for index in range(5)]
    after = [row(Status.SUCCESS if i < moved else Status.RUNNING, i, duration=float(i)) for i in order[:kept]]
    change = delta({each["key"]: each for each in before}, keys(before), frame(after)["head"], after)
    known = {each["key"]: each for each in [*before, *change["rows"]]}
    assert [known[key] for key in change.get("order", keys(before))] == after


def test_times_are_reckoned_from_the_first_submission():
    late = record(Status.RUNNING, started_at=EPOCH + timedelta(minutes=2))
    assert row_of(0, late, None, EPOCH)["started"] == 120.0


def test_a_retrying_row_says_when_it_goes_on_and_which_attempt_of_how_many_it_was():
    shown = row(Status.RETRYING, retry_at=EPOCH + timedelta(seconds=9), attempts=2, max_attempts=6)
    assert (shown["due"], shown["attempt"], shown["attempts"]) == (9.0, 2, 6)


def test_a_row_of_several_batches_is_called_by_its_id():
    told = record(Status.SUCCESS, task_id="55e7ce8f-12", index=3)
    assert row_of(0, told, None, EPOCH)["label"] == "3"
    assert row_of(0, told, None, EPOCH, by_index=False)["label"] == "12"


def test_the_pace_over_all_leaves_out_what_was_cancelled():
    counts = {Status.SUCCESS: 10, Status.CANCELLED: 990}
    assert head_of("t", counts, [], elapsed=5.0, rate=None, several_tasks=False)["rate"] == 2.0


def test_the_speed_up_is_what_workers_did_in_each_second():
    counts = {Status.SUCCESS: 10}
    assert head_of("t", counts, [], elapsed=4.0, rate=None, several_tasks=False, busy=12.0)["speed_up"] == 3.0
    assert head_of("t", counts, [], elapsed=4.0, rate=None, several_tasks=False)["speed_up"] is None


def test_the_peak_of_memory_is_told_where_it_was_measured():
    assert [row(memory_peak=peak)["memory"] for peak in (196_000_000, None)] == [196_000_000, None]


def test_workers_are_called_by_their_number():
    assert [short_worker(name) for name in ("cpu-12", None, "")] == ["w12", "", ""]

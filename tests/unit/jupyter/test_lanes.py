from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowrra_jupyter.lanes import CELL, MOST_LANES, WINDOW, Executed, Lanes, Now, Told

MOST_SEGMENTS = int(WINDOW / CELL) + 2

durations = st.floats(0.0, 20.0) | st.floats(0.0, 0.01)
words = st.sampled_from(["done", "failed", "retrying", "cancelled"])


@st.composite
def histories(draw) -> list[Executed]:
    """What one worker does: one run after the other."""
    at, runs = 0.0, []
    for key, (pause, took, word) in enumerate(draw(st.lists(st.tuples(durations, durations, words), max_size=400))):
        at += pause
        runs.append(Executed(at, at + took, word, key))
        at += took
    return runs


def lane_of(runs: list[Executed], instant: float):
    lanes = Lanes()
    lanes.take({"w1": runs}, {}, instant)
    return next(iter(lanes.shown()), None)


def test_a_run_that_takes_a_while_has_a_segment_of_its_own():
    lane = lane_of([Executed(1.0, 3.5, "done", 7), Executed(3.6, 5.0, "failed", 8)], 10.0)
    assert lane.since(0, str)["segments"] == [[1.0, 2.5, "done", 1, 0, 7, "7"], [3.6, 1.4, "failed", 1, 1, 8, "8"]]


def test_a_thousand_short_runs_are_a_few_segments_and_a_failure_among_them_shows():
    runs = [Executed(n / 1000, (n + 1) / 1000, "failed" if n == 250 else "done", n) for n in range(1000)]
    told = lane_of(runs, 2.0).since(0, str)["segments"]
    assert len(told) <= 6
    assert sum(runs for _, _, _, runs, *_ in told) == 1000
    assert [(word, failed, label) for _, _, word, _, failed, _, label in told if failed] == [("failed", 1, "250")]


@given(histories())
def test_a_lane_is_bounded_and_counts_every_run_of_the_last_minute(runs):
    instant = runs[-1].end if runs else 0.0
    recent = [run for run in runs if run.end >= instant - WINDOW]
    lane = lane_of(runs, instant)
    if lane is None:
        assert recent == []
        return
    assert len(lane.segments) <= MOST_SEGMENTS
    assert sum(segment.runs for segment in lane.segments) == len(recent)
    assert sum(segment.failed for segment in lane.segments) == sum(run.word == "failed" for run in recent)
    for before, after in zip(lane.segments, list(lane.segments)[1:], strict=False):
        assert before.end <= after.start + 1e-9
    for run in recent:
        assert any(each.start <= run.start + 1e-9 and run.end <= each.end + 1e-9 for each in lane.segments)


@given(histories(), st.lists(st.integers(1, 50), max_size=20))
def test_whoever_is_told_only_what_is_new_knows_the_same_as_who_is_told_all(runs, steps):
    lanes, told, known = Lanes(), Told(), {}
    at = 0
    for step in [*steps, len(runs)]:
        part = runs[at : at + step]
        at += step
        instant = part[-1].end if part else 0.0
        lanes.take({"w1": part} if part else {}, {}, instant)
        for change in told.news(lanes.shown(), str):
            # As the browser does: what is known before the change, then the change.
            kept = {number: each for number, each in known.items() if number < change["first"]}
            known = kept | dict(enumerate(change["segments"], change["first"]))
        for lane in lanes.shown():
            whole = dict(enumerate(lane.since(0, str)["segments"], lane.first))
            assert {number: each for number, each in known.items() if number >= lane.first} == whole


def test_what_a_worker_does_now_is_told_once():
    lanes, told = Lanes(), Told()
    now = {"w1": Now(key=3, label="3", started=1.0)}
    lanes.take({}, now, 2.0)
    assert [change["now"] for change in told.news(lanes.shown(), str)] == [now["w1"]]
    assert told.news(lanes.shown(), str) == []
    lanes.take({}, {}, 2.5)
    assert lanes.shown() == []


def test_workers_are_in_the_order_of_their_numbers_and_of_very_many_the_latest_are_shown():
    lanes = Lanes()
    lanes.take({}, {f"w{number}": Now(key=0, label="0", started=0.0) for number in range(100)}, 1.0)
    assert [lane.name for lane in lanes.shown()] == [f"w{number}" for number in range(100 - MOST_LANES, 100)]


def test_what_is_over_a_minute_old_is_forgotten():
    lanes = Lanes()
    lanes.take({"w1": [Executed(0.0, 1.0, "done", 0)]}, {}, 1.0)
    lanes.take({}, {}, WINDOW + 2.0)
    assert lanes.shown() == []

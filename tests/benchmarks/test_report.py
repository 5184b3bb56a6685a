from __future__ import annotations

import pytest

from tests.benchmarks import report, run
from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.measuring import Sample
from tests.benchmarks.targets import TARGETS, Target, judge
from tests.benchmarks.workloads import WORKLOADS

FASTER = Target("no-ops", "time", "flowrra", 0.5, ("ppe-fork", "pool"))


def test_a_target_is_held_against_the_best_of_its_peers_that_gave_a_result() -> None:
    values = {
        "flowrra": {"time": [1.0, 2.0, 3.0]},
        "ppe-fork": {"time": [8.0, 8.0, 8.0]},
        "pool": {"time": [4.0, 5.0, 3.0]},
    }
    verdict = judge(FASTER, values)
    assert (verdict.peer, verdict.reached, verdict.spread, verdict.met) == ("pool", 0.5, (0.25, 1.0), True)
    del values["pool"]
    assert judge(FASTER, values).peer == "ppe-fork"


@pytest.mark.parametrize("absent", ["flowrra", "both peers"])
def test_a_target_without_both_sides_is_neither_met_nor_missed(absent: str) -> None:
    values = {"ppe-fork": {"time": [1.0]}} if absent == "flowrra" else {"flowrra": {"time": [1.0]}}
    assert judge(FASTER, values).met is None


def test_a_bound_may_be_of_the_value_of_one_or_from_below() -> None:
    each = Target("no-ops", "time", "flowrra", 30e-6, per=10_000)
    assert judge(each, {"flowrra": {"time": [0.29]}}).met is True
    assert judge(each, {"flowrra": {"time": [0.31]}}).met is False
    least = Target("crash", "others", "flowrra", 99, at_least=True)
    assert judge(least, {"flowrra": {"others": [99]}}).met is True
    assert judge(least, {"flowrra": {"others": [98]}}).met is False


def test_every_target_and_every_workload_names_what_there_is() -> None:
    for target in TARGETS:
        workload = WORKLOADS[target.workload]
        assert {target.metric, target.peers_metric or target.metric} <= set(workload.metrics)
        assert {target.ours, *target.peers} <= set(workload.contenders)
    for workload in WORKLOADS.values():
        assert set(workload.contenders) <= set(CONTENDERS)


def test_the_report_gives_median_spread_verdict_and_lost_rounds() -> None:
    samples = {
        "no-ops": {
            "flowrra": [Sample({"time": 2.0}), Sample({"time": 1.0}), Sample({"time": 3.0})],
            "ppe-fork": [Sample({"time": 8.0}, remark="slow"), Sample(failure="it hung"), Sample({"time": 8.0})],
            "pool": [Sample(failure="fails: refused")],
        }
    }
    text = report.markdown(report.document(samples, command="bench", quick=False))
    assert "| flowrra, `submit` | 2 s [1 s–3 s] | 200 µs |  |" in text
    assert "| ProcessPoolExecutor, fork | 8 s | 800 µs | slow; it hung (1 of 3 rounds) |" in text
    assert "| multiprocessing.Pool | – | – | fails: refused |" in text
    assert "| ProcessPoolExecutor, fork: 8 s | 0.25 × [0.25 ×–0.38 ×] | ≤ 0.5 × | met |" in text
    assert "| no result of multiprocessing.Pool | – | ≤ 1 × | not measured |" in text
    assert "| 200 µs [100 µs–300 µs] | aim ≤ 30 µs | **not met** |" in text


def test_rounds_take_turns_and_repeat_neither_what_takes_long_nor_what_is_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def measured(name: str, contender: str, **_: object) -> Sample:
        asked.append(contender)
        return {
            "loky": Sample({"time": 20.0}, took=30),
            "pool": Sample(failure="skipped: not there"),
            "flowrra": Sample({"time": 20.0}, took=30),
        }.get(contender, Sample({"time": 1.0}))

    monkeypatch.setattr(run, "_sample", measured)
    chosen = ["flowrra", "ppe-fork", "pool", "loky"]
    samples: report.Samples = {"no-ops": {one: [] for one in run.contenders("no-ops", chosen)}}
    run.run(samples, 3, quick=True, time_limit=1)
    assert asked == ["flowrra", "ppe-fork", "pool", "loky", "ppe-fork", "flowrra", "flowrra", "ppe-fork"]
    assert [len(taken) for taken in samples["no-ops"].values()] == [3, 3, 1, 1]

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import report, run
from tests.benchmarks.report import Sample

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

QUICK = ["no-ops", "round-trip", "frame", "coroutines", "cold-start"]


def test_every_contender_gives_the_right_results_in_a_quick_run(tmp_path: Path) -> None:
    command = [sys.executable, run.__file__, "--quick", "--output", str(tmp_path), "--only", *QUICK]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=170).stdout
    samples = json.loads(tmp_path.joinpath("benchmarks.json").read_text())["samples"]
    assert list(samples) == QUICK
    without_result = {
        (name, contender): taken
        for name, contenders in samples.items()
        for contender, taken in contenders.items()
        if taken[0]["seconds"] is None
    }
    assert without_result == {}
    assert tmp_path.joinpath("benchmarks.md").read_text() == printed.removesuffix("\n")


def test_a_measurement_that_hangs_is_a_sample_without_a_time() -> None:
    assert run.measure("no-ops", "flowrra", quick=True, time_limit=0.01) == Sample(None, "no result in 0.01 s")


def test_a_measurement_that_fails_says_why() -> None:
    sample = run.measure("no-ops", "no such pool", quick=True)
    assert sample.seconds is None
    assert "KeyError" in sample.remark


def test_the_report_gives_median_spread_ratio_and_lost_rounds() -> None:
    taken = {
        "flowrra": [Sample(2.0, ""), Sample(1.0, ""), Sample(3.0, "")],
        "loky": [Sample(8.0, "slow"), Sample(None, "it hung"), Sample(8.0, "slow")],
        "joblib": [Sample(None, "refused")],
    }
    text = report.markdown(report.document({"crash": taken}, command="bench"), quick=False)
    assert "| flowrra | 2 s [1 s–3 s] | 1.00 |  |" in text
    assert "| loky | 8 s [8 s–8 s] | 4.00 | slow (1 of 3 without result) |" in text
    assert "| joblib | no result | – | refused |" in text

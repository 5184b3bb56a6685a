from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

LIARS = "tests.benchmarks.liars"


def bench(tmp_path: Path, *flags: str) -> tuple[dict[str, Any], str]:
    file = tmp_path / "bench.json"
    command = [sys.executable, run.__file__, "--quick", "--json", str(file), *flags]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=55).stdout
    return json.loads(file.read_text()), printed


def test_a_quick_run_has_right_results_of_whoever_is_installed(tmp_path: Path) -> None:
    document, printed = bench(
        tmp_path, "--only", "no-ops,argument,crash,memory", "--contenders", "flowrra,flowrra-map,ppe-fork,joblib,ray"
    )
    taken = {(name, who): one for name, each in document["samples"].items() for who, one in each.items()}
    assert {name for name, _ in taken} == {"no-ops", "argument", "crash", "memory"}
    for (name, who), [sample] in taken.items():
        if sample["failure"].startswith("skipped"):
            assert (who, sample["failure"]) == ("ray", "skipped: ray is not installed")
        else:
            assert sample["values"], (name, who, sample["failure"])
    assert taken["crash", "flowrra"][0]["values"]["others"] == 19
    assert taken["memory", "flowrra"][0]["values"]["peak"] > 10_000_000
    assert "| flowrra, `submit` |" in printed
    assert "ProcessPoolExecutor, fork" in printed


@pytest.mark.parametrize(
    ("liar", "failure"),
    [
        ("WrongOnce", "fails: WrongResult: result 199 of 200 is 'something else', not 199"),
        ("Missing", "fails: WrongResult: [0, 1, 2"),
        ("NoneAtAll", "no result in 1 s"),
        ("Gone", "fails: exit code 7"),
        ("Unheard", "skipped: no-such-distribution is not installed"),
    ],
)
def test_the_table_names_the_failure_of_a_contender(tmp_path: Path, liar: str, failure: str) -> None:
    name = f"{LIARS}:{liar}"
    limit = "1" if liar == "NoneAtAll" else "20"
    document, printed = bench(tmp_path, "--only", "no-ops", "--contenders", name, "--time-limit", limit)
    [sample] = document["samples"]["no-ops"][name]
    assert sample["values"] == {}
    assert sample["failure"].startswith(failure)
    assert f"– | – | {sample['failure']} |" in printed


def test_a_right_contender_of_ones_own_gets_its_line(tmp_path: Path) -> None:
    document, _ = bench(tmp_path, "--only", "no-ops", "--contenders", f"{LIARS}:Here")
    [sample] = document["samples"]["no-ops"][f"{LIARS}:Here"]
    assert sample["values"]["time"] > 0


def test_an_interrupted_run_reports_what_it_has_measured(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    flags = ["--quick", "--rounds", "1000", "--only", "no-ops", "--contenders", "ppe-fork", "--json", str(file)]
    with subprocess.Popen(
        [sys.executable, run.__file__, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stderr is not None
        assert program.stderr.readline().startswith("round 1: no-ops, ppe-fork: ")
        program.terminate()
        printed, said = program.communicate(timeout=40)
    assert program.returncode == 0, said
    assert "interrupted" in said
    assert "ProcessPoolExecutor, fork" in printed
    assert 1 <= len(json.loads(file.read_text())["samples"]["no-ops"]["ppe-fork"]) < 1000

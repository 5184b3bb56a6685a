from __future__ import annotations

import os
from pathlib import Path

import pytest

from flowrra.pool.cores import available_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def own(folder: Path, text: str) -> Path:
    listed = folder / "own"
    listed.write_text(text)
    return listed


def test_without_a_quota_every_core_counts(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores(tmp_path, own(tmp_path, "0::/\n")) == 8


@pytest.mark.parametrize(
    ("inner", "outer", "cores"), [("150000", "max", 2), ("max", "300000", 3), ("400000", "100000", 1)]
)
def test_the_smallest_quota_on_the_way_to_the_root_counts(tmp_path: Path, inner: str, outer: str, cores: int) -> None:
    group = tmp_path / "user.slice" / "notebook.scope"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text(f"{inner} 100000\n")
    (group.parent / "cpu.max").write_text(f"{outer} 100000\n")
    assert available_cores(tmp_path, own(tmp_path, "1:cpu:/x\n0::/user.slice/notebook.scope\n")) == cores


def test_in_a_container_the_root_counts_where_the_path_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("200000 100000\n")
    assert available_cores(tmp_path, own(tmp_path, "0::/docker/1234\n")) == 2
    assert available_cores(tmp_path, own(tmp_path, "0::/../../pod\n")) == 2


def test_version_1_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("250000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert available_cores(tmp_path, tmp_path / "missing") == 3


def test_a_share_of_one_core_is_one_worker(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("10000 100000\n")
    assert available_cores(tmp_path, own(tmp_path, "0::/\n")) == 1

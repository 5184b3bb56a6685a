"""Reading, numbering and restoring what a run sees around it."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import warnings
from pathlib import Path

import pytest

from flowrra.pool.cores import available_cores
from flowrra.pool.encoding.surroundings import Surroundings, SurroundingsReader, settle, with_defaults


def test_the_number_changes_only_when_something_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    scenery = SurroundingsReader()
    first = scenery.current()
    assert scenery.current() is first
    monkeypatch.setenv("FLAVOUR", "vanilla")
    second = scenery.current()
    assert second.number == first.number + 1
    monkeypatch.syspath_prepend("/somewhere")
    assert scenery.current().number == second.number + 1


def test_everything_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(Path.cwd())
    with warnings.catch_warnings():
        wanted: Surroundings = pickle.loads(SurroundingsReader().current().pickled)
        environment = dict(os.environ)
        try:
            os.chdir(tmp_path)
            sys.path.append("/nowhere")
            os.environ["MESS"] = "1"
            del os.environ["PATH"]
            warnings.simplefilter("ignore")
            logging.getLogger().setLevel(7)
            settle(wanted)
            assert Path.cwd() == Path(wanted.cwd or "")
            assert "/nowhere" not in sys.path
            assert dict(os.environ) == with_defaults(environment)
            assert tuple(warnings.filters) == wanted.filters
            assert logging.getLogger().level == wanted.log_level
        finally:
            os.environ.clear()
            os.environ.update(environment)


@pytest.mark.parametrize(
    ("chosen", "used"),
    [
        (None, "agg"),
        ("module://matplotlib_inline.backend_inline", "agg"),
        ("module://ipykernel.pylab.backend_inline", "agg"),
        ("svg", "svg"),
    ],
)
def test_figures_are_not_drawn_into_a_kernel_that_is_not_there(chosen: str | None, used: str) -> None:
    environ = {} if chosen is None else {"MPLBACKEND": chosen}
    assert with_defaults(environ)["MPLBACKEND"] == used


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_a_container_gets_the_cores_it_pays_for(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == cores

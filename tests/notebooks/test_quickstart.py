"""The quickstart, run as ``make demo`` runs it, and its findings against the same numbers from pandas alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from notebooks.data_portal import data_folder
from notebooks.run_demo import NOTEBOOK, SUMMARY, parts, summary_of
from tests.browser.lab import LabPage
from tests.jupyter.driver import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(400)]

DEMO = NOTEBOOK.with_name("run_demo.py")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
VIEWS = {"download": "14 done", "map": "354 done, 83 failed", "thorough": "cancelled"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, NotebookNode]:
    """What the demo printed, and the notebook that it executed."""
    path = tmp_path_factory.mktemp("demo") / "executed.ipynb"
    done = subprocess.run(
        [sys.executable, DEMO, "--output", path], capture_output=True, text=True, timeout=380, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, nbformat.read(path, as_version=4)


@pytest.fixture(scope="module")
def arrivals() -> pd.DataFrame:
    flights = pd.read_csv(data_folder() / "flights.csv.zip")
    return flights[flights.arr_delay.notna()]


def find_view(notebook: NotebookNode, cell: str) -> Any:
    return next(
        output.data
        for one in notebook.cells
        if one.id == cell
        for output in one.outputs
        if "text/html" in output.get("data", ())
    )


def test_the_demo_tells_every_part_the_findings_and_both_times(demo: tuple[str, NotebookNode]) -> None:
    printed, notebook = demo
    told = [printed.find(part) for part in dict.fromkeys(parts(notebook).values())]
    assert -1 not in told
    assert told == sorted(told)
    summary = summary_of(notebook)
    assert f"{summary['arrivals']:,} arrivals" in printed
    assert summary["latest"][0]["route"] in printed
    for part, took in summary["seconds"].items():
        assert part in printed
        assert f"{took['flowrra']:.2f} s" in printed
        assert f"{took['serial']:.2f} s" in printed


def test_no_cell_of_the_quickstart_ends_in_an_error(demo: tuple[str, NotebookNode]) -> None:
    outputs = [output for cell in demo[1].cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]


def test_what_it_counts_is_what_pandas_counts(demo: tuple[str, NotebookNode], arrivals: pd.DataFrame) -> None:
    summary = summary_of(demo[1])
    per_route = arrivals.groupby(["carrier", "origin", "dest"]).size()
    assert summary["arrivals"] == len(arrivals)
    assert summary["routes"] == len(per_route)
    assert summary["refused"] == (per_route < 30).sum()
    assert summary["retries"] > 0
    assert 400 < summary["cancelled"] < len(per_route)


@pytest.mark.parametrize("end", ["latest", "earliest"])
def test_its_delays_are_the_quantiles_that_pandas_finds(
    demo: tuple[str, NotebookNode], arrivals: pd.DataFrame, end: str
) -> None:
    delays_of = {" ".join(key): group.arr_delay for key, group in arrivals.groupby(["carrier", "origin", "dest"])}
    rows = summary_of(demo[1])[end]
    assert len(rows) == 5
    for row in rows:
        delays = delays_of[row["route"]]
        assert row["arrivals"] == len(delays) >= 365
        assert row["minutes"] == pytest.approx(delays.quantile(0.9))
        assert row["low"] <= row["minutes"] <= row["high"]
        inner, outer = order_interval(delays, 1.0), order_interval(delays, 4.0)
        assert outer[0] <= row["low"] <= inner[0]
        assert inner[1] <= row["high"] <= outer[1]


def order_interval(delays: pd.Series, deviations: float) -> tuple[float, float]:
    """Values at the ranks of the 0.9 quantile, give or take so many binomial standard deviations."""
    ordered, count = np.sort(delays), len(delays)
    spread = deviations * np.sqrt(count * 0.9 * 0.1)
    ranks = [int(np.floor(0.9 * count - spread)), int(np.ceil(0.9 * count + spread))]
    low, high = np.clip(ranks, 0, count - 1)
    return float(ordered[low]), float(ordered[high])


def test_the_saved_quickstart_shows_the_last_state_of_each_view_without_a_kernel(
    demo: tuple[str, NotebookNode],
) -> None:
    _, notebook = demo
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert "model not found" not in page.lower()
    assert f'<script type="{WIDGET_VIEW}">' not in page
    assert not [cell.id for cell in notebook.cells if WIDGET_VIEW in str(cell.get("outputs"))]
    shown = [" ".join(view.get_text(" ").split()) for view in BeautifulSoup(page, "html.parser").select("div.flowrra")]
    assert len(shown) == len(VIEWS)
    for html, (cell, ended) in zip(shown, VIEWS.items(), strict=True):
        totals = find_view(notebook, cell)["text/plain"].splitlines()[0]
        assert ended in totals
        assert not [word for word in ("pending", "running", "retrying") if word in totals]
        for number_and_word in ended.split(", "):
            assert number_and_word in html


@pytest.mark.browser
def test_the_saved_quickstart_reopened_in_jupyterlab_shows_it_too(
    demo: tuple[str, NotebookNode], page: LabPage
) -> None:
    _, notebook = demo
    nbformat.write(notebook, page.server.root / NOTEBOOK.name)
    page.open(name=NOTEBOOK.name)
    for index, cell in enumerate(notebook.cells):
        if cell.id in VIEWS:
            # Cells outside of the window are drawn when they are looked at.
            page.js("index => PANEL.content.widgets[index].node.scrollIntoView()", index)
            shown = page.wait_for_output(index, bool)
            for number_and_word in VIEWS[cell.id].split(", "):
                assert number_and_word in " ".join(shown.split())
            assert "not found" not in shown


def test_the_quickstart_runs_twice_in_the_same_kernel() -> None:
    sources = [cell.source for cell in stored().cells if cell.cell_type == "code"]
    quicker = [source.replace("draws: int = 2_000", "draws: int = 200") for source in sources]
    assert quicker != sources
    with Kernel(cwd=NOTEBOOK.parent) as kernel:
        found = [[kernel.run(source, timeout=120) for source in quicker] for _ in range(2)]
    first, second = ([one for result in results for one in result.displays if SUMMARY in one.data] for results in found)
    for summary in (first[0].data[SUMMARY], second[0].data[SUMMARY]):
        for varying in ("seconds", "retries", "cancelled"):
            del summary[varying]
    assert first[0].data[SUMMARY] == second[0].data[SUMMARY]


def test_the_quickstart_is_stored_without_output_and_in_short_cells() -> None:
    notebook = stored()
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell.id for cell in code if cell.outputs or cell.execution_count]
    assert max(len(cell.source.splitlines()) for cell in code) <= 25


def test_a_cell_that_fails_ends_the_demo_with_its_source_and_traceback(tmp_path: Path) -> None:
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("def halve(x): return x / 0\nhalve(1)")])
    nbformat.write(broken, tmp_path / NOTEBOOK.name)
    tmp_path.joinpath(DEMO.name).write_text(DEMO.read_text())
    done = subprocess.run(
        [sys.executable, DEMO.name], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "halve(1)" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def stored() -> NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)

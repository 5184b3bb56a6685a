"""Without a browser: notebooks executed by nbconvert, and IPython in a terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

START = """%load_ext flowrra_jupyter
%flowrra start --workers 2
@app.task(cpu_bound=True)
def work(x, seconds=0.02):
    import time
    time.sleep(seconds)
    if x == 3:
        raise ValueError(f"no {x}")
    return x"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    return tmp_path


def written(folder: Path, *cells: str) -> Path:
    path = folder / "case.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells]), path)
    return path


def nbconvert(path: Path, *options: str) -> None:
    command = [sys.executable, "-m", "nbconvert", *options, str(path)]
    subprocess.run(command, check=True, capture_output=True, cwd=path.parent)


def executed(folder: Path, *cells: str) -> list[nbformat.NotebookNode]:
    """The cells of a notebook of *cells* after its execution without a browser."""
    path = written(folder, *cells)
    nbconvert(path, "--execute", "--to", "notebook", "--inplace")
    return nbformat.read(path, as_version=4).cells


def test_an_executed_notebook_keeps_the_final_state_of_every_view(folder: Path) -> None:
    wait = "runs.wait(30), one.wait(30)"
    cells = executed(folder, START, "runs = work.map(range(30)); runs", "one = work.submit(3); one", wait, "runs")
    for cell in (cells[1], cells[4]):
        (output,) = cell.outputs
        assert set(output.data) == {"text/html", "text/plain"}
        assert "30 runs: 29 done, 1 failed" in output.data["text/plain"]
        assert "ValueError: no 3" in output.data["text/plain"]
    assert "1 run: 1 failed" in cells[2].outputs[0].data["text/plain"]


def test_a_view_that_is_not_done_at_the_end_is_kept_as_it_was_then(folder: Path) -> None:
    cells = executed(folder, START, "runs = work.map([0] * 20, seconds=30); runs", "import time; time.sleep(1)")
    (output,) = cells[1].outputs
    assert set(output.data) == {"text/html", "text/plain"}
    assert "2 running" in output.data["text/plain"]


def test_nbconvert_executes_and_exports_what_can_be_read_without_a_kernel(folder: Path) -> None:
    path = written(folder, START, "runs = work.map(range(12)); runs", "runs.wait(30)")
    nbconvert(path, "--execute", "--to", "html")
    exported = path.with_suffix(".html").read_text()
    assert "<b>11</b> done" in exported
    assert "ValueError: no 3" in exported
    assert "model not found" not in exported.lower()


def test_ipython_in_a_terminal_shows_text_and_runs_everything(folder: Path) -> None:
    lines = [
        "%load_ext flowrra_jupyter",
        "%flowrra start --workers 2",
        "import asyncio",
        "async def fetch(x): await asyncio.sleep(0.01); return 10 * x",
        "fetch = app.task(fetch)",
        "def spin(x): return x + 1",
        "spin = app.task(cpu_bound=True)(spin)",
        "fetch.map(range(3)).result(timeout=20)",
        "await fetch.submit(5)",
        "runs = spin.map(range(4)); runs.result(timeout=20)",
        "runs",
        "%flowrra",
        "%flowrra status",
        "%flowrra stop",
        "%unload_ext flowrra_jupyter",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--simple-prompt", "--colors=NoColor", "--no-banner", "--quick"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert "[0, 10, 20]" in done.stdout
    assert "50" in done.stdout
    assert "[1, 2, 3, 4]" in done.stdout
    assert "spin: 4 runs: 4 done" in done.stdout
    assert "running; runs: 8 done" in done.stdout
    assert "is stopped" in done.stdout

"""Runs the quickstart notebook without a browser: one line per part, then what it found and what it cost.

Ends with 0, or with 1 and the traceback of the cell that failed. ``--output PATH`` keeps the executed notebook.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).with_name("01_quickstart.ipynb")
SUMMARY = "application/vnd.flowrra.quickstart+json"
CELL_TIMEOUT = 300


class Narrator:
    """Prints a line when a part of the notebook, a heading and the cells under it, is through."""

    def __init__(self, notebook: NotebookNode) -> None:
        self._part_of = parts(notebook)
        self._last_of = {part: index for index, part in self._part_of.items()}
        self._began = time.perf_counter()

    def cell_executed(self, cell_index: int, **_: Any) -> None:
        part = self._part_of[cell_index]
        if self._last_of[part] == cell_index:
            now = time.perf_counter()
            print(f"  {part:<44} {now - self._began:6.1f} s", flush=True)
            self._began = now


def parts(notebook: NotebookNode) -> dict[int, str]:
    """Return the heading above each code cell."""
    found, heading = {}, "Start"
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            heading = cell.source.splitlines()[0].lstrip("# ")
        elif cell.cell_type == "code":
            found[index] = heading
    return found


def execute(notebook: NotebookNode) -> None:
    """Run every cell in a fresh kernel. Raises what nbclient raises for one that fails, hangs or kills it."""
    narrator = Narrator(notebook)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        store_widget_state=False,
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
        on_cell_executed=narrator.cell_executed,
    )
    client.execute()


def summary_of(notebook: NotebookNode) -> dict[str, Any]:
    """Return what the notebook recorded about its findings and times."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    return next(dict(output.data[SUMMARY]) for output in outputs if SUMMARY in output.get("data", ()))


def report(summary: Mapping[str, Any]) -> None:
    """Print the findings, then each part's time beside that of the same work done one after the other."""
    print(f"\n{summary['arrivals']:,} arrivals on {summary['routes']} routes out of New York in 2013.")
    for title, key in (
        ("Of the routes flown daily, one flight in ten is later than", "latest"),
        ("and at the other end than", "earliest"),
    ):
        print(f"\n{title}:")
        for row in summary[key]:
            minutes = f"{row['minutes']:5.0f} min ({row['low']:.0f} to {row['high']:.0f})"
            print(f"  {minutes:<24} {row['route']:<11} {row['airline']} to {row['to']}")
    print(f"\n{'':<12}{'flowrra':>10}{'one by one':>13}   ({summary['workers']} workers)")
    for part, took in summary["seconds"].items():
        together, alone = took["flowrra"], took["serial"]
        print(f"  {part:<10}{together:>8.2f} s{alone:>11.2f} s   {alone / together:.2f} times as fast")
    print(
        f"\n{summary['refused']} runs failed as they should, {summary['retries']} attempts were retried, "
        f"{summary['cancelled']} runs were cancelled."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the quickstart notebook and print what it found.")
    parser.add_argument("--output", type=Path, metavar="PATH", help="also write the executed notebook")
    asked = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    print(f"running {NOTEBOOK.name}")
    try:
        execute(notebook)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as failure:
        print(failure, file=sys.stderr)
        return 1
    finally:
        if asked.output is not None:
            nbformat.write(notebook, asked.output)
    report(summary_of(notebook))
    return 0


if __name__ == "__main__":
    sys.exit(main())

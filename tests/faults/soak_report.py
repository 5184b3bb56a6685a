"""The part of docs/guarantees.md that `make soak` writes: what was run on which machine, and what it came to."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

import cloudpickle
import numpy

import flowrra

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
BEGIN, END = "<!-- written by `make soak`: begin -->", "<!-- written by `make soak`: end -->"


def write(facts: Mapping[str, str], page: Path = PAGE) -> None:
    """Replace what stands between the two marks of *page*."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the report: {BEGIN} … {END}")
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    page.write_text(f"{before}{BEGIN}\n\n| | |\n|---|---|\n{rows}\n\n{END}{after}")


def machine() -> dict[str, str]:
    model = next(
        (line.partition(":")[2].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    cores, memory = len(os.sched_getaffinity(0)), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "machine": f"{model}, {cores} cores, {memory / 2**30:.0f} GB, Linux {platform.release()}",
        "versions": f"Flowrra {flowrra.__version__}, Python {platform.python_version()}, "
        f"cloudpickle {cloudpickle.__version__}, numpy {numpy.__version__}",
    }


def _read(path: str) -> list[str]:
    return Path(path).read_text().splitlines()

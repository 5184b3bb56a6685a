"""One measurement from outside: its process, its time limit, its memory, and nothing left of it afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.benchmarks import processes
from tests.benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parents[2]
CLOSING_SECONDS = 15
"""For a library to end its processes once the result is there."""
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Sample:
    values: Mapping[str, float] = field(default_factory=dict)
    """By metric; empty if there was no result."""
    failure: str = ""
    """Why there was none."""
    remark: str = ""
    took: float = 0.0
    """Seconds, start and end of the process included."""


def measure(workload: str, contender: str, *, quick: bool, time_limit: float) -> Sample:
    """Measure in a fresh process. A crash, a wrong result and a hang are samples too: those without values.

    Ends every process below this one, so it must have no others.
    """
    command = [sys.executable, "-m", "tests.benchmarks.child", workload, contender, *(["--quick"] if quick else [])]
    begun = time.monotonic()
    # Files, because processes that a library leaves behind would hold a pipe open.
    with (
        tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as errors,
    ):
        child = subprocess.Popen(command, cwd=ROOT, env=_environment(workload, folder), stdout=out, stderr=errors)
        try:
            peak = _watch(child, out, begun + time_limit, weigh=WORKLOADS[workload].weighed)
            code = child.poll()
            hung = code is None
            if hung:
                child.kill()
                child.wait()
        finally:
            processes.end_all_below(grace=0 if child.returncode else 5)
        out.seek(0)
        errors.seek(0)
        answer = _answer(out.read())
        took = time.monotonic() - begun
        if answer is None:
            last = (errors.read().strip().splitlines() or [f"exit code {code}"])[-1]
            return Sample(failure=f"no result in {time_limit:g} s" if hung else f"fails: {last[:120]}", took=took)
    if "failure" in answer:
        return Sample(failure=f"fails: {answer['failure']}", took=took)
    values = {"peak": float(peak)} if WORKLOADS[workload].weighed else answer["values"]
    remarks = [answer["remark"], "did not close" if hung else f"exit code {code}" if code else ""]
    return Sample(values, remark="; ".join(filter(None, remarks)), took=took)


def _environment(workload: str, folder: str) -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "TMPDIR": folder,
        "IPYTHONDIR": folder,
        "DASK_TEMPORARY_DIRECTORY": folder,
        "RAY_USAGE_STATS_ENABLED": "0",
        **WORKLOADS[workload].environment,
    }


def _watch(child: subprocess.Popen[bytes], out: IO[str], give_up: float, *, weigh: bool) -> int:
    """Wait for the end of *child*, not beyond *give_up*, nor long once it has printed; return the peak memory."""
    peak, printed = 0, False
    while time.monotonic() < give_up:
        try:
            child.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if weigh and not printed:
                peak = max(peak, processes.proportional_size(processes.below(os.getpid())))
            if not printed and os.fstat(out.fileno()).st_size:
                printed, give_up = True, time.monotonic() + CLOSING_SECONDS
        else:
            break
    return peak


def _answer(out: str) -> dict[str, object] | None:
    for line in reversed(out.splitlines()):
        if line.startswith("{"):
            return dict(json.loads(line))
    return None

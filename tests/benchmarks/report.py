"""Samples in, a table out: medians, spread and the ratio to flowrra, with the machine and the versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.workloads import WORKERS, WORKLOADS

LIBRARIES = ("flowrra", "joblib", "loky", "cloudpickle", "pandas", "ipykernel")


@dataclass(frozen=True)
class Sample:
    seconds: float | None
    """None if there was no result; *remark* says why."""
    remark: str


Samples = dict[str, dict[str, list[Sample]]]


def document(samples: Samples, command: str) -> dict[str, Any]:
    """Everything that was measured, ready for JSON."""
    return {
        "machine": machine(),
        "versions": {name: version(name) for name in LIBRARIES},
        "command": command,
        "measured": datetime.now(UTC).isoformat(timespec="minutes"),
        "samples": {
            name: {contender: [asdict(sample) for sample in taken] for contender, taken in contenders.items()}
            for name, contenders in samples.items()
        },
    }


def machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "workers": WORKERS,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def markdown(document: dict[str, Any], *, quick: bool) -> str:
    """The report for a person."""
    facts, versions = document["machine"], document["versions"]
    parts = [
        f"Measured {document['measured']} with `{document['command']}` on {facts['processor']}, "
        f"{facts['cores']} cores (load {facts['load']} at the end), {facts['workers']} workers, {facts['system']}, "
        f"Python {facts['python']}; "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + ". Median [fastest–slowest]. *Ratio* is the time divided by flowrra's: above 1, flowrra was faster.",
    ]
    if quick:
        parts.append("**A quick run: sizes too small for a comparison.**")
    for name, contenders in document["samples"].items():
        workload = WORKLOADS[name]
        size = workload.quick if quick else workload.size
        parts.append(f"### {size:,} {workload.title}" if size > 1 and name != "import" else f"### {workload.title}")
        parts.append("\n".join(_table(contenders, size if workload.unit else 0, workload.unit)))
    return "\n\n".join(parts) + "\n"


def _table(contenders: dict[str, list[dict[str, Any]]], size: int, unit: str) -> Iterable[str]:
    ours = median(next(iter(contenders.values())))
    each = f" per {unit} |" if size else ""
    yield f"| | time |{each} ratio | |"
    yield "|---|---|" + ("---|" if size else "") + "---|---|"
    for contender, taken in contenders.items():
        middle = median(taken)
        single = f" {span(middle / size)} |" if size and middle is not None else (" |" if size else "")
        ratio = f"{middle / ours:.2f}" if middle is not None and ours else "–"
        yield f"| {contender} | {spread(taken)} |{single} {ratio} | {remarks(taken)} |"


def median(taken: list[dict[str, Any]]) -> float | None:
    times = [sample["seconds"] for sample in taken if sample["seconds"] is not None]
    return statistics.median(times) if times else None


def spread(taken: list[dict[str, Any]]) -> str:
    times = [sample["seconds"] for sample in taken if sample["seconds"] is not None]
    if not times:
        return "no result"
    return span(statistics.median(times)) + (f" [{span(min(times))}–{span(max(times))}]" if len(times) > 1 else "")


def remarks(taken: list[dict[str, Any]]) -> str:
    """The remark of the median sample, and how often there was no result."""
    middle = median(taken)
    with_time = [sample for sample in taken if sample["seconds"] is not None]
    nearest = min(with_time, key=lambda sample: abs(sample["seconds"] - (middle or 0)), default=taken[-1])
    failed = len(taken) - len(with_time)
    return nearest["remark"] + (f" ({failed} of {len(taken)} without result)" if 0 < failed < len(taken) else "")


def span(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def cell(sample: Sample) -> str:
    text = "no result" if sample.seconds is None else span(sample.seconds)
    return f"{text} {sample.remark}".strip()

"""What is measured, by the name used on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.benchmarks.child import IMPORTS
from tests.benchmarks.workloads import data, life, small
from tests.benchmarks.workloads.measurement import Measurement

MB = 10**6


@dataclass(frozen=True)
class Metric:
    title: str
    unit: str = "s"
    """``s`` seconds, ``B`` bytes, ``share`` of 1, ``×`` a ratio, or empty for a count."""
    per: str = ""
    """What one of the workload's ``size`` things is called, if the time of one is of interest."""
    more_is_better: bool = False


TIME = {"time": Metric("time")}


@dataclass(frozen=True)
class Workload:
    title: str
    """``{size}`` stands for the size."""
    size: int
    quick: int
    measure: Callable[[Measurement], dict[str, float]]
    contenders: tuple[str, ...]
    metrics: Mapping[str, Metric] = field(default_factory=lambda: TIME)
    environment: Mapping[str, str] = field(default_factory=dict)
    weighed: bool = False
    """Its peak memory is what is measured: that of the whole tree of processes, from outside, as metric ``peak``."""

    def heading(self, *, quick: bool) -> str:
        size = self.quick if quick else self.size
        return self.title.format(size=f"{size:,}", mb=f"{size / MB:g} MB")


EXECUTORS = ("ppe-fork", "ppe-forkserver")
CLUSTERS = ("ipyparallel", "dask", "ray")
SINGLE = ("flowrra", *EXECUTORS, "pool", "loky", "joblib-single", "mpire", "pebble", *CLUSTERS)
CALLS = ("flowrra-map", "flowrra", *EXECUTORS, "pool", "loky", "joblib", "mpire", "pebble", *CLUSTERS)


def _timed_each(per: str) -> dict[str, Metric]:
    return {"time": Metric("time", per=per)}


WORKLOADS = {
    "no-ops": Workload(
        "{size} single no-op submits, all results", 10_000, 200, small.no_ops,
        ("flowrra", "flowrra-loop", "flowrra-map", *SINGLE[1:]), _timed_each("call"),
    ),
    "tiny-items": Workload(
        "`map` of {size} tiny items", 200_000, 1000, small.tiny_items,
        ("flowrra-map", *EXECUTORS, "pool", "loky", "joblib", "mpire", "pebble", *CLUSTERS), _timed_each("item"),
    ),
    "round-trip": Workload(
        "{size} round trips of one run", 500, 10, small.round_trips,
        ("flowrra-loop", *SINGLE), _timed_each("trip"),
    ),
    "argument": Workload(
        "{mb} array as argument of 8 runs that read it all", 200 * MB, 8 * MB, data.argument,
        (*CALLS[:-3], "mpire-fork", *CLUSTERS),
        {"first": Metric("the first time"), "again": Metric("the same content again")},
    ),
    "captured": Workload(
        "captured {mb} global, 100 runs, pool older than the data", 200 * MB, 8 * MB, data.captured,
        (*CALLS[:-3], "mpire-fork", *CLUSTERS, "fingerprints"),
    ),
    "results": Workload("8 results of {mb}", 50 * MB, 2 * MB, data.results, CALLS),
    "cold-start": Workload(
        "cold start to the first result: no-op", 1, 1, life.cold_start,
        (*SINGLE[:3], "ppe-spawn", *SINGLE[3:5], "joblib", *SINGLE[6:]),
    ),
    "cold-start-frame": Workload(
        "cold start to the first result: function needing numpy and pandas", 1, 1, life.cold_start_frame,
        (*SINGLE[:3], "ppe-spawn", *SINGLE[3:5], "joblib", "mpire", "pebble", "dask", "ray"),
        environment={IMPORTS: "1"},
    ),
    "replacement": Workload(
        "replacement of a killed worker, median of {size}", 5, 2, life.replacement,
        ("flowrra", "ppe-fork", "pool", "loky", "mpire", "pebble", "ipyparallel", "dask", "ray"),
    ),
    "uneven": Workload(
        "{size} uneven runs", 64, 8, small.uneven,
        ("flowrra", "flowrra-map", *EXECUTORS, "pool", "loky", "joblib-single", "mpire", "pebble", *CLUSTERS),
        {"efficiency": Metric("efficiency", "share", more_is_better=True), "time": Metric("time")},
    ),
    "crash": Workload(
        "{size} runs of 20 ms, one ends its process", 100, 20, life.crash, (*CALLS,),
        {
            "others": Metric("results of the others", "", more_is_better=True),
            "ratio": Metric("wall / the same without the crash", "×"),
            "time": Metric("time"),
        },
    ),
    "coroutines": Workload(
        "{size} coroutine no-ops on the caller's loop", 50_000, 500, small.coroutines,
        ("flowrra-loop-map", "flowrra-loop-submit", "gather", "taskgroup"), _timed_each("run"),
    ),
    "coroutines-notebook": Workload(
        "{size} coroutine no-ops in a notebook", 50_000, 500, small.coroutines,
        ("flowrra-kernel", "gather-kernel"), _timed_each("run"),
    ),
    "pending": Workload(
        "{size} pending runs", 100_000, 2000, life.pending,
        ("flowrra-map", "flowrra", "ppe-fork", "pool", "loky", "pebble"), {"each": Metric("memory of a run", "B")},
    ),
    "pending-coroutines": Workload(
        "{size} pending coroutines", 100_000, 2000, life.pending_coroutines,
        ("flowrra-loop-map", "gather"), {"each": Metric("memory of a run", "B")},
    ),
    "memory": Workload(
        "peak memory of all processes during {size} no-ops", 10_000, 200, small.no_ops, SINGLE,
        {"peak": Metric("proportional set size", "B")}, weighed=True,
    ),
}  # fmt: skip

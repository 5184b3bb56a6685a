"""What flowrra is to reach, as data, and whether it did."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Values = Mapping[str, Mapping[str, Sequence[float | None]]]
"""What was measured in one workload, by contender and metric: one for each round, None where there was no result."""


@dataclass(frozen=True)
class Target:
    workload: str
    metric: str
    ours: str
    bound: float
    """Of the value itself, or with *peers* of its ratio to the best of them."""
    peers: tuple[str, ...] = ()
    peers_metric: str = ""
    """What is taken of the peers, if not *metric*."""
    at_least: bool = False
    per: int = 1
    """The value is divided by this before it is held against *bound*."""
    aim: bool = False
    """Wished for, not promised."""


@dataclass(frozen=True)
class Verdict:
    target: Target
    peer: str = ""
    """The best of the peers that gave a result."""
    reached: float | None = None
    """The value or ratio of medians; None without a result of ours, or of any peer."""
    spread: tuple[float, float] | None = None
    """The lowest and highest value or ratio of one round."""

    @property
    def met(self) -> bool | None:
        if self.reached is None:
            return None
        return self.reached >= self.target.bound if self.target.at_least else self.reached <= self.target.bound


BEST_START = ("ppe-spawn", "ppe-forkserver", "loky")
SHARING = ("joblib", "ray", "dask")
PEERS_OF_RESULTS = (
    "ppe-fork",
    "ppe-forkserver",
    "pool",
    "loky",
    "joblib",
    "mpire",
    "pebble",
    "ipyparallel",
    "dask",
    "ray",
)

TARGETS = (
    Target("no-ops", "time", "flowrra", 0.5, ("ppe-fork",)),
    Target("no-ops", "time", "flowrra", 1.0, ("pool",)),
    Target("no-ops", "time", "flowrra", 30e-6, per=10_000, aim=True),
    Target("tiny-items", "time", "flowrra-map", 0.5, ("joblib",)),
    Target("tiny-items", "time", "flowrra-map", 0.3, ("pebble",)),
    Target("tiny-items", "time", "flowrra-map", 0.3, ("mpire",)),
    Target("tiny-items", "time", "flowrra-map", 3.0, ("pool",), aim=True),
    Target("round-trip", "time", "flowrra-loop", 0.6, ("ppe-fork",)),
    Target("round-trip", "time", "flowrra", 1.0, ("ppe-fork",)),
    Target("argument", "first", "flowrra-map", 0.8, SHARING),
    Target("argument", "first", "flowrra", 0.8, SHARING),
    # What one pays with mpire for the present content is the fork; without it, it shows the data as of the fork.
    Target("argument", "again", "flowrra-map", 1.0, ("mpire-fork",), "first"),
    Target("argument", "again", "flowrra", 1.0, ("mpire-fork",), "first"),
    Target("argument", "again", "flowrra-map", 1.0, ("mpire-fork",), aim=True),
    Target("captured", "time", "flowrra-map", 0.8, ("joblib",)),
    Target("captured", "time", "flowrra", 1.0, ("fingerprints",)),
    Target("results", "time", "flowrra-map", 1.0, PEERS_OF_RESULTS),
    Target("results", "time", "flowrra", 1.0, PEERS_OF_RESULTS),
    Target("cold-start", "time", "flowrra", 3.0, ("ppe-fork",)),
    Target("cold-start", "time", "flowrra", 0.5, BEST_START),
    Target("cold-start-frame", "time", "flowrra", 0.6, BEST_START),
    Target("replacement", "time", "flowrra", 0.03),
    Target("uneven", "efficiency", "flowrra", 0.97, at_least=True),
    Target("uneven", "efficiency", "flowrra-map", 0.97, at_least=True),
    Target("crash", "others", "flowrra", 99, at_least=True),
    Target("crash", "ratio", "flowrra", 1.1),
    Target("crash", "others", "flowrra-map", 99, at_least=True),
    Target("crash", "ratio", "flowrra-map", 1.1),
    Target("coroutines", "time", "flowrra-loop-map", 15e-6, per=50_000),
    Target("coroutines-notebook", "time", "flowrra-kernel", 60e-6, per=50_000),
    Target("pending", "each", "flowrra-map", 1000),
    Target("pending", "each", "flowrra", 1000),
    Target("pending-coroutines", "each", "flowrra-loop-map", 1000),
)


def judge(target: Target, values: Values) -> Verdict:
    """Hold the medians of one workload against *target*; rounds give the spread."""
    ours = values.get(target.ours, {}).get(target.metric, ())
    given = _given(ours)
    if not target.peers:
        each = [value / target.per for value in given]
        return Verdict(target, "", statistics.median(each), (min(each), max(each))) if each else Verdict(target)
    theirs = {peer: values.get(peer, {}).get(target.peers_metric or target.metric, ()) for peer in target.peers}
    medians = {peer: statistics.median(_given(taken)) for peer, taken in theirs.items() if _given(taken)}
    if not medians:
        return Verdict(target)
    best = min(medians, key=lambda peer: medians[peer])
    if not given:
        return Verdict(target, best)
    middle = statistics.median(given) / medians[best]
    ratios = [our / their for our, their in zip(ours, theirs[best], strict=False) if our is not None and their]
    return Verdict(target, best, middle, (min(ratios), max(ratios)) if ratios else (middle, middle))


def _given(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]

"""Who is compared, by the name used on the command line."""

from __future__ import annotations

import importlib
import importlib.metadata

from tests.benchmarks.contenders import clusters, libraries, loops, ours, standard
from tests.benchmarks.contenders.base import Contender

CONTENDERS: dict[str, type[Contender]] = {
    "flowrra": ours.Flowrra,
    "flowrra-map": ours.FlowrraMap,
    "flowrra-loop": ours.FlowrraLoop,
    "ppe-fork": standard.ForkExecutor,
    "ppe-forkserver": standard.ForkserverExecutor,
    "ppe-spawn": standard.SpawnExecutor,
    "pool": standard.MultiprocessingPool,
    "loky": libraries.Loky,
    "joblib": libraries.Joblib,
    "joblib-single": libraries.JoblibOneByOne,
    "mpire": libraries.Mpire,
    "mpire-fork": libraries.MpireShared,
    "pebble": libraries.Pebble,
    "ipyparallel": clusters.Ipyparallel,
    "dask": clusters.Dask,
    "ray": clusters.Ray,
    "fingerprints": ours.Fingerprints,
    "flowrra-loop-map": loops.FlowrraMapInALoop,
    "flowrra-loop-submit": loops.FlowrraSubmitInALoop,
    "gather": loops.Gather,
    "taskgroup": loops.Group,
    "flowrra-kernel": loops.FlowrraInAKernel,
    "gather-kernel": loops.GatherInAKernel,
}


def contender_class(name: str) -> type[Contender]:
    """Return the class of that name; ``module:Class`` names one of your own."""
    if ":" in name:
        module, _, attribute = name.partition(":")
        found: type[Contender] = getattr(importlib.import_module(module), attribute)
        return found
    return CONTENDERS[name]


def missing(name: str) -> list[str]:
    """Distributions that the contender needs and that are not installed."""
    return [needed for needed in contender_class(name).needs if not _installed(needed)]


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

"""Many small runs, and one at a time."""

from __future__ import annotations

import gc
import time

from tests.benchmarks.contenders.loops import Loop
from tests.benchmarks.workloads.measurement import WORKERS, Measurement, expect


def no_ops(measurement: Measurement) -> dict[str, float]:
    pool = measurement.warm()
    items = range(measurement.size)
    gc.collect()
    begun = time.perf_counter()
    values = pool.singles(measurement.tasks.same, items)
    seconds = time.perf_counter() - begun
    expect(values, list(items))
    return {"time": seconds}


def tiny_items(measurement: Measurement) -> dict[str, float]:
    pool = measurement.warm()
    items = range(measurement.size)
    pool.many(measurement.tasks.same, range(100))
    gc.collect()
    begun = time.perf_counter()
    values = pool.many(measurement.tasks.same, items)
    seconds = time.perf_counter() - begun
    expect(list(values), list(items))
    return {"time": seconds}


def round_trips(measurement: Measurement) -> dict[str, float]:
    pool = measurement.warm()
    items = range(measurement.size)
    pool.trips(measurement.tasks.same, range(10))
    begun = time.perf_counter()
    values = pool.trips(measurement.tasks.same, items)
    seconds = time.perf_counter() - begun
    expect(values, list(items))
    return {"time": seconds}


def uneven(measurement: Measurement) -> dict[str, float]:
    """Efficiency is the work, as the workers measured it, over what two workers could have done in the wall time."""
    import random

    draw = random.Random(12)  # two workers that always take the next run are 99.8 % efficient at it
    steps = [int(2_000_000 * min(draw.lognormvariate(0, 0.8), 4)) for _ in range(measurement.size)]
    pool = measurement.warm()
    begun = time.perf_counter()
    answers = pool.singles(measurement.tasks.count_up, steps)
    wall = time.perf_counter() - begun
    expect([total for total, _ in answers], [_counted(number) for number in steps])
    work = sum(seconds for _, seconds in answers)
    return {"efficiency": work / (wall * WORKERS), "time": wall}


def _counted(steps: int) -> int:
    rounds, rest = divmod(steps, 4)
    return 6 * rounds + sum(range(rest))


def coroutines(measurement: Measurement) -> dict[str, float]:
    contender = measurement.contender(WORKERS)
    assert isinstance(contender, Loop)
    values, seconds = contender.timed(measurement.tasks.same_soon, measurement.size)
    expect(values, list(range(measurement.size)))
    return {"time": seconds}

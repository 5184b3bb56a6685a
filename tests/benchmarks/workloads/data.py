"""Large arguments, globals and results."""

from __future__ import annotations

import statistics
import time
from typing import Any

from tests.benchmarks.contenders.base import Pool
from tests.benchmarks.workloads.measurement import Measurement, expect

ARGUMENTS = 8
RESULTS = 8
ROWS = 100


def argument(measurement: Measurement) -> dict[str, float]:
    """Eight runs read all of one array; then eight more of the same array."""
    import numpy

    array = numpy.arange(measurement.size / 8)
    expected = [float(array.sum()) + index for index in range(ARGUMENTS)]
    pool = measurement.warm()
    times = {}
    begun = time.perf_counter()
    held = pool.hold(array)
    values = pool.each_with(measurement.tasks.total_of, ARGUMENTS, held)
    times["first"] = time.perf_counter() - begun
    expect(values, expected)
    if pool.shares:
        begun = time.perf_counter()
        values = pool.each_with(measurement.tasks.total_of, ARGUMENTS, held)
        times["again"] = time.perf_counter() - begun
        expect(values, expected)
    return times


def captured(measurement: Measurement) -> dict[str, float]:
    """A hundred runs of a function that reads a row each of a global that appeared after the pool had started."""
    if not issubclass(measurement.contender, Pool):
        return fingerprints(measurement)
    pool = measurement.warm()
    table = measurement.tasks.table = _table(measurement.size)
    expected = [float(row.sum()) for row in table]
    begun = time.perf_counter()
    values = pool.with_global(measurement.tasks, ROWS)
    seconds = time.perf_counter() - begun
    expect(values, expected)
    return {"time": seconds}


def fingerprints(measurement: Measurement) -> dict[str, float]:
    """What telling the content of that global takes, once for each of the hundred runs."""
    import xxhash

    buffer = memoryview(_table(measurement.size)).cast("B")
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        xxhash.xxh3_128_digest(buffer)
        taken.append(time.perf_counter() - begun)
    return {"time": ROWS * statistics.median(taken)}


def _table(size: int) -> Any:
    import numpy

    # Whole numbers, whose sum depends neither on the order nor on where in memory they lie.
    return numpy.random.default_rng(1).integers(0, 1000, (ROWS, size // 8 // ROWS)).astype(float)


def results(measurement: Measurement) -> dict[str, float]:
    """Obtained and read once, as whoever asks for a result does."""
    length = measurement.size // 8
    pool = measurement.warm()
    begun = time.perf_counter()
    values = pool.results(measurement.tasks.filled, RESULTS, length)
    totals = [float(value.sum()) for value in values]
    seconds = time.perf_counter() - begun
    expect(totals, [float(index * length) for index in range(RESULTS)])
    expect([value.shape for value in values], [(length,)] * RESULTS)
    return {"time": seconds}

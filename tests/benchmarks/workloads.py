"""What is measured: ``python -m tests.benchmarks.workloads WORKLOAD CONTENDER [--quick]``, in a process of its own.

Being ``__main__`` there, its functions are to the pools what the functions of a notebook are. Every workload checks its
results and prints one JSON object: seconds, and a remark where the time does not tell everything.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from tests.benchmarks.pools import POOLS, Pool

WORKERS = 2
BEGUN = "BENCHMARK_BEGUN"
"""The environment variable with the monotonic time at which the process was launched."""


@dataclass(frozen=True)
class Measured:
    seconds: float
    remark: str = ""


@dataclass(frozen=True)
class Workload:
    title: str
    unit: str
    """What one of ``size`` things is called, if the time of one is of interest."""
    size: int
    quick: int
    measure: Callable[[str, int], Measured]
    contenders: tuple[str, ...]


# What the workers run.


def same(item: Any) -> Any:
    return item


def count_up(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step & 3
    return total


def sleep_or_die(item: int) -> int:
    time.sleep(0.02)
    if item == VICTIM:
        os._exit(3)
    return item


VICTIM = 37
frame: Any = None


def column_sum(column: int) -> float:
    return float(frame[column].sum())


def column_sum_of(argument: Any, column: int) -> float:
    return float(argument[column].sum())


# Workloads of pools.


def warm(contender: str) -> Pool:
    """A pool whose workers have all started."""
    pool = POOLS[contender](WORKERS)
    assert pool.one_by_one(same, range(8 * WORKERS)) == list(range(8 * WORKERS))
    return pool


def no_ops(contender: str, size: int) -> Measured:
    pool = warm(contender)
    gc.collect()
    begun = time.perf_counter()
    values = pool.one_by_one(same, range(size))
    seconds = time.perf_counter() - begun
    assert values == list(range(size))
    pool.close()
    return Measured(seconds)


def round_trips(contender: str, size: int) -> Measured:
    pool = warm(contender)
    begun = time.perf_counter()
    for number in range(size):
        assert pool.call(same, number) == number
    seconds = time.perf_counter() - begun
    pool.close()
    return Measured(seconds)


def captured_frame(contender: str, size: int) -> Measured:
    """A function reads a frame of 20 MB that appeared after the pool had started."""
    import numpy as np
    import pandas as pd

    pool = warm(contender)
    globals()["frame"] = pd.DataFrame(np.random.default_rng(1).random((50_000, 50)))
    expected = [column_sum(number % 50) for number in range(size)]
    begun = time.perf_counter()
    if pool.ships_globals:
        values = pool.one_by_one(column_sum, [number % 50 for number in range(size)])
    else:
        started = [pool.submit(column_sum_of, frame, number % 50) for number in range(size)]
        values = [value(None) for value in started]
    seconds = time.perf_counter() - begun
    assert values == expected
    pool.close()
    return Measured(seconds, "" if pool.ships_globals else "frame passed as an argument")


def uneven(contender: str, size: int) -> Measured:
    """Pure Python of very different lengths; compared with the same work in a loop, halved."""
    draw = random.Random(7)
    steps = [int(1_000_000 * draw.lognormvariate(0, 1)) for _ in range(size)]
    begun = time.perf_counter()
    expected = [count_up(number) for number in steps]
    ideal = (time.perf_counter() - begun) / WORKERS
    pool = warm(contender)
    begun = time.perf_counter()
    values = pool.one_by_one(count_up, steps)
    seconds = time.perf_counter() - begun
    assert values == expected
    pool.close()
    return Measured(seconds, f"{ideal / seconds:.0%} of ideal")


def crash(contender: str, size: int) -> Measured:
    """One of the calls ends its process."""
    pool = warm(contender)
    begun = time.perf_counter()
    outcomes = pool.outcomes(sleep_or_die, range(size), timeout=10)
    seconds = time.perf_counter() - begun
    survived = sum(outcome == item for item, outcome in enumerate(outcomes))
    error = type(outcomes[VICTIM]).__name__
    try:
        alive = pool.submit(same, 1)(5) == 1
    except Exception:  # noqa: BLE001 - a broken pool refuses in many ways
        alive = False
    return Measured(seconds, f"{survived} of {size - 1} others, {error}, pool {'works on' if alive else 'is dead'}")


def cold_start(contender: str, _size: int) -> Measured:
    """From the launch of the interpreter to the first result."""
    pool = POOLS[contender](WORKERS)
    assert pool.call(same, 1) == 1
    seconds = time.monotonic() - float(os.environ[BEGUN])
    pool.close()
    return Measured(seconds)


# Workloads of loops.


async def same_soon(item: int) -> int:
    return item


RunAll = Callable[[Iterable[int]], Awaitable[list[int]]]


@asynccontextmanager
async def flowrra_loop() -> AsyncIterator[RunAll]:
    from flowrra import Flowrra

    async with Flowrra() as app:
        yield app.task(same_soon).map


@asynccontextmanager
async def gather_loop() -> AsyncIterator[RunAll]:
    async def run(items: Iterable[int]) -> list[int]:
        return await asyncio.gather(*[asyncio.create_task(same_soon(item)) for item in items])

    yield run


@asynccontextmanager
async def task_group_loop() -> AsyncIterator[RunAll]:
    async def run(items: Iterable[int]) -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(same_soon(item)) for item in items]
        return [task.result() for task in tasks]

    yield run


LOOPS = {"flowrra, map": flowrra_loop, "asyncio.gather": gather_loop, "asyncio.TaskGroup": task_group_loop}


def coroutines(contender: str, size: int) -> Measured:
    async def measure() -> float:
        async with LOOPS[contender]() as run:
            await run(range(100))
            gc.collect()
            begun = time.perf_counter()
            values = await run(range(size))
            seconds = time.perf_counter() - begun
        assert values == list(range(size))
        return seconds

    return Measured(asyncio.run(measure()))


# Workloads of processes.


def import_of(contender: str, size: int) -> Measured:
    """The import alone: the start of a bare interpreter, measured beside it, is taken off."""
    importing, bare = (min(_launch(code) for _ in range(size)) for code in (contender, "pass"))
    return Measured(importing - bare)


def _launch(code: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begun


KERNELS = {
    "flowrra, busy workers": """
%load_ext flowrra_jupyter
%flowrra start --workers 2
@app.task(cpu_bound=True)
def spin(n):
    while True: pass
runs = spin.map(range(10))
import asyncio
while sum(run.status == 'RUNNING' for run in runs) < 2: await asyncio.sleep(0.05)
""",
    "plain kernel": "import asyncio",
}


def kernel_shutdown(contender: str, _size: int) -> Measured:
    from tests.jupyter.driver import Kernel

    with Kernel() as kernel:
        kernel.run(KERNELS[contender])
        return Measured(kernel.shutdown())


IMPORTS = ("import flowrra", "from flowrra import Flowrra", "import asyncio")
UNBATCHED = tuple(name for name in POOLS if name != "joblib, auto-batched")
SINGLE = tuple(name for name in UNBATCHED if name != "flowrra, map")
WORKLOADS = {
    "no-ops": Workload("no-op calls", "call", 10_000, 200, no_ops, tuple(POOLS)),
    "round-trip": Workload("round trips, one after the other", "trip", 500, 10, round_trips, SINGLE),
    "frame": Workload("calls that read the same 20 MB data frame", "call", 100, 4, captured_frame, UNBATCHED),
    "uneven": Workload("calls of uneven length", "", 64, 8, uneven, SINGLE),
    "crash": Workload("calls of 20 ms, one of which kills its process", "", 100, 40, crash, SINGLE),
    "cold-start": Workload("interpreter start to first result", "", 1, 1, cold_start, SINGLE),
    "coroutines": Workload("no-op coroutines", "coroutine", 50_000, 500, coroutines, tuple(LOOPS)),
    "import": Workload("import, best of 5", "", 5, 1, import_of, IMPORTS),
    "kernel-shutdown": Workload("shutdown of a Jupyter kernel", "", 1, 1, kernel_shutdown, tuple(KERNELS)),
}


def main() -> None:
    name, contender, *flags = sys.argv[1:]
    workload = WORKLOADS[name]
    measured = workload.measure(contender, workload.quick if "--quick" in flags else workload.size)
    print(json.dumps(asdict(measured)), flush=True)


if __name__ == "__main__":
    main()

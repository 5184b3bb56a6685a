"""Start, death and replacement of workers; what pending runs weigh."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections import Counter
from pathlib import Path

from tests.benchmarks.contenders.base import Pool
from tests.benchmarks.contenders.loops import FlowrraMapInALoop
from tests.benchmarks.workloads.measurement import WORKERS, Measurement, WrongResult, expect

PATIENCE = 10
"""Seconds for all results of a pool in which a worker has died."""


class NoReplacement(Exception):
    """The pool went on without a new worker."""


def cold_start(measurement: Measurement) -> dict[str, float]:
    """From making the pool, its library being imported, to the first result."""
    measurement.contender.load()
    begun = time.perf_counter()
    value = measurement.open().call(measurement.tasks.same, 1)
    seconds = time.perf_counter() - begun
    expect(value, 1)
    return {"time": seconds}


def cold_start_frame(measurement: Measurement) -> dict[str, float]:
    """The same for a function that uses numpy and pandas, which the program has imported."""
    measurement.contender.load()
    begun = time.perf_counter()
    value = measurement.open().call(measurement.tasks.frame_mean, 11)
    seconds = time.perf_counter() - begun
    expect(value, 5.0)
    return {"time": seconds}


def replacement(measurement: Measurement) -> dict[str, float]:
    """From the death of a worker at work to the beginning of the first run in a process that was not there before."""
    pool, tasks = measurement.open(), measurement.tasks
    known = {pid for pid, _ in pool.singles(tasks.who, range(8 * WORKERS))}
    notes, times = measurement.folder(), []
    for kill in range(measurement.size):
        note = notes / str(kill)
        pool.submit(tasks.die, str(note))
        seen = [wait(PATIENCE) for wait in [pool.submit(tasks.who, item) for item in range(30)]]
        times.append(_first_of_new(seen, known) - float(note.read_text()))
        known.update(pid for pid, _ in seen)
        time.sleep(0.5)  # between two accidents a pool may prepare for the next
    return {"time": statistics.median(times)}


def _first_of_new(seen: list[tuple[int, float]], known: set[int]) -> float:
    new = [begun for pid, begun in seen if pid not in known]
    if not new:
        raise NoReplacement("the runs went on in the workers that were left")
    return min(new)


def crash(measurement: Measurement) -> dict[str, float]:
    """Runs of 20 ms, once without and once with one among them that ends its process."""
    pool, tasks, size = measurement.warm(), measurement.tasks, measurement.size
    victim = size * 37 // 100
    begun = time.perf_counter()
    expect(pool.outcomes(tasks.rest_or_die, range(size), -1, timeout=PATIENCE), list(range(size)))
    without = time.perf_counter() - begun
    begun = time.perf_counter()
    outcomes = pool.outcomes(tasks.rest_or_die, range(size), victim, timeout=PATIENCE)
    seconds = time.perf_counter() - begun
    errors = Counter(type(outcome).__name__ for outcome in outcomes if isinstance(outcome, BaseException))
    wrong = [index for index, outcome in enumerate(outcomes) if outcome != index and not _is_error(outcome)]
    if wrong or not _is_error(outcomes[victim]):
        raise WrongResult(f"results {wrong[:5]} are wrong, the victim's is {outcomes[victim]!r}")
    told = ", ".join(f"{count} {name}" for name, count in errors.most_common())
    measurement.remark = f"{told}; the pool {'works on' if _works(pool, tasks.same) else 'is dead'}"
    others = sum(1 for index, outcome in enumerate(outcomes) if index != victim and not _is_error(outcome))
    return {"others": others, "ratio": seconds / without, "time": seconds}


def _is_error(outcome: object) -> bool:
    return isinstance(outcome, BaseException)


def _works(pool: Pool, function: object) -> bool:
    try:
        return bool(pool.submit(function, 1)(5) == 1)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - a broken pool refuses in many ways
        return False


def pending(measurement: Measurement) -> dict[str, float]:
    """Growth of the program's private memory by runs that wait, over their number."""
    pool, tasks = measurement.warm(), measurement.tasks
    free = measurement.folder() / "free"
    pool.hold_back(tasks, str(free))
    time.sleep(0.2)
    items = range(measurement.size)
    before = _private_memory()
    handles = pool.handles(tasks.same, items)
    time.sleep(0.5)  # threads of a library may still be taking them in
    grown = _private_memory() - before
    expect(len(handles), measurement.size)
    free.touch()
    return {"each": grown / measurement.size}


def pending_coroutines(measurement: Measurement) -> dict[str, float]:
    """The same for coroutines, the first of which wait for an event that comes at the end."""
    return asyncio.run(_pending_coroutines(measurement))


async def _pending_coroutines(measurement: Measurement) -> dict[str, float]:
    event = asyncio.Event()

    async def wait(item: int) -> int:
        await event.wait()
        return item

    contender = measurement.contender(WORKERS)
    items = range(measurement.size)
    if isinstance(contender, FlowrraMapInALoop):
        from flowrra import Flowrra

        async with Flowrra() as app:
            before = _private_memory()
            batch = app.task(wait).map(items)
            await asyncio.sleep(0.5)
            grown = _private_memory() - before
            event.set()
            values = list(await batch)
    else:
        before = _private_memory()
        tasks = [asyncio.create_task(wait(item)) for item in items]
        await asyncio.sleep(0.5)
        grown = _private_memory() - before
        event.set()
        values = await asyncio.gather(*tasks)
    expect(values, list(items))
    return {"each": grown / measurement.size}


def _private_memory() -> int:
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

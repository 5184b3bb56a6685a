"""What an app and its pool hold once nothing is under way any more: the measure of what was left behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil

from flowrra import Flowrra

PATIENCE = 15.0
"""Seconds for everything to come to rest. Not a promise: a busy machine reaps, forks and closes late."""

T = TypeVar("T")


class Holdings(NamedTuple):
    """Numbers that are the same before and after whatever leaves nothing behind."""

    workers: int
    """Spare ones included."""
    strays: tuple[str, ...]
    """Processes below this one that belong to the pool's, and are neither a worker nor what forks them."""
    threads: tuple[str, ...]
    descriptors: int
    """Of this process."""
    descriptors_of_the_pool: int
    """Of all its processes, without the one that each worker keeps once it has seen shared data."""
    memory_files: int
    """Anonymous files in memory that this process or the pool's hold open."""

    def is_no_more_than(self, before: Holdings) -> bool:
        """Less is fine: shared memory that nobody has used for a while is given up."""
        return (
            (self.workers, self.strays) == (before.workers, before.strays)
            and set(self.threads) <= set(before.threads)
            and self.descriptors <= before.descriptors
            and self.descriptors_of_the_pool <= before.descriptors_of_the_pool
            and self.memory_files <= before.memory_files
        )


def holdings(app: Flowrra) -> Holdings | None:
    """Whatever is held now; None while something of the pool is on its way: a run, a worker being started or buried."""
    cpu = app.stats().executors["cpu"]
    workers = set(cpu["pids"])
    if cpu["busy"] or cpu["prefetched"] or len(workers) != cpu["workers"] + cpu["spare"] or not workers:
        return None
    processes = {process.pid: process for process in psutil.Process().children(recursive=True)}
    if not workers <= processes.keys():
        return None
    try:
        # Spawned workers are children of this process, which has others.
        forkers = {processes[pid].ppid() for pid in workers} - {os.getpid()}
        strays = [
            process
            for process in processes.values()
            if process.pid not in workers | forkers and _is_below(process, workers | forkers)
        ]
        told = tuple(f"{process.name()} ({process.status()})" for process in strays)
        of_the_pool = {pid: _descriptors(pid) for pid in workers | forkers}
    except (psutil.NoSuchProcess, FileNotFoundError):
        return None
    own = _descriptors(os.getpid())
    return Holdings(
        workers=len(workers),
        strays=told,
        threads=tuple(sorted(thread.name for thread in threading.enumerate())),
        descriptors=len(own),
        descriptors_of_the_pool=sum(
            not target.endswith("/pagemap") for targets in of_the_pool.values() for target in targets
        ),
        memory_files=sum("/memfd:" in target for targets in (own, *of_the_pool.values()) for target in targets),
    )


def settled(app: Flowrra, workers: int) -> Holdings:
    """Wait until *workers* are there and idle, and what is held is the same twice; return that."""

    def look() -> Holdings | None:
        first, second = holdings(app), holdings(app)
        return first if first is not None and first == second and first.workers == workers else None

    found = until(look, lambda: f"the pool does not come to rest: {app.stats().executors['cpu']}")
    assert found is not None
    return found


def until(look: Callable[[], T], complaint: Callable[[], str], within: float = PATIENCE) -> T:
    """Call *look* until what it returns is true, and return that. Fails with the *complaint* after *within* seconds."""
    give_up = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < give_up, complaint()
        time.sleep(0.01)
    return found


def is_alive(pid: int) -> bool:
    """Whether *pid* still runs; a zombie that only waits for its parent does not."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def private_memory(pid: int) -> int:
    """Bytes that are its own, swapped or not: what it shares with others or could read again is not counted."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "VmSwap"))


def memory_of(app: Flowrra) -> tuple[int, int]:
    """(this process's, that of the process which forks the workers); an app at rest has one."""
    worker = facts(app)["pids"][0]
    return private_memory(os.getpid()), private_memory(psutil.Process(worker).ppid())


def _is_below(process: psutil.Process, pids: set[int]) -> bool:
    return any(parent.pid in pids for parent in process.parents())


def _descriptors(pid: int) -> list[str]:
    targets = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile, such as that of the listing itself
            targets.append(str(entry.readlink()))
    return targets


def facts(app: Flowrra) -> dict[str, Any]:
    return app.stats().executors["cpu"]

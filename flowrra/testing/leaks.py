"""Finds what a test left behind: threads, processes, file descriptors and names in shared memory. Linux only.

Take :func:`resources` before, ask :func:`left_behind` afterwards. Processes are recognised by descent and by a mark in
the environment that :func:`mark_descendants` sets, so that one whose parent has died is still found.
"""

from __future__ import annotations

import gc
import os
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MARK = "FLOWRRA_LEAK_CHECK"
"""The environment variable that marks this process's descendants."""

_PROC = Path("/proc")
_SHM = Path("/dev/shm")  # noqa: S108 - where Linux keeps named shared memory; it is only listed
_exempt: set[int] = set()
_NUMBERS = re.compile(r"(?<![0-9A-Za-z])\d+(?![0-9A-Za-z])")
"""Whole numbers in a name; the digits in a random name such as ``psm_33bbc633`` are none."""


class Process(NamedTuple):
    pid: int
    parent: int
    state: str
    """One letter, as in ``ps``; ``Z`` is a process that ended and was not waited for."""
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} (state {self.state}, parent {self.parent}): {self.command}"


@dataclass(frozen=True)
class Resources:
    """What this process holds at one moment."""

    threads: frozenset[threading.Thread]
    pids: frozenset[int]
    """Of the whole machine: whose they are is found out only for new ones, which is much faster."""
    descriptors: Counter[str]
    """By what they lead to, such as ``socket:[4711]``."""
    shared_memory: frozenset[str]


def resources() -> Resources:
    return Resources(
        threads=frozenset(threading.enumerate()),
        pids=frozenset(_pids()),
        descriptors=Counter(_descriptors()),
        shared_memory=frozenset(path.name for path in _SHM.iterdir()) if _SHM.is_dir() else frozenset(),
    )


def left_behind(before: Resources, grace: float = 2.0) -> list[str]:
    """Describe what exists now and did not *before*; things that are just ending get up to *grace* seconds.

    An empty list means that nothing was left. What is returned is still there: nothing is ended or closed.
    """
    if not (found := _found(before)):
        return []
    # What only a reference cycle keeps alive is no leak, but it ends with the next collection, not by itself.
    gc.collect()
    give_up = time.monotonic() + grace
    pause = 0.002
    while (found := _found(before)) and time.monotonic() < give_up:
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return found


def mark_descendants() -> None:
    """Set the mark in this process's environment, from which every later child inherits it."""
    os.environ[MARK] = uuid.uuid4().hex


@contextmanager
def outliving() -> Iterator[None]:
    """Processes started in this block are not counted, nor what they start later: servers that outlive one test."""
    mark = os.environ.pop(MARK, None)
    before = {process.pid for process in descendants(os.getpid())}
    try:
        yield
    finally:
        if mark is not None:
            os.environ[MARK] = mark
        _exempt.update({process.pid for process in descendants(os.getpid())} - before)


def descendants(pid: int) -> list[Process]:
    """Every living process below *pid*, nearest first; those whose parent has ended are not among them."""
    children: dict[int, list[Process]] = {}
    for process in _processes():
        children.setdefault(process.parent, []).append(process)
    found = list(children.get(pid, ()))
    for process in found:  # grows while it is read
        found.extend(children.get(process.pid, ()))
    return found


def alive(pid: int) -> bool:
    """Whether *pid* still runs; a process that ended and was not waited for does not."""
    process = _process(pid)
    return process is not None and process.state not in ("Z", "X")


def _found(before: Resources) -> list[str]:
    now = resources()
    return [
        *(f"thread {thread.name!r}" for thread in now.threads - before.threads if thread.is_alive()),
        *(str(process) for process in _ours(now.pids - before.pids)),
        *_new_descriptors(before.descriptors, now.descriptors),
        *(f"shared memory {_SHM / name}" for name in _ours_in_memory(now.shared_memory - before.shared_memory)),
    ]


def _new_descriptors(before: Counter[str], now: Counter[str]) -> list[str]:
    # Counted, not compared one by one: a long-lived client may replace its connection during a test.
    if now.total() <= before.total():
        return []
    return [f"file descriptor of {target}" for target in (now - before).elements()]


def _ours(pids: frozenset[int]) -> Iterator[Process]:
    mark = os.environ.get(MARK)
    needle = f"{MARK}={mark}\0".encode() if mark else None
    for pid in pids:
        process = _process(pid)
        if process is not None and (_descends_from_us(process) or (needle is not None and needle in _environ(pid))):
            yield process


def _descends_from_us(process: Process | None) -> bool:
    while process is not None and process.pid not in _exempt:
        if process.parent == os.getpid():
            return True
        process = _process(process.parent)
    return False


def _ours_in_memory(names: frozenset[str]) -> list[str]:
    """Those *names* that belong to no program beside us: none maps them, and they carry the pid of none."""
    if not names:
        return []
    foreign = [process.pid for process in _processes() if not _is_ours(process)]
    mapped = "\n".join(_read(_PROC / str(pid) / "maps") for pid in foreign)
    pids = {str(pid) for pid in foreign}
    return [name for name in names if f"{_SHM / name}" not in mapped and pids.isdisjoint(_NUMBERS.findall(name))]


def _is_ours(process: Process) -> bool:
    return process.pid == os.getpid() or _descends_from_us(process)


def _processes() -> Iterator[Process]:
    for pid in _pids():
        process = _process(pid)
        if process is not None:
            yield process


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208 - names, several times faster


def _process(pid: int) -> Process | None:
    """The process *pid*, or None when it has gone."""
    stat = _read(_PROC / str(pid) / "stat")
    if not stat:
        return None
    # The name in parentheses may itself hold blanks and parentheses; the fields begin after the last one.
    name, _, fields = stat.partition("(")[2].rpartition(")")
    state, parent = fields.split()[:2]
    command = _read(_PROC / str(pid) / "cmdline").replace("\0", " ").strip()
    return Process(pid, int(parent), state, command[:200] or name)


def _environ(pid: int) -> bytes:
    return _read(_PROC / str(pid) / "environ").encode()


def _read(path: Path) -> str:
    """The text of a file under /proc, or nothing: the process may end at any moment, or belong to someone else."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _descriptors() -> Iterator[str]:
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, several times faster
        try:
            yield os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115 - the text is wanted, not a path
        except OSError:
            continue  # the descriptor of the listing itself

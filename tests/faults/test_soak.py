"""Everything at once, for a while: runs of all kinds that succeed, fail, crash, hang and are cancelled at full load.

Nothing is measured while runs are under way: at the beginning and at the end everything has come to rest.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from flowrra import Flowrra, Status
from flowrra.backends.memory import MemoryBackend
from flowrra.core.statuses import TERMINAL
from flowrra.engine import waiters
from tests.faults import at_rest, soak_report
from tests.faults.mixture import Expectation, Mixture

WORKERS = 2
AT_REST = WORKERS + 1
AHEAD = 200
"""Runs that are under way at any time."""
PATIENCE = 60.0
"""Seconds in which every run has to end, with the few hundred before it."""
KEPT_RUNS, KEPT_BYTES = 1000, 32 << 20
"""What the backend keeps: little, so that nothing may grow any more once it is full."""
WARM_UP = 4 * KEPT_RUNS
"""Runs after which caches and pools have their size."""
MAY_GROW = 16 << 20
"""Bytes of private memory: what the allocator makes of the ups and downs."""


class Measured(NamedTuple):
    held: at_rest.Holdings
    memory: tuple[int, int]


class Soak:
    """One app at full load."""

    def __init__(self, app: Flowrra, seed: int) -> None:
        self.app, self.chance = app, random.Random(seed)
        self.mixture = Mixture(app, self.chance)
        self.going: deque[Expectation] = deque()
        self.seen: Counter[Status] = Counter()
        self.did: Counter[str] = Counter()
        self.peak = 0

    def go_on(self, *, until_seen: int = 0, until: float = 0.0) -> None:
        """Keep many runs under way and meddle with them; then let all of them end."""
        while self.seen.total() < until_seen or time.monotonic() < until:
            while len(self.going) < AHEAD:
                self.going.extend(self.mixture.submit(self.seen.total() + len(self.going)))
            self._meddle()
            self._finish_one()
        while self.going:
            self._finish_one()

    def measure(self) -> Measured:
        held = at_rest.settled(self.app, AT_REST)
        return Measured(held, at_rest.memory_of(self.app))

    def _finish_one(self) -> None:
        expected = self.going.popleft()
        assert expected.handle.wait(PATIENCE), f"{expected.handle!r} never ends"
        assert expected.handle.status in TERMINAL
        expected.check()
        self.seen[expected.handle.status] += 1
        if self.seen.total() % 500 == 0:
            self.peak = max(self.peak, at_rest.private_memory(os.getpid()))

    def _meddle(self) -> None:
        if self.chance.random() < 0.2:
            self._cancel()
        if self.chance.random() < 0.02:
            self._pause()
        if self.chance.random() < 0.01:
            self._interrupt()
        if self.chance.random() < 0.01:
            self._resize()

    def _cancel(self) -> None:
        unlucky = self.chance.choice(self.going)
        if not unlucky.cancelled and unlucky.handle.cancel():
            unlucky.cancelled = True
            self.did["cancels"] += 1

    def _pause(self) -> None:
        task = self.chance.choice([None, self.mixture.work])
        self.app.pause(task)
        self.going.extend(self.mixture.submit(self.chance.randrange(1000)))
        self.app.resume(task)
        self.did["pauses"] += 1

    def _interrupt(self) -> None:
        """Ctrl-C while this thread waits ends the wait alone."""
        fresh = Expectation(self.mixture.work.submit(7), frozenset({Status.SUCCESS}), 49)
        self.going.append(fresh)
        sender = threading.Thread(target=_interrupt_a_wait, args=(threading.get_ident(),))
        try:
            sender.start()
            fresh.handle.wait(PATIENCE)
            sender.join()
            while True:  # the wait was over before it could be interrupted; then the interrupt comes here
                time.sleep(0.001)
        except KeyboardInterrupt:
            self.did["interrupts"] += 1
        sender.join()

    def _resize(self) -> None:
        resize = getattr(self.app, "resize", None)
        if resize is not None:
            resize(self.chance.choice((1, WORKERS, WORKERS + 1)))
            resize(WORKERS)
            self.did["resizes"] += 1


def _interrupt_a_wait(thread: int) -> None:
    """Send this process SIGINT as soon as *thread* waits for a run, or has had a second to do so."""
    give_up = time.monotonic() + 1.0
    while time.monotonic() < give_up and not _is_waiting(thread):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)


def _is_waiting(thread: int) -> bool:
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented
    while frame is not None:
        if frame.f_code.co_filename == waiters.__file__:
            return True
        frame = frame.f_back
    return False


def soak(seconds: float, seed: int) -> dict[str, str]:
    """Raises ``AssertionError`` for whatever does not end as it should; returns what was done, for people."""
    with Flowrra("soak", backend=MemoryBackend(KEPT_RUNS, KEPT_BYTES), cpu_workers=WORKERS, io_concurrency=64) as app:
        begun = time.monotonic()
        running = Soak(app, seed)
        running.go_on(until_seen=WARM_UP)
        before = running.measure()
        running.go_on(until=begun + seconds)
        after = running.measure()
        counts = app.stats().counts
        facts = at_rest.facts(app)

    seen = running.seen
    assert seen.total() > WARM_UP, "too few runs to speak of a soak"
    assert {status: counts[status] for status in Status} == {status: seen[status] for status in Status}
    assert after.held.strays == before.held.strays == ()
    assert after.held.threads == before.held.threads
    # A worker keeps what the latest maps and captured data were made of; more runs do not make it more.
    assert after.held.descriptors <= before.held.descriptors + 20, f"descriptors pile up: {before} {after}"
    assert after.held.descriptors_of_the_pool <= before.held.descriptors_of_the_pool + 60, f"{before} {after}"
    assert after.held.memory_files <= before.held.memory_files + 60, f"memory files pile up: {before} {after}"
    for now, then in zip(after.memory, before.memory, strict=True):
        assert now <= then + MAY_GROW, f"memory piles up: {before.memory} {after.memory}"
    assert running.did["interrupts"] > 0
    told = {
        "length": f"{seconds:g} s, {AHEAD} runs under way at any time, {WORKERS} workers",
        "runs": f"{seen.total():,}: "
        + ", ".join(f"{n:,} {status.value.lower()}" for status, n in sorted(seen.items())),
        "meddling": _listed(running.did),
        "workers": f"{facts['lost']:,} lost, {facts['replaced']:,} replaced after a stop",
        "private memory": f"{before.memory[0] / 1e6:.0f} MB after {WARM_UP:,} runs, "
        f"{after.memory[0] / 1e6:.0f} MB at the end, {running.peak / 1e6:.0f} MB at most",
        "left at the end": f"{after.held.descriptors - before.held.descriptors:+d} descriptors, "
        f"{after.held.memory_files - before.held.memory_files:+d} memory files, no process, no thread",
    }
    print("\n".join(f"{name}: {value}" for name, value in told.items()))
    return told


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in sorted(numbers.items()))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_run_ends_and_nothing_piles_up_under_full_load() -> None:
    soak(60, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_every_run_ends_and_nothing_piles_up_for_ten_minutes() -> None:
    told = soak(600, seed=int(time.time()))
    soak_report.write({**soak_report.machine(), **told})


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(20))
def test_twenty_shorter_soaks_with_other_mixtures(seed: int) -> None:
    soak(30, seed)


def test_the_report_takes_the_place_of_the_one_before_and_of_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{soak_report.BEGIN}\nold\n{soak_report.END}\nafter\n")
    soak_report.write({"runs": "1"}, page)
    soak_report.write({"runs": "2"}, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "| runs | 2 |" in text
    assert "old" not in text
    page.write_text("no place for it")
    with pytest.raises(ValueError, match="no place"):
        soak_report.write({}, page)


def test_the_page_has_a_place_for_the_report() -> None:
    assert soak_report.BEGIN in soak_report.PAGE.read_text()
    assert soak_report.END in soak_report.PAGE.read_text()

# ruff: noqa: SLF001 - the model looks at what the depot has no other reason to show
"""The depot against a model: what goes in comes out, whatever is kept, released, found again, tidied and spilled."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flowrra.pool.data import budget, depot, memory
from flowrra.pool.data.depot import Blocks, Depot
from flowrra.pool.data.mappings import Mappings

BUDGET = 2_000_000
WORKER = 1


class Life(RuleBasedStateMachine):
    """One depot and one worker's mappings, in one process."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(budget, "OWN", 200_000)
        self.patch.setattr(budget, "LINGER", 0.0)
        self.now = 0.0
        self.patch.setattr(depot.time, "monotonic", lambda: self.now)
        self.depot, self.mappings = Depot(), Mappings()
        self.patch.setattr(memory, "free_bytes", lambda: max(0, BUDGET - self.depot._in_memory()))
        self.given: set[int] = set()
        self.kept: list[tuple[Blocks, list[bytes]]] = []

    @rule(contents=st.lists(st.tuples(st.integers(0, 5), st.sampled_from([17_000, 60_000, 250_000])), min_size=1))
    def keep(self, contents: list[tuple[int, int]]) -> None:
        buffers = [bytes([byte]) * size for byte, size in contents[:5]]
        self.kept.append((self.depot.keep([memoryview(buffer) for buffer in buffers]), buffers))

    @precondition(lambda self: self.kept)
    @rule(which=st.integers(0, 100), write=st.booleans())
    def run(self, which: int, write: bool) -> None:
        """A worker reads everything, and may write to it."""
        blocks, buffers = self.kept[which % len(self.kept)]
        for slab in blocks.slabs:
            if slab.number not in self.given:
                self.depot.supplied(slab, WORKER)
                self.mappings.put(slab.number, os.dup(slab.fd), slab.size)
                self.given.add(slab.number)
        parts = self.mappings.parts(blocks.places, readonly=not write)
        assert [bytes(part) for part in parts] == buffers
        if write:
            for number, part in enumerate(parts):
                part[: len(part)] = bytes([100 + number]) * len(part)
            assert [part[0] for part in parts] == [100 + number for number in range(len(parts))]
            del part
        del parts
        self.mappings.settle()

    @precondition(lambda self: self.kept)
    @rule(which=st.integers(0, 100))
    def release(self, which: int) -> None:
        del self.kept[which % len(self.kept)]

    @rule(seconds=st.sampled_from([0.5, 40.0]), obey=st.booleans())
    def tidy(self, seconds: float, obey: bool) -> None:
        self.now += seconds
        self.depot.tidy()
        for order in self.depot.orders():
            if obey and order.slab in self.given:
                self.given.discard(order.slab)
                self.depot.dropped(order.slab, WORKER, clean=self.mappings.drop(order.slab))

    @invariant()
    def memory_is_within_half_of_the_budget(self) -> None:
        assert self.depot._in_memory() <= BUDGET // 2

    def teardown(self) -> None:
        self.kept.clear()
        for number in self.given:
            self.mappings.drop(number)
        self.depot.close()
        self.patch.undo()
        assert self.depot.describe()["shared_slabs"] == 0


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def test_content_that_changes_while_it_is_copied_is_not_found_under_what_it_was() -> None:
    shared = Depot()
    content = bytearray(100_000)

    view = memoryview(content)
    fingerprint = depot.fingerprint
    patch = pytest.MonkeyPatch()

    def then_change(buffer: memoryview) -> bytes:
        digest = fingerprint(buffer)
        content[5] = 1
        return digest

    patch.setattr(depot, "fingerprint", then_change)
    first = shared.keep([view])
    patch.undo()
    content[5] = 0
    second = shared.keep([view])
    assert second.places != first.places
    [(_, offset, size)] = second.places
    assert bytes(second.slabs[0].view[offset : offset + size]) == bytes(content)


def test_content_that_changes_before_it_is_copied_is_known_by_its_copy_alone() -> None:
    """It has not been read before: there was nothing of its size."""
    shared = Depot()
    content = bytearray(5_000_000)
    patch = pytest.MonkeyPatch()
    patch.setattr(depot, "fingerprint", lambda _: pytest.fail("it was read"))
    write = depot.Slab.write

    def change_and_write(slab: depot.Slab, offset: int, source: memoryview) -> bytes:
        content[5] = 1
        return write(slab, offset, source)

    patch.setattr(depot.Slab, "write", change_and_write)
    first = shared.keep([memoryview(content)])
    patch.undo()
    assert shared.keep([memoryview(content)]).places == first.places
    content[5] = 0
    other = shared.keep([memoryview(content)])
    assert other.places != first.places
    assert other.digests != first.digests


def test_equal_buffers_of_an_unknown_size_are_kept_once() -> None:
    shared = Depot()
    kept = shared.keep([memoryview(bytes(3_000_000)), memoryview(bytes(3_000_000)), memoryview(bytes(2_000_000))])
    assert kept.places[0] == kept.places[1] != kept.places[2]
    assert shared.describe()["copied_bytes"] == 5_000_000


def test_threads_that_submit_the_same_at_once_are_both_served() -> None:
    shared = Depot()
    content = memoryview(b"x" * 1_000_000)
    kept: list[Blocks] = []
    threads = [threading.Thread(target=lambda: kept.append(shared.keep([content]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for blocks in kept:
        [(_, offset, size)] = blocks.places
        assert blocks.slabs[0].view[offset : offset + size] == content


def test_what_is_left_in_a_control_group_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path / "mounted" / "outer" / "inner"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1000\n")
    (group.parent / "memory.max").write_text("5000\n")
    (group.parent / "memory.current").write_text("2000\n")
    (tmp_path / "cgroup").write_text("0::/outer/inner\n")
    monkeypatch.setattr(memory, "_MOUNTED", tmp_path / "mounted")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "cgroup")
    assert memory.free_bytes() == 3000

"""A worker's mappings: nothing is done for pages that no run has written to."""

from __future__ import annotations

import os

import pytest

from flowrra.pool.data.depot import Blocks, Depot
from flowrra.pool.data.mappings import Mappings
from flowrra.pool.native import Mapping

SIZE = 5_000_000
PAGE = 4096


def given() -> tuple[Mappings, Blocks]:
    mappings, blocks = Mappings(), Depot().keep([memoryview(bytes(SIZE))])
    [slab] = blocks.slabs
    mappings.put(slab.number, os.dup(slab.fd), slab.size)
    return mappings, blocks


def test_only_pages_that_were_written_to_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    mappings, blocks = given()
    restored: list[tuple[int, int]] = []
    restore = Mapping.restore

    def note(mapping: Mapping, offset: int, size: int) -> None:
        restored.append((offset, size))
        restore(mapping, offset, size)

    monkeypatch.setattr(Mapping, "restore", note)
    for _ in range(2):
        [part] = mappings.parts(blocks.places, readonly=False)
        assert bytes(part) == bytes(SIZE)
        del part
        mappings.settle()
    assert restored == []
    [part] = mappings.parts(blocks.places, readonly=False)
    part[3 * PAGE + 5] = part[SIZE - 1] = 1
    del part
    mappings.settle()
    [part] = mappings.parts(blocks.places, readonly=False)
    assert bytes(part) == bytes(SIZE)
    del part
    mappings.settle()
    if mappings._written is not None and mappings._written._can_scan:  # noqa: SLF001 - from Linux 6.7 on
        assert restored == [(3 * PAGE, PAGE), (SIZE // PAGE * PAGE, PAGE)]
    else:
        assert restored == [(0, -(-SIZE // PAGE) * PAGE)]
    mappings.drop(blocks.slabs[0].number)


def test_of_readonly_parts_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    mappings, blocks = given()
    monkeypatch.setattr(Mappings, "_find_written", lambda _: lambda *_: pytest.fail("it looked"))
    [part] = mappings.parts(blocks.places, readonly=True)
    with pytest.raises(TypeError):
        part[0] = 1
    del part
    mappings.settle()
    mappings.drop(blocks.slabs[0].number)

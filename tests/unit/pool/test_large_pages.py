"""Large pages: there where the kernel has some, missed by nobody where it has none."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowrra.pool import large_pages
from flowrra.pool.data.slab import Slab
from flowrra.pool.large_pages import make_large
from flowrra.pool.native import LARGE_PAGE, Mapping, map_private
from flowrra.pool.transport.segments import Segment

SIZE = 3 * LARGE_PAGE + 5000


@pytest.fixture
def fd() -> Iterator[int]:
    fd = os.memfd_create("test")
    os.ftruncate(fd, SIZE)
    yield fd
    os.close(fd)


@pytest.fixture(autouse=True)
def fresh_supply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_pages, "supply", large_pages._Supply())  # noqa: SLF001 - of the process, as it begins


@pytest.fixture
def given(fd: int) -> None:
    """Skips where the kernel has no large pages to give."""
    if not make_large(fd, Mapping(fd, SIZE, shared=True), 0, SIZE):
        pytest.skip("this kernel gives no large pages of shared memory (Linux 6.1, CONFIG_TRANSPARENT_HUGEPAGE)")


def mapped_large(view: memoryview) -> int:
    """Bytes that are mapped in large pages where *view* is."""
    import numpy as np

    address = np.frombuffer(view, dtype=np.uint8).__array_interface__["data"][0]
    found = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if area := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            found = int(area[1], 16) <= address < int(area[2], 16)
        elif found and line.startswith("ShmemPmdMapped:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("it is not mapped at all")


@pytest.mark.usefixtures("given")
def test_slabs_and_results_are_made_and_mapped_in_large_pages() -> None:
    content = os.urandom(SIZE)
    slab = Slab(1, SIZE, spilled=False)
    slab.write(0, memoryview(content))
    segment = Segment([memoryview(content)])
    mine, theirs = os.dup(slab.fd), segment.descriptor()
    for fd in (mine, theirs):
        view = map_private(fd, SIZE)
        os.close(fd)
        assert view == content
        assert mapped_large(view) == 3 * LARGE_PAGE


@pytest.mark.usefixtures("given")
def test_what_is_in_part_of_a_large_page_already_stays(fd: int) -> None:
    mapping = Mapping(fd, SIZE, shared=True)
    os.pwrite(fd, b"before", LARGE_PAGE + 10_000)
    assert make_large(fd, mapping, 0, SIZE) == 3 * LARGE_PAGE
    assert os.pread(fd, 6, LARGE_PAGE + 10_000) == b"before"


def test_an_area_without_a_whole_large_page_is_left_alone(fd: int) -> None:
    mapping = Mapping(fd, SIZE, shared=True)
    assert make_large(fd, mapping, 0, LARGE_PAGE - 1) == 0
    assert make_large(fd, mapping, 4096, SIZE) == 4096
    assert os.stat(f"/proc/self/fd/{fd}").st_blocks == 0


def test_a_kernel_that_has_none_is_not_asked_for_a_while_and_small_pages_hold_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(Mapping, "make_large", lambda _, offset, size: asked.append((offset, size)))
    content = os.urandom(20_000_000)
    for _ in range(2):
        slab = Slab(1, len(content), spilled=False)
        slab.write(0, memoryview(content))
        assert slab.view == content
    assert len(asked) == 1
    monkeypatch.setattr(large_pages, "_PAUSE", 0.0)
    monkeypatch.setattr(large_pages, "supply", large_pages._Supply())  # noqa: SLF001 - of the process, as it begins
    for _ in range(2):
        Slab(1, len(content), spilled=False).write(0, memoryview(content))
    assert len(asked) == 3


@pytest.mark.parametrize(("clock", "times"), [("thread_time", 2), ("monotonic", 20)])
def test_a_kernel_that_searches_long_for_room_is_not_asked_for_a_while(
    fd: int, monkeypatch: pytest.MonkeyPatch, clock: str, times: int
) -> None:
    now, slow_clock = [1000.0], [1000.0]

    def slow(_mapping: Mapping, _offset: int, size: int) -> bool:
        slow_clock[0] += times * 32 * large_pages._SLOW  # noqa: SLF001 - twice what is too slow
        return size > 0

    monkeypatch.setattr(large_pages.time, "monotonic", lambda: now[0] + (slow_clock[0] if clock == "monotonic" else 0))
    monkeypatch.setattr(large_pages.time, "thread_time", lambda: slow_clock[0])
    if clock == "monotonic":
        monkeypatch.setattr(large_pages.time, "thread_time", lambda: 0.0)
    monkeypatch.setattr(Mapping, "make_large", slow)
    mapping = Mapping(fd, SIZE, shared=True)
    assert make_large(fd, mapping, 0, SIZE) == 3 * LARGE_PAGE, "these are there, however long it took"
    assert make_large(fd, mapping, 0, SIZE) == 0
    now[0] += large_pages._PAUSE  # noqa: SLF001 - see above
    assert make_large(fd, mapping, 0, SIZE) == 3 * LARGE_PAGE


def test_a_part_of_a_file_is_mapped_where_large_pages_fit(fd: int) -> None:
    for offset in (0, 4096, LARGE_PAGE, LARGE_PAGE + 8192):
        mapping = Mapping(fd, SIZE - offset, offset=offset)
        assert (mapping.address - offset) % LARGE_PAGE == 0 or mapping.size < LARGE_PAGE


def test_mapping_leaves_no_room_reserved(fd: int) -> None:
    before = Path("/proc/self/maps").read_text().count("\n")
    mappings = [Mapping(fd, SIZE) for _ in range(20)]
    assert Path("/proc/self/maps").read_text().count("\n") <= before + len(mappings) + 1
    del mappings
    assert Path("/proc/self/maps").read_text().count("\n") <= before + 1

"""Fingerprints: of every byte, the same however they are taken."""

from __future__ import annotations

import os
import threading

import pytest

from flowrra.pool.data import fingerprints
from flowrra.pool.data.fingerprints import fingerprint, in_halves
from flowrra.pool.data.slab import Slab

LARGE = 17 * 1024 * 1024 + 333


@pytest.fixture(scope="module")
def content() -> bytearray:
    return bytearray(os.urandom(1 << 20) * 18)[:LARGE]


@pytest.mark.parametrize("size", [0, 1, 16_384, 1_000_001, LARGE])
def test_one_core_finds_the_same_as_two_and_so_does_the_copy(
    content: bytearray, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = memoryview(content)[:size]
    expected = fingerprint(source)
    slab = Slab(1, LARGE + 4096, spilled=False)
    assert slab.write(slab.reserve(size), source) == expected
    assert slab.view[:size] == source
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert fingerprint(source) == expected


@pytest.mark.parametrize("at", [0, 1, LARGE // 2 - 5000, LARGE // 2 + 5000, LARGE - 1])
def test_a_change_of_any_byte_is_seen(content: bytearray, at: int) -> None:
    before = fingerprint(memoryview(content))
    content[at] ^= 1
    changed = fingerprint(memoryview(content))
    content[at] ^= 1
    assert changed != before
    assert fingerprint(memoryview(content)) == before


def test_halves_that_are_exchanged_are_another_content() -> None:
    half = 16 * 1024 * 1024
    one, other = b"a" * half, b"b" * half
    assert fingerprint(memoryview(one + other)) != fingerprint(memoryview(other + one))


def test_two_threads_take_a_large_buffer() -> None:
    seen: dict[tuple[int, int], str] = {}

    def work(start: int, end: int) -> bytes:
        seen[start, end] = threading.current_thread().name
        return b""

    in_halves(LARGE, work)
    [(first, _), (second, _)] = sorted(seen.items())
    assert first[0] == 0
    assert first[1] == second[0]
    assert second[1] == LARGE
    assert len(set(seen.values())) == (2 if (os.cpu_count() or 1) > 1 else 1)


@pytest.mark.parametrize("failing", [0, 1])
def test_what_goes_wrong_in_a_half_is_told_when_both_are_over(failing: int) -> None:
    over = []

    def work(start: int, _end: int) -> bytes:
        over.append(start)
        if bool(start) == bool(failing):
            raise OSError("no memory")
        return b""

    with pytest.raises(OSError, match="no memory"):
        in_halves(LARGE, work)
    assert len(over) == 2 or (fingerprints.os.cpu_count() == 1 and not failing)

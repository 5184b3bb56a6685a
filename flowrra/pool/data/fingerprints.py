"""What a buffer's content is known by, and work on large buffers by two threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import xxhash

from flowrra.pool.data.budget import MB, pages

_ALONE = 16 * MB
"""A buffer below this size is the work of one thread."""


def fingerprint(buffer: memoryview) -> bytes:
    """Of all of its bytes, at the speed of memory: content that differs anywhere has another one."""
    return in_halves(buffer.nbytes, lambda start, end: xxhash.xxh3_128_digest(buffer[start:end]))


def in_halves(size: int, work: Callable[[int, int], bytes]) -> bytes:
    """Have *work(start, end)* return the hash of each half of a buffer, at the same time; returns that of the buffer.

    A small one has no halves. Raises what *work* raises.
    """
    if size < _ALONE:
        return work(0, size)
    middle = pages(size // 2)
    if (os.cpu_count() or 1) == 1:
        return _joined(work(0, middle), work(middle, size))
    second: list[bytes | BaseException] = []

    def second_half() -> None:
        try:
            second.append(work(middle, size))
        except BaseException as error:  # noqa: BLE001 - raised again below, where the other half is done
            second.append(error)

    helper = threading.Thread(target=second_half, name="flowrra-data", daemon=True)
    helper.start()
    try:
        first = work(0, middle)
    finally:
        helper.join()
    if isinstance(second[0], BaseException):
        raise second[0]
    return _joined(first, second[0])


def _joined(first: bytes, second: bytes) -> bytes:
    return xxhash.xxh3_128_digest(first + second)

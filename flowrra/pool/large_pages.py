"""Shared memory in large pages: made in a fifth of the time of small ones, mapped, left and freed in next to none.

They are asked for with MADV_COLLAPSE (Linux 6.1), which depends on no setting of the machine. Where there are none to
be had, or where the kernel has to search for room too long, memory comes in small pages as ever.
"""

from __future__ import annotations

import os
import time

from flowrra.pool.native import LARGE_PAGE, Mapping

_STEP = 32 * LARGE_PAGE
"""Asked for at first; then more, for each question costs about a millisecond."""
_SLOW = 5e-3 * LARGE_PAGE / 1024**2
"""Seconds of work for one, several times what small pages take: no more may be lost than that."""
_WAITING = 10
"""How many times longer it may take on the whole: on a busy machine everything does, small pages too."""
_PAUSE = 60.0
"""Seconds until they are asked for again, after there were none."""


class _Supply:
    """Whether it is worth while to ask the kernel for large pages."""

    def __init__(self) -> None:
        self._not_before = 0.0

    def is_worth_asking(self) -> bool:
        return time.monotonic() >= self._not_before

    def note(self, count: int, worked: float, waited: float, *, given: bool) -> None:
        """*count* have been asked for; the kernel has *worked* so many seconds, and we have *waited*."""
        enough = max(count, 32) * _SLOW
        if not given or worked > enough or waited > _WAITING * enough:
            self._not_before = time.monotonic() + _PAUSE


supply = _Supply()


def make_large(fd: int, mapping: Mapping, start: int, end: int) -> int:
    """Make large pages of a memfd exist, from *start* on, as far as they end before *end*; returns how far they reach.

    *start*, if there was none to be had. *mapping* is a shared one of all of it.
    Raises ``OSError`` if there is no memory left.
    """
    if start % LARGE_PAGE:
        return start
    end -= end % LARGE_PAGE
    step = _STEP
    while start < end and supply.is_worth_asking():
        size = min(step, end - start)
        worked, began = time.thread_time(), time.monotonic()
        for page in range(start, start + size, LARGE_PAGE):
            os.posix_fallocate(fd, page, 1)  # of nothing at all the kernel makes no page
        given = mapping.make_large(start, size)
        supply.note(size // LARGE_PAGE, time.thread_time() - worked, time.monotonic() - began, given=given)
        if not given:
            break
        start, step = start + size, 4 * step
    return start

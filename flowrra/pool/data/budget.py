"""Decides where a buffer goes and which slabs are given up. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from flowrra.core.tuples import NamedTuple

MB = 1024 * 1024
PAGE = 4096
GATHERED = 64 * MB
"""Size of a slab that holds many buffers."""
OWN = 8 * MB
"""A buffer from this size on has a slab of its own, which can be given up without waiting for others."""
MOST_IDLE = 512 * MB
"""Bytes that are kept at most for content which no queued or running run refers to."""
LINGER = 1.0
"""Seconds after its last use until workers are told to drop their mappings of an idle slab."""
AGE = 30.0
"""Seconds after its last use until an idle slab is given up."""


class SlabFacts(NamedTuple):
    """A slab, as far as decisions need it."""

    number: int
    size: int
    pinned: bool
    """A queued or running run refers to it."""
    used_at: float
    """Monotonic: when it was last pinned, or when its last pin went."""
    found: int = 0
    """How often its content was submitted again."""
    mapped: bool = False
    """A worker has it, or something that can look into it may have been left behind by one."""
    spilled: bool = False


def pages(size: int) -> int:
    """*size*, rounded up to whole pages; never 0."""
    return max(1, -(-size // PAGE)) * PAGE


def goes_alone(size: int, opened: int, most_open: int) -> bool:
    """Whether a buffer gets a slab of its own; not when descriptors become scarce."""
    return size >= OWN and 2 * opened < most_open


def gathered_size(need: int, opened: int, most_open: int, held: int, budget: int) -> int:
    """Size of a new slab for many buffers, the first of which needs *need* bytes.

    As descriptors become scarce slabs grow with what is held already, so that their number stays below *most_open*.
    """
    size = min(GATHERED, budget // 8)
    if 2 * opened >= most_open:
        size = max(size, held * 8 // max(1, most_open))
    if opened >= most_open:
        size = max(size, held)
    return pages(max(size, need))


def fits_into_memory(need: int, held: int, budget: int) -> bool:
    """Whether a new slab may be in memory, beside *held* bytes of others; if not, it is a file."""
    return held + need <= budget // 2


def most_idle(budget: int) -> int:
    return min(MOST_IDLE, budget // 8)


def to_give_up(slabs: Iterable[SlabFacts], need: int, budget: int, now: float) -> list[int]:
    """Idle slabs to give up, the longest unused first: what is too old, too much, or in the way of *need* bytes."""
    every = list(slabs)
    in_memory = sum(slab.size for slab in every if not slab.spilled)
    idle = sorted((slab for slab in every if not slab.pinned), key=lambda slab: slab.used_at)
    idle_bytes = sum(slab.size for slab in idle)
    given_up = []
    for slab in idle:
        too_old = now - slab.used_at >= AGE
        too_much = idle_bytes > most_idle(budget)
        in_the_way = not slab.spilled and not fits_into_memory(need, in_memory, budget)
        if too_old or too_much or in_the_way:
            given_up.append(slab.number)
            idle_bytes -= slab.size
            in_memory -= 0 if slab.spilled else slab.size
    return given_up


def to_unmap(slabs: Iterable[SlabFacts], now: float) -> list[int]:
    """Idle slabs that workers need not keep mapped: from then on their memory can serve for other content."""
    return [slab.number for slab in slabs if slab.mapped and not slab.pinned and now - slab.used_at >= LINGER]


def to_rewrite(slabs: Iterable[SlabFacts], need: int, budget: int) -> int | None:
    """The idle slab whose memory is to be used for *need* bytes of other content; pages that exist cost a fifth.

    Content that has been submitted more than once is kept while there is room for another slab.
    """
    every = list(slabs)
    fitting = [
        slab
        for slab in every
        if not (slab.pinned or slab.mapped or slab.spilled) and need <= slab.size <= max(2 * need, GATHERED)
    ]
    best = min(fitting, key=lambda slab: (slab.found > 0, slab.size > 2 * need, slab.used_at), default=None)
    if best is None:
        return None
    idle = sum(slab.size for slab in every if not slab.pinned)
    return None if best.found and idle + need <= most_idle(budget) else best.number

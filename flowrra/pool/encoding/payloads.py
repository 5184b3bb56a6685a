"""Values to bytes and back: the pickle, and where its bytes go.

Large parts of what is submitted go into the depot, where each content is kept once; those of a result go into a segment
of its own, since there is only one who reads it.
"""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowrra.core.tuples import NamedTuple
from flowrra.pool.transport.messages import Places, Table
from flowrra.pool.transport.segments import Segment, map_segment

if TYPE_CHECKING:
    # A worker keeps nothing: the depot is the engine's.
    from collections.abc import Sequence

    from flowrra.pool.data.depot import Blocks

INLINE = 32 * 1024
"""A pickle up to this size travels in the message itself."""
OUT_OF_BAND = 16 * 1024
"""A buffer (array, column) from this size on is kept out of the pickle, so that it is never copied on arrival."""

MOST_BUFFERS = 1000
"""Kept out of one pickle; the list of where they lie has to fit into a message."""

BUILTIN, PLAIN, CLOUD = range(3)
"""What a pickle is made of: builtin types only; numpy arrays too; anything (loading it may run the user's code)."""


class Payload(NamedTuple):
    """An encoded value. With large parts and an empty head, the pickle is the first part."""

    kind: int
    head: bytes
    segment: Segment | None = None
    """The large parts of a result,"""
    blocks: Blocks | None = None
    """or of what was submitted."""

    @property
    def table(self) -> Table:
        return self.segment.table if self.segment is not None else ()

    @property
    def places(self) -> Places:
        return self.blocks.places if self.blocks is not None else ()

    @property
    def size(self) -> int:
        large = self.segment or self.blocks
        return len(self.head) + (large.size if large is not None else 0)


Pickle = Callable[[Any, Callable[[pickle.PickleBuffer], bool]], bytes]
"""Pickles a value; calls back for each buffer, which is left out of the pickle if the answer is False."""


Keep = Callable[["Sequence[memoryview]"], "Segment | Blocks"]
"""Snapshots large buffers: those of a result in a segment, those of what is submitted in a depot."""


def build(kind: int, value: Any, pickler: Pickle, keep: Keep = Segment) -> Payload:
    """Encode *value* with *pickler*. Its large buffers are snapshotted with *keep* before this returns."""
    buffers: list[memoryview] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND or len(buffers) == MOST_BUFFERS:
            return True
        buffers.append(raw)
        return False

    head = pickler(value, keep_in_band)
    if len(head) > INLINE:
        buffers.insert(0, memoryview(head))
        head = b""
    if not buffers:
        return Payload(kind, head)
    kept = keep(buffers)
    return Payload(kind, head, kept) if isinstance(kept, Segment) else Payload(kind, head, blocks=kept)


def plain_pickle(value: Any, keep_in_band: Callable[[pickle.PickleBuffer], bool]) -> bytes:
    return pickle.dumps(value, protocol=5, buffer_callback=keep_in_band)


def load(head: bytes, parts: list[memoryview]) -> Any:
    """Rebuild a value from its pickle and the parts of its segment, which back its arrays from now on."""
    if not parts:
        return pickle.loads(head)
    if head:
        return pickle.loads(head, buffers=parts)
    return pickle.loads(parts[0], buffers=parts[1:])


def arrived(fd: int | None, table: Table) -> list[memoryview]:
    """The parts of the segment that came with a message, on a mapping of their own. The descriptor stays the caller's.

    Raises ``OSError`` if the descriptor was lost because this process has too many.
    """
    if not table:
        return []
    if fd is None:
        raise OSError(errno.EMFILE, "its shared memory could not be received: too many open files")
    return map_segment(fd, table)

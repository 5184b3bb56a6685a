"""A spawned worker's mappings of slabs, which are files."""

from __future__ import annotations

import os

from flowrra.pool.data.mappings import MappedSlab, Mappings, PrivateMapping, descriptor_of
from flowrra.pool.portable.files import CopiedMapping


class CopiedMappings(Mappings):
    """A mapping that a run could write to serves no other run: not every system can undo what was written."""

    def drop(self, number: int) -> bool:
        """Never sure that nothing can see it: what a task has started may have left this process."""
        slab = self._slabs.pop(number, None)
        if slab is not None and slab.fd is not None:
            os.close(slab.fd)
        return slab is None

    def _new_mapping(self, slab: MappedSlab, offset: int, size: int) -> PrivateMapping:
        return CopiedMapping(descriptor_of(slab), size, offset=offset)

    def _restore(self, slab: MappedSlab) -> None:
        if slab.handed_out:
            slab.mapping = None

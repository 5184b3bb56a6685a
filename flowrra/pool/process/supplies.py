"""What a worker is sent once and then keeps: functions, constants of maps, surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowrra.pool.data.mappings import Mappings
from flowrra.pool.encoding.payloads import load
from flowrra.pool.encoding.surroundings import Surroundings
from flowrra.pool.transport.messages import Supply


class Shelf:
    """What the engine has supplied, by digest or number. The engine decides what is dropped."""

    def __init__(self, mappings: Mappings) -> None:
        self.surroundings: dict[int, Surroundings] = {}
        self.mappings = mappings
        self._supplies: dict[bytes, Supply] = {}
        self._loaded: dict[bytes, Any] = {}

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._supplies

    def put(self, supply: Supply) -> None:
        self.drop(supply.digest)
        self._supplies[supply.digest] = supply

    def drop(self, digest: bytes) -> None:
        self._supplies.pop(digest, None)
        self._loaded.pop(digest, None)

    def function(self, digest: bytes, *, readonly: bool) -> Any:
        """The function. If a run can change anything in it, each call rebuilds it; otherwise one object serves all."""
        if digest in self._loaded:
            return self._loaded[digest]
        supply = self._supplies[digest]
        if supply.sources:
            _keep_sources(supply.sources)
        function = self.value(digest, readonly=readonly)
        if supply.reusable:
            self._loaded[digest] = function
        return function

    def is_reusable(self, digest: bytes) -> bool:
        """One object serves all calls of the function."""
        return digest in self._loaded

    def value(self, digest: bytes, *, readonly: bool) -> Any:
        """Rebuild the value for the run to come: each call makes a new one, on buffers that are private to the run."""
        supply = self._supplies[digest]
        return load(supply.head, self.mappings.parts(supply.places, readonly=readonly))


def _keep_sources(sources: Sequence[tuple[str, str]]) -> None:
    """Let tracebacks show the lines of cells."""
    import linecache

    for name, text in sources:
        # Without a modification time linecache takes the entry for good, which is what a cell's source is.
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)

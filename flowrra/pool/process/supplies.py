"""What a worker is sent once and then keeps: functions, constants of maps, surroundings."""

from __future__ import annotations

import linecache
import os
from typing import Any

from flowrra.pool.encoding.payloads import arrived, load
from flowrra.pool.encoding.surroundings import Surroundings
from flowrra.pool.transport.messages import Supply


class Shelf:
    """What the engine has supplied, by digest or number. The engine decides what is dropped."""

    def __init__(self) -> None:
        self.surroundings: dict[int, Surroundings] = {}
        self._supplies: dict[bytes, tuple[Supply, int | None]] = {}
        self._loaded: dict[bytes, Any] = {}

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._supplies

    def put(self, supply: Supply, fd: int | None) -> None:
        self.drop(supply.digest)
        self._supplies[supply.digest] = supply, fd

    def drop(self, digest: bytes) -> None:
        _, fd = self._supplies.pop(digest, (None, None))
        self._loaded.pop(digest, None)
        if fd is not None:
            os.close(fd)

    def function(self, digest: bytes) -> Any:
        """The function. If a run can change anything in it, each call rebuilds it; otherwise one object serves all."""
        if digest in self._loaded:
            return self._loaded[digest]
        supply, _ = self._supplies[digest]
        for name, text in supply.sources:
            # Without a modification time linecache takes the entry for good, which is what a cell's source is.
            linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        function = self.value(digest)
        if supply.reusable:
            self._loaded[digest] = function
        return function

    def is_reusable(self, digest: bytes) -> bool:
        """One object serves all calls of the function."""
        return digest in self._loaded

    def value(self, digest: bytes) -> Any:
        """Rebuild the value: each call makes a new one, on a private mapping of its buffers."""
        supply, fd = self._supplies[digest]
        return load(supply.head, arrived(fd, supply.table))

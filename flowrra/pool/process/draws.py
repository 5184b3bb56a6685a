"""The random generators that a whole process shares, seeded for each run of a worker at its first draw.

They are those behind the functions of ``random`` and of ``numpy.random``, which scikit-learn and SciPy draw from, too.
Whoever draws first in a run finds something in its way that seeds them and then steps aside, so that a run which draws
nothing pays nothing, and one that draws pays once. Generators of other libraries are left alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

from flowrra.core.seeds import Source
from flowrra.pool.process.draws_stdlib import SharedRandom


class Shared(Protocol):
    """A generator that a whole process shares."""

    def begin(self, source: Source) -> None:
        """The first draw from now on seeds it from *source*."""


class Draws:
    """Of one process. ``begin`` is called before each run; :meth:`install` once, before any user code is imported."""

    def __init__(self) -> None:
        self._source = Source(0)
        self._shared: list[Shared] = []

    def install(self) -> None:
        # For an initializer, which draws before any run: all workers are forked from one state, and this is not in it.
        self._source = Source(os.urandom(8).hex())
        self._add(SharedRandom())
        if "numpy.random" in sys.modules:
            self._take_numpy()
        else:
            sys.meta_path.insert(0, _NumPyIsImported(self._take_numpy))

    def begin(self, source: Source) -> None:
        """A run that draws from *source* is about to be executed."""
        self._source = source
        for shared in self._shared:
            shared.begin(source)

    def _take_numpy(self) -> None:
        from flowrra.pool.process.draws_numpy import shared_generator

        self._add(shared_generator())

    def _add(self, shared: Shared) -> None:
        shared.begin(self._source)
        self._shared.append(shared)


class _NumPyIsImported:
    """Notices that a run imports ``numpy.random``, whose draws in this very run are to be seeded, and steps aside."""

    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell = tell

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        if name != "numpy.random":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                self._watch(spec.loader)
                return spec
        return None

    def _watch(self, loader: Any) -> None:
        execute = loader.exec_module

        def execute_and_tell(module: ModuleType) -> None:
            execute(module)
            self._tell()

        loader.exec_module = execute_and_tell


draws = Draws()
"""Of this process, if it is a worker."""

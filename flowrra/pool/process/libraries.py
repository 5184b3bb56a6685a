"""How many threads the numeric libraries of this process use: those that are loaded, whoever has loaded them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from flowrra.core.tuples import NamedTuple
from flowrra.pool.native import libraries_loaded
from flowrra.pool.thread_variables import VARIABLE_OF

_SIGNS = ("numpy", "torch", "numexpr", "numba")
"""Modules without which there is no library of this kind; to find libraries takes a millisecond."""


class _Library(NamedTuple):
    name: str
    """As in ``VARIABLE_OF``."""
    get: Callable[[], int]
    set: Callable[[int], object]


class Libraries:
    """Remembers what was found, so that :meth:`limit` takes a microsecond for each as long as nothing is imported."""

    def __init__(self) -> None:
        self._modules = self._loaded = 0
        self._found: list[_Library] = []

    def look(self) -> None:
        """Find the libraries that are loaded. Starts no thread, so that the zygote may do it for its workers."""
        if len(sys.modules) == self._modules:
            return
        self._modules = len(sys.modules)
        if self._loaded != libraries_loaded() and any(sign in sys.modules for sign in _SIGNS):
            self._found = [*_native(), *_numexpr(), *_numba()]
            self._loaded = libraries_loaded()

    def limit(self, limits: Mapping[str, int]) -> None:
        """Have each use as many threads as *limits* has for it, whatever it was told before."""
        for name, get, change in self._found:
            wanted = limits[name]
            if get() != wanted:
                change(wanted)

    def install(self) -> None:
        """Have processes that this one forks use OpenMP without threads: GNU's waits for those of the parent."""
        os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        for name, _, change in self._found:
            if name == "openmp":
                change(1)


def _native() -> list[_Library]:
    import threadpoolctl

    found = threadpoolctl.ThreadpoolController().lib_controllers
    return [
        _Library(each.internal_api, each.get_num_threads, each.set_num_threads)
        for each in found
        if each.internal_api in VARIABLE_OF
    ]


def _numexpr() -> list[_Library]:
    numexpr = sys.modules.get("numexpr")
    if numexpr is None:
        return []
    return [_Library("numexpr", numexpr.get_num_threads, numexpr.set_num_threads)]


def _numba() -> list[_Library]:
    numba: Any = sys.modules.get("numba")
    parallel: Any = sys.modules.get("numba.np.ufunc.parallel")
    if numba is None or parallel is None:
        return []
    most = int(numba.config.NUMBA_NUM_THREADS)

    def get() -> int:
        # To ask it starts its threads; until then it would use as many as it ever can.
        return int(numba.get_num_threads()) if parallel._is_initialized else most  # noqa: SLF001 - see above

    def change(threads: int) -> None:
        if get() == min(threads, most):
            return
        with suppress(ValueError):  # no threading layer can be loaded, so nothing of it runs in parallel
            numba.set_num_threads(min(threads, most))

    return [_Library("numba", get, change)]


libraries = Libraries()
"""Those of this process."""

"""The standard library: ``ProcessPoolExecutor`` and ``multiprocessing.Pool``."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from tests.benchmarks.child import IMPORTS
from tests.benchmarks.contenders.base import Function, Pool, Wait


class FuturesPool(Pool):
    """Anything that is a ``concurrent.futures.Executor``."""

    _executor: Any

    def submit(self, function: Function, *args: Any) -> Wait:
        return self._executor.submit(function, *args).result

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        # What Pool.map chooses by itself: four chunks a worker.
        return list(self._executor.map(function, items, chunksize=-(-len(items) // (4 * self.workers))))

    def handles(self, function: Function, items: Iterable[Any]) -> Any:
        return [self._executor.submit(function, item) for item in items]

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)


class Executor(FuturesPool):
    method: ClassVar[str]

    def __init__(self, workers: int) -> None:
        import concurrent.futures

        super().__init__(workers)
        context = multiprocessing.get_context(self.method)
        self._executor = concurrent.futures.ProcessPoolExecutor(workers, mp_context=context)

    @classmethod
    def load(cls) -> None:
        import concurrent.futures.process

        assert concurrent.futures.process


class ForkExecutor(Executor):
    title = "ProcessPoolExecutor, fork"
    how = "`submit`; for tiny items `map(chunksize=n / 8)`"
    method = "fork"


class ForkserverExecutor(Executor):
    title = "ProcessPoolExecutor, forkserver"
    how = "as with fork; for a function that needs numpy and pandas `set_forkserver_preload`"
    method = "forkserver"

    @classmethod
    def load(cls) -> None:
        super().load()
        if os.environ.get(IMPORTS):
            multiprocessing.set_forkserver_preload(["numpy", "pandas"])


class SpawnExecutor(Executor):
    title = "ProcessPoolExecutor, spawn"
    how = "as with fork"
    method = "spawn"


class MultiprocessingPool(Pool):
    title = "multiprocessing.Pool"
    how = "fork; `apply_async`; for tiny items `map`, which chooses the chunks"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._pool = multiprocessing.get_context("fork").Pool(workers)

    @classmethod
    def load(cls) -> None:
        import multiprocessing.pool

        assert multiprocessing.pool

    def submit(self, function: Function, *args: Any) -> Wait:
        return self._pool.apply_async(function, args).get

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self._pool.map(function, items)

    def handles(self, function: Function, items: Iterable[Any]) -> Any:
        return list(map(self._pool.apply_async, itertools.repeat(function), ((item,) for item in items)))

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()

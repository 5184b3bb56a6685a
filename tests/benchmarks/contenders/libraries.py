"""Libraries that run functions in processes of one machine: loky, joblib, mpire, pebble."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from tests.benchmarks.contenders.base import Function, Pool, Wait
from tests.benchmarks.contenders.standard import FuturesPool


class Loky(FuturesPool):
    title = "loky"
    needs = ("loky",)
    how = "`get_reusable_executor`; `submit`; for tiny items `map(chunksize=n / 8)`"

    def __init__(self, workers: int) -> None:
        import loky

        super().__init__(workers)
        self._executor = loky.get_reusable_executor(workers)

    @classmethod
    def load(cls) -> None:
        import loky

        assert loky

    def close(self) -> None:
        self._executor.shutdown(kill_workers=True)


class Joblib(Pool):
    """Has calls of many items only: ``submit`` is a call of one item, which is over when it returns."""

    title = "joblib"
    needs = ("joblib",)
    how = "one `with Parallel(n_jobs=2)` for all calls; batches and memory-mapped arrays as it chooses by itself"
    shares = True

    def __init__(self, workers: int) -> None:
        from joblib import Parallel

        super().__init__(workers)
        self._parallel = Parallel(n_jobs=workers, **self.settings)
        self._parallel.__enter__()

    settings: ClassVar[dict[str, Any]] = {}

    @classmethod
    def load(cls) -> None:
        import joblib

        assert joblib

    def _run(self, function: Function, rows: Iterable[Sequence[Any]]) -> list[Any]:
        from joblib import delayed

        return self._parallel(delayed(function)(*row) for row in rows)

    def submit(self, function: Function, *args: Any) -> Wait:
        [value] = self._run(function, [args])
        return lambda _: value

    def singles(self, function: Function, items: Iterable[Any]) -> list[Any]:
        return self._run(function, ((item,) for item in items))

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self._run(function, ((item,) for item in items))

    def each_with(self, function: Function, count: int, held: Any) -> list[Any]:
        return self._run(function, ((index, held) for index in range(count)))

    def results(self, function: Function, count: int, *args: Any) -> list[Any]:
        return self._run(function, ((index, *args) for index in range(count)))

    def outcomes(self, function: Function, items: Iterable[Any], *args: Any, timeout: float) -> list[Any]:
        rows = [(item, *args) for item in items]
        try:
            return self._run(function, rows)
        except Exception as error:  # noqa: BLE001 - whatever it raises stands for the whole call
            return [error] * len(rows)

    def close(self) -> None:
        from joblib.externals.loky import get_reusable_executor

        self._parallel.__exit__(None, None, None)
        # joblib keeps its processes for later calls.
        get_reusable_executor().shutdown(kill_workers=True)


class JoblibOneByOne(Joblib):
    title = "joblib, one by one"
    how = "`batch_size=1`: a message per call, as a handle per call needs"
    settings: ClassVar[dict[str, Any]] = {"batch_size": 1}


class Mpire(Pool):
    title = "mpire"
    needs = ("mpire",)
    how = "fork, `keep_alive`; `apply_async`; for tiny items `map`, which chooses the chunks"

    def __init__(self, workers: int) -> None:
        from mpire import WorkerPool

        super().__init__(workers)
        # Two, because a pool that has seen apply_async gives the functions of a map wrong arguments (mpire 2.10.2).
        # Neither has workers before it is used.
        self._pool, self._maps = (WorkerPool(workers, start_method="fork", keep_alive=True) for _ in range(2))

    @classmethod
    def load(cls) -> None:
        import mpire

        assert mpire

    def submit(self, function: Function, *args: Any) -> Wait:
        return self._pool.apply_async(function, args).get

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self._maps.map(function, items)

    def close(self) -> None:
        self._pool.terminate()
        self._maps.terminate()


class MpireShared(Mpire):
    """Hands a large object over by forking after it is there: workers see it as it was then."""

    title = "mpire, fork inheritance"
    how = "`shared_objects`, which makes it fork its workers anew; `map(chunk_size=1)`"
    shares = True

    def singles(self, function: Function, items: Iterable[Any]) -> list[Any]:
        return self._maps.map(function, items)

    def each_with(self, function: Function, count: int, held: Any) -> list[Any]:
        # The same objects again leave the workers as they are.
        if self._shared is not held:
            self._shared = held
            self._maps.set_shared_objects((function, held))
        return self._maps.map(_call_with_shared, range(count), chunk_size=1)

    _shared: Any = None

    def with_global(self, tasks: Any, count: int) -> list[Any]:
        return self.each_with(tasks.row_sum_of, count, tasks.table)


def _call_with_shared(shared: tuple[Function, Any], index: int) -> Any:
    function, array = shared
    return function(index, array)


class Pebble(Pool):
    title = "pebble"
    needs = ("pebble",)
    how = "fork; `schedule`; for tiny items `map(chunksize=n / 8)`"

    def __init__(self, workers: int) -> None:
        import multiprocessing

        from pebble import ProcessPool

        super().__init__(workers)
        self._pool = ProcessPool(max_workers=workers, context=multiprocessing.get_context("fork"))

    @classmethod
    def load(cls) -> None:
        import pebble

        assert pebble

    def submit(self, function: Function, *args: Any) -> Wait:
        return self._pool.schedule(function, args=args).result

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return list(self._pool.map(function, items, chunksize=-(-len(items) // (4 * self.workers))).result())

    def handles(self, function: Function, items: Iterable[Any]) -> Any:
        return [self._pool.schedule(function, args=(item,)) for item in items]

    def close(self) -> None:
        self._pool.stop()
        self._pool.join()

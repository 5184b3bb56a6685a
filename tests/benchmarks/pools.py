"""The process pools under comparison, each driven the way its documentation suggests, behind one small interface."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Function = Callable[..., Any]


class Pool(ABC):
    """Processes that run functions; libraries are imported by the pool that needs them."""

    ships_globals = True
    """Whether a function takes along the globals that it reads, though they appeared after the pool had started."""

    @abstractmethod
    def __init__(self, workers: int) -> None: ...

    @abstractmethod
    def submit(self, function: Function, *args: Any) -> Callable[[float | None], Any]:
        """Start one call; the returned function waits for its value, at most so many seconds."""

    def call(self, function: Function, *args: Any) -> Any:
        return self.submit(function, *args)(None)

    def one_by_one(self, function: Function, items: Iterable[Any]) -> list[Any]:
        """Submit each item on its own and collect the values in order."""
        started = [self.submit(function, item) for item in items]
        return [value(None) for value in started]

    def outcomes(self, function: Function, items: Iterable[Any], timeout: float) -> list[Any]:
        """Values, with exceptions in the places of those that did not come."""
        return [_outcome(value, timeout) for value in [self.submit(function, item) for item in items]]

    @abstractmethod
    def close(self) -> None: ...


def _outcome(value: Callable[[float | None], Any], timeout: float) -> Any:
    try:
        return value(timeout)
    except Exception as error:  # noqa: BLE001 - whatever a library raises for it is what is compared
        return error


class FlowrraPool(Pool):
    def __init__(self, workers: int) -> None:
        from flowrra import Flowrra

        self._app = Flowrra(cpu_workers=workers)
        self._app.__enter__()
        self._tasks: dict[Function, Any] = {}

    def _task(self, function: Function) -> Any:
        if function not in self._tasks:
            self._tasks[function] = self._app.task(cpu_bound=True)(function)
        return self._tasks[function]

    def submit(self, function: Function, *args: Any) -> Callable[[float | None], Any]:
        return self._task(function).submit(*args).result

    def close(self) -> None:
        self._app.__exit__(None, None, None)


class FlowrraMap(FlowrraPool):
    """The same pool, given all items in one call."""

    def one_by_one(self, function: Function, items: Iterable[Any]) -> list[Any]:
        return self._task(function).map(items).result()

    def outcomes(self, function: Function, items: Iterable[Any], timeout: float) -> list[Any]:
        return self._task(function).map(items).result(on_error="return", timeout=timeout)


class FuturesPool(Pool):
    """Anything that is a ``concurrent.futures.Executor``."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def submit(self, function: Function, *args: Any) -> Callable[[float | None], Any]:
        return self._executor.submit(function, *args).result

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)


class StdlibPool(FuturesPool):
    ships_globals = False
    method = "fork"

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context(self.method)
        super().__init__(concurrent.futures.ProcessPoolExecutor(workers, mp_context=context))


class ForkserverPool(StdlibPool):
    method = "forkserver"


class LokyPool(FuturesPool):
    def __init__(self, workers: int) -> None:
        import loky

        super().__init__(loky.get_reusable_executor(workers))

    def close(self) -> None:
        self._executor.shutdown(kill_workers=True)


class MultiprocessingPool(Pool):
    ships_globals = False

    def __init__(self, workers: int) -> None:
        self._pool = multiprocessing.get_context("fork").Pool(workers)

    def submit(self, function: Function, *args: Any) -> Callable[[float | None], Any]:
        return self._pool.apply_async(function, args).get

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


class JoblibPool(Pool):
    """Has calls only: ``submit`` runs a call of one item."""

    batch_size: int | str = 1

    def __init__(self, workers: int) -> None:
        from joblib import Parallel

        self._parallel = Parallel(n_jobs=workers, batch_size=self.batch_size)
        self._parallel.__enter__()

    def submit(self, function: Function, *args: Any) -> Callable[[float | None], Any]:
        [value] = self._run(function, [args])
        return lambda _: value

    def one_by_one(self, function: Function, items: Iterable[Any]) -> list[Any]:
        return self._run(function, [(item,) for item in items])

    def outcomes(self, function: Function, items: Iterable[Any], timeout: float) -> list[Any]:
        rows = [(item,) for item in items]
        try:
            return self._run(function, rows)
        except Exception as error:  # noqa: BLE001 - whatever it raises stands for the whole call
            return [error] * len(rows)

    def _run(self, function: Function, rows: Sequence[Sequence[Any]]) -> list[Any]:
        from joblib import delayed

        return self._parallel(delayed(function)(*row) for row in rows)

    def close(self) -> None:
        from joblib.externals.loky import get_reusable_executor

        self._parallel.__exit__(None, None, None)
        # joblib keeps its processes for later calls.
        get_reusable_executor().shutdown(kill_workers=True)


class JoblibBatches(JoblibPool):
    batch_size = "auto"


POOLS: dict[str, type[Pool]] = {
    "flowrra": FlowrraPool,
    "flowrra, map": FlowrraMap,
    "ProcessPoolExecutor, fork": StdlibPool,
    "ProcessPoolExecutor, forkserver": ForkserverPool,
    "multiprocessing.Pool": MultiprocessingPool,
    "loky": LokyPool,
    "joblib": JoblibPool,
    "joblib, auto-batched": JoblibBatches,
}

"""flowrra, each of the ways its README shows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from tests.benchmarks.contenders.base import Contender, Function, Pool, Wait, outcome


class Flowrra(Pool):
    title = "flowrra, `submit`"
    how = "`with app`, one `task.submit` per call, `handle.result()`"
    shares = True

    def __init__(self, workers: int) -> None:
        from flowrra import Flowrra as App

        super().__init__(workers)
        self._app = App(cpu_workers=workers)
        self._tasks: dict[Function, Any] = {}
        self._enter()

    @classmethod
    def load(cls) -> None:
        from flowrra import Flowrra as App

        assert App

    def _enter(self) -> None:
        self._app.__enter__()

    def _task(self, function: Function) -> Any:
        task = self._tasks.get(function)
        if task is None:
            task = self._tasks[function] = self._app.task(cpu_bound=True)(function)
        return task

    def submit(self, function: Function, *args: Any) -> Wait:
        return self._task(function).submit(*args).result

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self._task(function).map(items).result()

    def handles(self, function: Function, items: Iterable[Any]) -> Any:
        submit = self._task(function).submit
        return [submit(item) for item in items]

    def hold_back(self, tasks: Any, path: str) -> None:
        self._app.pause()

    def close(self) -> None:
        self._app.blocking.stop(drain=False)


class FlowrraMap(Flowrra):
    title = "flowrra, `map`"
    how = "`with app`, one `task.map`, `batch.result()`; a large argument as its constant"

    def singles(self, function: Function, items: Iterable[Any]) -> list[Any]:
        return self._task(function).map(items).result()

    def each_with(self, function: Function, count: int, held: Any) -> list[Any]:
        return self._task(function).map(range(count), array=held).result()

    def results(self, function: Function, count: int, *args: Any) -> list[Any]:
        return self._task(function).map(range(count), *([arg] * count for arg in args)).result()

    def outcomes(self, function: Function, items: Iterable[Any], *args: Any, timeout: float) -> list[Any]:
        items = list(items)
        batch = self._task(function).map(items, *([arg] * len(items) for arg in args))
        return batch.result(on_error="return", timeout=timeout)

    def handles(self, function: Function, items: Iterable[Any]) -> Any:
        return self._task(function).map(items)


class FlowrraLoop(Flowrra):
    title = "flowrra on the caller's loop"
    how = "`async with app`, `await task.submit(…)`"

    def _enter(self) -> None:
        self._runner = asyncio.Runner()
        self._runner.run(self._app.__aenter__())

    def submit(self, function: Function, *args: Any) -> Wait:
        async def submit() -> Any:
            return self._task(function).submit(*args)

        async def wait() -> Any:
            return await handle

        handle = self._runner.run(submit())
        return lambda timeout: self._runner.run(asyncio.wait_for(wait(), timeout))

    def trips(self, function: Function, items: Iterable[Any]) -> list[Any]:
        async def trips() -> list[Any]:
            task = self._task(function)
            return [await task.submit(item) for item in items]

        return self._runner.run(trips())

    def singles(self, function: Function, items: Iterable[Any]) -> list[Any]:
        async def singles() -> list[Any]:
            task = self._task(function)
            handles = [task.submit(item) for item in items]
            return [await handle for handle in handles]

        return self._runner.run(singles())

    def outcomes(self, function: Function, items: Iterable[Any], *args: Any, timeout: float) -> list[Any]:
        return [outcome(self.submit(function, item, *args), timeout) for item in items]

    def close(self) -> None:
        self._runner.run(self._app.stop(drain=False))
        self._runner.close()


class Fingerprints(Contender):
    title = "100 fingerprints of it"
    how = "xxh3-128 of all its bytes: what it takes at least to see that the data of a submit are those of the last"

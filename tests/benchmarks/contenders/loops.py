"""Ways to run many coroutines: in the caller's loop, and in the loop of a Jupyter kernel."""

from __future__ import annotations

import asyncio
import gc
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, ClassVar

from tests.benchmarks.contenders.base import Contender

Function = Callable[[int], Coroutine[Any, Any, int]]


class Loop(Contender, ABC):
    @abstractmethod
    def timed(self, function: Function, count: int) -> tuple[list[int], float]:
        """Run *function* for each number below *count*; the values and the seconds it took, once all was warm."""


class InALoop(Loop):
    def timed(self, function: Function, count: int) -> tuple[list[int], float]:
        return asyncio.run(self._timed(function, count))

    async def _timed(self, function: Function, count: int) -> tuple[list[int], float]:
        await self.run(function, range(100))
        gc.collect()
        begun = time.perf_counter()
        values = await self.run(function, range(count))
        return values, time.perf_counter() - begun

    @abstractmethod
    async def run(self, function: Function, items: Iterable[int]) -> list[int]: ...


class FlowrraMapInALoop(InALoop):
    title = "flowrra, `map`"
    how = "`async with app`, `await task.map(…)`"

    async def _timed(self, function: Function, count: int) -> tuple[list[int], float]:
        from flowrra import Flowrra

        async with Flowrra() as app:
            self._task = app.task(function)
            return await super()._timed(function, count)

    async def run(self, function: Function, items: Iterable[int]) -> list[int]:
        return list(await self._task.map(items))


class FlowrraSubmitInALoop(FlowrraMapInALoop):
    title = "flowrra, `submit`"
    how = "`async with app`, one `task.submit` per call"

    async def run(self, function: Function, items: Iterable[int]) -> list[int]:
        handles = [self._task.submit(item) for item in items]
        return [await handle for handle in handles]


class Gather(InALoop):
    title = "asyncio.gather"

    async def run(self, function: Function, items: Iterable[int]) -> list[int]:
        return await asyncio.gather(*[asyncio.create_task(function(item)) for item in items])


class Group(InALoop):
    title = "asyncio.TaskGroup"

    async def run(self, function: Function, items: Iterable[int]) -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(function(item)) for item in items]
        return [task.result() for task in tasks]


class InAKernel(Loop):
    """A real kernel runs the coroutines in cells; the function is defined in a cell, too."""

    needs = ("ipykernel", "jupyter_client")
    before: ClassVar[str]
    run: ClassVar[str]

    def timed(self, function: Function, count: int) -> tuple[list[int], float]:
        from tests.jupyter.driver import Kernel

        with Kernel() as kernel:
            kernel.run(f"import asyncio, gc, time\n{self.before}\nawait run(range(100))")
            cell = kernel.run(
                f"gc.collect()\nbegun = time.perf_counter()\nvalues = await run(range({count}))\n"
                f"print(time.perf_counter() - begun, values == list(range({count})))",
                timeout=60,
            )
        seconds, right = cell.stdout.split()
        return list(range(count)) if right == "True" else [], float(seconds)


class FlowrraInAKernel(InAKernel):
    title = "flowrra, `map`"
    how = (
        "after `%flowrra start`, `await task.map(…)` in a cell: the engine on its thread, coroutines in the cell's loop"
    )
    needs = (*InAKernel.needs, "anywidget")
    before = """
%load_ext flowrra_jupyter
%flowrra start --workers 2
@app.task
async def same_soon(item): return item
async def run(items): return list(await same_soon.map(items))
"""


class GatherInAKernel(InAKernel):
    title = "asyncio.gather in a cell"
    before = """
async def same_soon(item): return item
async def run(items): return await asyncio.gather(*[asyncio.create_task(same_soon(item)) for item in items])
"""

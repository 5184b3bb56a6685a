"""Runs that are over leave nothing to the garbage collector: with many of them it would take longer than they do."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from flowrra import Flowrra, current_run


class Argument:
    """Can be watched."""


kept: list[object] = []


def keep_the_run(_: Argument) -> None:
    kept.append(current_run())


async def keep_the_run_async(_: Argument) -> None:
    kept.append(current_run())


async def nothing() -> None:
    """Ends at once."""


async def look_and_pause() -> str:
    await asyncio.sleep(0)
    return current_run().id


async def test_coroutine_runs_leave_no_reference_cycles() -> None:
    app = Flowrra()
    async with app:
        await asyncio.gather(app.task(nothing).submit(), app.task(look_and_pause).submit())
        gc.collect()
        gc.disable()
        try:
            handles = [app.task(function).submit() for function in (nothing, look_and_pause) for _ in range(200)]
            for handle in handles:
                await handle
            found = gc.collect()
        finally:
            gc.enable()
    # Waiting for the runs may leave a few things, a run may not.
    assert found < len(handles)


@pytest.mark.parametrize("function", [keep_the_run, keep_the_run_async])
async def test_a_run_that_was_kept_by_the_task_does_not_keep_its_arguments(function: Callable[..., Any]) -> None:
    app = Flowrra()
    async with app:
        argument = Argument()
        watched = weakref.ref(argument)
        await app.task(function).submit(argument)
        del argument
        # The thread, or the loop, lets go of the call a moment after it has told of its end.
        for _ in range(1_000):
            if watched() is None:
                break
            await asyncio.sleep(0.001)
    assert kept.pop() is not None
    assert watched() is None

"""Runs that are over leave nothing to the garbage collector: with many of them it would take longer than they do."""

from __future__ import annotations

import asyncio
import gc

from flowrra import Flowrra, current_run


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

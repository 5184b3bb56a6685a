"""Holding runs back, waiting for them, and the end of an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress

from flowrra.core.statuses import StopReason
from flowrra.engine.columns import Columns
from flowrra.engine.run import Run
from flowrra.engine.saver import STOP_SECONDS
from flowrra.engine.selections import ColumnsCountdown
from flowrra.engine.transitions import Transitions
from flowrra.engine.waiters import Countdown, wait_here
from flowrra.interfaces import ResultBackend


class Ending:
    """How what is left of the runs comes to its end, by itself or not."""

    def __init__(self, transitions: Transitions, backend: ResultBackend, unfinished: Callable[[], list[Run]]) -> None:
        """*unfinished* also lists the runs that are on their way to the engine's loop."""
        self._runs = transitions
        self._backend = backend
        self._unfinished = unfinished

    def give_up_held(self, parts: Sequence[Run | Columns] | None = None) -> list[Run]:
        """Cancel those of the runs and maps in *parts*, or of all, that cannot begin now; return them.

        They are paused, or not yet due.
        """
        held = self._runs.dispatch.held()
        if parts is not None:
            mine = set(map(id, parts))
            held = [run for run in held if id(self._part_of(run)) in mine]
        self._runs.stop_runs(held, StopReason.SHUTDOWN, "the app was left before it could begin")
        return held

    def _part_of(self, run: Run) -> Run | Columns | None:
        batch = run.submission.batch_id
        return run if batch is None or run.submission.retry_of is not None else self._runs.maps.get(batch)

    async def until_over(self, parts: Sequence[Run | Columns] | None = None) -> None:
        """Wait until the runs and maps in *parts*, or all, are over; *parts* may grow meanwhile."""
        if parts is None:
            await self._runs.idle.wait()
            return
        waited = 0
        while group := parts[waited:]:
            await wait_here(Countdown([part for part in group if isinstance(part, Run)]))
            for part in group:
                if isinstance(part, Columns):
                    await wait_here(ColumnsCountdown(part, range(len(part))))
            waited += len(group)

    async def stop(self) -> list[Run]:
        """End everything that is not over, then release executors and backend. Returns the runs that were given up.

        Every part is released, even if the release of another one raises; that is raised afterwards. Outcomes that
        cannot be saved within a moment are given up.
        """
        self._runs.stopping = True
        self._runs.saver.give_up_after(STOP_SECONDS)
        unfinished = [run for run in self._unfinished() if not run.record.is_terminal]
        async with AsyncExitStack() as release:
            release.push_async_callback(self._backend.close)
            release.callback(self._runs.dispatch.close)
            release.push_async_callback(self._runs.saver.close)
            for executor in self._runs.executors.values():
                release.push_async_callback(executor.close)
            self._runs.stop_runs(unfinished, StopReason.SHUTDOWN, "the app was stopped")
            await self._until_idle()
        return unfinished

    async def _until_idle(self) -> None:
        """Cannot be cancelled: whoever waits for a run needs its end, and executors and saver are quick to bring it."""
        while not self._runs.idle.is_set():
            # asyncio.run() cancels every task when its program has returned.
            with suppress(asyncio.CancelledError):
                await self._runs.idle.wait()

    def lose_loop(self) -> None:
        """End what is not over after the loop was closed under the engine, so that nobody waits for ever.

        Also for an engine that a fork has copied: its loop runs in the other process.
        """
        self._runs.stopping = True
        self._runs.saver.abandon()
        left = self._unfinished()
        self._runs.active.clear()
        self._runs.turn_away([run for run in left if not run.settled])
        self._runs.maps.clear()

"""Saves outcomes in groups, in order, and lets handles wake only when theirs is saved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from flowrra import log
from flowrra.engine.run import Run
from flowrra.interfaces import ResultBackend

GROUP = 500
RETRY_SECONDS = 0.05
RETRY_MAX_SECONDS = 5.0


class Saver:
    """While one group is being saved the next one gathers, so a slow backend gets larger groups.

    A backend that fails is tried again with growing pauses: an outcome is never dropped, nor seen before it is kept.
    """

    def __init__(self, backend: ResultBackend, saved: Callable[[Sequence[Run]], None]) -> None:
        self._backend = backend
        self._saved = saved
        self._waiting: list[Run] = []
        self._work = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._save_all(), name="flowrra-saver")

    def add(self, run: Run) -> None:
        """Save the outcome of *run* soon."""
        self._waiting.append(run)
        self._work.set()

    async def close(self) -> None:
        """End at once. The engine calls this when everything added is saved, or when nothing was ever added."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _save_all(self) -> None:
        while True:
            await self._work.wait()
            group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
            if not self._waiting:
                self._work.clear()
            await self._save(group)
            self._saved(group)

    async def _save(self, group: Sequence[Run]) -> None:
        pause = RETRY_SECONDS
        while True:
            try:
                return await self._backend.save([run.stored() for run in group])
            except Exception as error:  # noqa: BLE001 - drivers raise what they like, and it is tried again
                log.engine.warning("saving %d outcomes failed (%s); trying again in %.2g s", len(group), error, pause)
            await asyncio.sleep(pause)
            pause = min(RETRY_MAX_SECONDS, 2 * pause)

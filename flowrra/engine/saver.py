"""Saves outcomes in groups, in order, and lets handles wake only when theirs is saved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from flowrra import log
from flowrra.engine.run import Run
from flowrra.engine.stretches import Stretch
from flowrra.interfaces import ResultBackend, Stored

GROUP = 500
RETRY_SECONDS = 0.05
RETRY_MAX_SECONDS = 5.0
DRAIN_SECONDS = 30.0
"""How long a backend may fail while an app drains."""
STOP_SECONDS = 2.0
"""The same once it stops."""
LAST_ATTEMPT_SECONDS = 1.0


Ended = Run | Stretch


class Saver:
    """While one group is being saved the next one gathers, so a slow backend gets larger groups.

    A backend that fails is tried again with growing pauses, without end: an outcome is never dropped, nor seen before
    it is kept. Only :meth:`give_up_after` ends that, so that an app can be left. A cancellation that does not come from
    :meth:`close` is survived: ``asyncio.run`` cancels every task at its end, and outcomes are yet to be saved.
    """

    def __init__(self, backend: ResultBackend, saved: Callable[[Sequence[Ended]], None]) -> None:
        """*saved* is called with each group that handles may see now, also if it was given up."""
        self.given_up = 0
        """Outcomes that were not saved."""
        self._backend = backend
        self._save_now = immediate_save(backend)
        self._saved = saved
        self._waiting: list[Ended] = []
        self._work = asyncio.Event()
        self._patience: float | None = None
        self._impatient = asyncio.Event()
        self._attempt: asyncio.Timeout | None = None
        self._failing_since: float | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._save_all(), name="flowrra-saver")

    def add(self, ended: Ended) -> None:
        """Save the outcome of a run, or of a stretch of runs: at once if the backend can, else soon."""
        if self._save_now is not None:
            self._save_now((ended.stored(),) if type(ended) is Run else _stored((ended,)))
            self._saved((ended,))
            return
        self._waiting.append(ended)
        self._work.set()

    def give_up_after(self, seconds: float) -> None:
        """From now on outcomes are given up, after a last attempt, when the backend has failed for *seconds*."""
        self._patience = seconds
        self._impatient.set()
        if self._attempt is not None and not self._attempt.expired():
            self._attempt.reschedule(self._attempt_ends())

    async def close(self) -> None:
        """End at once. The engine calls this when everything added is saved, or when nothing was ever added."""
        self.abandon()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def abandon(self) -> None:
        """Save nothing more. For an engine whose loop no longer runs, where there is nothing to be waited for."""
        self._closed = True

    async def _save_all(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "it is one"
        while not self._closed:
            try:
                await self._work.wait()
                await self._save(_first_group(self._waiting))
            except asyncio.CancelledError:
                task.uncancel()

    async def _save(self, group: Sequence[Ended]) -> None:
        pause = RETRY_SECONDS
        while (failure := await self._try_to_save(group)) is not None:
            if self._is_at_an_end():
                # What has gathered meanwhile shares its fate: an attempt for each group would take for ever.
                self._give_up(list(self._waiting), failure)
                return
            log.engine.warning("saving %d outcomes failed (%s); trying again in %.2g s", _size(group), failure, pause)
            await self._rest(pause)
            pause = min(RETRY_MAX_SECONDS, 2 * pause)
        self._let_go(group)

    async def _try_to_save(self, group: Sequence[Ended]) -> Exception | None:
        try:
            async with asyncio.timeout_at(self._attempt_ends()) as self._attempt:
                await self._backend.save(_stored(group))
        except Exception as error:  # noqa: BLE001 - drivers raise what they like, and it is tried again
            if self._failing_since is None:
                self._failing_since = self._loop.time()
            return error
        finally:
            self._attempt = None
        self._failing_since = None
        return None

    def _attempt_ends(self) -> float | None:
        if self._patience is None:
            return None
        now = self._loop.time()
        return max(now + LAST_ATTEMPT_SECONDS, (self._failing_since or now) + self._patience)

    def _is_at_an_end(self) -> bool:
        if self._patience is None or self._failing_since is None:
            return False
        return self._loop.time() >= self._failing_since + self._patience

    async def _rest(self, seconds: float) -> None:
        self._impatient.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._impatient.wait()

    def _give_up(self, group: Sequence[Ended], failure: Exception) -> None:
        log.engine.error("%d outcomes were not saved, for the backend still fails: %s", _size(group), failure)
        self.given_up += _size(group)
        self._let_go(group)

    def _let_go(self, group: Sequence[Ended]) -> None:
        del self._waiting[: len(group)]
        if not self._waiting:
            self._work.clear()
        self._saved(group)


def immediate_save(backend: ResultBackend) -> Callable[[Sequence[Stored]], None] | None:
    """The backend's ``save_now``, if it stands for its ``save``: not if a subclass has changed only that."""
    owner = next((kind for kind in type(backend).__mro__ if "save" in vars(kind)), object)
    return getattr(backend, "save_now") if "save_now" in vars(owner) else None  # noqa: B009 - not all have it


def _first_group(waiting: Sequence[Ended]) -> Sequence[Ended]:
    """Runs, as many as go together, or one stretch: it comes as a sequence of its own."""
    if isinstance(waiting[0], Stretch):
        return waiting[:1]
    for index, ended in enumerate(waiting[:GROUP]):
        if isinstance(ended, Stretch):
            return waiting[:index]
    return waiting[:GROUP]


def _stored(group: Sequence[Ended]) -> Sequence[Stored]:
    first = group[0]
    return first.stored() if isinstance(first, Stretch) else [run.stored() for run in group if isinstance(run, Run)]


def _size(group: Sequence[Ended]) -> int:
    return sum(ended.length if isinstance(ended, Stretch) else 1 for ended in group)

"""The engine: runs come in, executors report, outcomes go out. Lives on one event loop.

Every method but those marked as safe from any thread is called on that loop. An executor reports through
:mod:`flowrra.engine.reports`, and never calls back from inside ``begin`` with ``finished``: dispatching does not
recurse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from flowrra.clock import Clock
from flowrra.core.statuses import Status, StopReason
from flowrra.engine.columns import Columns
from flowrra.engine.ending import Ending
from flowrra.engine.kept import KeptArguments
from flowrra.engine.reports import Reports
from flowrra.engine.run import Run
from flowrra.engine.transitions import Transitions
from flowrra.events import Dispatcher
from flowrra.interfaces import Executor, ResultBackend
from flowrra.loops import LoopInbox

_PENDING = Status.PENDING


class Engine:
    """One start of an app. After :meth:`stop` it is never used again; the runs it made still answer."""

    def __init__(
        self,
        executors: Mapping[str, Executor],
        backend: ResultBackend,
        dispatcher: Dispatcher,
        clock: Clock,
        keep_arguments: int = 0,
    ) -> None:
        """*keep_arguments*: bytes for what runs without a value were executed with, so that they can be retried."""
        self.executors = executors
        self.backend = backend
        self.clock = clock
        self.loop = asyncio.get_running_loop()
        self.inbox = LoopInbox(self.loop)
        self._arriving: dict[str, Run] = {}
        """Runs on their way to the loop."""
        self.kept = KeptArguments(keep_arguments)
        self._runs = Transitions(executors, backend, dispatcher, clock, self.kept)
        self._dispatch = self._runs.dispatch
        self._ending = Ending(self._runs, backend, self.unfinished)
        self.saver = self._runs.saver
        self.counts = self._runs.counts
        """Runs of this start by status."""

    @property
    def dispatcher(self) -> Dispatcher:
        """Where callbacks and subscribers are called."""
        return self._runs.dispatcher

    @dispatcher.setter
    def dispatcher(self, dispatcher: Dispatcher) -> None:
        self._runs.dispatcher = dispatcher

    async def start(self) -> None:
        """Start the executors. If one of them cannot, those already started are closed again."""
        reports = Reports(self._runs)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.saver.close)
            for executor in self.executors.values():
                await executor.start(reports)
                undo.push_async_callback(executor.close)
            undo.pop_all()

    # From any thread.

    def accept(self, run: Run) -> bool:
        """Take a new run; False if the engine has stopped. On the loop it is queued at once, else in turn."""
        if self._runs.stopping:
            return False
        if self.on_loop:
            self._enter(run)
            return True
        self._arriving[run.id] = run
        # Asked once more: a loop that ends right after the engine may never come to what was posted.
        if not self.inbox.post(self._enter, run) or self._runs.stopping:
            self._arriving.pop(run.id, None)
            return False
        return True

    def accept_map(self, columns: Columns) -> bool:
        """Take the runs of a map, as :meth:`accept` does."""
        if self._runs.stopping:
            return False
        # Known before it is queued: from now on its runs are found by id.
        self._runs.maps.add(columns)
        if self.on_loop:
            self._enter_map(columns)
        elif not self.inbox.post(self._enter_map, columns) or self._runs.stopping:
            self._runs.maps.remove(columns)
            return False
        return True

    def find(self, run_id: str) -> Run | None:
        """The run, if it is not over, or None."""
        return self._arriving.get(run_id) or self._runs.find(run_id)

    def unfinished(self) -> list[Run]:
        """The runs that are not over, those that are on their way to the loop included."""
        # In this order: a run that moves over meanwhile is seen twice rather than not at all.
        single = {**self._arriving, **self._runs.active}
        return [*single.values(), *self._runs.maps.unfinished()]

    def active(self) -> list[Run | Columns]:
        """What has been queued and is not over, without an object for each run of a map."""
        return [*list(self._runs.active.values()), *self._runs.maps]

    def forget_waiters(self) -> None:
        """After a fork: those who wait for runs are in the other process."""
        for columns in self._runs.maps:
            columns.forget_listeners()
        for run in self.unfinished():
            run.forget_waiters()

    def request_stop(self, runs: Iterable[Run], reason: StopReason, words: str = "cancel() was called") -> None:
        """Ask *runs* to stop; those that are over are left as they are."""
        self.call(self._runs.stop_runs, list(runs), reason, words)

    def hurry(self, runs: Iterable[Run]) -> None:
        """Take from *runs*, which were asked to stop, the time that is left to them for it. From any thread."""
        self.call(self._runs.hurry, list(runs))

    def call(self, method: Callable[..., None], *args: Any) -> None:
        """Call *method* on the loop: at once if the caller runs there, so that calls made there keep their order."""
        if self.on_loop:
            method(*args)
        else:
            self.inbox.post(method, *args)

    @property
    def on_loop(self) -> bool:
        """Whether the caller runs inside the engine's loop."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def waits_for(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether a run that is not over needs *loop* to go on."""
        executors = {columns.submission.executor for columns in self._runs.maps}
        runs = (*list(self._arriving.values()), *list(self._runs.active.values()))
        executors.update(run.submission.executor for run in runs)
        return any(self.executors[name].loop is loop for name in executors)

    def loop_needed_by(self, run: Run) -> asyncio.AbstractEventLoop | None:
        """The loop that must be free for *run* to go on, besides the engine's own."""
        return self.executors[run.submission.executor].loop

    # New runs.

    def _enter(self, run: Run) -> None:
        submission = run.submission
        if self._runs.stopping:
            self._runs.turn_away((run,))
            self._arriving.pop(submission.id, None)
            return
        if not self._runs.active:
            self._runs.idle.clear()
        self._runs.active[submission.id] = run
        if self._arriving:
            self._arriving.pop(submission.id, None)
        self.counts[_PENDING] += 1
        if self._runs.dispatcher.followers:
            self._runs.dispatcher.entered(run)
        if submission.deadline is not None:
            run.deadline_timer = self._runs.stop_at(submission.deadline, run, StopReason.DEADLINE)
        if self._runs.dispatcher.watched:
            self._runs.announce(run)
        self._dispatch.enter(run, submission.not_before)

    def _enter_map(self, columns: Columns) -> None:
        if self._runs.stopping:
            self._runs.turn_away(columns.unfinished())
            self._runs.maps.remove(columns)
            # The last run that was waited for may have ended while this map was known.
            self._runs.note_idle()
            return
        self._runs.idle.clear()
        submission = columns.submission
        self.counts[Status.PENDING] += len(columns)
        if self._runs.dispatcher.followers:
            self._runs.dispatcher.entered(columns)
        if submission.deadline is not None:
            columns.deadline_timer = self.clock.call_at(submission.deadline, lambda: self._map_is_late(columns))
        if self._runs.dispatcher.watched:
            for position in range(len(columns)):
                self._runs.announce_position(columns, position, Status.PENDING)
        self._dispatch.enter_columns(columns, submission.not_before)

    def _map_is_late(self, columns: Columns) -> None:
        self._runs.stop_runs(columns.unfinished(), StopReason.DEADLINE, "")

    # Holding back, and the end.

    def pause(self, task_name: str | None) -> None:
        """Start no more runs, of one task or at all; what has begun goes on."""
        self._dispatch.pause(task_name)

    def resume(self, task_name: str | None) -> None:
        self._dispatch.resume(task_name)

    @property
    def paused(self) -> Sequence[str]:
        """Names of the paused tasks; ``"*"`` for all."""
        return self._dispatch.paused

    def give_up_held(self, parts: Sequence[Run | Columns] | None = None) -> list[Run]:
        """Cancel those of the runs and maps in *parts*, or of all, that cannot begin now; return them.

        They are paused, or not yet due.
        """
        return self._ending.give_up_held(parts)

    async def until_over(self, parts: Sequence[Run | Columns] | None = None) -> None:
        """Wait until the runs and maps in *parts*, or all, are over; *parts* may grow meanwhile."""
        await self._ending.until_over(parts)

    async def stop(self) -> list[Run]:
        """End everything that is not over, then release executors and backend. Returns the runs that were given up.

        Every part is released, even if the release of another one raises; that is raised afterwards. Outcomes that
        cannot be saved within a moment are given up.
        """
        return await self._ending.stop()

    def lose_loop(self) -> None:
        """End what is not over after the loop was closed under the engine, so that nobody waits for ever.

        Also for an engine that a fork has copied: its loop runs in the other process.
        """
        self._ending.lose_loop()
        self._arriving.clear()

"""The handles of one ``map``, in input order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, overload

from flowrra.core.seeds import number_of, source_of
from flowrra.core.statuses import Status, StopReason
from flowrra.engine.retried import newest_of
from flowrra.engine.run import Run
from flowrra.engine.selections import MappedRuns
from flowrra.engine.waiters import Signal, begin_wait, block, wait_here
from flowrra.errors import InvalidOption, WaitTimeout
from flowrra.events import RunEvent
from flowrra.handle import TaskHandle, value_of
from flowrra.waiting import Completed

if TYPE_CHECKING:
    import pandas

    from flowrra.engine.engine import Engine

R = TypeVar("R")
Retry = Callable[[Sequence[Run]], Sequence[Run]]
"""Submits runs that are over anew, all of them or, if it raises, none."""
OnError = Literal["raise", "return", "skip"]


class Batch(Sequence[TaskHandle[R]], Generic[R]):
    """One run per item. Thread-safe; a sequence of handles in input order, whose slices are batches too.

    ``await batch`` gives the values like :meth:`result`. Of an item that was retried the newest run counts, in every
    respect.
    """

    __slots__ = ("__weakref__", "_mapped", "_retry", "id", "task_name")
    __flowrra_handle__: ClassVar[bool] = True

    def __init__(self, id: str, task_name: str, runs: MappedRuns, retry: Retry) -> None:  # noqa: A002 - the public name of the attribute
        self.id = id
        self.task_name = task_name
        self._mapped = runs
        self._retry = retry

    @property
    def _runs(self) -> MappedRuns:
        return newest_of(self._mapped)

    def __len__(self) -> int:
        return len(self._mapped.positions)

    @overload
    def __getitem__(self, index: int) -> TaskHandle[R]: ...
    @overload
    def __getitem__(self, index: slice) -> Batch[R]: ...
    def __getitem__(self, index: int | slice) -> TaskHandle[R] | Batch[R]:
        if isinstance(index, slice):
            chosen = MappedRuns(self._mapped.columns, self._mapped.positions[index])
            return Batch(self.id, self.task_name, chosen, self._retry)
        return TaskHandle(self._runs.run(index))

    def __iter__(self) -> Iterator[TaskHandle[R]]:
        return map(TaskHandle[R], self._runs)

    @property
    def selection(self) -> MappedRuns:
        """Which runs of which map these are; for tables and waiters."""
        return self._runs

    def result(self, on_error: OnError = "raise", timeout: float | None = None) -> list[R]:
        """Block until the values are there and return them in input order.

        ``on_error="raise"`` raises as soon as one run has failed for good: that run's own exception, with a note that
        says which it was; the others go on. ``"return"`` puts exceptions in their places, ``"skip"`` leaves them out;
        both wait for all runs. Raises ``WaitTimeout`` and ``WouldDeadlock`` like ``handle.result()``.
        """
        __tracebackhide__ = True
        begin_wait(self._mapped)
        give_up = None if timeout is None else time.monotonic() + timeout
        signal = self._signal(on_error)
        while True:
            left = None if give_up is None else max(0.0, give_up - time.monotonic())
            if not block(signal, left, self._loop_to_pump()):
                assert timeout is not None, "only a wait with a timeout gives up"
                raise WaitTimeout(f"the batch {self.id} of {self.task_name} ({self._tally()})", timeout)
            if self._is_decided(on_error):
                return self._values(on_error)
            signal = self._signal(on_error)  # some were retried meanwhile

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self._wait_for_values().__await__()

    async def _wait_for_values(self) -> list[R]:
        __tracebackhide__ = True
        begin_wait(self._mapped)
        await wait_here(self._signal("raise"))
        while not self._is_decided("raise"):  # some were retried meanwhile
            await wait_here(self._signal("raise"))
        return self._values("raise")

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all runs are done; return whether they are."""
        __tracebackhide__ = True
        begin_wait(self._mapped)
        return block(self._runs.all_over(), timeout, self._loop_to_pump())

    def done(self) -> bool:
        return not self._runs.count_left()

    @property
    def errors(self) -> dict[int, BaseException]:
        """What the runs that have failed or been cancelled so far raised, by position in this batch."""
        positions, failures = self._mapped.positions, self._runs.failures()
        return {positions.index(position): failures[position] for position in sorted(failures, key=positions.index)}

    def as_completed(self) -> Completed[R]:
        """Iterate over the handles as they end, failed ones too; ``for`` or ``async for``, and again if you like."""
        return Completed(self._runs)

    def cancel(self, *, now: bool = False) -> int:
        """Ask all runs that are not done to stop, as ``handle.cancel()`` does; return how many that are."""
        by_engine: dict[Engine, list[Run]] = {}
        for run in self._runs.unfinished():
            if run.engine is not None and run.want_stop():
                by_engine.setdefault(run.engine, []).append(run)
        for engine, unfinished in by_engine.items():
            engine.request_stop(unfinished, StopReason.CANCEL)
            if now:
                engine.hurry(unfinished)
        return sum(map(len, by_engine.values()))

    def retry_failed(self) -> int:
        """Submit every run again that failed or was cancelled, as ``app.retry()`` does; return how many those are.

        Their new runs take their places in this batch. All of them are submitted or, if it raises, none: as
        ``app.retry()`` it raises ``ArgumentsGone`` and ``AppNotRunning``.
        """
        runs = self._runs
        places = {position: index for index, position in enumerate(runs.positions)} if runs.failures() else {}
        return len(self._retry([runs.run(places[position]) for position in runs.failures()]))

    def to_frame(self) -> pandas.DataFrame:
        """Return a pandas DataFrame of the records, a row per run in input order, indexed by ``index``.

        Its columns are the fields of ``TaskResult``; ``error`` is text. Raises ``MissingDependency`` without pandas.
        """
        from flowrra.frames import frame_of

        return frame_of([handle.info() for handle in self])

    def counts(self) -> dict[Status, int]:
        """How many runs stand where; every status is a key."""
        return self._runs.statuses()

    def add_done_callback(self, callback: Callable[[Batch[R]], object]) -> None:
        """Call ``callback(batch)`` when all runs are done, on the app's callback thread."""
        dispatcher = self._mapped.columns.engine.dispatcher
        when_done = _Calling(lambda: dispatcher.post(callback, self))
        if not self._runs.all_over().arm(when_done):
            when_done.fire()

    def subscribe(self, callback: Callable[[RunEvent], object]) -> Callable[[], None]:
        """Call *callback* with each change of its runs, as ``app.subscribe`` does; returns the call that ends it.

        A slice hears of all runs of the batch that it was cut from.
        """
        dispatcher = self._mapped.columns.engine.dispatcher
        return dispatcher.subscribe(lambda event: event.batch_id == self.id and callback(event))

    def _loop_to_pump(self) -> asyncio.AbstractEventLoop | None:
        return self._runs.loop_to_pump(f"waiting for a batch of {self.task_name}")

    def _signal(self, on_error: object) -> Signal:
        if on_error not in ("raise", "return", "skip"):
            hint = f"; for a limit of the wait write timeout={on_error!r}" if isinstance(on_error, int | float) else ""
            raise InvalidOption(f"on_error is 'raise', 'return' or 'skip', not {on_error!r}{hint}")
        return self._runs.all_over(stop_on_failure=on_error == "raise")

    def _is_decided(self, on_error: OnError) -> bool:
        """Whether :meth:`_values` has something to return or to raise."""
        runs = self._runs
        return not runs.count_left() or (on_error == "raise" and bool(runs.failures()))

    def _values(self, on_error: OnError) -> list[Any]:
        __tracebackhide__ = True
        errors = self.errors
        if errors and on_error == "raise":
            first = next(iter(errors))
            self._add_note(first, errors[first])
            value_of(self._run(first))
        values = self._runs.values()
        if on_error == "skip":
            return [value for index, value in enumerate(values) if index not in errors] if errors else values
        for index, error in errors.items():
            values[index] = error
        return values

    def _run(self, index: int) -> Run:
        return self._runs.run(index)

    def _add_note(self, index: int, error: BaseException) -> None:
        run = self._run(index)
        place = f"run {index} of {len(self)}"
        if not any(note.startswith(place) for note in getattr(error, "__notes__", ())):
            shown = f", {run.args_preview}" if run.args_preview else ""
            seed = number_of(source_of(run.submission).seed)
            others = "" if self.done() else ", the others go on"
            error.add_note(f"{place}{shown}, random seed {seed}; {self._tally()}{others}")

    def _tally(self) -> str:
        counts = self.counts()
        parts = [f"{counts[Status.SUCCESS]} done", f"{counts[Status.FAILED]} failed"]
        parts += [f"{counts[Status.CANCELLED]} cancelled"] if counts[Status.CANCELLED] else []
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"<Batch {self.id} {self.task_name}: {len(self)} runs, {self._tally()}>"


class _Calling:
    """A :class:`~flowrra.engine.waiters.Fire` that calls *call*."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.fire = call

"""The handles of one ``map``, in input order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, ClassVar, Generic, Literal, TypeVar, overload

from flowrra.core.statuses import Status, StopReason
from flowrra.engine.run import Run
from flowrra.engine.waiters import Countdown, block, loop_to_pump, wait_here
from flowrra.errors import InvalidOption, WaitTimeout
from flowrra.events import RunEvent
from flowrra.handle import TaskHandle, value_of
from flowrra.waiting import Completed

R = TypeVar("R")
OnError = Literal["raise", "return", "skip"]


class Batch(Sequence[TaskHandle[R]], Generic[R]):
    """One run per item. Thread-safe; a sequence of handles in input order, whose slices are batches too.

    ``await batch`` gives the values like :meth:`result`.
    """

    __slots__ = ("__weakref__", "_runs", "id", "task_name")
    __flowrra_handle__: ClassVar[bool] = True

    def __init__(self, id: str, task_name: str, runs: Sequence[Run]) -> None:  # noqa: A002 - the public name of the attribute
        self.id = id
        self.task_name = task_name
        self._runs = runs

    def __len__(self) -> int:
        return len(self._runs)

    @overload
    def __getitem__(self, index: int) -> TaskHandle[R]: ...
    @overload
    def __getitem__(self, index: slice) -> Batch[R]: ...
    def __getitem__(self, index: int | slice) -> TaskHandle[R] | Batch[R]:
        if isinstance(index, slice):
            return Batch(self.id, self.task_name, self._runs[index])
        return TaskHandle(self._runs[index])

    def __iter__(self) -> Iterator[TaskHandle[R]]:
        return map(TaskHandle[R], self._runs)

    def result(self, on_error: OnError = "raise", timeout: float | None = None) -> list[R]:
        """Block until the values are there and return them in input order.

        ``on_error="raise"`` raises as soon as one run has failed for good: that run's own exception, with a note that
        says which it was; the others go on. ``"return"`` puts exceptions in their places, ``"skip"`` leaves them out;
        both wait for all runs. Raises ``WaitTimeout`` and ``WouldDeadlock`` like ``handle.result()``.
        """
        signal = self._signal(on_error)
        if not block(signal, timeout, loop_to_pump(self._runs, f"waiting for a batch of {self.task_name}")):
            assert timeout is not None, "only a wait with a timeout gives up"
            raise WaitTimeout(f"the batch {self.id} of {self.task_name} ({self._tally()})", timeout)
        return self._values(on_error)

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self._wait_for_values().__await__()

    async def _wait_for_values(self) -> list[R]:
        await wait_here(self._signal("raise"))
        return self._values("raise")

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all runs are done; return whether they are."""
        return block(
            Countdown(self._runs), timeout, loop_to_pump(self._runs, f"waiting for a batch of {self.task_name}")
        )

    def done(self) -> bool:
        return all(run.settled for run in self._runs)

    @property
    def errors(self) -> dict[int, BaseException]:
        """What the runs that have failed or been cancelled so far raised, by position in this batch."""
        failures = ((index, run.exception) for index, run in enumerate(self._runs) if run.settled)
        return {index: error for index, error in failures if error is not None}

    def as_completed(self) -> Completed[R]:
        """Iterate over the handles as they end, failed ones too; ``for`` or ``async for``, and again if you like."""
        return Completed(self._runs)

    def cancel(self) -> int:
        """Ask all runs that are not done to stop, as ``handle.cancel()`` does; return how many that are."""
        unfinished = [run for run in self._runs if run.engine is not None and run.want_stop()]
        if unfinished and unfinished[0].engine is not None:
            unfinished[0].engine.request_stop(unfinished, StopReason.CANCEL)
        return len(unfinished)

    def counts(self) -> dict[Status, int]:
        """How many runs stand where; every status is a key."""
        found = Counter(run.status for run in self._runs)
        return {status: found[status] for status in Status}

    def add_done_callback(self, callback: Callable[[Batch[R]], object]) -> None:
        """Call ``callback(batch)`` when all runs are done, on the app's callback thread."""
        dispatchers = [run.engine.dispatcher for run in self._runs if run.engine is not None]
        if not dispatchers:
            callback(self)
            return
        when_done = _Calling(lambda: dispatchers[0].post(callback, self))
        if not Countdown(self._runs).arm(when_done):
            when_done.fire()

    def subscribe(self, callback: Callable[[RunEvent], object]) -> Callable[[], None]:
        """Call *callback* with each change of its runs, as ``app.subscribe`` does; returns the call that ends it.

        A slice hears of all runs of the batch that it was cut from.
        """
        engine = next((run.engine for run in self._runs if run.engine is not None), None)
        if engine is None:
            return lambda: None
        return engine.dispatcher.subscribe(lambda event: event.batch_id == self.id and callback(event))

    def _signal(self, on_error: object) -> Countdown:
        if on_error not in ("raise", "return", "skip"):
            hint = f"; for a limit of the wait write timeout={on_error!r}" if isinstance(on_error, int | float) else ""
            raise InvalidOption(f"on_error is 'raise', 'return' or 'skip', not {on_error!r}{hint}")
        return Countdown(self._runs, stop_on_failure=on_error == "raise")

    def _values(self, on_error: OnError) -> list[Any]:
        if on_error == "return":
            return [value_of(run) if run.exception is None else run.exception for run in self._runs]
        if on_error == "skip":
            return [value_of(run) for run in self._runs if run.exception is None]
        if errors := self.errors:
            first = next(iter(errors))
            self._add_note(first, errors[first])
            value_of(self._runs[first])
        return [value_of(run) for run in self._runs]

    def _add_note(self, index: int, error: BaseException) -> None:
        run = self._runs[index]
        place = f"run {index} of {len(self)}"
        if not any(note.startswith(place) for note in getattr(error, "__notes__", ())):
            shown = f", {run.args_preview}" if run.args_preview else ""
            error.add_note(f"{place}{shown}; {self._tally()}{'' if self.done() else ', the others go on'}")

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

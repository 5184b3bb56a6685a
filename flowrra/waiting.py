"""Waiting for several runs at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Generic, Literal, TypeVar

from flowrra.engine.selections import ListedRuns, Selection
from flowrra.engine.waiters import Countdown, begin_wait, block, loop_to_pump, wait_here
from flowrra.errors import InvalidOption
from flowrra.handle import TaskHandle

R = TypeVar("R")
ReturnWhen = Literal["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"]


class Completed(Generic[R]):
    """Handles in the order in which they end, failed ones too; for ``for`` and for ``async for``, each time anew."""

    def __init__(self, runs: Selection) -> None:
        self._runs = runs

    def __iter__(self) -> Iterator[TaskHandle[R]]:
        """Blocks between handles. Raises ``WouldDeadlock`` where ``handle.result()`` would."""
        __tracebackhide__ = True
        begin_wait(self._runs)
        pumped = self._runs.loop_to_pump("iterating over as_completed()")
        arrivals = self._runs.arrivals()
        try:
            for _ in range(len(self._runs)):
                while (run := arrivals.take()) is None:
                    block(arrivals, None, pumped)
                yield TaskHandle(run)
        finally:
            arrivals.close()

    async def __aiter__(self) -> AsyncIterator[TaskHandle[R]]:
        __tracebackhide__ = True
        begin_wait(self._runs)
        arrivals = self._runs.arrivals()
        try:
            for _ in range(len(self._runs)):
                while (run := arrivals.take()) is None:
                    await wait_here(arrivals)
                yield TaskHandle(run)
        finally:
            arrivals.close()


def as_completed(handles: Iterable[TaskHandle[R]]) -> Completed[R]:
    """Iterate over *handles* as their runs end, with ``for`` or with ``async for``.

    Every handle comes once, one that occurs twice as well. Leaving the loop early leaves the runs alone.
    """
    return Completed(ListedRuns(dict.fromkeys(handle._run for handle in handles)))


def wait(
    handles: Iterable[TaskHandle[R]], timeout: float | None = None, return_when: ReturnWhen = "ALL_COMPLETED"
) -> tuple[set[TaskHandle[R]], set[TaskHandle[R]]]:
    """Block until *handles* are done, or the first of them is; return those that are and those that are not.

    Gives up after *timeout* seconds without raising. Raises ``WouldDeadlock`` where ``handle.result()`` would.
    """
    __tracebackhide__ = True
    both = set(handles)
    runs = [handle._run for handle in both]
    match return_when:
        case "ALL_COMPLETED":
            signal = Countdown(runs)
        case "FIRST_COMPLETED":
            signal = Countdown(runs, needed=min(1, len(runs)))
        case "FIRST_EXCEPTION":
            signal = Countdown(runs, stop_on_failure=True)
        case _:
            raise InvalidOption(
                f"return_when is ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION, not {return_when!r}"
            )
    begin_wait(ListedRuns(runs))
    block(signal, timeout, loop_to_pump(runs, "wait()"))
    done = {handle for handle in both if handle.done()}
    return done, both - done

"""Runs over a long or endless input, a window of them at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, Self, TypeVar

from flowrra.engine.waiters import Over, wait_here
from flowrra.handle import TaskHandle
from flowrra.options import check_positive_count

R = TypeVar("R")


class Stream(Generic[R]):
    """An iterator, sync and async, over finished handles in input order. Can be gone through once, from one place."""

    def __init__(self, submit: Callable[[Any], TaskHandle[R]], items: Iterable[Any], window: int) -> None:
        self._submit = submit
        self._items = iter(items)
        self._window = check_positive_count("window", window)
        self._ahead: deque[TaskHandle[R]] = deque()
        self._exhausted = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> TaskHandle[R]:
        """Block until the next run is done. Raises ``WouldDeadlock`` where ``handle.result()`` would."""
        self._fill()
        if not self._ahead:
            raise StopIteration
        # Waited for before it is taken out: an interrupt in the wait must not lose it.
        self._ahead[0].wait()
        return self._ahead.popleft()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskHandle[R]:
        self._fill()
        if not self._ahead:
            raise StopAsyncIteration
        run = self._ahead[0]._run
        if not run.settled:
            await wait_here(Over(run))
        return self._ahead.popleft()

    def _fill(self) -> None:
        while not self._exhausted and len(self._ahead) < self._window:
            try:
                item = next(self._items)
            except StopIteration:
                self._exhausted = True
            else:
                self._ahead.append(self._submit(item))

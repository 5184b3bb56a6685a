"""What every pool under comparison is asked to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

Function = Callable[..., Any]
Wait = Callable[[float | None], Any]
"""Waits for one value, at most so many seconds."""


class NotItsWay(Exception):
    """The library has no way to do this; the message says what is missing."""


class Contender:
    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Distributions that have to be installed."""
    how: ClassVar[str] = ""
    """How its documentation says that it is used best, and what was chosen."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @classmethod
    def load(cls) -> None:
        """Import the library: a cold start is measured from here on."""

    def close(self) -> None:
        """Release everything."""


class Pool(Contender, ABC):
    """Processes that run functions, each driven the best way its documentation names."""

    shares: ClassVar[bool] = False
    """A large argument is carried over once, so that it makes a difference to pass it again."""

    @abstractmethod
    def submit(self, function: Function, *args: Any) -> Wait:
        """Start one call."""

    def call(self, function: Function, *args: Any) -> Any:
        return self.submit(function, *args)(None)

    def trips(self, function: Function, items: Iterable[Any]) -> list[Any]:
        """Call for each item, each time waiting for the value."""
        return [self.call(function, item) for item in items]

    def singles(self, function: Function, items: Iterable[Any]) -> list[Any]:
        """Submit each item on its own, collect the values in order."""
        started = [self.submit(function, item) for item in items]
        return [wait(None) for wait in started]

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        """Run over many tiny items, batched."""
        raise NotItsWay("no batches")

    def hold(self, array: Any) -> Any:
        """Return what is passed to calls in place of *array*."""
        return array

    def each_with(self, function: Function, count: int, held: Any) -> list[Any]:
        """``function(index, array)`` for each index, *array* given as what ``hold`` returned."""
        started = [self.submit(function, index, held) for index in range(count)]
        return [wait(None) for wait in started]

    def with_global(self, tasks: Any, count: int) -> list[Any]:
        """For each index ``tasks.row_sum``, which reads the global ``tasks.table``; or what the library has instead."""
        return self.singles(tasks.row_sum, range(count))

    def results(self, function: Function, count: int, *args: Any) -> list[Any]:
        """``function(index, *args)`` for each index, where the results are large."""
        started = [self.submit(function, index, *args) for index in range(count)]
        return [wait(None) for wait in started]

    def outcomes(self, function: Function, items: Iterable[Any], *args: Any, timeout: float) -> list[Any]:
        """Values, with exceptions in the places of those that did not come within *timeout* seconds."""
        import time

        give_up = time.monotonic() + timeout
        started = [self.submit(function, item, *args) for item in items]
        return [outcome(wait, give_up - time.monotonic()) for wait in started]

    def handles(self, function: Function, items: Iterable[Any]) -> Any:
        """Submit each item; return what the library gives to hold on to."""
        return [self.submit(function, item) for item in items]

    def hold_back(self, tasks: Any, path: str) -> None:
        """Keep every worker busy until the file *path* exists, so that what is submitted stays pending."""
        for _ in range(self.workers):
            self.submit(tasks.wait_for_file, path)


def outcome(wait: Wait, timeout: float) -> Any:
    try:
        return wait(max(timeout, 0.01))
    except Exception as error:  # noqa: BLE001 - whatever a library raises for it is what is compared
        return error


def chunks(items: Sequence[Any], count: int) -> list[Sequence[Any]]:
    size = -(-len(items) // count)
    return [items[start : start + size] for start in range(0, len(items), size)]


def run_chunk(function: Function, items: Iterable[Any]) -> list[Any]:
    return [function(item) for item in items]

"""What the soak submits: every kind of run, how each may end, what it must return, and how often it comes."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from flowrra import Flowrra, Status, TaskHandle
from tests.faults import acts, victims

SUCCESS, FAILED = frozenset({Status.SUCCESS}), frozenset({Status.FAILED})
MAP_LENGTH = 30


@dataclass
class Expectation:
    """A run that was submitted, and how it has to end unless it is cancelled."""

    handle: TaskHandle[Any]
    ends: frozenset[Status]
    value: Any = None
    cancelled: bool = False

    def check(self) -> None:
        status = self.handle.status
        allowed = frozenset({Status.CANCELLED}) if self.cancelled else self.ends
        assert status in allowed, f"{self.handle!r}, which should be {sorted(allowed)}: {self.handle.info().error}"
        if status is Status.SUCCESS:
            assert self.value == self.handle.result(0), f"{self.handle!r} has the value of another"


Submit = Callable[[int], Sequence[Expectation]]


class Mixture:
    """Draws what is submitted next."""

    def __init__(self, app: Flowrra, chance: random.Random) -> None:
        self._chance = chance
        cpu, hasty = app.task(cpu_bound=True), app.task(cpu_bound=True, timeout=0.2)
        retried = app.task(cpu_bound=True, max_retries=1, retry_delay=0.01)
        self.work = cpu(victims.work)
        self._array = numpy.arange(1 << 18)
        """Two megabytes that many runs are given."""
        kinds: list[tuple[int, Submit]] = [
            (60, lambda n: [Expectation(self._of_any_priority(self.work).submit(n), SUCCESS, n * n)]),
            (20, lambda n: [Expectation(cpu(victims.talk).submit(n), SUCCESS, n * n)]),
            (3, self._map),
            (3, self._submitter(retried(victims.crash), FAILED)),
            (1, self._submitter(cpu(victims.segfault), FAILED)),
            (1, self._submitter(cpu(stop_dead), FAILED, timeout=0.2)),
            (2, self._submitter(hasty(victims.never_return), FAILED)),
            (2, self._submitter(cpu(victims.unpicklable), FAILED)),
            (2, self._submitter(cpu(leave), FAILED)),
            (2, self._submitter(retried(crash_in_the_first_attempt), SUCCESS, value="second attempt")),
            (4, lambda n: [Expectation(cpu(add_up).submit(self._array, n), SUCCESS, int(self._array.sum()) + n)]),
            (2, lambda n: [Expectation(cpu(add_up).submit(numpy.full(1 << 16, n), 0), SUCCESS, n << 16)]),
            (3, lambda n: [Expectation(cpu(make_big).submit(n), SUCCESS, Big(n))]),
            (40, self._submitter(app.task(wait_a_little), SUCCESS, square=True)),
            (5, self._submitter(app.task(max_retries=2, retry_delay=0.001)(give_up), FAILED)),
            (1, self._submitter(app.task(timeout=0.05)(hold_on), FAILED)),
        ]
        self._weights = [weight for weight, _ in kinds]
        self._submits = [submit for _, submit in kinds]

    def submit(self, n: int) -> Sequence[Expectation]:
        return self._chance.choices(self._submits, self._weights)[0](n)

    def _of_any_priority(self, task: Any) -> Any:
        priority = self._chance.choice((0, 0, 0, -5, 5, 10))
        return task.options(priority=priority) if priority else task

    def _map(self, n: int) -> list[Expectation]:
        items = range(n, n + MAP_LENGTH)
        return [
            Expectation(handle, SUCCESS, item * item) for item, handle in zip(items, self.work.map(items), strict=True)
        ]

    def _submitter(
        self,
        task: Any,
        ends: frozenset[Status],
        value: Any = None,
        *,
        square: bool = False,
        timeout: float | None = None,
    ) -> Submit:
        chosen = task if timeout is None else task.options(timeout=timeout)
        return lambda n: [Expectation(chosen.submit(n), ends, n * n if square else value)]


class Big:
    """Equal to a large array that is full of *n*."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, numpy.ndarray) and len(other) == 1 << 17 and bool((other == self.n).all())

    __hash__ = None  # type: ignore[assignment]


def make_big(n: int) -> Any:
    return numpy.full(1 << 17, n)


def add_up(array: Any, n: int) -> int:
    return int(array.sum()) + n


def stop_dead(_: int) -> None:
    acts.stop_dead()


def leave(_: int) -> None:
    acts.leave()


def crash_in_the_first_attempt(_: int) -> str:
    from flowrra import current_run

    if current_run().attempt == 1:
        os._exit(4)
    return "second attempt"


async def wait_a_little(n: int) -> int:
    await asyncio.sleep(0.005)
    return n * n


async def give_up(_: int) -> None:
    raise ValueError("as it should")


async def hold_on(_: int) -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(60)

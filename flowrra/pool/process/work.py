"""A claimed group, as the worker sees it: which runs it has, and their calls."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any, NamedTuple, Protocol

from flowrra.errors import FlowrraError, NotDecodable
from flowrra.pool.encoding.maps import rows_of
from flowrra.pool.encoding.payloads import CLOUD, arrived, load
from flowrra.pool.encoding.received_classes import received_classes
from flowrra.pool.transport.messages import RunGroup, RunHeader, SpanGroup

Arguments = tuple[Sequence[Any], dict[str, Any]]


_NO_KEYWORDS: dict[str, Any] = {}


class UnfitError(Exception):
    """Something of a run could not be rebuilt here, or not be sent back. ``reason`` is what the caller gets."""

    def __init__(self, reason: FlowrraError) -> None:
        super().__init__(str(reason))
        self.reason = reason


@contextmanager
def naming(task: str, what: str) -> Iterator[None]:
    """Whatever goes wrong in the block is a failure to rebuild *what*."""
    try:
        yield
    except Exception as error:
        raise UnfitError(NotDecodable(task, what, type(error).__name__, str(error))) from error


class Who(NamedTuple):
    """A run, as ``current_run()`` tells it."""

    number: int
    run_id: str
    attempt: int
    deadline: float | None


class Work(Protocol):
    """Runs are known by their index in the group."""

    @property
    def common(self) -> RunGroup | SpanGroup: ...

    number: int
    """Names the group."""
    count: int

    def who(self, index: int) -> Who: ...

    def number_of(self, index: int) -> int: ...

    def arguments(self, index: int) -> Iterator[Arguments]:
        """Rebuild the arguments of the runs from *index* on, each when it is asked for. May raise what loading does."""


class Singles:
    """Runs that were submitted one by one."""

    def __init__(self, common: RunGroup, fd: int | None) -> None:
        self.common = common
        self._runs = common.runs
        self._fd = fd
        self.number = common.runs[0][0]
        self.count = len(common.runs)

    def who(self, index: int) -> Who:
        return Who(*self._runs[index][:4])

    def number_of(self, index: int) -> int:
        return self._runs[index][0]

    def arguments(self, index: int) -> Iterator[Arguments]:
        for at in range(index, self.count):
            _, _, _, _, kind, head, table = RunHeader(*self._runs[at])
            fd, self._fd = self._fd, None
            with naming(self.common.task_name, "the arguments"):
                try:
                    loaded: Arguments = load(head, arrived(fd, table))
                finally:
                    if fd is not None:
                        os.close(fd)
            if kind == CLOUD:
                received_classes.note_new()
            yield loaded


class Columns:
    """Neighbours of a map, whose arguments are atoms."""

    def __init__(self, common: SpanGroup) -> None:
        self.common = common
        self.number = common.number
        self.count = common.length

    def who(self, index: int) -> Who:
        common = self.common
        return Who(common.number + index, f"{common.prefix}-{common.first_id + index}", 1, common.deadline)

    def number_of(self, index: int) -> int:
        return self.number + index

    def arguments(self, index: int) -> Iterator[Arguments]:
        # Shared by all of them, and copied by each call.
        return zip(rows_of(self.common.pieces, index), repeat(_NO_KEYWORDS))

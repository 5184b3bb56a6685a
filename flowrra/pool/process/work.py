"""A claimed group, as the worker sees it: which runs it has, and their calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, Protocol

from flowrra.core.seeds import Source
from flowrra.core.tuples import NamedTuple
from flowrra.errors import FlowrraError, NotDecodable
from flowrra.failures import safe_str
from flowrra.pool.data.mappings import Mappings
from flowrra.pool.encoding.maps import rows_of
from flowrra.pool.encoding.payloads import BUILTIN, CLOUD, load
from flowrra.pool.encoding.received_classes import received_classes
from flowrra.pool.transport.messages import RunGroup, RunHeader, SpanGroup

Arguments = tuple[Sequence[Any], dict[str, Any]]


_NO_KEYWORDS: dict[str, Any] = {}


class UnfitError(Exception):
    """Something of a run could not be rebuilt here, or not be sent back. ``reason`` is what the caller gets."""

    def __init__(self, reason: FlowrraError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def not_decodable(task: str, what: str, error: Exception) -> UnfitError:
    """*error* was raised when *what* was rebuilt."""
    return UnfitError(NotDecodable(task, what, type(error).__name__, safe_str(error)))


class Who(NamedTuple):
    """A run, as ``current_run()`` tells it."""

    number: int
    run_id: str
    attempt: int
    deadline: float | None
    source: Source


class Work(Protocol):
    """Runs are known by their index in the group."""

    @property
    def common(self) -> RunGroup | SpanGroup: ...

    number: int
    """Names the group."""
    count: int

    def who(self, index: int) -> Who: ...

    def number_of(self, index: int) -> int: ...

    def is_harmless(self) -> bool:
        """Rebuilding its arguments runs no code of the user's, and imports nothing."""

    def arguments(self, index: int) -> Iterator[Arguments]:
        """Rebuild the arguments of the runs from *index* on, each when it is asked for. May raise what loading does."""


class Singles:
    """Runs that were submitted one by one."""

    def __init__(self, common: RunGroup, mappings: Mappings) -> None:
        self.common = common
        self._runs = common.runs
        self._mappings = mappings
        self.number = common.runs[0][0]
        self.count = len(common.runs)

    def who(self, index: int) -> Who:
        run = RunHeader(*self._runs[index])
        return Who(run.number, run.run_id, run.attempt, run.deadline, Source(run.seed, run.position))

    def is_harmless(self) -> bool:
        return all(run[4] == BUILTIN for run in self._runs)

    def number_of(self, index: int) -> int:
        return self._runs[index][0]

    def arguments(self, index: int) -> Iterator[Arguments]:
        for at in range(index, self.count):
            _, _, _, _, kind, head, places, _, _ = self._runs[at]
            try:
                parts = self._mappings.parts(places, readonly=self.common.readonly) if places else []
                loaded: Arguments = load(head, parts)
                del parts
            except Exception as error:
                raise not_decodable(self.common.task_name, "the arguments", error) from error
            if kind == CLOUD:
                received_classes.note_new()
            yield loaded
            del loaded


class Columns:
    """Neighbours of a map, whose arguments are atoms."""

    def __init__(self, common: SpanGroup) -> None:
        self.common = common
        self.number = common.number
        self.count = common.length

    def who(self, index: int) -> Who:
        common = self.common
        source = Source(common.seed, common.position + index)
        return Who(common.number + index, f"{common.prefix}-{common.first_id + index}", 1, common.deadline, source)

    def is_harmless(self) -> bool:
        return True

    def number_of(self, index: int) -> int:
        return self.number + index

    def arguments(self, index: int) -> Iterator[Arguments]:
        # Shared by all of them, and copied by each call.
        return zip(rows_of(self.common.pieces, index), repeat(_NO_KEYWORDS))

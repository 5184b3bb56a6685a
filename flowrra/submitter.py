"""From a call to a run: snapshot the arguments, give it an id and a place, hand it to the engine."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from flowrra.batch import Batch
from flowrra.core.records import RetryPolicy, Submission, quick
from flowrra.core.tuples import NamedTuple
from flowrra.engine.columns import Columns
from flowrra.engine.engine import Engine
from flowrra.engine.run import Run
from flowrra.engine.selections import MappedRuns
from flowrra.errors import AppNotRunning, HandleNotAllowed, InvalidOption
from flowrra.functions import IO, THREADS
from flowrra.handle import TaskHandle
from flowrra.hosting import current_host
from flowrra.interfaces import Call, Executor
from flowrra.options import Options
from flowrra.previews import is_cheap
from flowrra.rows import Rows


class OpenBlocks:
    """The ``with app`` blocks around the running code, each with what was submitted in it.

    A block that joined a running app waits, when it is left, for that alone. Follows the code into its coroutines.
    """

    def __init__(self) -> None:
        self._blocks: ContextVar[tuple[tuple[Submitter, list[Run | Columns] | None], ...]] = ContextVar(
            "blocks", default=()
        )

    def push(self, owner: Submitter, *, joined: bool) -> None:
        """Enter a block of the app of *owner*; without *joined* nothing is recorded."""
        self._blocks.set((*self._blocks.get(), (owner, [] if joined else None)))

    def pop(self, owner: Submitter) -> list[Run | Columns] | None:
        """Leave the innermost block of *owner*; returns what was submitted in it, or None if it started the app."""
        blocks = self._blocks.get()
        for index in reversed(range(len(blocks))):
            if blocks[index][0] is owner:
                self._blocks.set(blocks[:index] + blocks[index + 1 :])
                return blocks[index][1]
        return None

    def record(self, owner: Submitter, submitted: Run | Columns) -> None:
        """Note a run or a map that was submitted."""
        for submitter, recorded in self._blocks.get():
            if submitter is owner and recorded is not None:
                recorded.append(submitted)


open_blocks = OpenBlocks()

_NO_KEYWORDS: Mapping[str, Any] = {}
"""One for all calls without any: each would keep an empty dict of its own."""


class Callee(NamedTuple):
    """What is submitted: a function with everything that is the same for each of its runs."""

    function: Callable[..., Any]
    name: str
    executor: str
    parameters: tuple[str, ...]
    options: Options
    retry: RetryPolicy
    timed: bool
    """Whether the options say when it may start or must be done."""


class Submitter:
    """Makes the runs of one app. Every call may come from any thread and waits for nothing."""

    def __init__(self, app_name: Callable[[], str], engine: Callable[[], Engine]) -> None:
        self._app_name = app_name
        self._engine = engine
        # Taken twice by a signal handler that submits, in the thread that holds it.
        self._lock = threading.RLock()
        self._next_number = 1
        self._prefix = secrets.token_hex(4)

    def submit(
        self, callee: Callee, args: tuple[Any, ...], kwargs: dict[str, Any], position: int | None = None
    ) -> TaskHandle[Any]:
        """Submit a call. Raises ``NotEncodable``, ``HandleNotAllowed`` or ``AppNotRunning``; nothing is queued then.

        *position* is its place among the calls that were given one seed together.
        """
        engine = self._engine()
        plain = not kwargs and _PLAIN.issuperset(map(type, args))
        if not plain:
            _refuse_handles(callee.name, args, kwargs)
        call = _call(callee, args, kwargs or _NO_KEYWORDS)
        encoded = _executor(engine, callee).encode(call)
        submission = self._submission(engine, callee, self._reserve(1), None, position)
        run = Run(
            submission, engine, encoded, call if plain and args and callee.options.preview else _shown(callee, call)
        )
        if not engine.accept(run):
            raise AppNotRunning(self._app_name())
        open_blocks.record(self, run)
        return TaskHandle(run)

    def submit_rows(self, callee: Callee, rows: Sequence[tuple[Any, ...]], constants: dict[str, Any]) -> Batch[Any]:
        """Submit one call per row, *constants* being keyword arguments of each; all of them or, if it raises, none."""
        engine = self._engine()
        for row in () if _is_plain(rows) else rows:
            _refuse_handles(callee.name, row, {})
        _refuse_handles(callee.name, (), constants)
        encoded = _executor(engine, callee).encode_map(_call(callee, (), constants), rows)
        batch_id = f"{self._prefix}-b{self._reserve(1)}"
        number = self._reserve(len(rows))
        first = self._submission(engine, callee, number, batch_id, 0)
        columns = Columns(first, len(rows), engine, encoded, _shown_rows(callee, rows, constants))
        # Not before: a block waits for what was recorded, and what was refused never ends.
        if len(rows):
            if not engine.accept_map(columns):
                raise AppNotRunning(self._app_name())
            open_blocks.record(self, columns)
        return Batch(batch_id, callee.name, MappedRuns(columns, range(len(rows))))

    def slots(self, callee: Callee) -> int:
        """How many runs of it can execute at the same time."""
        return _executor(self._engine(), callee).slots

    def _reserve(self, count: int) -> int:
        """The first of *count* numbers in a row that nobody else gets."""
        with self._lock:
            first = self._next_number
            self._next_number += count
        return first

    def _submission(
        self, engine: Engine, callee: Callee, number: int, batch_id: str | None, position: int | None
    ) -> Submission:
        options, host, now = callee.options, current_host(), engine.clock.now()
        fields = (
            f"{self._prefix}-{number}",
            callee.name,
            callee.executor,
            number,
            now.mono,
            now.wall,
            options.priority,
            callee.retry,
            options.timeout,
            options.starts_at(now) if callee.timed else None,
            options.ends_by(now) if callee.timed else None,
            batch_id,
            position,
            None if host is None else host.owner(),
            options.seed,
        )
        return quick(Submission, fields)


def _shown(callee: Callee, call: Call) -> Call | str:
    """What the preview of the arguments is made of when someone looks.

    Cheap arguments are kept by reference; others are described now, since their owner may change or want to free them.
    """
    if not callee.options.preview or not (call.args or call.kwargs):
        return ""
    return call if all(map(is_cheap, call.args)) and all(map(is_cheap, call.kwargs.values())) else str(call)


def _shown_rows(
    callee: Callee, rows: Sequence[tuple[Any, ...]], constants: Mapping[str, Any]
) -> Callable[[int], Call | str]:
    """The same for each row of a map, by position."""

    def call(row: tuple[Any, ...]) -> Call:
        return Call(callee.name, callee.function, row, constants, callee.parameters)

    if callee.options.preview and _is_plain(rows) and all(map(is_cheap, constants.values())):
        return lambda position: call(rows[position])
    shown = [_shown(callee, call(row)) for row in rows] if callee.options.preview else []
    return lambda position: shown[position] if shown else ""


def _is_plain(rows: Sequence[tuple[Any, ...]]) -> bool:
    """Whether all values are numbers and the like, so that there is nothing to be looked at one by one."""
    return isinstance(rows, Rows) and all(_PLAIN.issuperset(map(type, column)) for column in rows.columns)


_PLAIN = frozenset({int, float, bool, type(None)})
"""Types whose values are no handles, and cheap to keep."""


def _executor(engine: Engine, callee: Callee) -> Executor:
    executor = engine.executors.get(callee.executor)
    if executor is None:
        known = ", ".join(map(repr, engine.executors))
        raise InvalidOption(f"there is no executor {callee.executor!r} for {callee.name!r}; this app has {known}")
    return executor


def _call(callee: Callee, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    limit = callee.options.memory_limit
    if limit is not None and callee.executor in (IO, THREADS):
        raise InvalidOption(
            f"memory_limit: runs of {callee.name!r} share this process, where memory cannot be told apart; "
            "add cpu_bound=True"
        )
    fields = callee.name, callee.function, args, kwargs, callee.parameters, limit, callee.options.readonly
    return quick(Call, fields)


def _refuse_handles(task_name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    for index, value in enumerate(args):
        if getattr(type(value), "__flowrra_handle__", False):
            raise HandleNotAllowed(task_name, f"args[{index}]")
    for key, value in kwargs.items():
        if getattr(type(value), "__flowrra_handle__", False):
            raise HandleNotAllowed(task_name, f"kwargs[{key!r}]")

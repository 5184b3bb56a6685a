"""From a call to a run: snapshot the arguments, give it an id and a place, hand it to the engine."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

from flowrra.batch import Batch
from flowrra.core.records import Moment, RetryPolicy, RunRecord, Submission
from flowrra.engine.engine import Engine
from flowrra.engine.run import Arguments, Run, keep_for_preview
from flowrra.errors import AppNotRunning, HandleNotAllowed, InvalidOption
from flowrra.handle import TaskHandle
from flowrra.hosting import current_host
from flowrra.interfaces import Call, Executor
from flowrra.options import Options


class OpenBlocks:
    """The ``with app`` blocks around the running code, each with what was submitted in it.

    A block that joined a running app waits, when it is left, for that alone. Follows the code into its coroutines.
    """

    def __init__(self) -> None:
        self._blocks: ContextVar[tuple[tuple[Submitter, list[Run] | None], ...]] = ContextVar("blocks", default=())

    def push(self, owner: Submitter, *, joined: bool) -> None:
        """Enter a block of the app of *owner*; without *joined* nothing is recorded."""
        self._blocks.set((*self._blocks.get(), (owner, [] if joined else None)))

    def pop(self, owner: Submitter) -> list[Run] | None:
        """Leave the innermost block of *owner*; returns what was submitted in it, or None if it started the app."""
        blocks = self._blocks.get()
        for index in reversed(range(len(blocks))):
            if blocks[index][0] is owner:
                self._blocks.set(blocks[:index] + blocks[index + 1 :])
                return blocks[index][1]
        return None

    def record(self, owner: Submitter, runs: Sequence[Run]) -> None:
        """Note what was submitted."""
        for submitter, recorded in self._blocks.get():
            if submitter is owner and recorded is not None:
                recorded.extend(runs)


open_blocks = OpenBlocks()


class Callee(NamedTuple):
    """What is submitted: a function with everything that is the same for each of its runs."""

    function: Callable[..., Any]
    name: str
    executor: str
    parameters: tuple[str, ...]
    options: Options
    retry: RetryPolicy


class Submitter:
    """Makes the runs of one app. Every call may come from any thread and waits for nothing."""

    def __init__(self, app_name: Callable[[], str], engine: Callable[[], Engine]) -> None:
        self._app_name = app_name
        self._engine = engine
        self._numbers = itertools.count(1)
        self._prefix = secrets.token_hex(4)

    def submit(self, callee: Callee, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskHandle[Any]:
        """Submit a call. Raises ``NotEncodable``, ``HandleNotAllowed`` or ``AppNotRunning``; nothing is queued then."""
        engine = self._engine()
        _refuse_handles(callee.name, args, kwargs)
        encoded = _executor(engine, callee).encode(
            Call(callee.name, callee.function, args, kwargs, callee.options.readonly)
        )
        run = self._run(engine, _terms(engine, callee), encoded, _shown(callee, args, kwargs), None, None)
        self._hand_over(engine, [run])
        return TaskHandle(run)

    def submit_rows(self, callee: Callee, rows: Sequence[tuple[Any, ...]], constants: dict[str, Any]) -> Batch[Any]:
        """Submit one call per row, *constants* being keyword arguments of each; all of them or, if it raises, none."""
        engine = self._engine()
        for row in rows:
            _refuse_handles(callee.name, row, {})
        _refuse_handles(callee.name, (), constants)
        call = Call(callee.name, callee.function, (), constants, callee.options.readonly)
        encoded = _executor(engine, callee).encode_map(call, rows)
        batch_id = f"{self._prefix}-b{next(self._numbers)}"
        terms = _terms(engine, callee)
        runs = [
            self._run(engine, terms, one, _shown(callee, row, constants), batch_id, position)
            for position, (one, row) in enumerate(zip(encoded, rows, strict=True))
        ]
        self._hand_over(engine, runs)
        return Batch(batch_id, callee.name, runs)

    def slots(self, callee: Callee) -> int:
        """How many runs of it can execute at the same time."""
        return _executor(self._engine(), callee).slots

    def _run(
        self,
        engine: Engine,
        terms: _Terms,
        encoded: Any,
        arguments: Arguments | str,
        batch_id: str | None,
        position: int | None,
    ) -> Run:
        number = next(self._numbers)
        submission = Submission(
            f"{self._prefix}-{number}",
            terms.task_name,
            terms.executor,
            number,
            terms.submitted,
            terms.priority,
            terms.retry,
            terms.timeout,
            terms.not_before,
            terms.deadline,
            batch_id,
            position,
            terms.owner,
        )
        return Run(RunRecord(submission), engine, encoded, arguments)

    def _hand_over(self, engine: Engine, runs: Sequence[Run]) -> None:
        if runs and not engine.accept(runs):
            raise AppNotRunning(self._app_name())
        # Not before: a block waits for what was recorded, and what was refused never ends.
        open_blocks.record(self, runs)


class _Terms(NamedTuple):
    """What all runs of one submission have in common."""

    task_name: str
    executor: str
    submitted: Moment
    priority: int
    retry: RetryPolicy
    timeout: float | None
    not_before: float | None
    deadline: float | None
    owner: str | None


def _terms(engine: Engine, callee: Callee) -> _Terms:
    options, host, now = callee.options, current_host(), engine.clock.now()
    return _Terms(
        task_name=callee.name,
        executor=callee.executor,
        submitted=now,
        priority=options.priority,
        retry=callee.retry,
        timeout=options.timeout,
        not_before=options.starts_at(now),
        deadline=options.ends_by(now),
        owner=None if host is None else host.owner(),
    )


def _shown(callee: Callee, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments | str:
    return keep_for_preview(args, kwargs, callee.parameters) if callee.options.preview else ""


def _executor(engine: Engine, callee: Callee) -> Executor:
    executor = engine.executors.get(callee.executor)
    if executor is None:
        known = ", ".join(map(repr, engine.executors))
        raise InvalidOption(f"there is no executor {callee.executor!r} for {callee.name!r}; this app has {known}")
    return executor


def _refuse_handles(task_name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    for index, value in enumerate(args):
        if getattr(type(value), "__flowrra_handle__", False):
            raise HandleNotAllowed(task_name, f"args[{index}]")
    for key, value in kwargs.items():
        if getattr(type(value), "__flowrra_handle__", False):
            raise HandleNotAllowed(task_name, f"kwargs[{key!r}]")

"""Turns what a task raised into an outcome: text without the engine's frames, an exception that is safe to raise."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowrra.core.records import ErrorInfo, Outcome
from flowrra.core.statuses import OutcomeKind
from flowrra.errors import TaskCancelled, TaskExit

if TYPE_CHECKING:
    import traceback

_ENGINE = f"{os.path.dirname(__file__)}{os.sep}"  # noqa: PTH120 - pathlib would be all that loads it in a worker
_ENDS_THE_PROCESS = (SystemExit, KeyboardInterrupt, GeneratorExit)
_CANCELLATIONS = ("asyncio.exceptions", "concurrent.futures._base")
"""Modules of the classes ``CancelledError``. Not imported: an error can be of one only where that is loaded."""


def error_info(error: BaseException) -> ErrorInfo:
    """Describe *error* as text. Never raises, whatever the exception's own methods do."""
    try:
        return _described(error)
    except Exception as broken:  # noqa: BLE001 - a __getattribute__ of the user's own breaks even the traceback module
        note = f"(its traceback cannot be shown: {type(broken).__name__})\n"
        name, message = _type_name(type(error)), safe_str(error)
        return ErrorInfo(name, message, f"{name}: {message}\n{note}")


def _described(error: BaseException) -> ErrorInfo:
    import traceback

    told = traceback.TracebackException.from_exception(error)
    for part in _chain(told):
        part.stack = traceback.StackSummary.from_list([f for f in part.stack if not f.filename.startswith(_ENGINE)])
    causes = tuple(_headline(part) for part in _chain(told) if part is not told)
    return ErrorInfo(_type_name(type(error)), safe_str(error), "".join(told.format()), causes)


def outcome_of_exception(task_name: str, run_id: str, error: BaseException) -> Outcome:
    """Turn what a task's function raised into the outcome of its attempt.

    ``SystemExit`` and its like become :exc:`~flowrra.errors.TaskExit`: passed on as they are they would end the program
    of whoever waits. A cancellation that nobody asked us for is the task's own way to say that it was cancelled.
    """
    info = error_info(error)
    kind = type(error)  # isinstance() would ask the error itself, too, which may not want to be asked
    if _is_cancellation(kind):
        cancelled = TaskCancelled(task_name, run_id, "its own code raised CancelledError")
        return Outcome(OutcomeKind.CANCELLED, exception=cancelled, error=info)
    if issubclass(kind, _ENDS_THE_PROCESS):
        leaving = TaskExit(task_name, run_id, f"{kind.__name__}({safe_str(error)})")
        leaving.__cause__ = error
        return Outcome(OutcomeKind.RAISED, exception=leaving, error=error_info(leaving))
    return Outcome(OutcomeKind.RAISED, exception=error, error=info)


def _is_cancellation(kind: type[BaseException]) -> bool:
    loaded = [sys.modules[name] for name in _CANCELLATIONS if name in sys.modules]
    return any(issubclass(kind, module.CancelledError) for module in loaded)


def safe_str(error: BaseException) -> str:
    """``str(error)``, or what went wrong with it."""
    try:
        return str.__str__(str(error))  # of exactly this type, whatever its own __str__ returns
    except BaseException as broken:  # noqa: BLE001 - the user's __str__ may raise anything, and the run must still end
        return f"<str() of the {type(error).__name__} failed: {type(broken).__name__}>"


def _chain(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """*told*, its causes and contexts, nearest first, and the members of exception groups."""
    part: traceback.TracebackException | None = told
    while part is not None:
        yield part
        for member in part.exceptions or ():
            yield from _chain(member)
        part = part.__cause__ or (None if part.__suppress_context__ else part.__context__)


def _headline(part: traceback.TracebackException) -> str:
    # Indented lines before it show the place of a SyntaxError; what follows it are further lines and notes.
    return next(text for text in part.format_exception_only() if not text.startswith(" ")).splitlines()[0]


def _type_name(kind: type[BaseException]) -> str:
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )

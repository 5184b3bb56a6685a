"""What kind of callable something is, and what to call it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from flowrra.errors import InvalidTask
from flowrra.options import Options

IO, CPU, THREADS = "io", "cpu", "threads"


def check_function(function: object) -> None:
    """Refuse what cannot be a task, with the remedy. Raises ``InvalidTask``."""
    if inspect.isclass(function):
        raise InvalidTask(
            f"a class cannot be a task, and {function.__name__} is one; decorate a function that creates it, "
            "or one of its methods on an instance: app.submit(instance.method, …)"
        )
    if not callable(function):
        raise InvalidTask(f"a task is made from a function, not from {type(function).__name__} {function!r}")
    inner = _innermost(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise InvalidTask(
            f"{name_of(function)} is a generator, and a run has one value; return a list, "
            "or make a task of the body and use .imap(items) to stream results"
        )


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether calling *function* gives a coroutine: ``async def``, a partial of one, or an ``async def __call__``."""
    return inspect.iscoroutinefunction(_innermost(function))


def executor_for(function: Callable[..., Any], options: Options) -> str:
    """The executor that *options* and the kind of *function* ask for. Raises ``InvalidTask``."""
    if options.executor is not None:
        if options.cpu_bound:
            raise InvalidTask(
                f"cpu_bound=True already chooses the executor {CPU!r}; leave out one of cpu_bound and "
                f"executor={options.executor!r}"
            )
        _check_kind(function, options.executor)
        return options.executor
    if is_coroutine_function(function):
        if options.cpu_bound:
            raise InvalidTask(
                f"{name_of(function)} is 'async def' and cpu_bound: a coroutine waits in an event loop, while a worker "
                "process runs one function at a time; write it with 'def', or leave out cpu_bound"
            )
        return IO
    return CPU if options.cpu_bound else THREADS


def _check_kind(function: Callable[..., Any], executor: str) -> None:
    if is_coroutine_function(function) and executor in (CPU, THREADS):
        raise InvalidTask(
            f"{name_of(function)} is 'async def', and the executor {executor!r} calls plain functions; write it with "
            "'def', or leave out executor"
        )
    if not is_coroutine_function(function) and executor == IO:
        raise InvalidTask(
            f"{name_of(function)} is a plain function, and the executor {IO!r} awaits coroutines; write it with "
            "'async def', or leave out executor"
        )


def name_of(function: Callable[..., Any]) -> str:
    """A name for people: the function's own, without its module and the functions around it."""
    if isinstance(function, functools.partial):
        return name_of(function.func)
    name = getattr(function, "__name__", None) or type(function).__name__
    return str(name)


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The positional parameters that a caller fills, in order; empty where they cannot be known."""
    if isinstance(function, functools.partial):
        return parameter_names(function.func)[len(function.args) :]
    code = getattr(function, "__code__", None)
    if code is not None and not hasattr(function, "__self__"):
        names: tuple[str, ...] = code.co_varnames[: code.co_argcount]
        return names
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


def is_importable(value: object, module: str, qualname: str) -> bool:
    """Whether another process finds *value* by importing *module* and following *qualname*."""
    if module == "__main__":
        return False
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found is value


def _innermost(function: object) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    if not (inspect.isroutine(function) or inspect.isclass(function)) and callable(function):
        return type(function).__call__
    return function

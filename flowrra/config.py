"""The settings of an app: given to its constructor, else from ``FLOWRRA_<NAME>`` in the environment, else a default."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from flowrra.errors import InvalidOption
from flowrra.functions import CPU, IO, THREADS
from flowrra.interfaces import Executor, ResultBackend
from flowrra.options import bytes_or_none, check_count, check_positive_count, unknown_option

_MOST_NICE = 19
WorkersBy = Literal["fork", "spawn"]
IoLoop = Literal["caller", "own"] | asyncio.AbstractEventLoop


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings."""

    name: str | None = None
    """Namespace of the app's tasks; None: the main module's path, in a notebook the notebook's."""
    backend: str | ResultBackend = "memory://"
    cpu_workers: int | None = None
    """Worker processes; None: as many as this process may use cores."""
    initializer: Callable[[], object] | None = None
    """Called once in each worker process, before its first run."""
    workers_by: WorkersBy | None = None
    """How worker processes come to be; None: "fork" where there is what it needs, which is on Linux, else "spawn"."""
    nice: int = 0
    """Added to the niceness of the workers: more than 0 lets this process go first where there are too few cores."""
    io_concurrency: int = 256
    """Coroutines that may run at the same time."""
    io_threads: int = 32
    """Plain functions that may run at the same time."""
    io_loop: IoLoop = "caller"
    """Where coroutine tasks run: the loop that entered the app (in a notebook the kernel's), its own, or this one."""
    keep_arguments: int = 256_000_000
    """Bytes: as much is kept of the arguments of runs that failed or were cancelled, so that they can be retried."""
    executors: Mapping[str, Executor] = field(default_factory=dict)
    """Further executors by name, for ``@app.task(executor=name)``."""


def settings_from(given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """Merge what was *given* (None and absent mean the default) with the environment.

    Raises ``UnknownOption`` and ``InvalidOption``; a bad value from the environment names its variable.
    """
    for name in given:
        if name not in _NAMES:
            raise unknown_option(name, _NAMES)
    environment = os.environ if environment is None else environment
    chosen = {name: value for name, value in given.items() if value is not None}
    for name, parse in _FROM_TEXT.items():
        variable = f"FLOWRRA_{name.upper()}"
        text = environment.get(variable)
        if text is not None and name not in chosen:
            chosen[name] = _parsed(variable, text, parse)
    return Settings(**{name: _CHECKS[name](name, value) for name, value in chosen.items()})


def _parsed(variable: str, text: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidOption(f"{variable}={text!r} in the environment cannot be read: {error}") from error


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidOption(f"{name} must be a text that is not empty, not {value!r}")
    return value


def _backend(name: str, value: object) -> str | ResultBackend:
    if isinstance(value, str):
        if value != "memory://":
            raise InvalidOption(f"{name}: no result backend knows the URL {value!r}; there is 'memory://'")
        return value
    if not hasattr(value, "save") or not hasattr(value, "query"):
        raise InvalidOption(f"{name} must be a URL or a ResultBackend, not {value!r}")
    return value  # type: ignore[return-value]  # its kit checks the rest of the Protocol


def _initializer(name: str, value: object) -> Callable[[], object]:
    if not callable(value):
        raise InvalidOption(f"{name} must be a function without parameters, not {value!r}")
    return value


def _niceness(name: str, value: object) -> int:
    if check_count(name, value) > _MOST_NICE:
        raise InvalidOption(f"{name} must be a whole number from 0 to {_MOST_NICE}, not {value!r}")
    return int(value)  # type: ignore[call-overload, no-any-return]  # check_count has looked


def _workers_by(name: str, value: object) -> WorkersBy:
    if value == "fork":
        return "fork"
    if value == "spawn":
        return "spawn"
    raise InvalidOption(f"{name} is 'fork' or 'spawn', not {value!r}")


def _io_loop(name: str, value: object) -> IoLoop:
    if isinstance(value, asyncio.AbstractEventLoop):
        return value
    if value == "caller":
        return "caller"
    if value == "own":
        return "own"
    raise InvalidOption(f"{name} is 'caller', 'own' or an event loop, not {value!r}")


def _kept_bytes(name: str, value: object) -> int:
    return 0 if value in (0, "0") else bytes_or_none(name, value) or 0


def _executors(name: str, value: object) -> Mapping[str, Executor]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidOption(f"{name} must be a mapping of names to executors, not {value!r}")
    for taken in {IO, CPU, THREADS}.intersection(value):
        raise InvalidOption(f"{name}: the executor name {taken!r} is taken; give yours another one")
    return dict(value)


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "name": _text,
    "backend": _backend,
    "cpu_workers": check_positive_count,
    "initializer": _initializer,
    "workers_by": _workers_by,
    "nice": _niceness,
    "io_concurrency": check_positive_count,
    "io_threads": check_positive_count,
    "io_loop": _io_loop,
    "keep_arguments": _kept_bytes,
    "executors": _executors,
}
_FROM_TEXT: Mapping[str, Callable[[str], Any]] = {
    "name": str,
    "backend": str,
    "cpu_workers": int,
    "workers_by": str,
    "nice": int,
    "io_concurrency": int,
    "io_threads": int,
    "io_loop": str,
    "keep_arguments": str,
}
_NAMES = frozenset(setting.name for setting in fields(Settings))

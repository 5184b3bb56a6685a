"""The cwd, import path, environment, warning filters and log level that a run sees: those of its submission."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import threading
import warnings
from collections.abc import Mapping
from typing import Any

from flowrra.core.tuples import NamedTuple

_WARNING = 30
_KERNEL_BACKENDS = ("module://matplotlib_inline", "module://ipykernel")


class Surroundings(NamedTuple):
    """One reading. Everything in it is immutable or a copy."""

    cwd: str | None
    """None: the folder had been deleted."""
    path: tuple[str, ...]
    environ: Mapping[bytes, bytes]
    filters: tuple[Any, ...]
    log_level: int


class SurroundingsReader:
    """Numbers the surroundings of submissions: the same number as long as nothing has changed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: tuple[SurroundingsRef, _Raw | None] = SurroundingsRef(0, b""), None

    def current(self) -> SurroundingsRef:
        latest, raw = self._latest
        if raw is not None and _is_as_read(raw):
            return latest
        raw = _read_raw()
        with self._lock:
            latest, known = self._latest
            if raw != known:
                latest = SurroundingsRef(latest.number + 1, _write(raw))
                self._latest = latest, raw
            return latest


class SurroundingsRef(NamedTuple):
    number: int
    pickled: bytes


class _Raw(NamedTuple):
    """As they are kept in this process."""

    cwd: str | None
    path: list[Any]
    environ: dict[bytes, bytes]
    filters: list[Any]
    log_level: int


def _read_raw() -> _Raw:
    return _Raw(_cwd(), list(sys.path), _environ().copy(), list(warnings.filters), _log_level())


def _is_as_read(raw: _Raw) -> bool:
    """Asked for each submission: compares without a copy, and what has not changed is the same objects."""
    cwd, path, environ, filters, log_level = raw
    return (
        _log_level() == log_level
        and sys.path == path
        and warnings.filters == filters
        and _environ() == environ
        and _cwd() == cwd
    )


def _log_level() -> int:
    """The root logger's; logging is not loaded for it, which takes longer than to start a worker."""
    logging = sys.modules.get("logging")
    return _WARNING if logging is None else int(logging.getLogger().level)


def _environ() -> dict[bytes, bytes]:
    """The environment as it is stored: comparing or copying it in public ways decodes every entry each time."""
    # Not in typeshed, but there since Python 3.2.
    stored: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]  # noqa: SLF001 - see the docstring
    return stored


def _write(raw: _Raw) -> bytes:
    cwd, path, environ, filters, log_level = raw
    decoded = {os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()}
    completed = {os.fsencode(name): os.fsencode(value) for name, value in with_defaults(decoded).items()}
    strings = tuple(part for part in path if isinstance(part, str))
    kept = tuple(entry for entry in filters if _is_portable(entry))
    return pickle.dumps(Surroundings(cwd, strings, completed, kept, log_level), protocol=5)


def _is_portable(entry: tuple[Any, ...]) -> bool:
    """A filter for a warning class of the user's own cells means nothing elsewhere."""
    category = entry[2]
    return category.__module__ == "builtins" and getattr(warnings, "__name__", "") == "warnings"


def with_defaults(environ: Mapping[str, str]) -> dict[str, str]:
    """*environ*, but for drawing into a kernel that is not there."""
    completed = dict(environ)
    if completed.get("MPLBACKEND", _KERNEL_BACKENDS[0]).startswith(_KERNEL_BACKENDS):
        completed["MPLBACKEND"] = "agg"
    return completed


def settle(wanted: Surroundings) -> None:
    """Make this process look like *wanted*, whatever the run before has changed. Raises ``OSError`` for a lost cwd."""
    if wanted.cwd is not None and _cwd() != wanted.cwd:
        os.chdir(wanted.cwd)
    if tuple(sys.path) != wanted.path:
        sys.path[:] = wanted.path
        importlib.invalidate_caches()
    if _environ() != wanted.environ:
        _replace_environ(wanted.environ)
    if tuple(warnings.filters) != wanted.filters:
        warnings.filters[:] = wanted.filters  # type: ignore[index]  # typeshed shows the list as a Sequence
        # What has been shown once is forgotten, as after every public way to change filters.
        warnings._filters_mutated()  # type: ignore[attr-defined]  # noqa: SLF001 - those ways add, none replaces
    if _log_level() != wanted.log_level:
        importlib.import_module("logging").getLogger().setLevel(wanted.log_level)


def are_settled(wanted: Surroundings) -> bool:
    """Whether this process looks like *wanted* but for its environment, which no native code changes."""
    return (
        tuple(sys.path) == wanted.path
        and tuple(warnings.filters) == wanted.filters
        and _log_level() == wanted.log_level
        and (wanted.cwd is None or _cwd() == wanted.cwd)
    )


def _cwd() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _replace_environ(wanted: Mapping[bytes, bytes]) -> None:
    now = _environ()
    for name in [name for name in now if name not in wanted]:
        del os.environb[name]
    for name, value in wanted.items():
        if now.get(name) != value:
            os.environb[name] = value

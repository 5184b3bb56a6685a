"""Notices what a run does to the process, so that runs which do nothing of it cost no system call."""

from __future__ import annotations

import builtins
import copyreg
import functools
import importlib
import io
import locale
import os
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TextIO

_CHANGES: dict[ModuleType, tuple[str, ...]] = {
    # Those that write, too: what a run has written must not be taken for another one's.
    os: ("chdir", "fchdir", "umask", "close", "closerange", "dup2", "sendfile", "write", "writev"),
    signal: ("alarm", "pthread_sigmask", "setitimer", "signal"),
    locale: ("setlocale",),
    sys: ("setrecursionlimit",),
}
"""Functions that change something of the whole process."""


class Notes:
    """``fresh`` is set whenever something was done that has to be seen to before the next run."""

    __slots__ = ("fresh",)

    def __init__(self) -> None:
        self.fresh = False

    def watch_process(self) -> None:
        """Take note of forks, and of what Python code changes of the environment, the folder, signals and the like."""
        watched = _Environment(os.environ._data, self)  # type: ignore[attr-defined]  # noqa: SLF001 - see surroundings
        os.environ._data = watched  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        os.environb._data = watched  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        for module, names in _CHANGES.items():
            for name in names:
                setattr(module, name, self._noting(getattr(module, name)))
        for module in (builtins, sys):
            module.__class__ = self._noting_module()
        os.register_at_fork(after_in_child=self._take)

    def stream(self, fd: int, name: str, errors: str) -> TextIO:
        """A text stream to *fd* that takes note of what is written to it, in characters or bytes."""
        raw = io.FileIO(fd, "w", closefd=False)
        raw.name = name  # as the interpreter does it for its own
        # Written through, so that nothing of a line that is not complete stays out of sight.
        return io.TextIOWrapper(
            _Buffer(raw, self), encoding="utf-8", errors=errors, line_buffering=True, write_through=True
        )

    def _noting_module(self) -> type[ModuleType]:
        notes = self

        class NotingModule(ModuleType):
            """One whose attributes are not to be replaced unnoticed."""

            def __setattr__(self, name: str, value: object) -> None:
                notes.fresh = True
                super().__setattr__(name, value)

        # Pickles look at the exact type, and know only the usual one.
        copyreg.pickle(NotingModule, _by_name)  # type: ignore[arg-type]  # what it returns is one of these
        return NotingModule

    def _take(self) -> None:
        self.fresh = True

    def _noting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def noted(*args: Any, **kwargs: Any) -> Any:
            self.fresh = True
            return function(*args, **kwargs)

        return noted


def _by_name(module: ModuleType) -> tuple[Callable[[str], ModuleType], tuple[str]]:
    return importlib.import_module, (module.__name__,)


class _Buffer(io.BufferedWriter):
    def __init__(self, raw: io.FileIO, notes: Notes) -> None:
        super().__init__(raw)
        self._notes = notes

    def write(self, data: Any, /) -> int:
        self._notes.fresh = True
        return super().write(data)

    def close(self) -> None:
        self._notes.fresh = True
        super().close()


class _Environment(dict[bytes, bytes]):
    """What ``os.environ`` keeps its entries in; that only sets and deletes them."""

    def __init__(self, entries: dict[bytes, bytes], notes: Notes) -> None:
        super().__init__(entries)
        self._notes = notes

    def __setitem__(self, name: bytes, value: bytes) -> None:
        self._notes.fresh = True
        super().__setitem__(name, value)

    def __delitem__(self, name: bytes) -> None:
        self._notes.fresh = True
        super().__delitem__(name)

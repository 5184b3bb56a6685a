"""Notices what a run does to the process, so that runs which do nothing of it cost no system call."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, TextIO


class Notes:
    """``fresh`` is set whenever something was done that has to be seen to before the next run."""

    __slots__ = ("fresh",)

    def __init__(self) -> None:
        self.fresh = False

    def watch_process(self) -> None:
        """Take note of changes of the environment and the working folder made through ``os``, and of forks."""
        watched = _Environment(os.environ._data, self)  # type: ignore[attr-defined]  # noqa: SLF001 - see surroundings
        os.environ._data = watched  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        os.environb._data = watched  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        os.chdir = self._noting(os.chdir)
        os.fchdir = self._noting(os.fchdir)
        os.register_at_fork(after_in_child=self._take)

    def stream(self, fd: int, errors: str) -> TextIO:
        """A text stream to *fd* that takes note of what is written to it, in characters or bytes."""
        raw = io.FileIO(fd, "w", closefd=False)
        # Written through, so that nothing of a line that is not complete stays out of sight.
        return io.TextIOWrapper(
            _Buffer(raw, self), encoding="utf-8", errors=errors, line_buffering=True, write_through=True
        )

    def _take(self) -> None:
        self.fresh = True

    def _noting(self, function: Callable[..., None]) -> Callable[..., None]:
        def noted(*args: Any, **kwargs: Any) -> None:
            self.fresh = True
            function(*args, **kwargs)

        noted.__name__ = noted.__qualname__ = function.__name__
        noted.__doc__ = function.__doc__
        return noted


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

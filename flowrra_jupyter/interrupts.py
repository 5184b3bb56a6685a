"""Interrupts of cells: noticed at once, told from other errors, shown as KeyboardInterrupt in ``await`` cells too."""

from __future__ import annotations

import asyncio
import functools
import signal
import threading
import types
from collections.abc import Callable
from typing import Any, Final

_ANSWER_OF_AN_ASYNC_CELL: Final = "_cancel_on_sigint"
"""ipykernel's method in which its handler is made; it is in place from before such a cell begins until it has ended."""

Handler = Callable[[int, types.FrameType | None], Any]


class Interrupts:
    """Follows one kernel's shell. Cells of the main thread alone are interrupted.

    While a cell awaits, ipykernel answers SIGINT by cancelling it, when its loop next wakes. This wakes the loop,
    raises KeyboardInterrupt instead where the cell's own code is executing (a blocking call), and has the
    cancellation shown as the KeyboardInterrupt that it stands for.
    """

    def __init__(self, shell: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._shell = shell
        self._loop = loop
        self._pressed = False
        self._show_others = shell.custom_exceptions, getattr(shell, "CustomTB", None)
        shell.custom_exceptions = (*shell.custom_exceptions, asyncio.CancelledError)
        shell.CustomTB = self._show

    def close(self) -> None:
        """Let go of the shell."""
        if self._shell.CustomTB == self._show:
            self._shell.custom_exceptions, self._shell.CustomTB = self._show_others

    def cell_began(self) -> None:
        """From inside the cell, when its own answer to SIGINT is in place."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._pressed = False
        answer = signal.getsignal(signal.SIGINT)
        # The default one raises by itself; one of the user's own is none of our business.
        if callable(answer) and _ANSWER_OF_AN_ASYNC_CELL in getattr(answer, "__qualname__", ""):
            signal.signal(signal.SIGINT, functools.partial(self._on_signal, answer))

    def _on_signal(self, answer: Handler, number: int, frame: types.FrameType | None) -> None:
        self._pressed = True
        if _is_in_cell(frame, self._shell):
            raise KeyboardInterrupt
        answer(number, frame)
        self._loop.call_soon_threadsafe(_nothing)

    def ended_by(self, result: Any) -> bool:
        """Whether an interrupt has ended the cell of that result, whose error is then a KeyboardInterrupt."""
        if threading.current_thread() is not threading.main_thread():
            return False
        error = None if result is None else result.error_in_exec
        if isinstance(error, asyncio.CancelledError) and self._pressed:
            result.error_in_exec = KeyboardInterrupt()
        elif not isinstance(error, KeyboardInterrupt):
            return False
        return True

    def _show(self, kind: type[BaseException], error: BaseException, trace: Any, tb_offset: int | None = None) -> Any:
        """Called by the shell instead of its own display of an error, for kinds that were asked for."""
        others, show = self._show_others
        if issubclass(kind, asyncio.CancelledError) and self._pressed:
            interrupt = KeyboardInterrupt().with_traceback(trace)
            interrupt.__suppress_context__ = True
            kind, error = KeyboardInterrupt, interrupt
        elif others and show is not None and issubclass(kind, others):
            return show(kind, error, trace, tb_offset=tb_offset)
        lines = self._shell.InteractiveTB.structured_traceback(kind, error, trace, tb_offset=tb_offset)
        self._shell._showtraceback(kind, error, lines)  # noqa: SLF001 - what showtraceback() ends with
        return lines


def _is_in_cell(frame: types.FrameType | None, shell: Any) -> bool:
    """Whether *frame* executes the code of a cell, or something that this has called.

    Only there an exception becomes the cell's error; around it, it would be one of the kernel.
    """
    runner = type(shell).run_code.__code__
    while frame is not None and (caller := frame.f_back) is not None:
        if caller.f_code is runner:
            return frame.f_globals is shell.user_global_ns
        frame = caller
    return False


def _nothing() -> None:
    """Wakes a loop."""

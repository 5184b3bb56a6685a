"""Tasks that go wrong. Workers import this module, so it imports next to nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any


def crash(_: int = 0) -> None:
    os._exit(3)


def segfault(_: int = 0) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def null_pointer() -> None:
    import ctypes

    print("about to crash", file=sys.stderr)
    ctypes.string_at(0)


def never_return(_: int = 0) -> None:
    while True:
        time.sleep(60)


def unpicklable(_: int = 0) -> Any:
    import threading

    return threading.Lock()


def work(n: int) -> int:
    time.sleep(0.01)
    return n * n


def talk(n: int) -> int:
    print("run", n)
    return n * n


def answer_for_another(number: int) -> None:
    """Speak in the worker's name of a run that it does not have."""
    import inspect

    from flowrra.pool.transport.messages import Report

    frame = inspect.currentframe()
    assert frame is not None
    while type(frame.f_locals.get("self")).__name__ != "Execution":
        assert frame.f_back is not None
        frame = frame.f_back
    vars(frame.f_locals["self"])["_reporter"].say(Report(number, 0, 1, b"\0" * 16, b"N", True, ()))
    never_return()


def fork_a_child_that_returns(n: int) -> tuple[int, int]:
    child = os.fork()
    if child == 0:
        return 0, 0
    return n, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def close_own_stdout() -> None:
    os.close(1)

"""Ways to go wrong, and values that do so while they are pickled or rebuilt. Workers import this module."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

Act = Callable[[], Any]
_HEADROOM = 64 << 20
go_on = threading.Event()
"""Set in the process of the tests to let go of what has been kept from returning there."""


def raise_an_error() -> NoReturn:
    raise ValueError("as it should")


def leave() -> NoReturn:
    sys.exit(3)


def end_at_once() -> NoReturn:
    os._exit(5)


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash_natively() -> None:
    import ctypes

    print("about to crash", file=sys.stderr)
    ctypes.string_at(0)


def stop_dead() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def run_out_of_memory() -> None:
    """Have 64 MB more, and no more."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + _HEADROOM, before[1]))
    try:
        bytearray(4 * _HEADROOM)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def ask_for_too_much() -> None:
    """Run out of memory without any limit, which would be one for every thread of the process."""
    bytearray(1 << 62)


def never_return() -> NoReturn:
    while True:
        time.sleep(60)


def hang_in_native_code() -> None:
    """Hold on to the interpreter, so that no signal handler of Python ever runs."""
    import ctypes

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})  # else it would end the sleep, if nothing else
    ctypes.PyDLL(None).sleep(600)


def wait_to_be_let_go() -> str:
    """In the process of the tests, where nothing can be ended by force."""
    go_on.wait(60)
    return "late"


LARGE = bytes(100_000)
"""Fits into no message."""


class ActsWhenRebuilt:
    """Travels well; rebuilding it does *act*."""

    def __init__(self, act: Act) -> None:
        self.act = act

    def __reduce__(self) -> tuple[Act, tuple[()]]:
        return self.act, ()


class ActsWhenPickled:
    """Pickling it does *act*."""

    def __init__(self, act: Act) -> None:
        self.act = act

    def __reduce__(self) -> tuple[Any, ...]:
        self.act()
        return ActsWhenPickled, (self.act,)


def function_that_acts_when_loaded(act: Act) -> Callable[[], Any]:
    rigged = ActsWhenRebuilt(act)
    return lambda: rigged


def take(*_: object) -> str:
    return "taken"


def take_for(seconds: float, *_: object) -> None:
    time.sleep(seconds)


def do(act: Act) -> Any:
    return act()


def return_something_that_acts_when_pickled(act: Act) -> ActsWhenPickled:
    return ActsWhenPickled(act)


def return_something_that_acts_when_rebuilt(act: Act) -> ActsWhenRebuilt:
    return ActsWhenRebuilt(act)


def return_something_of_a_class() -> Path:
    return Path("anywhere")

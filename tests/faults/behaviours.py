"""Tasks that misbehave without failing, or fail in odd ways. Workers import this module."""

from __future__ import annotations

import builtins
import ctypes
import io
import locale
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

MEGABYTE = 1 << 20
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD, signal.SIGPIPE)


def print_at_length(megabytes: int) -> str:
    block = b"x" * (MEGABYTE - 1) + b"\n"
    print("first line", flush=True)
    for _ in range(megabytes):
        os.write(1, block)
    print("last line")
    return "done"


def write_whatever_bytes(megabytes: int) -> str:
    for _ in range(megabytes):
        os.write(1, os.urandom(MEGABYTE))
        os.write(2, bytes(MEGABYTE))
    return "done"


def close_stdout_and_stderr() -> str:
    sys.stdout.close()
    sys.stderr.close()
    for fd in (1, 2):
        try:
            os.close(fd)
        except OSError:
            continue
    return "done"


def close_everything_from(lowest: int) -> str:
    os.closerange(lowest, 1000)
    return "done"


def fork_a_child_that_goes_on() -> int:
    child = os.fork()
    if child == 0:
        while True:
            time.sleep(60)
    return child


def fork_a_child_that_returns() -> int:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return child


def fork_a_child_that_raises() -> int:
    child = os.fork()
    if child == 0:
        raise SystemExit(1)
    os.waitpid(child, 0)
    return child


def start_a_process() -> int:
    return subprocess.Popen(["sleep", "300"]).pid


def start_a_process_in_a_session_of_its_own() -> int:
    return subprocess.Popen(["sleep", "300"], start_new_session=True).pid


def start_a_daemon() -> int:
    said = subprocess.run(
        ["sh", "-c", "setsid sleep 300 > /dev/null 2>&1 & echo $!"], check=True, capture_output=True, text=True
    )
    return int(said.stdout)


def leave_threads_behind() -> str:
    for daemon in (False, True):
        threading.Thread(target=time.sleep, args=(300,), daemon=daemon).start()
    return "done"


def leave_a_chatty_thread_behind() -> str:
    def chat() -> None:
        while True:
            print("still there")
            time.sleep(0.001)

    threading.Thread(target=chat, daemon=True).start()
    return "done"


def look_around() -> dict[str, Any]:
    """What a run finds in its process."""
    umask = os.umask(0o22)
    os.umask(umask)
    return {
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "path": list(sys.path),
        "warning filters": [str(entry) for entry in warnings.filters],
        "signal handlers": {
            number: str(signal.getsignal(number)).partition(" at ")[0]
            for number in (
                signal.SIGINT,
                signal.SIGTERM,
                signal.SIGUSR1,
                signal.SIGALRM,
                signal.SIGCHLD,
                signal.SIGPIPE,
            )
        },
        "blocked signals": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "timer": signal.getitimer(signal.ITIMER_REAL)[0] > 0,
        "umask": umask,
        "locale": locale.setlocale(locale.LC_ALL),
        "recursion limit": sys.getrecursionlimit(),
        "stdout": sys.stdout.name,
        "stdin": sys.stdin.name,
        "print": builtins.print is _print and builtins.open is io.open,
        "excepthook": sys.excepthook is sys.__excepthook__,
    }


_print = print


def change_everything() -> str:
    os.chdir("/")
    os.environ["MESS"] = "1"
    os.environ.pop("PATH", None)
    sys.path.insert(0, "/nowhere")
    warnings.simplefilter("error")
    for number in HANDLED:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    os.umask(0o777)
    locale.setlocale(locale.LC_ALL, "C.UTF-8" if locale.setlocale(locale.LC_ALL) == "C" else "C")
    sys.setrecursionlimit(sys.getrecursionlimit() + 1000)
    return "done"


def set_an_alarm() -> str:
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    return "done"


def replace_what_everybody_uses() -> str:
    sys.stdout = io.StringIO()
    sys.stderr = sys.stdin = None  # type: ignore[assignment]
    sys.excepthook = lambda *_: os._exit(1)
    builtins.print = builtins.open = lambda *_, **__: os._exit(1)  # type: ignore[assignment]
    return "done"


def delete_its_own_folder() -> str:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    shutil.rmtree(folder)
    return "done"


def print_from_c(text: str) -> None:
    ctypes.CDLL(None).printf(b"%s\n", text.encode())


class Mute(Exception):
    """Says nothing about itself."""

    def __str__(self) -> NoReturn:
        raise RuntimeError("no")

    __repr__ = __str__


class ExitingOnSight(Exception):
    def __str__(self) -> NoReturn:
        raise SystemExit(3)


class Locked(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("locked one")
        self.lock = threading.Lock()


class ExitsWhenPickled(Exception):
    def __reduce__(self) -> NoReturn:
        raise SystemExit(4)


def _explode() -> NoReturn:
    raise RuntimeError("cannot be rebuilt")


def _leave() -> NoReturn:
    raise SystemExit(5)


class RaisesWhenRebuilt(Exception):
    def __reduce__(self) -> Any:
        return _explode, ()


class ExitsWhenRebuilt(Exception):
    def __reduce__(self) -> Any:
        return _leave, ()


class Shy(Exception):
    def __getattribute__(self, name: str) -> NoReturn:
        raise RuntimeError(name)


def fail_with(kind: type[BaseException]) -> NoReturn:
    raise kind("in the task") if kind is not Locked else Locked()


def fail_while_pickling_with_a_mute_error() -> Any:
    class Odd:
        def __reduce__(self) -> NoReturn:
            raise Mute

    return Odd()


def fail_in_a_group() -> NoReturn:
    errors: list[Exception] = []
    for kind in (ValueError, KeyError):
        try:
            raise kind("inner")
        except Exception as error:  # noqa: BLE001 - whatever was just raised
            error.add_note(f"note of {kind.__name__}")
            errors.append(error)
    group = ExceptionGroup("several", errors)
    group.add_note("note of the group")
    raise group from OSError("the cause")


def make_a_megabyte(n: int) -> Any:
    import numpy

    return numpy.full(MEGABYTE // 8, n, dtype="int64")


def add_up(arrays: list[Any]) -> int:
    return int(sum(int(array[0]) + len(array) for array in arrays))


def pid_of(_: int = 0) -> int:
    return os.getpid()


def there(path: str) -> bool:
    return Path(path).exists()

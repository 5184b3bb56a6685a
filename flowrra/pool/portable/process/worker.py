"""A worker process that was spawned: executes what its control thread puts into the inbox."""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import socket
import sys
import types
from contextlib import suppress
from typing import NamedTuple, NoReturn

from flowrra.pool.portable.files import SharedPage, open_shared
from flowrra.pool.portable.process.answers import FrameAnswers
from flowrra.pool.portable.process.control import STOP_SIGNAL, Control, end_with_the_engine
from flowrra.pool.portable.process.mappings import CopiedMappings
from flowrra.pool.process.draws import draws
from flowrra.pool.process.imports import watch_imports
from flowrra.pool.process.libraries import libraries
from flowrra.pool.process.output import OutputEnd
from flowrra.pool.process.serving import Serving
from flowrra.pool.process.work import Work
from flowrra.pool.transport.messages import Dismiss


class Given(NamedTuple):
    """What a worker gets on its stdin, as JSON."""

    worker: int
    port: int
    """Where the engine listens, on the loopback interface."""
    token: str
    """Shows that it is the worker that was started."""
    folder: str
    page: str
    mark: str
    """Of the ends of runs in its output."""
    modules: list[str]
    """To be imported before there is a run."""


class MarkedOutputEnd(OutputEnd):
    """Marks the end of every run that takes long enough to have written something."""

    def __init__(self, token: bytes, shared: SharedPage) -> None:
        super().__init__(token)
        self._shared = shared

    def begin_run(self, number: int, memory_limit: int) -> None:
        self._shared.set_run(number, memory_limit)

    def peak_of(self, number: int) -> int:
        return self._shared.peak(number)


class SpawnedWorker(Serving):
    def __init__(self, control: Control, answers: FrameAnswers, shared: SharedPage, given: Given) -> None:
        self._control, self._folder = control, given.folder
        self._frame_answers = answers
        signal.signal(STOP_SIGNAL, self._on_stop)
        output = MarkedOutputEnd(given.mark.encode("ascii"), shared)
        super().__init__(answers, shared.page, output, CopiedMappings())

    def _claim(self) -> Work:
        if not self._runs and self._control.inbox.empty():
            # A spare one has the time; whatever comes from a cell needs it.
            importlib.import_module("flowrra.pool.encoding.pickler")
        while True:
            message, name = self._control.inbox.get()
            if isinstance(message, Dismiss):
                self._leave()
            work = self._work_of(message)
            if work is not None:
                return work
            self._take_in(message, self._opened(name) if name else None)

    def _opened(self, name: str) -> int | None:
        try:
            return open_shared(os.path.join(self._folder, name))
        except OSError:  # too many open files; whoever needs it is told
            return None

    def _on_stop(self, *_: object) -> None:
        self._frame_answers.unless_sending(self._stop_now)

    def _stop_now(self) -> None:
        self._execution.stop(self._control.to_stop)


def main() -> NoReturn:
    """Serve until the engine lets this process go, or has gone."""
    try:
        given = Given(**json.loads(sys.stdin.buffer.read()))
        _settle_in(given.modules)
        sock = socket.create_connection(("127.0.0.1", given.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(bytes.fromhex(given.token))
        shared = SharedPage(os.path.join(given.folder, given.page))
        control = Control(sock)
        answers = FrameAnswers(sock, given.folder, given.worker)
        watch_imports(answers)
        worker = SpawnedWorker(control, answers, shared, given)
        control.start()
        worker.serve()
    except (BrokenPipeError, ConnectionResetError):
        end_with_the_engine()
    except BaseException:  # noqa: BLE001 - shown on stderr, which the engine passes on
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    os._exit(70)


def _settle_in(modules: list[str]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # the interpreter's own
    faulthandler.enable(file=2, all_threads=True)
    for module in modules:
        with suppress(Exception):  # a run that needs it will say what is wrong with it
            importlib.import_module(module)
    draws.install()
    libraries.install()

"""What every worker process does, whichever way it came to be: takes in supplies, executes groups of runs, leaves."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from typing import NoReturn

from flowrra.pool import recycling
from flowrra.pool.data.mappings import Mappings
from flowrra.pool.encoding.payloads import arrived, load
from flowrra.pool.process.answers import Answers
from flowrra.pool.process.execution import Execution
from flowrra.pool.process.memory import private_memory
from flowrra.pool.process.output import OutputEnd
from flowrra.pool.process.state import ProcessState
from flowrra.pool.process.supplies import Shelf
from flowrra.pool.process.work import Columns, Singles, Work
from flowrra.pool.transport.messages import (
    Forget,
    ForgetSlab,
    Message,
    RunGroup,
    Setup,
    SlabDropped,
    SlabSupply,
    SpanGroup,
    Supply,
    SurroundingsSupply,
)
from flowrra.pool.transport.page import Page

_LEAVING = 1.0
"""Seconds that the exit handlers of a worker may take."""
_LOOK_EVERY = 1.0
"""Seconds between two looks at its own memory."""


class Serving(ABC):
    """The loop of one worker process, on its main thread. To be made when its signal handlers are in place."""

    def __init__(self, answers: Answers, page: Page, output: OutputEnd, mappings: Mappings) -> None:
        self._answers = answers
        self._shelf = Shelf(mappings)
        self._runs = 0
        self._since = self._looked = time.monotonic()
        self._memory = private_memory("self")
        self._execution = Execution(answers, page, output, self._shelf, ProcessState())

    def serve(self) -> NoReturn:
        """Run until the engine lets this worker go. Never returns: nothing of a template's own stack may run here."""
        while True:
            work = self._claim()
            self._execution.perform(work)
            self._execution.tidy_up()
            if self._has_served(work.count):
                self._leave()

    @abstractmethod
    def _claim(self) -> Work:
        """Wait for the next group and what it needs."""

    def _has_served(self, runs: int) -> bool:
        """Whether this worker should make room for a fresh one. What it has not claimed goes to others, uncharged."""
        self._runs += runs
        now = time.monotonic()
        growth = 0
        if now - self._looked >= _LOOK_EVERY:
            self._looked, growth = now, private_memory("self") - self._memory
        return recycling.is_due(self._runs, now - self._since, growth)

    def _leave(self) -> NoReturn:
        """End by itself, between runs: with the exit handlers that tasks have registered, as far as they are quick."""
        if hasattr(signal, "setitimer"):
            # The kernel's own doing: a handler that is stuck in C code would never let Python run.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, _LEAVING)
        else:
            threading.Timer(_LEAVING, os._exit, (0,)).start()
        atexit._run_exitfuncs()  # noqa: SLF001 - sys.exit() would go through the frames of whoever started this
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(0)

    def _work_of(self, message: Message) -> Work | None:
        if isinstance(message, SpanGroup):
            return Columns(message)
        if isinstance(message, RunGroup):
            return Singles(message, self._shelf.mappings)
        # A Stop for a run that had just ended: the worker is on its way out and gets nothing more.
        return None

    def _take_in(self, message: Message, fd: int | None) -> None:
        """Take in a supply, with what came along."""
        if isinstance(message, Supply):
            self._shelf.put(message)
        elif isinstance(message, SurroundingsSupply):
            parts = arrived(fd, message.table)
            if fd is not None:
                os.close(fd)
            self._shelf.surroundings[message.number] = load(message.head, parts)
        elif isinstance(message, Setup):
            if message.nice:
                os.nice(message.nice)
            self._execution.prepare_with(message.cores, message.initializer)
        elif isinstance(message, Forget):
            self._shelf.drop(message.digest)
        elif isinstance(message, SlabSupply):
            self._shelf.mappings.put(message.slab, fd, message.size)
        elif isinstance(message, ForgetSlab):
            self._answers.send(SlabDropped(message.slab, self._shelf.mappings.drop(message.slab)))

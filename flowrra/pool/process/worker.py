"""A worker process: claims one group of runs after the other, executes them, reports.

Everything here runs on the process's main thread, in a process forked from the zygote.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import socket
import sys
import time
from typing import NoReturn

from flowrra.pool import recycling
from flowrra.pool.encoding.payloads import arrived, load
from flowrra.pool.process.execution import Execution
from flowrra.pool.process.memory import private_memory
from flowrra.pool.process.output import OutputEnd
from flowrra.pool.process.state import ProcessState
from flowrra.pool.process.supplies import Shelf
from flowrra.pool.process.work import Columns, Singles, Work
from flowrra.pool.transport.messages import (
    Forget,
    ForgetSlab,
    RunGroup,
    Setup,
    SlabDropped,
    SlabSupply,
    SpanGroup,
    Stop,
    Supply,
    SurroundingsSupply,
)
from flowrra.pool.transport.page import Page
from flowrra.pool.transport.wire import Receiver, send

_LEAVING = 1.0
"""Seconds that the exit handlers of a worker may take."""
_LOOK_EVERY = 1.0
"""Seconds between two looks at its own memory."""
_STOP_SIZE = 256
"""Bytes; more than a Stop takes."""


class Worker:
    """The loop of one worker process."""

    def __init__(
        self, queue: socket.socket, supplies: socket.socket, answers: socket.socket, page: Page, output: OutputEnd
    ) -> None:
        self._queue, self._supplies, self._answers = Receiver(queue, most_fds=0), Receiver(supplies), answers
        self._stops = Receiver(queue, _STOP_SIZE, most_fds=0)
        self._poll = select.poll()
        for sock in (queue, supplies):
            self._poll.register(sock, select.POLLIN)
        self._taken = 0
        """Messages taken from the supplies so far."""
        self._shelf = Shelf()
        self._runs = 0
        self._since = self._looked = time.monotonic()
        self._memory = private_memory("self")
        signal.signal(signal.SIGUSR1, self._on_stop)
        self._execution = Execution(answers, page, output, self._shelf, ProcessState())

    def serve(self) -> NoReturn:
        """Run until the engine closes the queue. Never returns: nothing of the zygote's own stack may run here."""
        while True:
            work = self._claim()
            self._fetch_supplies(work)
            self._execution.perform(work)
            self._execution.tidy_up()
            if self._has_served(work.count):
                self._leave()

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
        # The kernel's own doing: a handler that is stuck in C code would never let Python run.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, _LEAVING)
        atexit._run_exitfuncs()  # noqa: SLF001 - sys.exit() would go through the zygote's frames
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(0)

    # Claiming runs and taking in supplies.

    def _claim_now(self) -> Work | None:
        """The next group, if one is queued."""
        while (received := self._queue.receive()) is not None:
            message = received.message
            if isinstance(message, SpanGroup):
                return Columns(message)
            if isinstance(message, RunGroup):
                return Singles(message, self._shelf.mappings)
            # A Stop for a run that had just ended: the worker is on its way out and gets nothing more.
        return None

    def _claim(self) -> Work:
        """Wait for the next group; take in supplies meanwhile, so that the engine never waits for room."""
        queue = self._queue.sock.fileno()
        # Polled first: to find a socket empty costs several times as much as to be told, and a lone run waits for it.
        while True:
            for fd, event in self._poll.poll():
                if not event & select.POLLIN:
                    self._leave()
                if fd != queue:
                    self._take_supply(wait=False)
                elif (claimed := self._claim_now()) is not None:
                    return claimed
            if self._queue.closed or self._supplies.closed:
                self._leave()

    def _take_supply(self, *, wait: bool) -> bool:
        received = self._supplies.receive(wait=wait)
        if received is None:
            return False
        self._taken += 1
        message, fd = received.message, received.fd
        if isinstance(message, Supply):
            self._shelf.put(message)
        elif isinstance(message, SurroundingsSupply):
            parts = arrived(fd, message.table)
            if fd is not None:
                os.close(fd)
            self._shelf.surroundings[message.number] = load(message.head, parts)
        elif isinstance(message, Setup):
            os.nice(message.nice)
            self._execution.prepare_with(message.cores, message.initializer)
        elif isinstance(message, Forget):
            self._shelf.drop(message.digest)
        elif isinstance(message, SlabSupply):
            self._shelf.mappings.put(message.slab, fd, message.size)
        elif isinstance(message, ForgetSlab):
            send(self._answers, SlabDropped(message.slab, self._shelf.mappings.drop(message.slab)))
        return True

    def _fetch_supplies(self, work: Work) -> None:
        """Read the supplies that were sent before *work*."""
        while self._taken < work.common.supplies:
            if not self._take_supply(wait=True):
                os._exit(0)

    def _on_stop(self, *_: object) -> None:
        """The engine wants a run to end: raise in it, unless it has just ended by itself."""
        target = 0
        # All there are: two signals that come at the same time are delivered as one.
        while (received := self._stops.receive()) is not None:
            if isinstance(received.message, Stop):
                target = received.message.number
        if target:
            self._execution.stop(target)

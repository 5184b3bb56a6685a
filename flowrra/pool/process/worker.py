"""A worker process: claims one run after the other, executes it, answers.

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
import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

from flowrra.core.records import Outcome
from flowrra.core.seeds import Source
from flowrra.core.statuses import OutcomeKind
from flowrra.errors import FlowrraError, InitializerFailed, NotDecodable
from flowrra.failures import error_info, outcome_of_exception, safe_str
from flowrra.pool import recycling
from flowrra.pool.encoding.failures import encode_failure
from flowrra.pool.encoding.payloads import Payload, arrived, load
from flowrra.pool.encoding.received_classes import received_classes
from flowrra.pool.encoding.surroundings import settle
from flowrra.pool.encoding.values import encode_value, refusal
from flowrra.pool.process.draws import draws
from flowrra.pool.process.memory import private_memory
from flowrra.pool.process.output import OutputEnd
from flowrra.pool.process.state import ProcessState
from flowrra.pool.process.supplies import Shelf
from flowrra.pool.transport.messages import (
    Answer,
    Begun,
    Forget,
    ForgetSlab,
    Progressed,
    RunHeader,
    Setup,
    SlabDropped,
    SlabSupply,
    Stop,
    Supply,
    SurroundingsSupply,
)
from flowrra.pool.transport.wire import Receiver, send, send_with
from flowrra.running import RunContext, ThinnedReport, entered

WORTH_PRELOADING = ("numpy", "pandas", "scipy", "sklearn", "pyarrow")
_LEAVING = 1.0
"""Seconds that the exit handlers of a worker may take."""
_LOOK_EVERY = 1.0
"""Seconds between two looks at its own memory."""
_STOP_SIZE = 256
"""Bytes; more than a Stop takes."""
_LONGEST_MESSAGE = 1000
"""Characters of a progress message that are sent on."""


class StopRequested(BaseException):
    """Raised in the middle of a run that is to end; not an ``Exception``, so that only ``finally`` blocks see it."""


class UnfitError(Exception):
    """Something of a run could not be rebuilt here, or not be sent back. ``reason`` is what the caller gets."""

    def __init__(self, reason: FlowrraError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Worker:
    """The loop of one worker process."""

    def __init__(
        self, queue: socket.socket, supplies: socket.socket, answers: socket.socket, output: OutputEnd
    ) -> None:
        self._queue, self._supplies, self._answers = Receiver(queue), Receiver(supplies), answers
        self._stops = Receiver(queue, _STOP_SIZE)
        self._output = output
        self._shelf = Shelf()
        self._pid = os.getpid()
        self._running = 0
        """Number of the run whose function is executing; 0 between runs. Read by the signal handler."""
        self._to_stop = 0
        """Number of the latest run that is to stop; it may have been claimed a moment ago, or have just ended."""
        self._stopped = 0
        """Number of the latest run that was interrupted."""
        self._imported = frozenset(name for name in WORTH_PRELOADING if name in sys.modules)
        self._modules = len(sys.modules)
        self._initializer = b""
        """Digest of what is to be called before the first run; empty: nothing, or it has been."""
        self._runs = 0
        self._since = self._looked = time.monotonic()
        self._memory = private_memory("self")
        signal.signal(signal.SIGUSR1, self._on_stop)
        self._state = ProcessState()

    def serve(self) -> NoReturn:
        """Run until the engine closes the queue. Never returns: nothing of the zygote's own stack may run here."""
        answer: tuple[Answer, int | None] | None = None
        while True:
            if answer is not None and self._has_served():
                self._send_answer(answer, 0)
                self._leave()
            claimed = self._claim_now() if answer is not None else self._claim()
            if answer is not None:
                self._send_answer(answer, claimed.number if claimed is not None else 0)
            elif claimed is not None:
                send(self._answers, Begun(claimed.number))
            answer = self._execute(claimed) if claimed is not None else None

    def _has_served(self) -> bool:
        """Whether this worker should make room for a fresh one. What it has not claimed goes to others, uncharged."""
        self._runs += 1
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

    def _claim_now(self) -> RunHeader | None:
        """The next run, if one is queued."""
        while (received := self._queue.receive()) is not None:
            if isinstance(received.message, RunHeader):
                return received.message
            # A Stop for a run that had just ended: the worker is on its way out and gets nothing more.
        return None

    def _claim(self) -> RunHeader:
        """Wait for the next run; take in supplies meanwhile, so that the engine never waits for room."""
        poll = select.poll()
        queue, supplies = self._queue.sock.fileno(), self._supplies.sock.fileno()
        poll.register(queue, select.POLLIN)
        poll.register(supplies, select.POLLIN)
        while True:
            claimed = self._claim_now()
            if claimed is not None:
                return claimed
            for fd, event in poll.poll():
                if not event & select.POLLIN or (fd == queue and self._queue.is_closed()):
                    self._leave()
                if fd == supplies:
                    self._take_supply(wait=False)

    def _take_supply(self, *, wait: bool) -> bool:
        received = self._supplies.receive(wait=wait)
        if received is None:
            return False
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
            self._initializer = message.initializer
        elif isinstance(message, Forget):
            self._shelf.drop(message.digest)
        elif isinstance(message, SlabSupply):
            self._shelf.mappings.put(message.slab, fd, message.size)
        elif isinstance(message, ForgetSlab):
            send(self._answers, SlabDropped(message.slab, self._shelf.mappings.drop(message.slab)))
        return True

    def _fetch_supplies(self, header: RunHeader) -> None:
        """Read supplies up to those that *header* names; they were sent before it."""
        shelf = self._shelf
        slabs = {slab for slab, _, _ in header.places}
        needed = [header.function] + ([header.constants] if header.constants else [])
        while self._take_supply(wait=False):  # all there are: a function may have been sent again, with other places
            pass
        while not (
            header.surroundings in shelf.surroundings
            and all(digest in shelf for digest in needed)
            and all(slab in shelf.mappings for slab in slabs)
        ):
            if not self._take_supply(wait=True):
                os._exit(0)

    # Executing a run.

    def _execute(self, header: RunHeader) -> tuple[Answer, int | None]:
        begun = time.monotonic()
        report = ThinnedReport(partial(self._send_progress, header.number))
        self._output.begin_run(header.number, header.memory_limit)
        try:
            try:
                self._running = header.number
                if self._to_stop == header.number:  # the signal came between the claim and the line above
                    self._interrupt()
                self._fetch_supplies(header)
                kind, payload = OutcomeKind.RETURNED, self._call(header, report)
            finally:
                self._running = 0
        except StopRequested:
            self._running = 0  # it may have been raised in the finally block, before its first line
            kind, payload = OutcomeKind.CANCELLED, encode_failure(Outcome(OutcomeKind.CANCELLED))
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
            outcome = _outcome(header, error)
            kind, payload = outcome.kind, encode_failure(outcome)
        if os.getpid() != self._pid:
            # A child that the function forked has come to the function's end; it is nobody's worker.
            os._exit(0)
        self._output.begin_run(0, 0)
        report.finish()
        self._shelf.mappings.settle()
        return self._answer(header.number, kind, payload, begun)

    def _answer(self, number: int, kind: OutcomeKind, payload: Payload, begun: float) -> tuple[Answer, int | None]:
        answer = Answer(
            number=number,
            begun=0,
            outcome=kind.value,
            stopped=self._stopped == number,
            wrote=self._output.close_run(number),
            seconds=time.monotonic() - begun,
            imported=self._newly_imported(),
            kind=payload.kind,
            head=payload.head,
            table=payload.table,
        )
        return answer, payload.segment.descriptor() if payload.segment is not None else None

    def _call(self, header: RunHeader, report: ThinnedReport) -> Payload:
        source = Source(header.seed, header.position)
        function, args, kwargs = self._load(header)
        # After loading: what modules draw while they are imported depends on what this worker has executed before.
        draws.begin(source)
        name, deadline = header.task_name, header.deadline
        with entered(RunContext(header.run_id, header.attempt, name, deadline, report, source=source)):
            value = function(*args, **kwargs)
        if isinstance(value, types.CoroutineType):
            value.close()
            raise TypeError(
                f"{header.task_name!r} returned a coroutine; a CPU task is a plain function, "
                "write 'async def' without cpu_bound=True"
            )
        try:
            return encode_value(value)
        except Exception as error:
            raise UnfitError(refusal(header.task_name, error, {"the result": value})) from error

    def _load(self, header: RunHeader) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        self._state.restore()
        settle(self._shelf.surroundings[header.surroundings])
        if self._initializer:
            self._initialize(header.task_name)
        with _naming(header.task_name, "the function"):
            function = self._shelf.function(header.function, readonly=header.readonly)
        with _naming(header.task_name, "the arguments"):
            args, kwargs = load(header.head, self._shelf.mappings.parts(header.places, readonly=header.readonly))
            if header.constants:
                kwargs = {**self._shelf.value(header.constants, readonly=header.readonly), **kwargs}
        received_classes.note_new()
        return function, args, kwargs

    def _initialize(self, task: str) -> None:
        """Again with the next run if it fails: what it needs may be there by then."""
        try:
            self._shelf.function(self._initializer, readonly=False)()
        except Exception as error:
            raise InitializerFailed(task, f"{type(error).__name__}: {safe_str(error)}") from error
        self._initializer = b""

    def _on_stop(self, *_: object) -> None:
        """The engine wants a run to end: raise in it, unless it has just ended by itself."""
        # All there are: two signals that come at the same time are delivered as one.
        while (received := self._stops.receive()) is not None:
            if isinstance(received.message, Stop):
                self._to_stop = received.message.number
        if self._running and self._to_stop == self._running:
            self._interrupt()

    def _interrupt(self) -> NoReturn:
        self._stopped = self._running
        raise StopRequested

    # Telling the engine.

    def _send_answer(self, answer: tuple[Answer, int | None], begun: int) -> None:
        message, fd = answer
        message = message._replace(begun=begun)
        if fd is None:
            send(self._answers, message)
            return
        send_with(self._answers, message, [fd])
        os.close(fd)

    def _send_progress(self, number: int, done: float, total: float | None, message: str) -> None:
        send(self._answers, Progressed(number, done, total, message[:_LONGEST_MESSAGE]))

    def _newly_imported(self) -> tuple[str, ...]:
        if len(sys.modules) == self._modules:
            return ()
        self._modules = len(sys.modules)
        now = frozenset(name for name in WORTH_PRELOADING if name in sys.modules)
        new, self._imported = now - self._imported, now
        return tuple(sorted(new))


@contextmanager
def _naming(task: str, what: str) -> Iterator[None]:
    """Whatever goes wrong in the block is a failure to rebuild *what*."""
    try:
        yield
    except Exception as error:
        raise UnfitError(NotDecodable(task, what, type(error).__name__, safe_str(error))) from error


def _outcome(header: RunHeader, error: BaseException) -> Outcome:
    if type(error) is UnfitError:
        error.reason.__cause__ = error.__cause__
        return Outcome(OutcomeKind.NOT_ENCODABLE, exception=error.reason, error=error_info(error.reason))
    return outcome_of_exception(header.task_name, header.run_id, error)

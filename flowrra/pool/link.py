"""One worker's sockets, on the engine's side.

The engine keeps *both* ends of the queue: the worker receives a header between runs, the engine takes headers back by
receiving from the worker's end itself. Whoever's system call gets a header has it; there is nothing to negotiate.
"""

from __future__ import annotations

import codecs
import os
import signal
import socket
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress

from flowrra.interfaces import Attempt
from flowrra.pool.encoding.calls import EncodedCall
from flowrra.pool.encoding.functions import FunctionRef
from flowrra.pool.encoding.payloads import INLINE
from flowrra.pool.encoding.surroundings import SurroundingsRef
from flowrra.pool.transport.messages import Forget, RunHeader, Setup, Stop, Supply, SurroundingsSupply
from flowrra.pool.transport.segments import Segment
from flowrra.pool.transport.wire import Received, Receiver, pairs, send

_SUPPLIES_KEPT = 256
"""Functions a worker keeps loaded."""


class Link:
    """Everything the engine holds of one worker: three sockets, and what the worker has been told.

    Raises ``OSError`` if this process has not enough descriptors left for it.
    """

    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.pid = 0
        self.pidfd = -1
        queue, supplies, answers = pairs(3)
        self._queue, self._queue_end = queue
        self._supplies, self._supplies_end = supplies
        self._answers_end, self.answers = answers
        # Only our own ends: O_NONBLOCK on the worker's end of the queue would be seen by the worker, too.
        for own in (self._queue, self._supplies, self.answers):
            own.settimeout(0)
        self.running = ""
        """Id of the run that began last."""
        self.decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in (1, 2)}
        """Of its output: a character may be split between two reports."""
        self._owed: list[int] = []
        """Signals for a process that has not been reported yet; it may run already."""
        self._queue_back, self._answers = Receiver(self._queue_end), Receiver(self.answers)
        self._supplied: OrderedDict[bytes, None] = OrderedDict()
        self._surroundings_sent: set[int] = set()

    def ends(self) -> list[int]:
        """What the worker gets: its ends of queue, supplies and answers."""
        return [self._queue_end.fileno(), self._supplies_end.fileno(), self._answers_end.fileno()]

    def handed_over(self) -> None:
        """The worker's ends are on their way. Its end of the queue stays open here."""
        self._supplies_end.close()
        self._answers_end.close()

    def give(self, number: int, attempt: Attempt) -> socket.socket | None:
        """Put a run into the queue, after whatever the worker needs for it.

        Returns None, or the socket that has no room now. Raises ``BrokenPipeError`` or ``ConnectionResetError`` if the
        worker is gone, another ``OSError`` if this process has no descriptor left. In these cases nothing was queued.
        """
        call: EncodedCall = attempt.encoded
        sock = self._supplies
        try:
            if call.surroundings.number not in self._surroundings_sent:
                self._supply_surroundings(call.surroundings)
            self._supply(call.function)
            if call.constants is not None:
                self._supply(call.constants)
            sock = self._queue
            send(sock, _header(number, attempt, call), call.arguments.segment)
        except BlockingIOError:
            return sock
        return None

    def set_up(self, nice: int, initializer: FunctionRef | None) -> None:
        """Tell the worker what to do before its first run. Once, before anything else is sent."""
        if initializer is not None:
            self._supply(initializer)
        send(self._supplies, Setup(nice, b"" if initializer is None else initializer.digest))

    def _supply(self, ref: FunctionRef) -> None:
        if ref.digest in self._supplied:
            self._supplied.move_to_end(ref.digest)
            return
        payload = ref.payload
        supply = Supply(ref.digest, ref.reusable, ref.sources, payload.kind, payload.head, payload.table)
        send(self._supplies, supply, payload.segment)
        self._supplied[ref.digest] = None
        if len(self._supplied) > _SUPPLIES_KEPT:
            # Queued runs cannot need the oldest: whatever they name was moved to the end when they were queued.
            oldest = next(iter(self._supplied))
            send(self._supplies, Forget(oldest))
            del self._supplied[oldest]

    def _supply_surroundings(self, surroundings: SurroundingsRef) -> None:
        head, segment = surroundings.pickled, None
        if len(head) > INLINE:
            head, segment = b"", Segment([memoryview(head)])
        send(
            self._supplies, SurroundingsSupply(surroundings.number, 0, head, segment.table if segment else ()), segment
        )
        self._surroundings_sent.add(surroundings.number)

    def take_back(self, limit: int | None = None) -> list[int]:
        """Receive runs from the worker's end of the queue, oldest first, before it can. Returns their numbers."""
        taken: list[int] = []
        if self._queue_end.fileno() < 0:  # dismissed
            return taken
        while limit is None or len(taken) < limit:
            received = self._queue_back.receive()
            if received is None:
                break
            if received.fd is not None:
                os.close(received.fd)
            if isinstance(received.message, RunHeader):
                taken.append(received.message.number)
        return taken

    def read_answers(self) -> Iterator[Received]:
        """Whatever the worker has said so far; a descriptor that comes along is the caller's to close."""
        while (received := self._answers.receive()) is not None:
            yield received

    def has_hung_up(self) -> bool:
        """The worker will say nothing more."""
        return self._answers.is_closed()

    def interrupt(self, number: int) -> None:
        """Raise inside run *number*. Its queue must have been taken back before."""
        try:
            send(self._queue, Stop(number))
        except BlockingIOError:  # it was emptied, so a worker that reads nothing is about to be killed anyway
            return
        self._signal(signal.SIGUSR1)

    def dismiss(self) -> None:
        """Let the worker end by itself: it finds its queue closed, and has nothing in it. May be called twice."""
        self._queue.close()
        self._queue_end.close()

    def kill(self) -> None:
        """End the worker by force; the zygote ends what it has started and reports."""
        self._signal(signal.SIGKILL)

    def kill_group(self) -> None:
        """After the zygote's end: nobody else is left to end what the worker has started."""
        self.kill()
        if self.pid:
            with suppress(ProcessLookupError, PermissionError):  # it is empty, or all that is left are zombies
                os.killpg(self.pid, signal.SIGKILL)

    def appeared(self, pid: int, pidfd: int | None) -> None:
        """The process exists; *pidfd* is ours from now on."""
        self.pid = pid
        if pidfd is not None:
            self.pidfd = pidfd
        for signum in self._owed:
            self._signal(signum)

    def writers(self) -> list[socket.socket]:
        """The sockets that may be waited for to have room."""
        return [sock for sock in (self._queue, self._supplies) if sock.fileno() >= 0]

    def _signal(self, signum: int) -> None:
        if not self.pid:
            self._owed.append(signum)
            return
        with suppress(ProcessLookupError):  # it has ended by itself; the report is on the way
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, signum)
            else:
                os.kill(self.pid, signum)

    def close(self) -> None:
        """An idle worker leaves when it finds its queue closed. May be called twice."""
        for sock in (self._queue, self._queue_end, self._supplies, self._supplies_end, self._answers_end, self.answers):
            sock.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def _header(number: int, attempt: Attempt, call: EncodedCall) -> RunHeader:
    return RunHeader(
        number,
        attempt.run_id,
        attempt.number,
        attempt.task_name,
        attempt.deadline,
        call.function.digest,
        call.constants.digest if call.constants is not None else b"",
        call.surroundings.number,
        call.arguments.kind,
        call.arguments.head,
        call.arguments.table,
        call.memory_limit,
        attempt.seed,
        attempt.position,
    )

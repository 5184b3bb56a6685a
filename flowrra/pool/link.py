"""One worker's sockets and page, on the engine's side.

The engine keeps *both* ends of the queue: the worker receives a group between others, the engine takes groups back by
receiving from the worker's end itself. Whoever's system call gets a group has it; there is nothing to negotiate.
"""

from __future__ import annotations

import codecs
import os
import signal
import socket
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from typing import cast

from flowrra.pool.data.depot import Depot
from flowrra.pool.encoding.calls import EncodedCall, EncodedMap
from flowrra.pool.encoding.functions import FunctionRef
from flowrra.pool.encoding.maps import EncodedRows
from flowrra.pool.encoding.payloads import INLINE, Payload
from flowrra.pool.encoding.surroundings import SurroundingsRef
from flowrra.pool.groups import Group
from flowrra.pool.kinds import Single, Stretch
from flowrra.pool.ledger import Ledger
from flowrra.pool.transport.messages import (
    Forget,
    ForgetSlab,
    Message,
    Places,
    RunGroup,
    Setup,
    SlabSupply,
    SpanGroup,
    Stop,
    Supply,
    SurroundingsSupply,
)
from flowrra.pool.transport.page import Page
from flowrra.pool.transport.segments import Segment
from flowrra.pool.transport.wire import Received, Receiver, pairs, send, send_with

_SUPPLIES_KEPT = 256
"""Functions a worker keeps loaded."""


class Link:
    """Everything the engine holds of one worker: three sockets, the page, and what the worker has been told.

    Raises ``OSError`` if this process has not enough descriptors left for it.
    """

    def __init__(self, worker: int, depot: Depot) -> None:
        self._depot = depot
        self.worker = worker
        self.pid = 0
        self.pidfd = -1
        self._page_end = Page.create()
        try:
            self.page = Page(self._page_end)
            queue, supplies, answers = pairs(3)
        except BaseException:
            os.close(self._page_end)
            raise
        self._queue, self._queue_end = queue
        self._supplies, self._supplies_end = supplies
        self._answers_end, self.answers = answers
        # Only our own ends: O_NONBLOCK on the worker's end of the queue would be seen by the worker, too.
        for own in (self._queue, self._supplies, self.answers):
            own.settimeout(0)
        self.claims = 0
        """Groups that are over: the one in its hands is the next one on the page."""
        self.running = ""
        """Id of the run that began last, as far as it was told."""
        self.begun: set[int] = set()
        """Runs whose begin has been told, and whose end is not known."""
        self.seen = (0, 0)
        """How far it had come when the page was last looked at."""
        self.decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in (1, 2)}
        """Of its output: a character may be split between two reports."""
        self._owed: list[int] = []
        """Signals for a process that has not been reported yet; it may run already."""
        self._queue_back, self._answers = Receiver(self._queue_end, most_fds=0), Receiver(self.answers)
        self._supplied: OrderedDict[bytes, Places] = OrderedDict()
        """Where the parts of each are: content that was given up and came back is elsewhere."""
        self._slabs: set[int] = set()
        self._put = 0
        """Messages in the supplies so far."""
        self._surroundings_sent: set[int] = set()

    def ends(self) -> list[int]:
        """What the worker gets: its ends of queue, supplies and answers, and the page."""
        return [self._queue_end.fileno(), self._supplies_end.fileno(), self._answers_end.fileno(), self._page_end]

    def handed_over(self) -> None:
        """The worker's ends are on their way. Its end of the queue stays open here."""
        self._supplies_end.close()
        self._answers_end.close()
        self._close_page_end()

    def _close_page_end(self) -> None:
        if self._page_end >= 0:
            os.close(self._page_end)
            self._page_end = -1

    def give(self, group: Group, ledger: Ledger) -> socket.socket | None:
        """Put a group into the queue, after whatever the worker needs for it.

        Returns None, or the socket that has no room now. Raises ``BrokenPipeError`` or ``ConnectionResetError`` if the
        worker is gone, another ``OSError`` if this process has no descriptor left. In these cases nothing was queued.
        """
        common: EncodedCall = group.kind.facts.common
        sock = self._supplies
        try:
            if common.surroundings.number not in self._surroundings_sent:
                self._supply_surroundings(common.surroundings)
            self._supply(common.function)
            if common.constants is not None:
                self._supply(common.constants)
            for payload in _large_arguments(group, ledger):
                self._supply_slabs(payload)
            sock = self._queue
            send(sock, _packet(group, ledger, self._put))
        except BlockingIOError:
            return sock
        return None

    def set_up(self, nice: int, cores: int, initializer: FunctionRef | None) -> None:
        """Tell the worker what to do before its first run. Once, before anything else is sent."""
        if initializer is not None:
            self._supply(initializer)
        self._put_in(Setup(nice, cores, b"" if initializer is None else initializer.digest))

    def _put_in(self, message: Message, segment: Segment | None = None) -> None:
        send(self._supplies, message, segment)
        self._put += 1

    def _supply(self, ref: FunctionRef) -> None:
        payload = ref.payload
        self._supply_slabs(payload)
        if self._supplied.get(ref.digest) == payload.places:
            self._supplied.move_to_end(ref.digest)
            return
        self._put_in(Supply(ref.digest, ref.reusable, ref.sources, payload.kind, payload.head, payload.places))
        self._supplied[ref.digest] = payload.places
        self._supplied.move_to_end(ref.digest)
        if len(self._supplied) > _SUPPLIES_KEPT:
            # Queued runs cannot need the oldest: whatever they name was moved to the end when they were queued.
            oldest = next(iter(self._supplied))
            self._put_in(Forget(oldest))
            del self._supplied[oldest]

    def _supply_slabs(self, payload: Payload) -> None:
        for slab in payload.blocks.slabs if payload.blocks is not None else ():
            if slab.number not in self._slabs:
                send_with(self._supplies, SlabSupply(slab.number, slab.size), [slab.fd])
                self._put += 1
                self._slabs.add(slab.number)
                self._depot.supplied(slab, self.worker)

    def forget_slab(self, number: int) -> None:
        """Have the worker drop a slab that no run refers to, unless it has been told to, or has no room to hear it."""
        if number in self._slabs:
            with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                self._put_in(ForgetSlab(number))
                self._slabs.discard(number)

    def _supply_surroundings(self, surroundings: SurroundingsRef) -> None:
        head, segment = surroundings.pickled, None
        if len(head) > INLINE:
            head, segment = b"", Segment([memoryview(head)])
        table = segment.table if segment is not None else ()
        self._put_in(SurroundingsSupply(surroundings.number, 0, head, table), segment)
        self._surroundings_sent.add(surroundings.number)

    def take_back(self, limit: int | None = None) -> list[int]:
        """Receive groups from the worker's end of the queue, oldest first, before it can. Returns their numbers."""
        taken: list[int] = []
        if self._queue_end.fileno() < 0:  # dismissed
            return taken
        while limit is None or len(taken) < limit:
            received = self._queue_back.receive()
            if received is None:
                break
            message = received.message
            if isinstance(message, SpanGroup):
                taken.append(message.number)
            elif isinstance(message, RunGroup):
                taken.append(message.runs[0][0])
        return taken

    def read_answers(self) -> Iterator[Received]:
        """Whatever the worker has said so far; a descriptor that comes along is the caller's to close."""
        while (received := self._answers.receive()) is not None:
            yield received

    def read_answer(self) -> Received | None:
        """The oldest of it. Reading on until there is nothing would cost a lone run more than reading."""
        return self._answers.receive()

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
        self._close_page_end()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def _large_arguments(group: Group, ledger: Ledger) -> list[Payload]:
    """The payloads of a group that have large parts: such a run travels alone."""
    if group.count > 1 or isinstance(group.kind.facts, Stretch):
        return []
    payload: Payload = ledger.attempt(group.number).encoded.arguments
    return [payload] if payload.blocks is not None else []


def _packet(group: Group, ledger: Ledger, supplies: int) -> RunGroup | SpanGroup:
    """What is sent for *group*, after so many *supplies*."""
    facts: Single | Stretch = group.kind.facts
    common = facts.common
    shared = (
        facts.task_name,
        common.function.digest,
        common.constants.digest if common.constants is not None else b"",
        common.surroundings.number,
        common.memory_limit,
        common.readonly,
        supplies,
    )
    if isinstance(facts, Stretch):
        span = facts.span
        position = span.first + group.number - facts.number
        rows: EncodedRows = cast("EncodedMap", span.encoded).rows
        return SpanGroup(
            *shared,
            number=group.number,
            length=group.count,
            prefix=span.prefix,
            first_id=span.number + position,
            deadline=span.deadline,
            seed=span.seed,
            position=position,
            pieces=rows.columns(position, group.count),
        )
    runs = []
    for ticket in group.tickets:
        number = ticket.number
        attempt = ledger.attempts.get(number) or ledger.attempt(number)
        run_id, nth, _, _, _, encoded, deadline, seed, position = attempt
        payload: Payload = encoded.arguments
        runs.append((number, run_id, nth, deadline, payload.kind, payload.head, payload.places, seed, position))
    return RunGroup(*shared, tuple(runs))

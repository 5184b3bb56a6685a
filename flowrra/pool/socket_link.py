"""A link to a worker that was forked: three sockets, and descriptors for whatever is large.

The engine keeps *both* ends of the queue: the worker receives a group between others, the engine takes groups back by
receiving from the worker's end itself. Whoever's system call gets a group has it; there is nothing to negotiate.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Self

from flowrra.pool.data.depot import Depot
from flowrra.pool.data.slab import Slab
from flowrra.pool.encoding.payloads import INLINE
from flowrra.pool.encoding.surroundings import SurroundingsRef
from flowrra.pool.link import Link
from flowrra.pool.transport.messages import Message, RunGroup, SpanGroup, Stop, SurroundingsSupply
from flowrra.pool.transport.page import Page
from flowrra.pool.transport.segments import Segment
from flowrra.pool.transport.wire import Received, Receiver, pairs, send, send_with

Fork = Callable[[int, Sequence[int]], None]
"""Has a worker forked that gets copies of some descriptors."""


class SocketLink(Link):
    """Raises ``OSError`` if this process has not enough descriptors left for it."""

    def __init__(self, worker: int, depot: Depot, loop: asyncio.AbstractEventLoop, fork: Fork) -> None:
        self._loop, self._fork = loop, fork
        self.pidfd = -1
        self._page_end = Page.create()
        try:
            page = Page(self._page_end)
            queue, supplies, answers = pairs(3)
        except BaseException:
            os.close(self._page_end)
            raise
        super().__init__(worker, depot, page)
        self._queue, self._queue_end = queue
        self._supplies, self._supplies_end = supplies
        self._answers_end, self._answers = answers
        # Only our own ends: O_NONBLOCK on the worker's end of the queue would be seen by the worker, too.
        for own in (self._queue, self._supplies, self._answers):
            own.settimeout(0)
        self._full = self._queue
        """The one of them that was written to last."""
        self._owed: list[int] = []
        """Signals for a process that has not been reported yet; it may run already."""
        self._queue_back, self._heard = Receiver(self._queue_end, most_fds=0), Receiver(self._answers)

    def start(self) -> None:
        """Raises ``WorkerStartFailed`` if nobody is there who could fork."""
        self._fork(self.worker, self._ends())
        # The worker's ends are on their way. Its end of the queue stays open here.
        self._supplies_end.close()
        self._answers_end.close()
        self._close_page_end()

    def _ends(self) -> list[int]:
        """What the worker gets: its ends of queue, supplies and answers, and the page."""
        return [self._queue_end.fileno(), self._supplies_end.fileno(), self._answers_end.fileno(), self._page_end]

    def _close_page_end(self) -> None:
        if self._page_end >= 0:
            os.close(self._page_end)
            self._page_end = -1

    def appeared(self, pid: int, pidfd: int | None) -> None:
        self.pid = pid
        if pidfd is not None:
            self.pidfd = pidfd
        for signum in self._owed:
            self._signal(signum)

    def _tell(self, message: Message, slab: Slab | None = None) -> None:
        self._full = self._supplies
        if slab is None:
            send(self._supplies, message)
        else:
            send_with(self._supplies, message, [slab.fd])

    def _supply_surroundings(self, surroundings: SurroundingsRef) -> None:
        head = surroundings.pickled
        if len(head) <= INLINE:
            super()._supply_surroundings(surroundings)
            return
        self._full = self._supplies
        segment = Segment([memoryview(head)])
        send(self._supplies, SurroundingsSupply(surroundings.number, 0, b"", segment.table), segment)
        self._put += 1

    def _pass_on(self, packet: RunGroup | SpanGroup, number: int) -> None:
        self._full = self._queue
        send(self._queue, packet)

    def when_room(self, call: Callable[[], None]) -> None:
        self._loop.add_writer(self._full, self._writable, self._full, call)

    def _writable(self, sock: socket.socket, call: Callable[[], None]) -> None:
        self._loop.remove_writer(sock)
        call()

    def take_back(self, limit: int | None = None) -> list[int]:
        """Receive groups from the worker's end of the queue, before it can."""
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

    def listen(self, call: Callable[[Self], None]) -> None:
        self._loop.add_reader(self._answers, call, self)

    def mute(self) -> None:
        self._loop.remove_reader(self._answers)

    def read_answers(self) -> Iterator[Received]:
        while (received := self._heard.receive()) is not None:
            yield received

    def read_answer(self) -> Received | None:
        return self._heard.receive()

    def has_hung_up(self) -> bool:
        return self._heard.is_closed()

    def interrupt(self, number: int) -> None:
        try:
            send(self._queue, Stop(number))
        except BlockingIOError:  # it was emptied, so a worker that reads nothing is about to be killed anyway
            return
        self._signal(signal.SIGUSR1)

    def dismiss(self) -> None:
        """The worker finds its queue closed, and has nothing in it."""
        self._wait_no_more()
        self._queue.close()
        self._queue_end.close()

    def kill(self) -> None:
        """The zygote ends what the worker has started and reports."""
        self._signal(signal.SIGKILL)

    def kill_group(self) -> None:
        self.kill()
        if self.pid:
            with suppress(ProcessLookupError, PermissionError):  # it is empty, or all that is left are zombies
                os.killpg(self.pid, signal.SIGKILL)

    def _signal(self, signum: int) -> None:
        if not self.pid:
            self._owed.append(signum)
            return
        with suppress(ProcessLookupError):  # it has ended by itself; the report is on the way
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, signum)
            else:
                os.kill(self.pid, signum)

    def _wait_no_more(self) -> None:
        for sock in (self._queue, self._supplies):
            if sock.fileno() >= 0:
                self._loop.remove_writer(sock)

    def close(self) -> None:
        """An idle worker leaves when it finds its queue closed."""
        self._wait_no_more()
        ends = (self._queue, self._queue_end, self._supplies, self._supplies_end, self._answers_end, self._answers)
        for sock in ends:
            sock.close()
        self._close_page_end()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

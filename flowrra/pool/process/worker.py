"""A worker process that was forked: claims one group of runs after the other, by receiving it from the queue.

Everything here runs on the process's main thread, in a process forked from the zygote.
"""

from __future__ import annotations

import os
import select
import signal
import socket

from flowrra.pool.data.mappings import Mappings
from flowrra.pool.process.output import OutputEnd
from flowrra.pool.process.serving import Serving
from flowrra.pool.process.work import Work
from flowrra.pool.transport.messages import Stop
from flowrra.pool.transport.page import Page
from flowrra.pool.transport.wire import Receiver, SocketAnswers

_STOP_SIZE = 256
"""Bytes; more than a Stop takes."""


class Worker(Serving):
    """Ends when the engine closes the queue."""

    def __init__(
        self, queue: socket.socket, supplies: socket.socket, answers: socket.socket, page: Page, output: OutputEnd
    ) -> None:
        self._queue, self._supplies = Receiver(queue, most_fds=0), Receiver(supplies)
        self._stops = Receiver(queue, _STOP_SIZE, most_fds=0)
        self._poll = select.poll()
        for sock in (queue, supplies):
            self._poll.register(sock, select.POLLIN)
        self._taken = 0
        """Messages taken from the supplies so far."""
        signal.signal(signal.SIGUSR1, self._on_stop)
        super().__init__(SocketAnswers(answers), page, output, Mappings())

    def _claim(self) -> Work:
        claimed = self._wait_and_claim()
        # The supplies that were sent before it.
        while self._taken < claimed.common.supplies:
            if not self._take_supply(wait=True):
                os._exit(0)
        return claimed

    def _claim_now(self) -> Work | None:
        """The next group, if one is queued."""
        while (received := self._queue.receive()) is not None:
            work = self._work_of(received.message)
            if work is not None:
                return work
        return None

    def _wait_and_claim(self) -> Work:
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
        self._take_in(received.message, received.fd)
        return True

    def _on_stop(self, *_: object) -> None:
        """The engine wants a run to end: raise in it, unless it has just ended by itself."""
        target = 0
        # All there are: two signals that come at the same time are delivered as one.
        while (received := self._stops.receive()) is not None:
            if isinstance(received.message, Stop):
                target = received.message.number
        if target:
            self._execution.stop(target)

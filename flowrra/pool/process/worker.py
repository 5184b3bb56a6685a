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
        self._queue, self._supplies = Receiver(queue), Receiver(supplies)
        self._stops = Receiver(queue, _STOP_SIZE)
        signal.signal(signal.SIGUSR1, self._on_stop)
        super().__init__(SocketAnswers(answers), page, output, Mappings())

    def _claim(self) -> Work:
        """Wait for the next group; take in supplies meanwhile, so that the engine never waits for room."""
        claimed = self._claim_now() or self._wait_and_claim()
        self._fetch_supplies(claimed)
        return claimed

    def _claim_now(self) -> Work | None:
        """The next group, if one is queued."""
        while (received := self._queue.receive()) is not None:
            work = self._work_of(received.message)
            if work is not None:
                return work
        return None

    def _wait_and_claim(self) -> Work:
        poll = select.poll()
        queue, supplies = self._queue.sock.fileno(), self._supplies.sock.fileno()
        poll.register(queue, select.POLLIN)
        poll.register(supplies, select.POLLIN)
        while True:
            for fd, event in poll.poll():
                if not event & select.POLLIN or (fd == queue and self._queue.is_closed()):
                    self._leave()
                if fd == supplies:
                    self._take_supply(wait=False)
            claimed = self._claim_now()
            if claimed is not None:
                return claimed

    def _take_supply(self, *, wait: bool) -> bool:
        received = self._supplies.receive(wait=wait)
        if received is None:
            return False
        self._take_in(received.message, received.fd)
        return True

    def _fetch_supplies(self, work: Work) -> None:
        """Read supplies up to those that *work* names; they were sent before it."""
        shelf, group, slabs = self._shelf, work.common, work.slabs()
        needed = [group.function] + ([group.constants] if group.constants else [])
        while self._take_supply(wait=False):  # all there are: a function may have been sent again, with other places
            pass
        while not (
            group.surroundings in shelf.surroundings
            and all(digest in shelf for digest in needed)
            and all(slab in shelf.mappings for slab in slabs)
        ):
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

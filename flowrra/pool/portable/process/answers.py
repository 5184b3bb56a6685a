"""A spawned worker's way to the engine."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence

from flowrra.pool.portable.files import NamedSegment
from flowrra.pool.portable.frames import framed
from flowrra.pool.transport.messages import Message
from flowrra.pool.transport.segments import Segment


class FrameAnswers:
    """Sends whole frames, from any thread: a stop that comes in the middle of one waits for its end."""

    def __init__(self, sock: socket.socket, folder: str, worker: int) -> None:
        self._sock = sock
        self._prefix = os.path.join(folder, f"result-{worker}-")
        self._segments = 0
        self._lock = threading.Lock()
        self._main = threading.get_ident()
        self._sending = False
        self._postponed: Callable[[], None] | None = None

    def send(self, message: Message, segment: Segment | None = None) -> None:
        data = framed(message, segment.name if isinstance(segment, NamedSegment) else "")
        if threading.get_ident() != self._main:
            with self._lock:
                self._sock.sendall(data)
            return
        self._sending = True
        try:
            with self._lock:
                self._sock.sendall(data)
        finally:
            self._sending = False
            postponed, self._postponed = self._postponed, None
        if postponed is not None:
            postponed()

    def unless_sending(self, call: Callable[[], None]) -> None:
        """For a signal handler of the main thread: *call* now, or after what is being sent."""
        if self._sending:
            self._postponed = call
        else:
            call()

    def segment(self, parts: Sequence[memoryview]) -> Segment:
        self._segments += 1
        return NamedSegment(parts, f"{self._prefix}{self._segments}")

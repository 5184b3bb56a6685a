"""The thread of a spawned worker that receives what the engine says, whatever the main thread does."""

from __future__ import annotations

import os
import queue
import signal
import socket
import threading
from typing import NoReturn

from flowrra.pool.portable.frames import Frame, Frames
from flowrra.pool.transport.messages import Stop

STOP_SIGNAL: signal.Signals = getattr(signal, "SIGUSR1", signal.SIGINT)


class Control:
    """Puts frames into the inbox. A stop is announced by a signal to the main thread; the end ends everything."""

    def __init__(self, sock: socket.socket) -> None:
        self.inbox: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self.to_stop = 0
        """Number of the run that is to stop."""
        self._sock = sock
        self._main = threading.get_ident()

    def start(self) -> None:
        threading.Thread(target=self._listen, name="flowrra-control", daemon=True).start()

    def _listen(self) -> NoReturn:
        frames = Frames()
        try:
            while data := self._sock.recv(1 << 16):
                for frame in frames.feed(data):
                    if isinstance(frame.message, Stop):
                        self._stop(frame.message.number)
                    else:
                        self.inbox.put(frame)
        finally:
            end_with_the_engine()

    def _stop(self, number: int) -> None:
        self.to_stop = number
        if hasattr(signal, "pthread_kill"):
            # To that thread alone: it may be in a system call, which a signal to another one would not end.
            signal.pthread_kill(self._main, STOP_SIGNAL)
        else:
            signal.raise_signal(STOP_SIGNAL)


def end_with_the_engine() -> NoReturn:
    """The engine has gone: end whatever tasks have started in this process group, and this process."""
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(0)

"""The zygote, on the engine's side: the process, its control socket, its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence

from flowrra.pool.launch import Launch
from flowrra.pool.transport.messages import Message, Quit
from flowrra.pool.transport.wire import Received, Receiver, send, send_with

_PATIENCE = 0.4
"""Seconds a zygote gets to end its workers and itself."""
_LAST_WORDS = 4096


class ZygoteProcess:
    """One zygote, which *launch* has started."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        launch: Launch,
        on_message: Callable[[ZygoteProcess], None],
        on_end: Callable[[ZygoteProcess], None],
    ) -> None:
        self.workers: set[int] = set()
        """Workers it was asked for and that have not been reported as ended."""
        self.modules: set[str] = set()
        """Modules it was asked to import."""
        self.loading: set[str] = set()
        """Those it has not reported yet."""
        self.retired = False
        self._loop = loop
        self._launch = launch
        self._control, self._process = launch.control, launch.process
        self._reports = Receiver(self._control)
        loop.add_reader(self._control, on_message, self)
        loop.add_reader(launch.pidfd, on_end, self)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Never waits. A zygote that has stopped listening is ended: it will be replaced when its end is noticed."""
        try:
            if fds:
                send_with(self._control, message, fds)
            else:
                send(self._control, message)
        except BlockingIOError:
            self._process.kill()
        except (BrokenPipeError, ConnectionResetError):  # its end is about to be noticed
            return

    def read(self) -> Iterator[Received]:
        while (received := self._reports.receive()) is not None:
            yield received

    def last_words(self) -> str:
        """The end of what it wrote to stderr, which is nothing unless something is very wrong."""
        size = os.fstat(self._launch.stderr).st_size
        return os.pread(self._launch.stderr, _LAST_WORDS, max(0, size - _LAST_WORDS)).decode(errors="replace")

    def retire(self) -> None:
        """It has no workers any more and is to end by itself."""
        self.retired = True
        self.send(Quit())

    def kill(self) -> None:
        self._process.kill()

    def bury(self) -> None:
        """After its end, or to bring it about at once: reap it and release everything."""
        self._loop.remove_reader(self._control)
        self._loop.remove_reader(self._launch.pidfd)
        self._launch.bury()

    async def close(self) -> None:
        """Have it end its workers, what they started, and itself; by force if it takes too long."""
        self._loop.remove_reader(self._control)
        gone = self._loop.create_future()
        self._loop.add_reader(self._launch.pidfd, _resolve, gone)
        self.send(Quit())
        try:
            await asyncio.wait_for(gone, _PATIENCE)
        except TimeoutError:
            self._process.kill()
        finally:
            self.bury()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

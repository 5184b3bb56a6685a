"""The zygote, on the engine's side: the process, its control socket, its end."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from flowrra.errors import WorkerStartFailed
from flowrra.pool.encoding.surroundings import with_defaults
from flowrra.pool.thread_variables import single_threaded
from flowrra.pool.transport.messages import Message, Quit
from flowrra.pool.transport.wire import Received, Receiver, send, send_with

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[3]); from flowrra.pool.process.zygote import main; "
    "del sys.path[0]; main(int(sys.argv[1]), int(sys.argv[2]))"
)
_PACKAGE_FOLDER = str(Path(__file__).resolve().parents[2])
_PATIENCE = 0.4
"""Seconds a zygote gets to end its workers and itself."""
_LAST_WORDS = 4096


class ZygoteProcess:
    """One zygote. Raises ``WorkerStartFailed`` if the process cannot even be started."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
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
        try:
            self._start()
        except OSError as error:
            raise WorkerStartFailed(f"no worker process can be started: {error}") from error
        self._control.settimeout(0)
        self._reports = Receiver(self._control)
        loop.add_reader(self._control, on_message, self)
        loop.add_reader(self._pidfd, on_end, self)

    def _start(self) -> None:
        """Everything or nothing: descriptors may run out at each step."""
        with ExitStack() as undo:
            self._stderr = os.memfd_create("flowrra-stderr", os.MFD_CLOEXEC)
            undo.callback(os.close, self._stderr)
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self._control.close)
            with theirs:
                self._process = _popen(theirs.fileno(), self._stderr)
            undo.callback(self._process.wait)
            undo.callback(self._process.kill)
            self._pidfd = os.pidfd_open(self._process.pid)
            undo.pop_all()

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
        size = os.fstat(self._stderr).st_size
        return os.pread(self._stderr, _LAST_WORDS, max(0, size - _LAST_WORDS)).decode(errors="replace")

    def retire(self) -> None:
        """It has no workers any more and is to end by itself."""
        self.retired = True
        self.send(Quit())

    def kill(self) -> None:
        self._process.kill()

    def bury(self) -> None:
        """After its end, or to bring it about at once: reap it and release everything."""
        self._loop.remove_reader(self._control)
        self._loop.remove_reader(self._pidfd)
        self._process.kill()
        self._process.wait()
        self._control.close()
        os.close(self._pidfd)
        os.close(self._stderr)

    async def close(self) -> None:
        """Have it end its workers, what they started, and itself; by force if it takes too long."""
        self._loop.remove_reader(self._control)
        gone = self._loop.create_future()
        self._loop.add_reader(self._pidfd, _resolve, gone)
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


def _popen(control: int, stderr: int) -> subprocess.Popen[bytes]:
    # -P keeps the current folder off the path: a user's random.py there must not become the zygote's. A session of its
    # own keeps it and the workers out of reach of a terminal's and a kernel's interrupts.
    arguments = [sys.executable, "-P", "-c", _BOOT, str(control), str(os.getpid()), _PACKAGE_FOLDER]
    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        pass_fds=(control,),
        env=single_threaded(with_defaults(os.environ)),
        start_new_session=True,
    )

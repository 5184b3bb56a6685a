"""The start of a zygote's interpreter. Loads little, for it is the first thing that a first run needs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack

from flowrra.errors import WorkerStartFailed
from flowrra.pool.encoding.surroundings import with_defaults
from flowrra.pool.thread_variables import single_threaded

_BOOT = (
    "import gc, sys; gc.disable(); sys.path.insert(0, sys.argv[3]); from flowrra.pool.process.zygote import main; "
    "del sys.path[0]; main(int(sys.argv[1]), int(sys.argv[2]))"
)
_PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Launch:
    """A zygote's process that comes up, and what belongs to it. May be made on any thread.

    Raises ``WorkerStartFailed`` if the process cannot even be started.
    """

    def __init__(self) -> None:
        try:
            self._start()
        except OSError as error:
            raise WorkerStartFailed(f"no worker process can be started: {error}") from error
        self.control.settimeout(0)

    def _start(self) -> None:
        """Everything or nothing: descriptors may run out at each step."""
        with ExitStack() as undo:
            self.stderr = os.memfd_create("flowrra-stderr", os.MFD_CLOEXEC)
            undo.callback(os.close, self.stderr)
            self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self.control.close)
            with theirs:
                self.process = _popen(theirs.fileno(), self.stderr)
            undo.callback(self.process.wait)
            undo.callback(self.process.kill)
            self.pidfd = os.pidfd_open(self.process.pid)
            undo.pop_all()

    def bury(self) -> None:
        """End it, unless it has ended, reap it and release everything."""
        self.process.kill()
        self.process.wait()
        self.control.close()
        os.close(self.pidfd)
        os.close(self.stderr)


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

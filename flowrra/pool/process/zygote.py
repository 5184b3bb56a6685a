"""The template process: forks workers in milliseconds, hears what they write, ends what they leave behind.

One thread, one poll loop, no user code. It ends with the engine: when its control socket or the engine's process does.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
import types
from collections import deque
from contextlib import suppress
from typing import NoReturn

from flowrra.pool.native import adopt_orphans
from flowrra.pool.preloading import AFTER_THE_START
from flowrra.pool.process.birth import become_worker
from flowrra.pool.process.counted_output import OutputReader, Tally
from flowrra.pool.process.libraries import libraries
from flowrra.pool.process.memory import MemoryUse, oom_kills
from flowrra.pool.process.orphans import Orphans
from flowrra.pool.transport.messages import (
    Boundary,
    Ended,
    Fork,
    Forked,
    ForkFailed,
    Message,
    Output,
    Preload,
    Preloaded,
    Quit,
    Ready,
    Watch,
)
from flowrra.pool.transport.wire import Receiver, is_overloaded, send, send_with

_FORWARD_EVERY = 0.1
_IDLE = 0.05
"""Seconds without anything to do before a module is preloaded: meanwhile nobody is heard or forked."""
_SWEEP_EVERY = 0.005
_MEASURE_EVERY = 0.05
_LARGEST = 60 * 1024
"""Bytes of output in one message."""
_LAST_SWEEP = 1.0
_ENDS = 4
"""Descriptors that a worker gets: its ends of queue, supplies and answers, and the page."""


class _Child:
    """A worker as the zygote sees it."""

    def __init__(self, worker: int, pid: int, pidfd: int, output: OutputReader) -> None:
        self.worker, self.pid, self.pidfd, self.output = worker, pid, pidfd, output
        self.memory = MemoryUse(pid)


class Zygote:
    """The poll loop and what it watches."""

    def __init__(self, control: socket.socket, engine: int) -> None:
        self._control = control
        self._orders = Receiver(control, most_fds=_ENDS)
        self._pid = os.getpid()
        self._children: dict[int, _Child] = {}
        """By every descriptor that belongs to it: its pidfd and its two pipes."""
        self._pids: set[int] = set()
        self._orphans = Orphans()
        self._outbox: deque[tuple[Message, tuple[int, ...]]] = deque()
        self._preloads = deque(AFTER_THE_START)
        self._forward_at: float | None = None
        self._sweeping = False
        self._measure_at: float | None = None
        self._oom_kills = oom_kills()
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        # Not left to the control socket alone: a process that the user forks keeps the engine's end of it open.
        self._engine = os.pidfd_open(engine)
        self._poll.register(self._engine, select.POLLIN)

    def serve(self) -> NoReturn:
        signal.signal(signal.SIGTERM, lambda *_: self._quit())
        self._say(Ready(self._pid))
        while True:
            ready = self._poll.poll(self._timeout())
            # Output before endings: a worker's last words are in its pipes when it ends.
            for fd, _ in ready:
                child = self._children.get(fd)
                if child is not None and fd in child.output.fds:
                    self._hear(child, fd)
            for fd, event in ready:
                if fd == self._engine:
                    self._quit()
                elif fd == self._control.fileno() and event & ~select.POLLOUT:
                    self._obey()
                elif fd in self._children and fd == self._children[fd].pidfd:
                    self._bury(self._children[fd])
            self._do_what_is_due(idle=not ready)

    def _timeout(self) -> float:
        """Milliseconds to the next thing that is due."""
        if self._sweeping:
            return _SWEEP_EVERY * 1000
        due = [at for at in (self._forward_at, self._measure_at) if at is not None]
        if due:
            # Rounded up: poll() cuts fractions of a millisecond off, and would be asked again until it is time.
            return max(0.0, min(due) - time.monotonic()) * 1000 + 1
        return _IDLE * 1000 if self._preloads else -1

    def _do_what_is_due(self, *, idle: bool) -> None:
        if self._forward_at is not None and time.monotonic() >= self._forward_at:
            self._forward()
        if self._measure_at is not None and time.monotonic() >= self._measure_at:
            self._measure_at = time.monotonic() + _MEASURE_EVERY
            for child in set(self._children.values()):
                child.memory.measure(child.output.run, child.output.measured)
        if self._sweeping:
            self._sweeping = self._orphans.end(self._pids)
        if self._preloads and idle and self._forward_at is None:
            self._preload(self._preloads.popleft())
        self._flush()

    # What the engine is told and what it asks for.

    def _obey(self) -> None:
        received = self._orders.receive()
        if received is None:
            if self._orders.is_closed():
                self._quit()
            return
        message, fds = received
        if isinstance(message, Fork):
            self._fork(message.worker, fds)
        elif isinstance(message, Preload):
            self._prepare(message)
        elif isinstance(message, Watch):
            self._measure_at = time.monotonic() if message.on else None
        elif isinstance(message, Quit):
            self._quit()

    def _say(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        self._outbox.append((message, fds))

    def _flush(self) -> None:
        """Send what the engine has room for. The rest waits here, so that a busy engine never stops the workers."""
        try:
            while self._outbox:
                message, fds = self._outbox[0]
                if fds:
                    send_with(self._control, message, fds)
                else:
                    send(self._control, message)
                self._outbox.popleft()
        except BlockingIOError:
            self._poll.modify(self._control, select.POLLIN | select.POLLOUT)
            return
        except (BrokenPipeError, ConnectionResetError):
            self._quit()
        except OSError as error:
            if not is_overloaded(error):
                raise
            self._forward_at = self._forward_at or time.monotonic() + _FORWARD_EVERY
        self._poll.modify(self._control, select.POLLIN)

    # Workers, from fork to burial.

    def _fork(self, worker: int, ends: list[int]) -> None:
        pipes: list[int] = []
        try:
            if len(ends) < _ENDS:
                raise OSError(errno.EMFILE, "its sockets could not be received: too many open files")
            for _ in ("stdout", "stderr"):
                pipes += os.pipe2(os.O_CLOEXEC)
            child = self._start(worker, ends, pipes)
        except OSError as error:
            for fd in pipes[::2]:
                os.close(fd)
            self._say(ForkFailed(worker, f"{type(error).__name__}: {error}"))
        else:
            self._adopt(child)
        for fd in (*pipes[1::2], *ends):
            os.close(fd)

    def _start(self, worker: int, ends: list[int], pipes: list[int]) -> _Child:
        out, stdout, err, stderr = pipes
        token, tally = os.urandom(16).hex().encode(), Tally()
        pid = os.fork()
        if pid == 0:
            become_worker(self._pid, ends, (stdout, stderr), token, tally)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        return _Child(worker, pid, pidfd, OutputReader(token, out, err, tally))

    def _adopt(self, child: _Child) -> None:
        pid, output = child.pid, child.output
        with suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)  # as the worker does itself; whoever comes first
        self._pids.add(pid)
        for fd in (child.pidfd, *output.fds):
            os.set_blocking(fd, False)
            self._children[fd] = child
            self._poll.register(fd, select.POLLIN)
        self._say(Forked(child.worker, pid), (child.pidfd,))

    def _bury(self, child: _Child) -> None:
        """A worker has ended: read the rest of its output, end its process group, report it."""
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        # Before it is reaped: until then its number cannot belong to anyone else.
        self._orphans.end_group(child.pid, self._pids)
        _, status = os.waitpid(child.pid, 0)
        self._pids.discard(child.pid)
        for fd in child.output.fds:
            while child.output.read(fd):
                pass
        last_words = child.output.last_words()
        self._report(child)
        for stream, data in child.output.remains():
            self._say_output(child.worker, stream, data)
        code, memory = os.waitstatus_to_exitcode(status), child.memory
        starved = code == -signal.SIGKILL and memory.exceeded == (0, 0) and self._oom_killer_has_struck()
        self._say(Ended(child.worker, code, last_words, memory.peak, memory.exceeded, starved))
        self._flush()
        for fd in (child.pidfd, *child.output.fds):
            if self._children.pop(fd, None) is not None:
                self._poll.unregister(fd)
        os.close(child.pidfd)
        child.output.close()
        self._sweeping = self._orphans.end(self._pids)

    def _oom_killer_has_struck(self) -> bool:
        before, self._oom_kills = self._oom_kills, oom_kills()
        return before is not None and self._oom_kills is not None and self._oom_kills > before

    # What workers write.

    def _hear(self, child: _Child, fd: int) -> None:
        if not child.output.read(fd):
            # Closed by the worker and all it started; a closed pipe would be ready for ever.
            self._poll.unregister(fd)
            del self._children[fd]
        self._report(child)
        if self._forward_at is None:
            self._forward_at = time.monotonic() + _FORWARD_EVERY

    def _report(self, child: _Child) -> None:
        for number, rest in child.output.finished():
            for stream, data in rest:
                self._say_output(child.worker, stream, data)
            self._say(Boundary(child.worker, number))

    def _forward(self) -> None:
        self._forward_at = None
        for child in set(self._children.values()):
            for stream, data in child.output.fresh():
                self._say_output(child.worker, stream, data)

    def _say_output(self, worker: int, stream: int, data: bytes) -> None:
        for at in range(0, len(data), _LARGEST):
            self._say(Output(worker, stream, data[at : at + _LARGEST]))

    # Preloading and the end.

    def _prepare(self, order: Preload) -> None:
        if not order.now or self._pids:
            self._preloads.extend(order.modules)
            return
        if max([self._preload(module) for module in order.modules]) > 1:
            # The workers that have been asked for must not be forked beside another thread. The zygote that follows
            # does without the module.
            self._flush()
            self._quit()

    def _preload(self, module: str) -> int:
        """Returns how many threads there are now."""
        with suppress(Exception):  # a worker that needs it will say what is wrong with it
            importlib.import_module(module)
            libraries.look()
        gc.freeze()
        threads = len(os.listdir("/proc/self/task"))
        if module not in AFTER_THE_START:
            self._say(Preloaded(module, threads))
        return threads

    def _quit(self) -> NoReturn:
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self._pids:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            self._orphans.end_group(pid, self._pids)
        self._pids.clear()
        give_up = time.monotonic() + _LAST_SWEEP
        while self._orphans.end(self._pids) and time.monotonic() < give_up:
            time.sleep(_SWEEP_EVERY / 5)
        os._exit(0)


def main(control: int, engine: int) -> NoReturn:
    """Run the zygote of the process *engine*. The interpreter was started for it, and collects no garbage."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    adopt_orphans()
    sock = socket.socket(fileno=control)
    sock.settimeout(0)
    sock.set_inheritable(False)
    sys.modules["__main__"] = types.ModuleType("__main__")
    gc.freeze()
    Zygote(sock, engine).serve()

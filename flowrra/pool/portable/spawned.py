"""Starts workers as processes of their own, watches over them and tells what becomes of them."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from flowrra.errors import WorkerStartFailed
from flowrra.loops import LoopInbox
from flowrra.pool.data.depot import Depot
from flowrra.pool.encoding.surroundings import with_defaults
from flowrra.pool.portable.folder import Folders
from flowrra.pool.portable.link import PortableLink
from flowrra.pool.portable.listener import Listener
from flowrra.pool.portable.output import Output
from flowrra.pool.process.memory import MemoryUse, oom_kills
from flowrra.pool.thread_variables import single_threaded
from flowrra.pool.transport.messages import Ended
from flowrra.pool.workers import WorkerEvents

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from flowrra.pool.portable.process.worker import main; "
    "del sys.path[0]; main()"
)
_PACKAGE_FOLDER = str(Path(__file__).resolve().parents[3])
_START_PATIENCE = 30.0
"""Seconds an interpreter may take to start and connect."""
_FORWARD_EVERY = 0.1
_MEASURE_EVERY = 0.05
_LAST_ANSWERS = 1.0
"""Seconds in which the connection of a worker that has ended must have ended, too."""
_PATIENCE = 5.0
"""Seconds for workers that were killed to be gone; the system may take its time."""


class Worker:
    """A process and what is known of it."""

    def __init__(self, link: PortableLink, process: subprocess.Popen[bytes], output: Output) -> None:
        self.link, self.process, self.output = link, process, output
        self.memory = MemoryUse(process.pid)
        self.where = (0, 0)
        """How far it was when there was last something new of its output."""
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self.gone = asyncio.get_running_loop().create_future()

    def later(self, what: str, seconds: float, call: Callable[[Worker], None]) -> None:
        if what not in self.timers:
            self.timers[what] = asyncio.get_running_loop().call_later(seconds, self._due, what, call)

    def _due(self, what: str, call: Callable[[Worker], None]) -> None:
        del self.timers[what]
        call(self)


class Spawned:
    """The workers of one pool."""

    def __init__(self, loop: asyncio.AbstractEventLoop, events: WorkerEvents, folders: Folders) -> None:
        self._loop, self._events, self._folders = loop, events, folders
        self._inbox = LoopInbox(loop)
        self._listener: Listener | None = None
        self._workers: dict[int, Worker] = {}
        self._wanted: dict[str, None] = {}
        """Modules that workers have needed."""
        self._measuring: asyncio.TimerHandle | None = None
        self._oom_kills = oom_kills()
        self._closed = False

    def new_link(self, worker: int, depot: Depot) -> PortableLink:
        """Raises ``OSError``."""
        folder = self._folders.current()
        return PortableLink(worker, depot, folder, self._start, self._kill, self._came_up, self._on_answers)

    def prefer(self, modules: Sequence[str]) -> None:
        new = [name for name in modules if name not in self._wanted]
        self._wanted.update(dict.fromkeys(new))
        if new:
            self._loop.call_soon(self._renew_spares)

    def expect(self, modules: Sequence[str]) -> None:
        self._wanted.update(dict.fromkeys(modules))

    def _renew_spares(self) -> None:
        if not self._closed:
            self._events.better_spares_possible()

    def watch(self, *, on: bool) -> None:
        if self._measuring is not None:
            self._measuring.cancel()
            self._measuring = None
        if on:
            self._measure()

    def _measure(self) -> None:
        self._measuring = self._loop.call_later(_MEASURE_EVERY, self._measure)
        for worker in self._workers.values():
            # It has ended, which will be told; or this process has too many open files, and looks again.
            with suppress(OSError):
                worker.memory.measure(worker.link.shared.run, worker.link.shared.set_peak)

    async def close(self) -> None:
        self._closed = True
        self.watch(on=False)
        workers = list(self._workers.values())
        for worker in workers:
            for timer in worker.timers.values():
                timer.cancel()
            worker.process.kill()
        if workers:
            await asyncio.wait([worker.gone for worker in workers], timeout=_PATIENCE)
        self._workers.clear()
        if self._listener is not None:
            await self._listener.close()

    # From start to end.

    def _start(self, link: PortableLink) -> None:
        if self._listener is None:
            self._listener = Listener(self._loop)
        mark = secrets.token_hex(8)
        output = Output(mark.encode("ascii"), lambda: self._inbox.post(self._on_output, link.worker))
        given = {
            "worker": link.worker,
            "port": self._listener.port,
            "token": self._listener.expect(link),
            "folder": self._folders.current().path,
            "page": link.page_name,
            "mark": mark,
            "modules": list(self._wanted),
        }
        try:
            process = _popen(output.ends)
        except OSError as error:
            output.abandon()
            self._listener.expect_no_more(link)
            raise WorkerStartFailed(f"no worker process can be started: {error}") from error
        worker = self._workers[link.worker] = Worker(link, process, output)
        output.start()
        assert process.stdin is not None, "asked for"
        with suppress(BrokenPipeError), process.stdin as stdin:  # its end is about to be noticed
            stdin.write(json.dumps(given).encode("ascii"))
        waiter = threading.Thread(target=self._wait, args=(worker,), name="flowrra-waiter", daemon=True)
        waiter.start()
        worker.later("start", _START_PATIENCE, self._give_up)

    def _came_up(self, link: PortableLink) -> None:
        worker = self._workers.get(link.worker)
        if worker is not None and not self._closed:
            self._events.worker_forked(link.worker, worker.process.pid, None)
            self._events.worker_came_up(link.worker)

    def _give_up(self, worker: Worker) -> None:
        if not worker.link.is_connected():
            worker.process.kill()

    def _kill(self, link: PortableLink) -> None:
        worker = self._workers.get(link.worker)
        if worker is not None:
            worker.process.kill()

    def _wait(self, worker: Worker) -> None:
        """On a thread of its own: until the process has ended, and then for the rest of its output."""
        process = worker.process
        if hasattr(os, "waitid"):
            # Not reaped yet: until then its number cannot belong to anyone else.
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:
            process.wait()
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):  # nobody in it any more, or only zombies
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        worker.output.finish()
        self._inbox.post(self._ended, worker, threading.current_thread())

    def _ended(self, worker: Worker, waiter: threading.Thread) -> None:
        """The process has ended. What it has said last may still be on its way."""
        waiter.join()  # it has nothing left to do but to return
        if worker.link.is_connected() and not self._closed:
            worker.link.when_gone(lambda: self._bury(worker))
            worker.later("bury", _LAST_ANSWERS, self._bury)
        else:
            self._bury(worker)

    def _bury(self, worker: Worker) -> None:
        for timer in worker.timers.values():
            timer.cancel()
        if not worker.gone.done():
            worker.gone.set_result(None)
        if self._closed or worker.link.worker not in self._workers:
            return
        if self._listener is not None:
            self._listener.expect_no_more(worker.link)
        number, code, memory = worker.link.worker, worker.process.returncode, worker.memory
        worker.output.look()
        self._report(number, all_heard=True)
        for stream, data in worker.output.remains():
            self._events.worker_wrote(number, stream, data)
        killed = code == -getattr(signal, "SIGKILL", 0) and memory.exceeded == (0, 0)
        starved = killed and self._oom_killer_has_struck()
        last_words = worker.output.last_words()
        del self._workers[number]
        self._events.worker_ended(Ended(number, code, last_words, memory.peak, memory.exceeded, starved))

    def _oom_killer_has_struck(self) -> bool:
        before, self._oom_kills = self._oom_kills, oom_kills()
        return before is not None and self._oom_kills is not None and self._oom_kills > before

    # Output.

    def _on_answers(self, link: PortableLink) -> None:
        if link.worker in self._workers and not self._closed:
            self._report(link.worker)

    def _on_output(self, number: int) -> None:
        worker = self._workers.get(number)
        if worker is not None and not self._closed:
            worker.output.look()
            self._report(number)
            self._forward_later(worker)

    def _report(self, number: int, *, all_heard: bool = False) -> None:
        """Tell what runs have written whose end is known: until then nobody could say whose it is."""
        worker = self._workers[number]
        finished = worker.output.finished
        while finished and (all_heard or not self._events.owes_answer(number, finished[0][0])):
            run, rest = finished.popleft()
            for stream, data in rest:
                self._events.worker_wrote(number, stream, data)
            self._events.run_output_complete(number, run)

    def _forward_later(self, worker: Worker) -> None:
        worker.where = worker.link.page.reached()
        worker.later("forward", _FORWARD_EVERY, self._forward)

    def _forward(self, worker: Worker) -> None:
        """Show what the run that executes has written, if it did so all the time: then it can be nobody else's."""
        if worker.output.finished or worker.where != worker.link.page.reached():
            self._forward_later(worker)
            return
        for stream, data in worker.output.fresh():
            self._events.worker_wrote(worker.link.worker, stream, data)


def _popen(ends: tuple[int, int]) -> subprocess.Popen[bytes]:
    # -P keeps the current folder off the path: a user's random.py there must not become the worker's. A session, or
    # group, of its own keeps it out of reach of a terminal's and a kernel's interrupts.
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOT, _PACKAGE_FOLDER],
        stdin=subprocess.PIPE,
        stdout=ends[0],
        stderr=ends[1],
        env=single_threaded(with_defaults(os.environ)),
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )

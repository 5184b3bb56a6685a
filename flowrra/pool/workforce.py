"""The worker processes: they are started here, and what becomes of them is heard here. On the engine's loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence

from flowrra import log
from flowrra.core.tuples import NamedTuple
from flowrra.errors import WorkerStartFailed
from flowrra.interfaces import AttemptSink
from flowrra.pool import orders as order
from flowrra.pool.data.depot import Depot
from flowrra.pool.encoding.functions import FunctionRef
from flowrra.pool.endings import Endings
from flowrra.pool.hearing import Hearing
from flowrra.pool.link import Link
from flowrra.pool.roster import Roster
from flowrra.pool.shares import Shares
from flowrra.pool.sources import Sources
from flowrra.pool.timers import Timers
from flowrra.pool.transport import messages as said
from flowrra.pool.transport.wire import is_overloaded
from flowrra.pool.ways import Launched, Way

RETRY = 0.2
"""Seconds until this process tries again what it had no descriptor or memory left for."""


class Preparation(NamedTuple):
    """What all workers have in common."""

    idle: float
    """Seconds without a run after which they end."""
    cores: int
    """That they share."""
    nice: int = 0
    initializer: FunctionRef | None = None
    """Called in each before its first run."""


class Workforce:
    """Holds a link to each worker, and is told what happens to them (``workers.WorkerEvents``)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sink: AttemptSink,
        roster: Roster,
        depot: Depot,
        sources: Sources,
        endings: Endings,
        timers: Timers,
        preparation: Preparation,
        carry_out: Callable[[Sequence[order.Order]], None],
        on_answers: Callable[[Link], None],
        way: Way,
        launched: Launched | None,
    ) -> None:
        self._loop, self._sink, self._roster, self._depot, self._endings = loop, sink, roster, depot, endings
        self._sources, self._timers = sources, timers
        self._shares = Shares(preparation.cores)
        self._preparation, self._carry_out, self._on_answers = preparation, carry_out, on_answers
        self.links: dict[int, Link] = {}
        self.exits: dict[int, tuple[int, said.Ended]] = {}
        """(pid, how it ended) of those whose account is being settled."""
        self.why_no_start = ""
        self.workers = way.workers(loop, self, launched)
        self.hearing: Hearing
        """Set before the first worker is started; it tells the zygotes which modules are worth loading."""
        self._measuring = False
        self._closed = False

    def pids(self) -> list[int]:
        return sorted(link.pid for link in self.links.values() if link.pid)

    def share_out(self) -> None:
        """Tell each worker how many cores it may keep busy, if that has changed."""
        self._shares.share_out(self._roster.busy(), (link.page for link in self.links.values()))

    def measure(self, *, on: bool) -> None:
        """Have the memory of runs measured, or not."""
        self._measuring = on
        self.workers.watch(on=on)

    async def close(self) -> None:
        """End every process and release every descriptor."""
        self._closed = True
        for link in self.links.values():
            link.mute()
        await self.workers.close()
        for link in self.links.values():
            self._release(link)
        self.links.clear()

    def start(self, worker: int) -> None:
        try:
            link = self.links[worker] = self.workers.new_link(worker, self._depot)
            self._shares.tell(link.page)
            link.set_up(self._preparation.nice, self._preparation.cores, self._preparation.initializer)
        except OSError as error:  # too many open files
            self._loop.call_soon(self.fork_failed, worker, str(error))
        else:
            self._start(worker, link)

    def _start(self, worker: int, link: Link) -> None:
        try:
            link.start()
        except (OSError, WorkerStartFailed) as error:  # too many open files, or the interpreter cannot be started
            if isinstance(error, OSError) and is_overloaded(error):
                self._timers.later(RETRY, self._start, worker, link)
            else:
                self._loop.call_soon(self.fork_failed, worker, str(error))

    def worker_forked(self, worker: int, pid: int, pidfd: int | None) -> None:
        link = self.links[worker]
        link.appeared(pid, pidfd)
        # Not before: whoever gets its answers may ask for its process.
        link.listen(self._on_answers)

    def worker_came_up(self, worker: int) -> None:
        self._carry_out(self._roster.came_up(worker))

    def worker_wrote(self, worker: int, stream: int, data: bytes) -> None:
        link = self.links[worker]
        # A worker says that a run has begun before the run can write, but by another socket.
        self.hearing.hear(link)
        run_id = self._endings.oldest(worker)
        if run_id is None:
            self.hearing.show(link)
            # The run that wrote this may have ended after the first look and before the page was read.
            self.hearing.hear(link)
            run_id = self._endings.oldest(worker) or link.running
        text = link.decoders[stream].decode(data)
        if run_id and text:
            self._sink.logged(run_id, "stdout" if stream == 1 else "stderr", text)

    def owes_answer(self, worker: int, number: int) -> bool:
        return self.hearing.owes_answer(self.links[worker], number)

    def run_output_complete(self, worker: int, number: int) -> None:
        self._endings.output_complete(worker, number)

    def worker_ended(self, ended: said.Ended) -> None:
        worker = ended.worker
        pid = self.links[worker].pid
        log.pool.debug("worker %d (pid %d) ended with %d", worker, pid, ended.exit_code)
        self.exits[worker] = pid, ended
        self.why_no_start = ended.stderr_tail.decode(errors="replace").strip() or self.why_no_start
        self._ended([worker])

    def fork_failed(self, worker: int, reason: str) -> None:
        self.why_no_start = reason
        self._ended([worker])

    def zygote_ended(self, workers: Sequence[int], last_words: str) -> None:
        self.why_no_start = last_words.strip() or self.why_no_start
        for worker in workers:
            link = self.links[worker]
            link.kill_group()
            died = said.Ended(worker, -signal.SIGKILL, last_words.encode(), 0, (0, 0), out_of_memory=False)
            self.exits[worker] = link.pid, died
        self._ended(workers)

    def zygote_started(self) -> None:
        if self._measuring:
            self.workers.watch(on=True)

    def better_spares_possible(self) -> None:
        self._carry_out(self._roster.staff.renew_spares())

    def _ended(self, workers: Sequence[int]) -> None:
        """*workers* are no more: account for what they held, then release what belonged to them."""
        if self._closed:
            return
        taken: set[int] = set()
        begun: set[int] = set()
        for worker in workers:
            self._roster.close_queue(worker)
            link = self.links.get(worker)
            if link is not None:
                taken.update(link.take_back())
                self.hearing.hear(link)
                if self.hearing.recover(link):
                    begun.add(worker)
                    self.hearing.show(link)
            self._endings.output_complete(worker)
        self._carry_out(self._roster.ended(workers, taken, begun))
        self._carry_out(self._roster.queues.assign())
        for worker in workers:
            link = self.links.pop(worker, None)
            if link is not None:
                self._release(link)
            self.exits.pop(worker, None)

    def _release(self, link: Link) -> None:
        self._depot.ended(link.worker)
        self._sources.forget(link.worker)
        link.mute()
        link.close()

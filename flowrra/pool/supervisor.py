"""Owns the processes: carries out what the roster decides and tells it what happens. Runs on the engine's loop."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from flowrra import log
from flowrra.errors import WorkerStartFailed
from flowrra.interfaces import Attempt, AttemptSink
from flowrra.pool import orders as order
from flowrra.pool import outcomes
from flowrra.pool.decoder import Decoder
from flowrra.pool.encoding.functions import FunctionRef
from flowrra.pool.endings import Endings
from flowrra.pool.link import Link
from flowrra.pool.orders import Ticket
from flowrra.pool.roster import GRACE, Roster
from flowrra.pool.transport import messages as said
from flowrra.pool.worker_state import Role
from flowrra.pool.zygotes import Zygotes

_RETRY = 0.2
"""Seconds until a run is passed to a worker again, after this process had no descriptor left to do so."""

_DISMISSAL = 2.0
"""Seconds for a worker to end by itself, exit handlers included."""
_WATCH = 1.0
"""Seconds without a run after which memory is no longer measured."""


class Preparation(NamedTuple):
    """What all workers have in common."""

    idle: float
    """Seconds without a run after which they end."""
    nice: int = 0
    initializer: FunctionRef | None = None
    """Called in each before its first run."""


class Supervisor:
    """One life of a pool, from ``open`` to ``close``."""

    def __init__(self, slots: int, name: str, sink: AttemptSink, preparation: Preparation) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._sink = sink
        self._roster = Roster(slots)
        self._links: dict[int, Link] = {}
        self._zygotes = Zygotes(self._loop, self)
        self._attempts: dict[int, Attempt] = {}
        self._numbers: dict[tuple[str, int], int] = {}
        self._next_number = itertools.count(1)
        self._endings = Endings(sink, Decoder(self._loop, name))
        self._why_no_start = ""
        self._exits: dict[int, tuple[int, said.Ended]] = {}
        self._watching = False
        self._preparation = preparation
        self._idle = preparation.idle
        """Seconds without a run after which workers end."""
        self._falling_asleep: asyncio.TimerHandle | None = None
        self._todo: deque[order.Order] = deque()
        self._carrying = False
        self._balancing = False
        self._opened = False
        self._closed = False
        self._starved = False
        """The latest attempt to pass a run to a worker has failed for want of descriptors or memory."""
        self._timers: set[asyncio.TimerHandle] = set()

    # What the executor asks for.

    def room(self) -> int:
        return self._roster.room()

    def begin(self, attempt: Attempt) -> None:
        if not self._opened:
            self._opened = True
            self._carry_out(self._roster.open())
        self._watch()
        number = next(self._next_number)
        self._attempts[number] = attempt
        self._numbers[attempt.run_id, attempt.number] = number
        self._carry_out(self._roster.begin(Ticket((-attempt.priority, attempt.seq), number)))

    def _watch(self) -> None:
        """Have the memory of runs measured until a second in which there are none."""
        if not self._watching:
            self._watching = True
            if self._falling_asleep is not None:
                self._falling_asleep.cancel()
            self._zygotes.watch(on=True)
            self._later(_WATCH, self._look_away)

    def _look_away(self) -> None:
        if self._attempts:
            self._later(_WATCH, self._look_away)
            return
        self._watching = False
        self._zygotes.watch(on=False)
        self._falling_asleep = self._loop.call_later(self._idle, self._fall_asleep)

    def _fall_asleep(self) -> None:
        self._falling_asleep = None
        self._carry_out(self._roster.fall_asleep())

    def stop(self, attempt: Attempt) -> None:
        number = self._numbers.get((attempt.run_id, attempt.number))
        if number is not None:
            self._carry_out(self._roster.stop(number))
        else:
            self._endings.stop(attempt)

    def resize(self, slots: int) -> None:
        """Have *slots* workers from now on; those that are too many finish what they execute."""
        self._carry_out(self._roster.resize(slots))
        self._sink.room_changed()

    def recall(self, above: tuple[int, int] | None) -> None:
        self._carry_out(self._roster.recall(None if above is None else (-above[0], above[1])))

    def describe(self) -> Mapping[str, Any]:
        roles = [state.role for state in self._roster.states.values()]
        return {
            "workers": roles.count(Role.ACTIVE),
            "spare": roles.count(Role.SPARE),
            "busy": self._roster.busy(),
            "prefetched": self._roster.prefetched(),
            "lost": self._roster.lost,
            "replaced": self._roster.replaced,
            "pids": sorted(link.pid for link in self._links.values() if link.pid),
        }

    async def close(self) -> None:
        """End every process and release every descriptor; nothing is reported any more."""
        self._closed = True
        if self._falling_asleep is not None:
            self._falling_asleep.cancel()
        for timer in self._timers:
            timer.cancel()
        self._endings.forget()
        for link in self._links.values():
            self._loop.remove_reader(link.answers)
        await self._zygotes.close()
        for link in self._links.values():
            self._release(link)
        self._links.clear()
        self._attempts.clear()
        await self._endings.close()

    # Carrying out the roster's orders.

    def _carry_out(self, orders: Sequence[order.Order]) -> None:
        """In the order in which they were decided, also those that come up while others are carried out."""
        self._todo.extend(orders)
        if self._carrying:
            return
        self._carrying = True
        try:
            while self._todo:
                self._carry_out_one(self._todo.popleft())
        finally:
            self._carrying = False

    def _carry_out_one(self, one: order.Order) -> None:
        match one:
            case order.Give(worker, number):
                self._give(worker, number)
            case order.StartWorker(worker):
                self._start_worker(worker)
            case order.TakeBack() as take:
                numbers = self._take_back(take)
                # Before what the answers just read have led to: those decisions know of this one.
                self._todo.extendleft(reversed(self._roster.taken_back(take, numbers)))
            case order.Interrupt(worker, number):
                self._links[worker].interrupt(number)
                self._later(GRACE, self._grace_over, worker, number)
            case order.Kill(worker):
                if worker in self._links:  # see _give
                    self._links[worker].kill()
            case order.Dismiss(worker):
                self._dismiss(worker)
            case order.Return(number):
                self._sink.returned(self._forget(number))
            case order.Cancelled(number):
                self._cancelled(number)
            case order.Lost(worker, number, stopped):
                self._lost(worker, number, stopped=stopped)
            case order.StartFailed(number):
                self._start_failed(number)

    def _dismiss(self, worker: int) -> None:
        link = self._links.get(worker)
        if link is not None:
            for sock in link.writers():
                self._loop.remove_writer(sock)
            link.dismiss()
            self._later(_DISMISSAL, self._dismissal_over, worker)

    def _dismissal_over(self, worker: int) -> None:
        link = self._links.get(worker)
        if link is not None:
            link.kill()

    def _give(self, worker: int, number: int) -> None:
        link = self._links.get(worker)
        if link is None:  # its sockets could not be made; fork_failed is on the way
            self._roster.refused(worker, number)
            return
        try:
            full = link.give(number, self._attempts[number])
        except (BrokenPipeError, ConnectionResetError):  # the report of its end is on the way
            self._roster.refused(worker, number)
            return
        except OSError as error:
            self._try_later(worker, number, error)
            return
        self._starved = False
        if full is not None:
            self._roster.refused(worker, number)
            self._loop.add_writer(full, self._unblocked, worker, full)

    def _unblocked(self, worker: int, sock: socket.socket) -> None:
        self._loop.remove_writer(sock)
        self._carry_out(self._roster.unblocked(worker))

    def _try_later(self, worker: int, number: int, error: OSError) -> None:
        """This process is short of descriptors or memory; the user's code may need them only for a while."""
        if not self._starved:
            self._starved = True
            log.pool.warning("runs cannot be passed to the workers for now (%s); this is tried again", error.strerror)
        self._roster.refused(worker, number)
        self._later(_RETRY, self._try_again, worker)

    def _try_again(self, worker: int) -> None:
        self._carry_out(self._roster.unblocked(worker))

    def _take_back(self, take: order.TakeBack) -> list[int]:
        link = self._links.get(take.worker)
        if link is None:
            return []
        numbers = link.take_back(take.limit)
        # What it answered until now must be known before anything is concluded from what it still holds.
        self._hear(link)
        return numbers

    def _grace_over(self, worker: int, number: int) -> None:
        link = self._links.get(worker)
        if link is not None:
            self._hear(link)
            self._carry_out(self._roster.grace_over(worker, number))

    def _later(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        def run() -> None:
            self._timers.discard(timer)
            call(*args)

        timer = self._loop.call_later(seconds, run)
        self._timers.add(timer)

    # Hearing what workers answer.

    def _on_answers(self, link: Link) -> None:
        if not self._hear(link):
            # Either they were read a moment ago, for a decision, or the worker has closed its end. The zygote will
            # report that; until then the socket would be ready for ever.
            if link.has_hung_up():
                self._loop.remove_reader(link.answers)
            return
        if not self._balancing:
            self._balancing = True
            self._loop.call_soon(self._balance)

    def _balance(self) -> None:
        # One turn later, so that the engine has filled what the answers made free before work is moved about.
        self._balancing = False
        if not self._closed:
            self._carry_out(self._roster.balance())

    def _hear(self, link: Link) -> bool:
        heard = False
        for received in link.read_answers():
            heard = True
            match received.message:
                case said.Answer() as answer if self._roster.holds(link.worker, answer.number):
                    self._answered(link, answer, received.fd)
                case said.Answer():
                    # Something that a task left behind speaks in the worker's name; nothing it says can be trusted.
                    log.pool.error("worker %s answers for a run that it does not have; it is replaced", link.pid)
                    if received.fd is not None:
                        os.close(received.fd)
                    link.kill()
                case said.Begun(number):
                    self._started(link, number)
                case said.Progressed(number, done, total, text) if self._roster.holds(link.worker, number):
                    self._sink.progressed(self._attempts[number].run_id, done, total, text)
        return heard

    def _started(self, link: Link, number: int) -> None:
        if not self._roster.holds(link.worker, number):
            return
        self._carry_out(self._roster.started(link.worker, number, time.monotonic()))
        attempt = self._attempts[number]
        link.running = attempt.run_id
        self._sink.started(attempt, f"{self._name}-{link.worker}")

    def _answered(self, link: Link, answer: said.Answer, fd: int | None) -> None:
        orders = self._roster.answered(link.worker, answer.number, answer.seconds)
        attempt = self._forget(answer.number)
        if answer.imported:
            self._zygotes.prefer(answer.imported)
        self._endings.answered(link.worker, attempt, answer, fd)
        if answer.begun:
            self._started(link, answer.begun)
        self._carry_out(orders)

    def _forget(self, number: int) -> Attempt:
        attempt = self._attempts.pop(number)
        del self._numbers[attempt.run_id, attempt.number]
        return attempt

    # Ends of attempts that no worker answers.

    def _cancelled(self, number: int) -> None:
        attempt = self._forget(number)
        self._sink.finished(attempt, outcomes.stopped(attempt))

    def _lost(self, worker: int, number: int, *, stopped: bool) -> None:
        attempt = self._forget(number)
        outcome = outcomes.stopped(attempt) if stopped else outcomes.lost(attempt, number, *self._exits[worker])
        self._sink.finished(attempt, outcome)

    def _start_failed(self, number: int) -> None:
        self._sink.finished(self._forget(number), outcomes.not_started(self._why_no_start or "they end at once"))

    # What becomes of workers, as their zygote tells it (zygotes.WorkerEvents).

    def _start_worker(self, worker: int) -> None:
        try:
            link = self._links[worker] = Link(worker)
            link.set_up(self._preparation.nice, self._preparation.initializer)
            self._zygotes.fork(worker, link.ends())
        except (OSError, WorkerStartFailed) as error:  # too many open files, or the interpreter cannot be started
            self._loop.call_soon(self.fork_failed, worker, str(error))
            return
        self._loop.add_reader(link.answers, self._on_answers, link)
        link.handed_over()

    def worker_forked(self, worker: int, pid: int, pidfd: int | None) -> None:
        self._links[worker].appeared(pid, pidfd)

    def worker_wrote(self, worker: int, stream: int, data: bytes) -> None:
        link = self._links[worker]
        # A worker says that a run has begun before the run can write, but by another socket.
        self._hear(link)
        run_id = self._endings.oldest(worker) or link.running
        text = link.decoders[stream].decode(data)
        if run_id and text:
            self._sink.logged(run_id, "stdout" if stream == 1 else "stderr", text)

    def run_output_complete(self, worker: int, number: int) -> None:
        self._endings.output_complete(worker, number)

    def worker_ended(self, ended: said.Ended) -> None:
        worker = ended.worker
        pid = self._links[worker].pid
        log.pool.debug("worker %d (pid %d) ended with %d", worker, pid, ended.exit_code)
        self._exits[worker] = pid, ended
        self._why_no_start = ended.stderr_tail.decode(errors="replace").strip() or self._why_no_start
        self._ended([worker])

    def fork_failed(self, worker: int, reason: str) -> None:
        self._why_no_start = reason
        self._ended([worker])

    def zygote_ended(self, workers: Sequence[int], last_words: str) -> None:
        self._why_no_start = last_words.strip() or self._why_no_start
        for worker in workers:
            link = self._links[worker]
            link.kill_group()
            died = said.Ended(worker, -signal.SIGKILL, last_words.encode(), 0, (0, 0), out_of_memory=False)
            self._exits[worker] = link.pid, died
        self._ended(workers)

    def zygote_started(self) -> None:
        if self._watching:
            self._zygotes.watch(on=True)

    def better_spares_possible(self) -> None:
        self._carry_out(self._roster.renew_spares())

    def _ended(self, workers: Sequence[int]) -> None:
        """*workers* are no more: account for what they held, then release what belonged to them."""
        if self._closed:
            return
        taken: list[int] = []
        for worker in workers:
            self._roster.close_queue(worker)
            link = self._links.get(worker)
            if link is not None:
                taken += link.take_back()
                self._hear(link)
            self._endings.output_complete(worker)
        self._carry_out(self._roster.ended(workers, taken))
        for worker in workers:
            link = self._links.pop(worker, None)
            if link is not None:
                self._release(link)
            self._exits.pop(worker, None)

    def _release(self, link: Link) -> None:
        self._loop.remove_reader(link.answers)
        for sock in link.writers():
            self._loop.remove_writer(sock)
        link.close()

"""Which zygote forks: one at a time, replaced when it has ended or is no longer fit to fork."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from flowrra import log
from flowrra.pool.data.depot import Depot
from flowrra.pool.launch import Launch
from flowrra.pool.socket_link import SocketLink
from flowrra.pool.transport import messages as said
from flowrra.pool.workers import WorkerEvents
from flowrra.pool.zygote_process import ZygoteProcess

_START_PATIENCE = 30.0
"""Seconds an interpreter may take to start; only a broken installation takes longer."""


class Zygotes:
    """The zygote that forks, and those that only stay until their workers are gone."""

    def __init__(self, loop: asyncio.AbstractEventLoop, events: WorkerEvents, launched: Launch | None) -> None:
        """*launched*: one that nobody listens to yet, to begin with."""
        self._loop = loop
        self._events = events
        self._launched = launched
        self._current: ZygoteProcess | None = None
        self._all: set[ZygoteProcess] = set()
        self._wanted: dict[str, None] = {}
        """Modules to preload, in the order in which runs imported them."""
        self._expected: tuple[str, ...] = ()
        """Modules that the first zygote imports before it forks."""
        self._shunned: set[str] = set()
        """Modules that left a thread behind when preloaded."""
        self._timers: dict[ZygoteProcess, asyncio.TimerHandle] = {}

    def new_link(self, worker: int, depot: Depot) -> SocketLink:
        """Raises ``OSError``."""
        return SocketLink(worker, depot, self._loop, self.fork)

    def fork(self, worker: int, ends: Sequence[int]) -> None:
        """Have a worker forked that gets copies of *ends*. Raises ``WorkerStartFailed`` if there can be no zygote."""
        zygote = self._living()
        zygote.send(said.Fork(worker), ends)
        zygote.workers.add(worker)

    def prefer(self, modules: Sequence[str]) -> None:
        """Workers have needed *modules*: preload them."""
        self._wanted.update(dict.fromkeys(modules))
        if self._current is not None:
            self._ask_to_preload(self._current)

    def expect(self, modules: Sequence[str]) -> None:
        """The first run needs *modules*: the first zygote imports them before it forks, once for all workers."""
        if not self._all:
            self._expected = tuple(modules)
            self.prefer(modules)

    def watch(self, *, on: bool) -> None:
        """Have the memory of runs measured, or not. A zygote that starts later must be told again."""
        for zygote in self._all:
            zygote.send(said.Watch(on))

    async def close(self) -> None:
        """End them and all their workers; nothing is reported any more."""
        for timer in self._timers.values():
            timer.cancel()
        if self._launched is not None:
            self._launched.bury()
            self._launched = None
        await asyncio.gather(*(zygote.close() for zygote in self._all))
        self._all.clear()
        self._current = None

    def _living(self) -> ZygoteProcess:
        if self._current is None:
            launched, self._launched = self._launched or Launch(), None
            zygote = self._current = ZygoteProcess(self._loop, launched, self._on_message, self._on_end)
            self._all.add(zygote)
            self._timers[zygote] = self._loop.call_later(_START_PATIENCE, zygote.kill)
            if self._expected:
                zygote.modules.update(self._expected)
                zygote.send(said.Preload(self._expected, now=True))
                self._expected = ()
            self._ask_to_preload(zygote)
            self._events.zygote_started()
        return self._current

    def _on_message(self, zygote: ZygoteProcess) -> None:
        for message, fds in zygote.read():
            match message:
                case said.Ready():
                    self._timers.pop(zygote).cancel()
                case said.Forked(worker, pid):
                    self._events.worker_forked(worker, pid, fds[0] if fds else None)
                case said.Output(worker, stream, data):
                    self._events.worker_wrote(worker, stream, data)
                case said.Boundary(worker, number):
                    self._events.run_output_complete(worker, number)
                case said.Ended(worker) as ended:
                    zygote.workers.discard(worker)
                    self._events.worker_ended(ended)
                    self._retire_if_idle(zygote)
                case said.ForkFailed(worker, reason):
                    zygote.workers.discard(worker)
                    self._events.fork_failed(worker, reason)
                case said.Preloaded(module, threads):
                    self._preloaded(zygote, module, threads)

    def _on_end(self, zygote: ZygoteProcess) -> None:
        self._on_message(zygote)
        self._all.discard(zygote)
        never_ready = self._timers.pop(zygote, None)
        if never_ready is not None:
            never_ready.cancel()
        if self._current is zygote:
            self._current = None
        words = zygote.last_words() or ("the interpreter did not come up" if never_ready is not None else "")
        zygote.bury()
        if not zygote.retired:
            log.pool.warning("the process that starts workers (pid %d) has ended; it is replaced", zygote.pid)
            self._events.zygote_ended(sorted(zygote.workers), words)

    def _retire_if_idle(self, zygote: ZygoteProcess) -> None:
        if zygote is not self._current and not zygote.workers:
            zygote.retire()

    def _ask_to_preload(self, zygote: ZygoteProcess) -> None:
        new = tuple(name for name in self._wanted if name not in self._shunned and name not in zygote.modules)
        if new:
            zygote.modules.update(new)
            zygote.loading.update(new)
            zygote.send(said.Preload(new, now=False))

    def _preloaded(self, zygote: ZygoteProcess, module: str, threads: int) -> None:
        news = module in zygote.loading
        zygote.loading.discard(module)
        if zygote is not self._current:
            return
        if threads > 1:
            # Forking beside other threads may copy locks that nobody will ever release. It forks no more.
            self._shunned.add(module)
            self._current = None
            log.pool.info("%s leaves a thread behind when imported; workers import it themselves", module)
            self._retire_if_idle(zygote)
        if self._current is None or (news and not zygote.loading):
            self._events.better_spares_possible()

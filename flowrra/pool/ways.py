"""The two ways to worker processes, and which of them there are on this system."""

from __future__ import annotations

import os
import socket
import sys
from functools import cache, partial
from typing import TYPE_CHECKING, Protocol

from flowrra.errors import InvalidOption
from flowrra.pool.launch import Launch

if TYPE_CHECKING:
    import asyncio

    from flowrra.pool.data.depot import Depot
    from flowrra.pool.workers import WorkerEvents, Workers


class Launched(Protocol):
    """What comes up already, for a pool that is about to be."""

    def bury(self) -> None:
        """End it, and release everything."""


class Way(Protocol):
    """One of the ways."""

    name: str
    """Of the setting ``workers_by``."""
    limits_memory: bool
    """The memory of workers can be measured."""

    def launch(self) -> Launched | None:
        """Start what can be started before there is an engine's loop. On any thread; raises ``WorkerStartFailed``."""

    def depot(self) -> Depot:
        """Where large buffers of submissions go, which its workers can see."""

    def workers(self, loop: asyncio.AbstractEventLoop, events: WorkerEvents, launched: Launched | None) -> Workers: ...


class ForkWay:
    """A template process forks them: in milliseconds, with everything shared in memory without a name. Linux."""

    name = "fork"
    limits_memory = True

    def launch(self) -> Launch:
        return Launch()

    def depot(self) -> Depot:
        from flowrra.pool.data.depot import Depot

        return Depot()

    def workers(self, loop: asyncio.AbstractEventLoop, events: WorkerEvents, launched: Launched | None) -> Workers:
        from flowrra.pool.zygotes import Zygotes

        assert launched is None or isinstance(launched, Launch), "made above"
        return Zygotes(loop, events, launched)


class SpawnWay:
    """Each is started as an interpreter of its own, and shares files. Any system."""

    name = "spawn"

    def __init__(self) -> None:
        from flowrra.pool.portable.folder import Folders
        from flowrra.pool.process.memory import private_memory

        self.limits_memory = private_memory("self") > 0
        self._folders = Folders()

    def launch(self) -> None:
        """There is nothing that could come up before it is known who listens."""

    def depot(self) -> Depot:
        from flowrra.pool.data.depot import Depot
        from flowrra.pool.portable.files import NamedSlab

        return Depot(partial(NamedSlab, folders=self._folders))

    def workers(self, loop: asyncio.AbstractEventLoop, events: WorkerEvents, launched: Launched | None) -> Workers:
        from flowrra.pool.portable.spawned import Spawned

        return Spawned(loop, events, self._folders)


def way(name: str | None) -> Way:
    """The way called *name*; None: the best that this system has. Raises ``InvalidOption``."""
    if name == SpawnWay.name or (name is None and not can_fork()):
        return SpawnWay()
    if name not in (None, ForkWay.name):
        raise InvalidOption(f"workers_by is {ForkWay.name!r} or {SpawnWay.name!r}, not {name!r}")
    if not can_fork():
        raise InvalidOption(f"workers_by={name!r} needs Linux; leave it out, or say workers_by={SpawnWay.name!r}")
    return ForkWay()


@cache
def can_fork() -> bool:
    """Whether this system has what forked workers need."""
    if not (sys.platform == "linux" and hasattr(os, "memfd_create") and hasattr(os, "pidfd_open")):
        return False
    try:
        for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET):
            end.close()
        os.close(os.memfd_create("flowrra-try", os.MFD_CLOEXEC))
    except OSError:
        return False
    return True

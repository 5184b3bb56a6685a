"""From settings to concrete parts."""

from __future__ import annotations

import asyncio

from flowrra.backends.memory import MemoryBackend
from flowrra.config import Settings
from flowrra.executors.aio import AioExecutor
from flowrra.executors.threads import ThreadExecutor
from flowrra.functions import CPU, IO, THREADS
from flowrra.interfaces import Executor, ResultBackend


def make_backend(settings: Settings) -> ResultBackend:
    """The result backend that the settings name, not yet in use."""
    return MemoryBackend() if isinstance(settings.backend, str) else settings.backend


def make_executors(settings: Settings, io_loop: asyncio.AbstractEventLoop | None) -> dict[str, Executor]:
    """The executors of an app, not yet started; *io_loop* None: coroutine tasks share the engine's loop."""
    # Loaded with the first start: a program that defines tasks, as every worker does again, pays nothing for the pool.
    from flowrra.executors.cpu import CpuExecutor

    return {
        IO: AioExecutor(settings.io_concurrency, io_loop),
        THREADS: ThreadExecutor(settings.io_threads),
        CPU: CpuExecutor(
            settings.cpu_workers,
            initializer=settings.initializer,
            nice=settings.nice,
            workers_by=settings.workers_by,
        ),
        **settings.executors,
    }

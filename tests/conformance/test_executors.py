"""The executor kit, on each executor."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from flowrra.executors.aio import AioExecutor
from flowrra.executors.cpu import CpuExecutor
from flowrra.executors.threads import ThreadExecutor
from flowrra.interfaces import Executor
from flowrra.portal import LoopThread
from flowrra.testing.executor_kit import ExecutorKit


class TestCoroutinesOnTheEnginesLoop(ExecutorKit):
    coroutines = True
    kills = False
    on_engine_loop = True

    def open_executor(self, slots: int) -> Executor:
        return AioExecutor(slots)


class TestCoroutinesOnAnotherLoop(ExecutorKit):
    coroutines = True
    kills = False

    @pytest.fixture(autouse=True)
    def other_loop(self) -> Iterator[None]:
        thread = LoopThread("other-loop")
        self.loop: asyncio.AbstractEventLoop = thread.loop
        yield
        thread.close()

    def open_executor(self, slots: int) -> Executor:
        return AioExecutor(slots, self.loop)


class TestThreads(ExecutorKit):
    kills = False

    def open_executor(self, slots: int) -> Executor:
        return ThreadExecutor(slots)


class TestProcesses(ExecutorKit):
    def open_executor(self, slots: int) -> Executor:
        return CpuExecutor(slots, workers_by="fork")


class TestSpawnedProcesses(ExecutorKit):
    def open_executor(self, slots: int) -> Executor:
        return CpuExecutor(slots, workers_by="spawn")

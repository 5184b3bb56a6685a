"""User code cannot stop the engine: whatever a coroutine or a function on a thread does is its run's outcome."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flowrra import Flowrra, Status, TaskCancelled, TaskExit, TaskTimeout


class OfItsOwnKind(BaseException):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)

    __repr__ = __str__


ENDINGS = {
    SystemExit: (TaskExit, Status.FAILED),
    KeyboardInterrupt: (TaskExit, Status.FAILED),
    GeneratorExit: (TaskExit, Status.FAILED),
    asyncio.CancelledError: (TaskCancelled, Status.CANCELLED),
    OfItsOwnKind: (OfItsOwnKind, Status.FAILED),
    Unprintable: (Unprintable, Status.FAILED),
    RecursionError: (RecursionError, Status.FAILED),
    MemoryError: (MemoryError, Status.FAILED),
}


def raise_it(kind: type[BaseException]) -> None:
    raise kind


async def raise_it_async(kind: type[BaseException]) -> None:
    await asyncio.sleep(0)
    raise kind


async def raise_it_at_once(kind: type[BaseException]) -> None:
    raise kind


@pytest.fixture
def app() -> Iterator[Flowrra]:
    with Flowrra("misbehaviour", cpu_workers=1) as running:
        yield running


@pytest.mark.parametrize("kind", ENDINGS)
@pytest.mark.parametrize("function", [raise_it, raise_it_async, raise_it_at_once])
def test_whatever_is_raised_is_that_runs_outcome(
    app: Flowrra, function: Callable[..., Any], kind: type[BaseException]
) -> None:
    expected, status = ENDINGS[kind]
    handle = app.task(function).submit(kind)
    assert isinstance(handle.exception(10), expected)
    assert handle.status is status
    assert app.task(name="after")(abs).submit(-1).result(10) == 1
    assert app.blocking.submit(asyncio.sleep, 0, "alive").result(10) == "alive"


@pytest.mark.parametrize("kind", ENDINGS)
@pytest.mark.parametrize("function", [raise_it_async, raise_it_at_once])
async def test_on_the_callers_own_loop_as_well(function: Callable[..., Any], kind: type[BaseException]) -> None:
    expected, status = ENDINGS[kind]
    async with Flowrra("own", cpu_workers=1) as app:
        handle = app.task(function).submit(kind)
        assert isinstance((await app.wait_for_result(handle, 10)).status, Status)
        assert isinstance(handle.exception(0), expected)
        assert handle.status is status
        assert await app.task(name="after")(abs).submit(-1) == 1


def test_awaiting_a_cancelled_run_does_not_look_like_a_cancelled_waiter(app: Flowrra) -> None:
    async def wait() -> None:
        await app.task(raise_it_async).submit(asyncio.CancelledError)

    with pytest.raises(TaskCancelled, match="its own code"):
        asyncio.run(wait())


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_a_coroutine_that_swallows_its_cancellation_ends_without_it(app: Flowrra, how: str) -> None:
    swallowed = 0

    async def swallow() -> str:
        nonlocal swallowed
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                swallowed += 1
        return "a late answer"

    handle = app.task(timeout=0.1 if how == "timeout" else None)(swallow).submit()
    begin = time.monotonic()
    if how == "cancel":
        while handle.status is not Status.RUNNING:
            time.sleep(0.005)
        assert handle.cancel()
    assert isinstance(handle.exception(10), TaskTimeout if how == "timeout" else TaskCancelled)
    assert time.monotonic() - begin < 1.1
    assert app.stats().executors["io"]["abandoned"] == 1
    while app.stats().executors["io"]["abandoned"]:
        time.sleep(0.01)
    assert swallowed >= 1
    assert handle.info().result is None


def test_a_coroutine_that_blocks_its_loop_leaves_the_engine_alive(app: Flowrra) -> None:
    async def block() -> str:
        time.sleep(2)
        return "late"

    blocking = app.task(timeout=0.2)(block).submit()
    begin = time.monotonic()
    assert app.task(name="quick")(abs).map(range(-20, 0)).result(timeout=10) == list(range(20, 0, -1))
    assert isinstance(blocking.exception(10), TaskTimeout)
    assert time.monotonic() - begin < 1.8
    assert app.blocking.submit(asyncio.sleep, 0, "alive").result(10) == "alive"


async def test_a_coroutine_that_blocks_the_engines_own_loop_gets_the_right_outcome() -> None:
    async def block() -> str:
        time.sleep(2)
        return "late"

    async with Flowrra("own", cpu_workers=1) as app:
        handle = app.task(block).submit()
        assert await handle == "late"
        assert await app.task(name="after")(abs).submit(-1) == 1


def test_a_function_that_returns_a_coroutine_says_what_to_do(app: Flowrra) -> None:
    handle = app.blocking.submit(lambda: raise_it_async(ValueError))
    with pytest.raises(TypeError, match="async def"):
        handle.result(10)


def test_callbacks_that_fail_or_never_return_hold_up_no_run(app: Flowrra, caplog: pytest.LogCaptureFixture) -> None:

    go_on = threading.Event()
    first = app.task(name="first")(abs).submit(-1)
    first.add_done_callback(lambda _: raise_it(SystemExit))
    first.add_done_callback(lambda _: go_on.wait(10))
    assert app.task(name="more")(abs).map(range(-100, 0)).result(timeout=10)[0] == 100
    go_on.set()
    called = threading.Event()
    first.add_done_callback(lambda _: called.set())
    assert called.wait(10)
    assert "a callback failed" in caplog.text

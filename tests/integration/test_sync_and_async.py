"""One rule: plain calls from anywhere, coroutine methods from any loop, blocking ones where they cannot deadlock."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from flowrra import Flowrra, Status, TaskHandle, WouldDeadlock, wait


def in_a_thread(call: Callable[[], Any]) -> Any:
    """Call it on a thread of its own and pass on what happens."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:  # noqa: BLE001 - it is passed on
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert found, "it hangs"
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


async def every_coroutine_method(app: Flowrra) -> None:
    handle = await app.submit(abs, -1)
    assert await handle == 1
    assert await (await app.map(abs, [-1, -2])) == [1, 2]
    assert (await app.wait_for_result(handle.id, timeout=10)).result == 1
    record = await app.get_result(handle)
    assert record is not None
    assert await app.get_result("9-9") is None
    assert len(await app.runs(status="SUCCESS")) >= 3
    assert await app.cancel(handle) is False
    assert [done async for done in app.as_completed([handle])] == [handle]


async def test_coroutine_methods_work_in_the_apps_loop_and_in_any_other() -> None:
    async with Flowrra("rule", cpu_workers=1) as app:
        await every_coroutine_method(app)
        done = asyncio.Event()
        loop, errors = asyncio.get_running_loop(), []

        def other() -> None:
            try:
                asyncio.run(every_coroutine_method(app))
            except BaseException as error:  # noqa: BLE001 - it is asserted on
                errors.append(error)
            loop.call_soon_threadsafe(done.set)

        threading.Thread(target=other).start()
        async with asyncio.timeout(20):
            await done.wait()
        assert errors == []


def test_coroutine_methods_work_in_any_loop_when_the_app_has_its_own() -> None:
    with Flowrra("rule", cpu_workers=1) as app:
        asyncio.run(every_coroutine_method(app))
        in_a_thread(lambda: asyncio.run(every_coroutine_method(app)))


def test_blocking_has_the_same_names_without_a_loop() -> None:
    app = Flowrra("rule", cpu_workers=1)
    app.blocking.start()
    handle = app.blocking.submit(abs, -1)
    assert handle.result(10) == 1
    assert app.blocking.map(abs, [-1, -2]).result(timeout=10) == [1, 2]
    assert app.blocking.wait_for_result(handle).result == 1
    assert app.blocking.get_result(handle.id) is not None
    assert len(app.blocking.runs()) == 3
    assert app.blocking.cancel(handle) is False
    app.blocking.stop()


def test_plain_calls_work_from_every_thread() -> None:
    with Flowrra("rule", cpu_workers=1) as app:
        task = app.task(name="abs")(abs)
        handles: list[TaskHandle[int]] = []

        def use() -> None:
            for _ in range(50):
                handle = task.submit(-1)
                handles.append(handle)
                assert handle.status in Status
                assert app.handle(handle.id) == handle
                app.stats()
                handle.info()
                task.map([-1, -2]).counts()

        for thread in [threading.Thread(target=use) for _ in range(4)]:
            thread.start()
            thread.join(20)
        assert len(handles) == 200
        assert wait(handles, timeout=10)[1] == set()


BLOCKING: dict[str, Callable[[Flowrra, TaskHandle[Any]], object]] = {
    "handle.result": lambda app, handle: handle.result(),
    "handle.result with a timeout": lambda app, handle: handle.result(timeout=5),
    "handle.exception": lambda app, handle: handle.exception(),
    "handle.wait": lambda app, handle: handle.wait(),
    "wait": lambda app, handle: wait([handle]),
    "as_completed": lambda app, handle: list(app.as_completed([handle])),
    "batch.result": lambda app, handle: app.task(name=f"b{time.monotonic()}")(time.sleep).map([1]).result(),
    "batch.wait": lambda app, handle: app.task(name=f"b{time.monotonic()}")(time.sleep).map([1]).wait(),
    "imap": lambda app, handle: next(app.task(name=f"b{time.monotonic()}")(time.sleep).imap([1])),
    "blocking.wait_for_result": lambda app, handle: app.blocking.wait_for_result(handle),
    "blocking.get_result": lambda app, handle: app.blocking.get_result(handle),
    "blocking.runs": lambda app, handle: app.blocking.runs(),
    "blocking.cancel": lambda app, handle: app.blocking.cancel(handle),
    "blocking.stop": lambda app, handle: app.blocking.stop(),
}


@pytest.mark.parametrize("what", BLOCKING)
async def test_a_wait_that_would_stop_the_apps_loop_is_refused(what: str) -> None:
    gate = threading.Event()
    async with Flowrra("rule", cpu_workers=1) as app:
        handle = app.task(name="gate")(gate.wait).submit(10)
        try:
            with pytest.raises(WouldDeadlock, match="await"):
                BLOCKING[what](app, handle)
        finally:
            gate.set()
        assert await handle is True


@pytest.mark.parametrize("what", ["handle.result", "handle.wait", "wait", "as_completed", "batch.result"])
async def test_inside_a_coroutine_task_on_the_apps_loop_as_well(what: str) -> None:
    async with Flowrra("rule", cpu_workers=1) as app:
        handle = app.task(name="slow")(time.sleep).submit(0.2)

        async def inside() -> None:
            BLOCKING[what](app, handle)

        with pytest.raises(WouldDeadlock):
            await app.task(inside).submit()


def test_a_coroutine_task_may_not_block_on_another_of_its_loop() -> None:
    with Flowrra("rule", cpu_workers=1) as app:
        inner = app.task(name="inner")(asyncio.sleep)

        async def inside() -> None:
            inner.submit(0.01).result(timeout=5)

        with pytest.raises(WouldDeadlock):
            app.task(inside).submit().result(10)

        async def inside_awaiting() -> str:
            await inner.submit(0.01)
            return "awaited"

        assert app.task(inside_awaiting).submit().result(10) == "awaited"


def test_a_function_on_a_thread_may_wait_for_other_runs() -> None:
    with Flowrra("rule", cpu_workers=1) as app:
        inner = app.task(name="inner")(abs)

        def outside() -> int:
            return inner.submit(-7).result(10)

        assert app.task(outside).submit().result(10) == 7


async def test_what_is_over_is_read_anywhere() -> None:
    async with Flowrra("rule", cpu_workers=1) as app:
        handle = await app.submit(abs, -1)
        await handle
        assert handle.result() == 1
        assert handle.wait() is True
        assert list(app.as_completed([handle])) == [handle]
        assert wait([handle])[0] == {handle}


async def test_from_another_thread_a_run_of_this_loop_can_be_waited_for() -> None:
    async with Flowrra("rule", cpu_workers=1) as app:
        handle = app.task(name="s")(asyncio.sleep).submit(0.05, "value")
        values: list[Any] = []
        thread = threading.Thread(target=lambda: values.append(handle.result(10)))
        thread.start()
        assert await handle == "value"
        while thread.is_alive():
            await asyncio.sleep(0.005)
        assert values == ["value"]


def test_an_iterable_that_waits_for_runs_can_be_mapped() -> None:
    with Flowrra("rule", cpu_workers=1) as app:
        first = app.task(name="first")(abs)
        batch = app.blocking.map(abs, (first.submit(-n).result(10) for n in range(5)))
        assert batch.result(timeout=10) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["coroutines", "threads"])
def test_runs_that_wait_for_runs_of_their_own_kind_give_their_slots_back(kind: str) -> None:
    app = Flowrra(io_concurrency=2, io_threads=2)

    @app.task
    async def fibonacci(n: int) -> int:
        return n if n < 2 else sum(await asyncio.gather(fibonacci.submit(n - 1), fibonacci.submit(n - 2)))

    @app.task
    def fibonacci_on_threads(n: int) -> int:
        return n if n < 2 else sum(fibonacci_on_threads.map([n - 1, n - 2]).result())

    with app:
        task = fibonacci if kind == "coroutines" else fibonacci_on_threads
        assert task.submit(6).result(20) == 8
        executor = app.stats().executors["io" if kind == "coroutines" else "threads"]
        assert (executor["running"], executor["abandoned"]) == (0, 0)
        assert task.map([1, 0, 1]).result(timeout=20) == [1, 0, 1]

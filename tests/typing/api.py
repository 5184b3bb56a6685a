"""A program that uses the public surface, for the type checker; it is never run.

Each ``type: ignore`` is a mistake that the checker has to see: one that it did not need would be an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_type

from flowrra import (
    AppStats,
    Batch,
    CoroutineTask,
    ErrorInfo,
    Flowrra,
    RunEvent,
    Status,
    Task,
    TaskHandle,
    TaskResult,
    as_completed,
    progress,
    wait,
)

app = Flowrra("typed", cpu_workers=2)


@app.task
def plain(x: int, y: str = "") -> float:
    return x / len(y)


@app.task
async def waits(url: str) -> bytes:
    return url.encode()


@app.task(max_retries=3, timeout=60, cpu_bound=True, retry_on=(OSError, KeyError))
def computes(seed: int) -> list[int]:
    return list(progress(range(seed)))


@app.task(priority=1)
async def waits_with_options(n: int) -> str:
    return str(n)


def signatures() -> None:
    assert_type(plain, Task[[int, str], float])  # type: ignore[assert-type]  # the names and the default are kept, too
    assert_type(plain(1, y="a"), float)
    assert_type(plain.submit(1, y="a"), TaskHandle[float])
    assert_type(waits.submit("a"), TaskHandle[bytes])
    assert_type(computes.submit(1), TaskHandle[list[int]])
    assert_type(waits_with_options.submit(1), TaskHandle[str])
    coroutine_task: CoroutineTask[[str], bytes] = waits
    coroutine_task.submit("a")


def mistakes() -> None:
    plain("one")  # type: ignore[arg-type]
    plain.submit("one")  # type: ignore[arg-type]
    plain.submit(1, z=2)  # type: ignore[call-arg]
    waits.submit(1)  # type: ignore[arg-type]
    computes.submit()  # type: ignore[call-arg]
    plain.options(max_retrys=3)  # type: ignore[call-arg]
    plain.options(timeout="1s")  # type: ignore[arg-type]
    app.task(max_retrys=3)  # type: ignore[call-overload]
    app.task(delay=3)  # type: ignore[call-overload]
    plain.map([1]).result(on_error="ignore")  # type: ignore[arg-type]
    wait([plain.submit(1)], return_when="SOMETIME")  # type: ignore[arg-type]


def batches() -> None:
    batch = plain.map([1, 2], "ab")
    assert_type(batch, Batch[float])
    assert_type(batch.result(timeout=1), list[float])
    assert_type(batch[0], TaskHandle[float])
    assert_type(batch[1:], Batch[float])
    assert_type(batch.errors, dict[int, BaseException])
    assert_type(batch.counts(), dict[Status, int])
    assert_type(waits.starmap([("a",)]), Batch[bytes])
    assert_type([handle.result() for handle in batch], list[float])
    assert_type([handle.result() for handle in computes.imap(range(3))], list[list[int]])
    assert_type([handle.result() for handle in as_completed(batch)], list[float])


def handles(handle: TaskHandle[float]) -> None:
    assert_type(handle.result(timeout=1), float)
    assert_type(handle.exception(), BaseException | None)
    assert_type(handle.info(), TaskResult)
    assert_type(handle.info().error, ErrorInfo | None)
    assert_type(handle.as_future().result(), float)
    assert_type(handle.cancel(), bool)
    wider: TaskHandle[object] = handle
    wider.cancel()
    done, _ = wait([handle], timeout=1)
    assert_type(done, set[TaskHandle[float]])
    handle.add_done_callback(lambda over: print(over.result()))


async def awaiting() -> None:
    async with app as entered:
        assert_type(entered, Flowrra)
        assert_type(await plain.submit(1), float)
        assert_type(await waits.submit("a"), bytes)
        assert_type(await waits("a"), bytes)
        assert_type(await plain.map([1]), list[float])
        assert_type(await app.submit(waits, "a"), TaskHandle[bytes])
        assert_type(await app.submit(plain, 1), TaskHandle[float])
        assert_type(await app.submit(len, "a"), TaskHandle[int])
        assert_type(await app.map(plain, [1]), Batch[float])
        assert_type(await app.map(waits, ["a"]), Batch[bytes])
        assert_type(await app.map(len, ["a"]), Batch[int])
        await app.submit(plain, "one")  # type: ignore[call-overload]
        assert_type(await app.wait_for_result("1-1", timeout=1), TaskResult)
        assert_type(await app.get_result("1-1"), TaskResult | None)
        assert_type(await app.runs(status=Status.FAILED, limit=3), list[TaskResult])
        async for handle in app.as_completed(plain.map([1])):
            assert_type(handle, TaskHandle[float])


def the_rest() -> None:
    with app:
        assert_type(app.stats(), AppStats)
        assert_type(app.subscribe(hear), Callable[[], None])
        assert_type(app.handle("1-1"), TaskHandle[Any])
        assert_type(app.blocking.submit(plain, 1), TaskHandle[float])
        assert_type(app.blocking.submit(waits, "a"), TaskHandle[bytes])
        assert_type(app.blocking.map(plain, [1]), Batch[float])
        assert_type(app.blocking.wait_for_result("1-1"), TaskResult)
        app.blocking.submit(plain, "one")  # type: ignore[call-overload]


def hear(event: RunEvent) -> None:
    assert_type(event.status, Status)

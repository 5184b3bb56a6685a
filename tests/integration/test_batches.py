"""Many runs: what a batch and a stream do."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flowrra import Batch, Flowrra, HandleNotAllowed, InvalidOption, Status, TaskCancelled, WaitTimeout, as_completed


@pytest.fixture
def app() -> Iterator[Flowrra]:
    with Flowrra("batches", cpu_workers=1, io_threads=4) as running:
        yield running


def fail_on_odd(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


def double(number: int) -> int:
    return 2 * number


def test_values_come_in_input_order(app: Flowrra) -> None:
    batch = app.task(double).map(range(100))
    assert batch.result(timeout=20) == [2 * number for number in range(100)]
    assert (len(batch), batch.done(), batch.errors) == (100, True, {})
    assert [handle.info().index for handle in batch] == list(range(100))
    assert {handle.batch_id for handle in batch} == {batch.id}


async def test_awaiting_a_batch_gives_its_values() -> None:
    async with Flowrra("here", cpu_workers=1) as app:
        assert await app.task(double).map(range(10)) == list(range(0, 20, 2))
        assert await (await app.map(double, range(3))) == [0, 2, 4]
        assert await app.task(double).map([]) == []


def test_more_iterables_and_constants(app: Flowrra) -> None:
    def describe(a: int, b: str, *, items: int, self: int) -> tuple[int, str, int, int]:
        return a, b, items, self

    task = app.task(describe)
    assert task.map([1, 2], "xy", items=5, self=6).result(timeout=10) == [(1, "x", 5, 6), (2, "y", 5, 6)]
    assert task.starmap([(1, "x"), (2, "y")], items=5, self=6).result(timeout=10) == [(1, "x", 5, 6), (2, "y", 5, 6)]
    assert app.blocking.map(describe, [1], "x", items=5, self=6).result(timeout=10) == [(1, "x", 5, 6)]


def test_inputs_of_unequal_length_are_refused_and_nothing_is_queued(app: Flowrra) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        app.task(max).map([1, 2, 3], [1, 2])
    assert sum(app.stats().counts.values()) == 0


def test_an_input_that_fails_or_holds_a_handle_queues_nothing(app: Flowrra) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the input ended badly")

    with pytest.raises(OSError, match="ended badly"):
        app.task(double).map(broken())
    handle = app.task(double).submit(1)
    assert handle.result(10) == 2
    with pytest.raises(HandleNotAllowed):
        app.task(double).map([1, handle])
    assert sum(app.stats().counts.values()) == 1


def test_an_empty_map_is_a_finished_batch(app: Flowrra) -> None:
    batch = app.task(double).map([])
    assert batch.done()
    assert batch.wait(0)
    assert batch.result() == batch.result(on_error="skip") == batch.result(on_error="return") == []
    assert list(batch.as_completed()) == []
    assert (len(batch), batch.cancel(), batch.errors) == (0, 0, {})


def test_the_first_failure_is_raised_with_a_note_and_the_others_go_on(app: Flowrra) -> None:
    go_on = threading.Event()

    def fail_or_wait(number: int) -> int:
        if number == 2:
            raise ValueError("of its own")
        assert go_on.wait(10)
        return number

    batch = app.task(fail_or_wait).map(range(4))
    with pytest.raises(ValueError, match="of its own") as caught:
        batch.result(timeout=10)
    seed = batch[2].info().seed
    assert caught.value.__notes__ == [f"run 2 of 4, number=2, random seed {seed}; 0 done, 1 failed, the others go on"]
    assert not batch.done()
    go_on.set()
    assert batch.wait(10)
    assert batch.counts()[Status.SUCCESS] == 3
    with pytest.raises(ValueError, match="of its own") as again:
        batch.result()
    assert len(again.value.__notes__) == 1


def test_errors_can_be_returned_or_skipped(app: Flowrra) -> None:
    batch = app.task(fail_on_odd).map(range(4))
    returned: list[Any] = batch.result(on_error="return", timeout=10)
    assert [returned[0], returned[2]] == [0, 2]
    assert [str(returned[1]), str(returned[3])] == ["1 is odd", "3 is odd"]
    assert batch.result(on_error="skip", timeout=10) == [0, 2]
    assert {index: str(error) for index, error in batch.errors.items()} == {1: "1 is odd", 3: "3 is odd"}
    with pytest.raises(InvalidOption, match="'raise', 'return' or 'skip'"):
        batch.result(on_error="ignore")  # type: ignore[arg-type]


def test_a_wait_that_times_out_says_how_far_it_is(app: Flowrra) -> None:
    go_on = threading.Event()
    batch = app.task(name="w")(go_on.wait).map([10, 10])
    with pytest.raises(WaitTimeout, match=r"0 done, 0 failed"):
        batch.result(timeout=0.05)
    assert batch.wait(0.01) is False
    go_on.set()
    assert batch.result(timeout=10) == [True, True]


def test_a_slice_is_a_batch_of_the_same_runs(app: Flowrra) -> None:
    batch = app.task(fail_on_odd).map(range(10))
    evens: Batch[int] = batch[::2]
    assert evens.result(timeout=10) == [0, 2, 4, 6, 8]
    assert batch[3] == batch[3:4][0] == batch[-7]
    assert batch[3] in batch
    assert next(reversed(batch)) == batch[9]
    with pytest.raises(IndexError):
        batch[10]


def test_as_completed_gives_every_handle_once_failed_ones_too_and_again(app: Flowrra) -> None:
    batch = app.task(fail_on_odd).map(range(20))
    first, second = list(batch.as_completed()), list(batch.as_completed())
    assert set(first) == set(second) == set(batch)
    assert len(first) == len(second) == 20
    assert all(handle.done() for handle in first)

    async def gather() -> list[Any]:
        return [handle async for handle in batch.as_completed()]

    assert set(asyncio.run(gather())) == set(batch)


def test_as_completed_gives_what_ends_first_first(app: Flowrra) -> None:
    gates = [threading.Event() for _ in range(3)]
    batch = app.task(name="gate")(lambda number: gates[number].wait(10)).map(range(3))
    order: list[int] = []
    gates[1].set()
    for handle in batch.as_completed():
        index = handle.info().index
        assert index is not None
        order.append(index)
        gates[{1: 2, 2: 0, 0: 0}[index]].set()
    assert order == [1, 2, 0]


async def test_leaving_as_completed_early_leaves_the_runs_alone() -> None:
    async with Flowrra("early", cpu_workers=1) as app:
        batch = app.task(double).map(range(10))
        async for handle in app.as_completed(batch):
            assert handle.done()
            break
        for handle in as_completed(batch[:0]):
            raise AssertionError(handle)
        assert await batch == list(range(0, 20, 2))


def test_cancelling_a_batch_cancels_what_is_not_done(app: Flowrra) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def hold(number: int) -> int:
        begun.release()
        if number:
            go_on.wait(10)
        return number

    batch = app.task(hold).map(range(50))
    assert batch[0].result(10) == 0
    assert batch.cancel() == 49
    assert batch.wait(10)
    go_on.set()
    counts = batch.counts()
    assert (counts[Status.SUCCESS], counts[Status.CANCELLED]) == (1, 49)
    assert set(counts) == set(Status)
    assert all(isinstance(error, TaskCancelled) for error in batch.errors.values())
    assert batch.cancel() == 0


def test_a_callback_hears_when_all_are_done(app: Flowrra) -> None:
    heard: list[Batch[int]] = []
    told = threading.Event()
    batch = app.task(double).map(range(10))
    batch.add_done_callback(lambda done: (heard.append(done), told.set()))
    assert told.wait(10)
    assert heard == [batch]
    assert batch.done()


def test_a_stream_reads_only_a_window_ahead_of_an_endless_input(app: Flowrra) -> None:
    read: list[int] = []

    def endless() -> Iterator[int]:
        for number in itertools.count():
            read.append(number)
            yield number

    stream = app.task(double).imap(endless(), window=5)
    values = [handle.result(0) for handle in itertools.islice(stream, 20)]
    assert values == [2 * number for number in range(20)]
    assert len(read) <= 26


def test_a_stream_ends_with_its_input_and_gives_failures_too(app: Flowrra) -> None:
    handles = list(app.task(fail_on_odd).imap(range(7), window=2))
    assert [handle.status.value for handle in handles] == ["SUCCESS", "FAILED"] * 3 + ["SUCCESS"]
    assert list(app.task(double).imap([])) == []


async def test_a_stream_can_be_awaited_and_its_window_depends_on_the_slots() -> None:
    async with Flowrra("streams", cpu_workers=1, io_threads=2) as app:
        read: list[int] = []

        def endless() -> Iterator[int]:
            for number in itertools.count():
                read.append(number)
                yield number

        seen = []
        async for handle in app.task(double).imap(endless()):
            seen.append(await handle)
            if len(seen) == 10:
                break
        assert seen == list(range(0, 20, 2))
        assert len(read) <= 10 + 8


@pytest.mark.parametrize("window", [0, -1, 1.5])
def test_a_window_that_makes_no_sense_is_refused(app: Flowrra, window: Any) -> None:
    with pytest.raises(InvalidOption, match="window"):
        app.task(double).imap([1], window=window)


def test_larger_priorities_go_first_and_equals_in_order() -> None:
    order: list[int] = []
    with Flowrra("order", cpu_workers=1, io_threads=1) as app:
        gate = threading.Event()
        app.task(name="gate")(gate.wait).submit(10)
        task = app.task(name="note")(order.append)
        batches = [
            task.options(priority=priority).map([priority * 10, priority * 10 + 1]) for priority in (0, -1, 7, 0)
        ]
        gate.set()
        for batch in batches:
            batch.result(timeout=10)
    assert order == [70, 71, 0, 1, 0, 1, -10, -9]


def test_pausing_and_resuming(app: Flowrra) -> None:
    slow, quick = app.task(double), app.task(name="quick")(abs)
    app.pause(slow)
    held = slow.map(range(3))
    assert quick.map([-1, -2]).result(timeout=10) == [1, 2]
    assert app.stats().paused == ("double",)
    assert held.counts()[Status.PENDING] == 3
    app.resume("double")
    assert held.result(timeout=10) == [0, 2, 4]
    app.pause()
    waiting = quick.submit(-5)
    time.sleep(0.02)
    assert waiting.status is Status.PENDING
    app.resume()
    assert waiting.result(10) == 5


async def test_what_is_paused_on_the_loop_does_not_begin() -> None:
    async with Flowrra("paused", cpu_workers=1) as app:
        app.pause()
        handle = app.task(double).submit(1)
        await asyncio.sleep(0.02)
        assert handle.status is Status.PENDING
        app.resume()
        assert await handle == 2


def join(first: object, second: object = "", *, token: object = "") -> str:
    return f"{first}{second}{token}"


def test_each_run_of_a_map_shows_its_own_arguments_and_no_secret(app: Flowrra) -> None:
    plain = app.task(join).map([1, 2.5, None], [True, 4, 10**9], token="hush")
    assert [handle.info().args_preview for handle in plain] == [
        "first=1, second=True, token=•••",
        "first=2.5, second=4, token=•••",
        "first=None, second=1000000000, token=•••",
    ]
    single = app.task(join).map(range(7, 9))
    assert [handle.info().args_preview for handle in single] == ["first=7", "first=8"]
    assert [handle.info().args_preview for handle in app.task(join).options(preview=False).map([1, "a"])] == ["", ""]


def test_arguments_of_a_map_are_shown_as_they_were_when_it_was_called(app: Flowrra) -> None:
    changing, constant = [[1], [2]], {"n": 1}
    app.pause()
    batch = app.task(join).map(changing, token=None, second=constant)
    changing[0].append(9)
    constant["n"] = 2
    app.resume()
    assert batch[0].info().args_preview.startswith("first=[1], ")
    assert "{'n': 1}" in batch[1].info().args_preview
    assert batch.wait(20)

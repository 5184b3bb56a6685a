"""Large buffers, shared by content with real workers: crossing once, copy on write, reclaim and spill."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flowrra.errors import NoRoomForData
from flowrra.interfaces import Attempt, Call
from flowrra.pool.data import budget, memory
from tests.faults.pool_driver import pool

pytestmark = pytest.mark.usefixtures("each_way")

SIZE = 2_000_000


def shared(cpu: Any) -> dict[str, Any]:
    return dict(cpu.executor.describe())


async def test_the_same_content_crosses_once_for_any_number_of_runs_and_workers() -> None:
    data = np.arange(SIZE, dtype=np.uint8)
    async with pool(2) as cpu:
        runs = [cpu.submit(np.sum, data.copy()) for _ in range(10)]
        assert {int((await cpu.outcome(run)).value) for run in runs} == {int(data.sum())}
        assert shared(cpu)["copied_bytes"] == data.nbytes
        assert shared(cpu)["found_bytes"] == 9 * data.nbytes


async def test_arguments_constants_and_captured_globals_share_one_copy() -> None:
    data = np.ones(SIZE, dtype=np.uint8)

    def captures(extra: Any = None) -> int:
        return int(data.sum()) + (0 if extra is None else int(extra.sum()))

    async with pool(1) as cpu:
        assert await cpu.run(captures) == SIZE
        assert await cpu.run(captures, data) == 2 * SIZE
        assert await cpu.run(captures, extra=data) == 2 * SIZE
        encoded = cpu.executor.encode_map(Call("captures", captures, (), {"extra": data}), [()] * 3)
        attempts = [Attempt(f"m{n}", 1, "captures", 0, 1000 + n, one) for n, one in enumerate(encoded)]
        for attempt in attempts:
            cpu.executor.begin(attempt)
        assert [(await cpu.outcome(attempt)).value for attempt in attempts] == [2 * SIZE] * 3
        assert shared(cpu)["copied_bytes"] == SIZE


async def test_an_edit_between_submissions_is_seen_and_the_earlier_run_is_not_affected() -> None:
    data = np.zeros(SIZE, dtype=np.uint8)

    def captured() -> int:
        return int(data.sum())

    async with pool(1) as cpu:
        argument, capture = cpu.submit(np.sum, data), cpu.submit(captured)
        data[7] = 1
        again, capture_again = cpu.submit(np.sum, data), cpu.submit(captured)
        values = [(await cpu.outcome(run)).value for run in (argument, capture, again, capture_again)]
        assert [int(value) for value in values] == [0, 0, 1, 1]


def scribble(array: Any, seconds: float = 0.0) -> int:
    before = int(array.sum())
    array += 1
    time.sleep(seconds)
    return before


async def test_what_a_run_writes_is_its_own_now_and_later() -> None:
    data = np.zeros(SIZE, dtype=np.uint8)
    async with pool(2) as cpu:
        runs = [cpu.submit(scribble, data, 0.05) for _ in range(6)]
        assert [(await cpu.outcome(run)).value for run in runs] == [0] * 6
        assert data.sum() == 0
        assert await cpu.run(np.sum, data) == 0


@pytest.mark.forked_only("they are mapped anew instead")
def test_pages_are_found_where_the_kernel_cannot_search_for_them() -> None:
    code = """
        import numpy as np
        from flowrra.pool.native import Mapping, WrittenPages
        import flowrra.pool.native as native, os
        native._PAGEMAP_SCAN = 0
        fd = os.memfd_create("x"); os.ftruncate(fd, 1 << 20)
        mapping = Mapping(fd, 1 << 20)
        view, _ = mapping.view()
        pages = WrittenPages()
        assert bytes(view[:3]) == b"\\0\\0\\0"
        assert pages.of(mapping, 0, 1 << 20) == []
        view[5000] = 1
        assert pages.of(mapping, 0, 1 << 20) == [(0, 1 << 20)]
        assert pages.of(mapping, 8192, 4096) == []
        mapping.restore(0, 1 << 20)
        assert view[5000] == 0
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=30)


async def test_equal_arrays_in_one_run_are_not_one_array() -> None:
    first, second = np.zeros(SIZE, dtype=np.uint8), np.zeros(SIZE, dtype=np.uint8)

    def write_one(one: Any, other: Any) -> tuple[int, int, int]:
        one += 1
        return int(one.sum()), int(other.sum()), int(second.sum())

    async with pool(1) as cpu:
        for _ in range(3):
            assert await cpu.run(write_one, first, second) == (SIZE, 0, 0)
        assert shared(cpu)["copied_bytes"] == SIZE


def stash(array: Any) -> int:
    known = sys.modules.setdefault("__stash__", type(sys)("__stash__")).__dict__.setdefault("known", [])
    array[0] += 1
    known.append(array)
    return int(array[0])


def look_at_stash() -> list[int]:
    return [int(array[0]) for array in sys.modules["__stash__"].known]


async def test_an_array_that_a_run_leaves_in_a_global_stays_as_it_left_it() -> None:
    data = np.zeros(SIZE, dtype=np.uint8)
    async with pool(1) as cpu:
        assert [await cpu.run(stash, data) for _ in range(3)] == [1, 1, 1]
        assert await cpu.run(look_at_stash) == [1, 1, 1]
        assert await cpu.run(np.sum, data) == 0


async def test_memory_of_a_dropped_slab_is_not_used_again_while_something_can_look_into_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budget, "LINGER", 0.0)
    monkeypatch.setattr(budget, "OWN", 1_000_000)
    monkeypatch.setattr("flowrra.pool.upkeep._TIDY", 0.02)
    async with pool(1) as cpu:
        assert await cpu.run(stash, np.full(SIZE, 10, dtype=np.uint8)) == 11
        for number in range(5):
            assert await cpu.run(np.max, np.full(SIZE, number, dtype=np.uint8)) == number
            await asyncio.sleep(0.05)
        assert await cpu.run(look_at_stash) == [11]


@pytest.mark.forked_only("nobody knows whether a process that a task has started can still see it")
async def test_memory_is_used_again_when_every_worker_has_dropped_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "LINGER", 0.0)
    monkeypatch.setattr(budget, "OWN", 1_000_000)
    monkeypatch.setattr("flowrra.pool.upkeep._TIDY", 0.02)
    async with pool(2) as cpu:
        for number in range(5):
            assert await cpu.run(np.max, np.full(SIZE, number, dtype=np.uint8)) == number
            async with asyncio.timeout(10):
                while shared(cpu)["mapped_slabs"]:
                    await asyncio.sleep(0.01)
        assert shared(cpu)["shared_slabs"] == 1
        assert shared(cpu)["copied_bytes"] == 5 * SIZE


async def test_readonly_gives_the_error_to_those_who_want_it() -> None:
    data = np.zeros(SIZE, dtype=np.uint8)
    async with pool(1) as cpu:
        for captured in (False, True):

            def write(array: Any = None) -> None:
                target = data if array is None else array
                target += 1

            args = () if captured else (data,)
            encoded = cpu.executor.encode(Call("write", write, args, {}, readonly=True))
            attempt = Attempt(f"readonly-{captured}", 1, "write", 0, 1000 + captured, encoded)
            cpu.executor.begin(attempt)
            error = (await cpu.outcome(attempt)).exception
            assert isinstance(error, ValueError)
            assert "read-only" in str(error)
        assert await cpu.run(scribble, data) == 0


SMALL: dict[str, Any] = {
    "small": np.zeros(5),
    "middling": np.zeros(30_000, dtype=np.uint8),
    "large": np.zeros(SIZE, dtype=np.uint8),
    "view": np.zeros((40, 60))[::2, ::3],
    "fortran": np.asfortranarray(np.zeros((4, 6))),
    "scalar": np.zeros(()),
    "empty": np.zeros((0, 3)),
    "objects": np.array([None, "text"], dtype=object),
    "structured": np.zeros(3, dtype=[("a", "i8"), ("b", "f4")]),
    "dates": np.array(["2000-01-01"], dtype="M8[s]"),
    "records": np.zeros(3, dtype=[("a", "i8")]).view(np.recarray),
    "masked": np.ma.array([1, 2], mask=[False, True]),
}


def flags(one: Any, pair: Any) -> Any:
    return [array.flags.writeable for array in (one, *pair["in"])], one


@pytest.mark.parametrize("name", SMALL)
async def test_readonly_holds_for_arrays_of_every_size_and_kind(name: str) -> None:
    value = SMALL[name]

    def captured() -> Any:
        return flags(value, {"in": [value]})

    async with pool(1) as cpu:
        calls = [
            Call("flags", flags, (value, {"in": [value.copy()]}), {}, readonly=True),
            Call("flags", captured, (), {}, readonly=True),
            Call("flags", flags, (value, {"in": []}), {}),
        ]
        encoded = [cpu.executor.encode(call) for call in calls]
        encoded += cpu.executor.encode_map(
            Call("flags", flags, (), {"pair": {"in": [value]}}, readonly=True), [(value,), (value,)]
        )
        found = []
        for number, one in enumerate(encoded):
            attempt = Attempt(f"small-{number}", 1, "flags", 0, 2000 + number, one)
            cpu.executor.begin(attempt)
            writeable, back = (await cpu.outcome(attempt)).value
            found.append(any(writeable))
            assert type(back) is type(value)
            assert back.dtype == value.dtype
            np.testing.assert_array_equal(back, value)
        assert found == [False, False, True, False, False]


async def test_a_readonly_frame_refuses_to_be_written_to() -> None:
    frame = pd.DataFrame({"x": np.arange(10), "y": np.arange(10) * 0.5, "s": ["text"] * 10})[::2]

    def write(given: Any) -> Any:
        for name in ("x", "y"):
            given[name].to_numpy()[0] = 7
        return given

    async with pool(1) as cpu:
        attempt = Attempt("frame", 1, "write", 0, 1, cpu.executor.encode(Call("w", write, (frame,), {}, readonly=True)))
        cpu.executor.begin(attempt)
        assert "read-only" in str((await cpu.outcome(attempt)).exception)
        encoded = cpu.executor.encode(Call("same", same, (frame,), {}, readonly=True))
        attempt = Attempt("same", 1, "same", 0, 2, encoded)
        cpu.executor.begin(attempt)
        pd.testing.assert_frame_equal((await cpu.outcome(attempt)).value, frame)


async def test_results_are_writable_and_the_callers_alone() -> None:
    async with pool(1) as cpu:
        first, second = [await cpu.run(np.zeros, SIZE) for _ in range(2)]
        first += 1
        assert second.sum() == 0


VALUES: dict[str, Any] = {
    "structured": np.array([(n, n / 2) for n in range(20_000)], dtype=[("a", "i8"), ("b", "f4")]),
    "datetime": pd.date_range("2000", periods=20_000),
    "frame": pd.DataFrame({"x": np.arange(50_000), "t": pd.date_range("2000", periods=50_000), "s": ["text"] * 50_000}),
    "objects": np.array([f"text {n}" for n in range(50_000)], dtype=object),
    "not contiguous": np.arange(200_000).reshape(400, 500)[::2, ::3],
    "fortran": np.asfortranarray(np.arange(200_000).reshape(400, 500)),
    "empty": np.zeros((0, 5)),
    "bytes": bytes(range(256)) * 1000,
    "bytearray": bytearray(range(256)) * 1000,
    "many": [np.full(3000, n) for n in range(1500)],
}


def same(value: Any) -> Any:
    return value


@pytest.mark.forked_only("what it is about is the same code for both ways")
@pytest.mark.parametrize("name", VALUES)
async def test_values_of_every_kind_arrive_as_they_were_and_cross_once(name: str) -> None:
    value = VALUES[name]
    async with pool(1) as cpu:
        for _ in range(2):
            back = await cpu.run(same, value)
            assert type(back) is type(value)
            if isinstance(value, pd.DataFrame):
                pd.testing.assert_frame_equal(back, value)
            elif isinstance(value, list):
                assert all(map(np.array_equal, back, value))
            elif isinstance(value, np.ndarray):
                np.testing.assert_array_equal(back, value)
                assert back.dtype == value.dtype
                assert back.flags.f_contiguous == value.flags.f_contiguous or name == "not contiguous"
            else:
                assert len(back) == len(value)
                assert all(back == value) if isinstance(value, pd.Index) else back == value
        facts = shared(cpu)
        if name != "datetime":  # pandas writes its index in other words the second time
            assert facts["found_bytes"] == facts["copied_bytes"]


@pytest.mark.forked_only("all slabs are files, with names")
async def test_beyond_half_of_the_budget_slabs_are_files_without_a_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 16_000_000)
    monkeypatch.setattr(budget, "OWN", 1_000_000)
    monkeypatch.setenv("FLOWRRA_SPILL", str(tmp_path))
    async with pool(2) as cpu:
        attempts = [cpu.attempt(scribble, np.full(SIZE, number, dtype=np.uint8)) for number in range(20)]
        facts = shared(cpu)
        assert facts["spilled_bytes"] > 0
        assert facts["spilled_bytes"] + facts["shared_bytes"] == facts["pinned_bytes"]
        assert not list(tmp_path.iterdir())
        for attempt in attempts:
            cpu.executor.begin(attempt)
        values = [(await cpu.outcome(attempt)).value for attempt in attempts]
        assert values == [SIZE * number for number in range(20)]


async def test_a_full_spill_disk_refuses_the_submission_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The kernel refuses files larger than 8 MB to this process, as a full disk would."""
    monkeypatch.setattr(memory, "free_bytes", lambda: 16_000_000)
    monkeypatch.setattr(budget, "OWN", 1_000_000)
    monkeypatch.setenv("FLOWRRA_SPILL", str(tmp_path))
    big = np.zeros(9_000_000, dtype=np.uint8)

    def captures() -> int:
        return int(big.sum())

    async with pool(1) as cpu:
        before = cpu.attempt(np.sum, np.ones(SIZE, dtype=np.uint8))
        known = shared(cpu)
        with _no_file_beyond(8_000_000):
            for call in (
                Call("total", np.sum, (big,), {}),
                Call("captures", captures, (), {}),
                Call("total", np.sum, (), {"a": big}),
            ):
                with pytest.raises(NoRoomForData) as refused:
                    cpu.executor.encode(call)
                assert (refused.value.task, refused.value.place) == (call.task_name, str(tmp_path))
                assert refused.value.need >= big.nbytes
                assert "FLOWRRA_SPILL" in str(refused.value)
            with pytest.raises(NoRoomForData):
                cpu.executor.encode_map(Call("total", np.sum, (), {}), [(np.ones(5),), (big,)])
        facts = shared(cpu)
        assert (facts["shared_slabs"], facts["pinned_bytes"]) == (known["shared_slabs"], known["pinned_bytes"])
        assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < big.nbytes
        cpu.executor.begin(before)
        assert (await cpu.outcome(before)).value == SIZE
        assert await cpu.run(captures) == 0


@contextmanager
def _no_file_beyond(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_nothing_is_kept_once_the_pool_is_closed() -> None:
    async with pool(1) as cpu:
        assert await cpu.run(np.sum, np.ones(SIZE)) == SIZE
    assert shared(cpu)["shared_slabs"] == 0
    assert not [link for link in _descriptors() if "memfd:flowrra" in link]


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_a_large_captured_global_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    big, small = np.zeros(20_000_000, dtype=np.uint8), np.zeros(5)

    def named_once(index: int) -> float:
        return float(big[index] + small[index])

    async with pool(1) as cpu:
        for _ in range(2):
            assert await cpu.run(named_once, 1) == 0
    [hint] = [text for text in caplog.messages if "captures" in text]
    assert "'big'" in hint
    assert "20 MB" in hint
    assert "small" not in hint


def _descriptors() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except FileNotFoundError:
            continue
    return found


FEW_DESCRIPTORS = """
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    import numpy as np
    from flowrra import Flowrra

    app = Flowrra(cpu_workers=2)

    @app.task(cpu_bound=True)
    def large(n):
        return np.full(300_000, n % 256, dtype=np.uint8)

    @app.task(cpu_bound=True)
    def total(arrays):
        return sum(int(array[-1]) for array in arrays)

    with app:
        arrays = [np.full(5000, n) for n in range(1500)]
        assert total.submit(arrays).result() == sum(range(1500))
        values = large.map(range(1000)).result()
        assert [int(value[-1]) for value in values] == [n % 256 for n in range(1000)]
        queued = [total.submit([np.full(9_000_000, n % 256, dtype=np.uint8)]) for n in range(80)]
        assert [handle.result() for handle in queued] == list(range(80))
    print("done")
"""


@pytest.mark.forked_only("it would write gigabytes of results to the disk")
def test_few_descriptors_are_enough_for_many_arrays() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FEW_DESCRIPTORS)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.strip() == "done", done.stderr
    assert "Traceback" not in done.stderr

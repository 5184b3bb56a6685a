"""The CPU pool with real processes: what goes in, what comes out, and how it looks from inside a task."""

from __future__ import annotations

import asyncio
import functools
import linecache
import os
import sys
import textwrap
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from flowrra import Flowrra
from flowrra.core.statuses import OutcomeKind
from flowrra.errors import (
    HandleNotAllowed,
    InvalidOption,
    NotDecodable,
    NotEncodable,
    RemoteError,
    RemoteTraceback,
    TaskExit,
)
from flowrra.executors.cpu import CpuExecutor
from flowrra.interfaces import Call
from flowrra.pool.cores import available_cores
from flowrra.running import current_run, progress
from tests.faults.pool_driver import Pool, RecordingSink, pool


class Cell:
    """Code executed as a notebook's cell would be: in ``__main__``, from a file that exists only in ``linecache``."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = sys.modules["__main__"].__dict__
        self._before = dict(self.names)
        self._files: list[str] = []

    def __call__(self, source: str) -> types.SimpleNamespace:
        text = textwrap.dedent(source)
        filename = f"/tmp/ipykernel_of_this_test/{len(self._files)}.py"
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        self._files.append(filename)
        exec(compile(text, filename, "exec"), self.names)
        return types.SimpleNamespace(**self.names)

    def close(self) -> None:
        for name in [name for name in self.names if name not in self._before]:
            del self.names[name]
        for filename in self._files:
            linecache.cache.pop(filename, None)


@pytest.fixture
def cell():
    made = Cell()
    yield made
    made.close()


# Functions.


async def test_functions_of_every_kind_defined_in_a_cell_run_in_a_worker(cell: Cell) -> None:
    names = cell("""
        factor = 3
        def plain(x): return factor * x
        double = lambda x: 2 * x
        def make(y):
            def closure(x): return x + y
            return closure
        class Model:
            scale = 5
            def __init__(self, bias): self.bias = bias
            def method(self, x): return x * self.scale + self.bias
            @classmethod
            def of_class(cls, x): return x * cls.scale
            @staticmethod
            def static(x): return -x
            def __call__(self, x): return x + self.bias
        def factorial(n): return 1 if n == 0 else n * factorial(n - 1)
        def calls_helper(x): return plain(x) + 1
    """)
    async with pool() as cpu:
        assert await cpu.run(names.plain, 2) == 6
        assert await cpu.run(names.double, 2) == 4
        assert await cpu.run(names.make(10), 2) == 12
        assert await cpu.run(names.Model(1).method, 2) == 11
        assert await cpu.run(names.Model.of_class, 2) == 10
        assert await cpu.run(names.Model.static, 2) == -2
        assert await cpu.run(names.Model(7), 2) == 9
        assert await cpu.run(names.factorial, 5) == 120
        assert await cpu.run(names.calls_helper, 2) == 7
        assert await cpu.run(functools.partial(names.plain, 4)) == 12
        assert await cpu.run(max, 3, 4) == 4


async def test_a_redefined_helper_or_global_counts_for_later_submissions_only(cell: Cell) -> None:
    task = cell("""
        factor = 2
        def helper(x): return factor * x
        def task(x): return helper(x)
    """).task
    async with pool() as cpu:
        first = cpu.attempt(task, 10)
        cell("factor = 3")
        second = cpu.attempt(task, 10)
        cell("def helper(x): return -x")
        third = cpu.attempt(task, 10)
        for attempt in (first, second, third):
            cpu.executor.begin(attempt)
        assert [(await cpu.outcome(attempt)).value for attempt in (first, second, third)] == [20, 30, -10]


async def test_a_captured_list_changed_in_place_is_noticed(cell: Cell) -> None:
    names = cell("""
        seen = [1]
        def task(): return list(seen)
    """)
    async with pool(1) as cpu:
        assert await cpu.run(names.task) == [1]
        names.seen.append(2)
        assert await cpu.run(names.task) == [1, 2]


async def test_what_one_run_does_to_captured_data_is_not_seen_by_the_next(cell: Cell) -> None:
    task = cell("""
        seen = []
        def task():
            seen.append(1)
            return len(seen)
    """).task
    async with pool(1) as cpu:
        assert [await cpu.run(task) for _ in range(3)] == [1, 1, 1]


async def test_an_instance_of_a_cells_class_comes_back_as_that_class_and_leaves_it_untouched(cell: Cell) -> None:
    names = cell("""
        from dataclasses import dataclass
        from enum import Enum
        unit = "m"
        class Colour(Enum):
            RED = 1
        @dataclass
        class Point:
            x: int
            def shown(self): return f"{self.x} {unit}"
        def move(point): return Point(point.x + 1), Colour.RED
    """)
    method = names.Point.shown
    async with pool() as cpu:
        for _ in range(2):
            point, colour = await cpu.run(names.move, names.Point(1))
            assert type(point) is names.Point
            assert point == names.Point(2)
            assert colour is names.Colour.RED
    assert names.Point.shown is method
    cell("unit = 'km'")
    assert point.shown() == "2 km"


async def test_what_a_run_assigns_to_a_captured_variable_is_gone_for_the_next(cell: Cell) -> None:
    names = cell("""
        calls = 0
        def count():
            global calls
            calls += 1
            return calls
        def through_a_helper(): return count()
        def counter():
            n = 0
            def count_cell():
                nonlocal n
                n += 1
                return n
            return count_cell
        count_cell = counter()
    """)
    async with pool(1) as cpu:
        for function in (names.count, names.through_a_helper, names.count_cell):
            assert [await cpu.run(function) for _ in range(3)] == [1, 1, 1]


async def test_a_class_with_slots_comes_back_as_that_class(cell: Cell) -> None:
    names = cell("""
        from dataclasses import dataclass
        @dataclass(slots=True)
        class Place:
            x: int
        class Far(Place):
            __slots__ = ("y",)
        def place(x): return Place(x)
        def move(place):
            place.x += 1
            return place, hasattr(place, "__dict__")
    """)
    async with pool(1) as cpu:
        assert await cpu.run(names.place, 3) == names.Place(3)
        moved, has_dict = await cpu.run(names.move, names.Place(4))
        assert type(moved) is names.Place
        assert (moved.x, has_dict) == (5, False)
        far = names.Far(6)
        far.y = 7
        moved, has_dict = await cpu.run(names.move, far)
        assert (type(moved), moved.x, moved.y, has_dict) == (names.Far, 7, 7, False)


async def test_a_helper_behind_a_cache_travels_even_if_it_calls_itself(cell: Cell) -> None:
    names = cell("""
        from functools import cache
        @cache
        def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
        def use(n): return fibonacci(n), fibonacci.cache_info().currsize
    """)
    async with pool(1) as cpu:
        assert await cpu.run(names.use, 80) == (23416728348467685, 81)
        assert await cpu.run(names.fibonacci, 40) == 102334155


async def test_map_encodes_function_and_constants_once_and_keeps_order(cell: Cell) -> None:
    task = cell("def task(x, *, table, power=1): return table[x] ** power").task
    async with pool() as cpu:
        call = Call("task", task, (), {"table": list(range(100)), "power": 2})
        encoded = cpu.executor.encode_map(call, [(i,) for i in range(100)])
        assert len({id(one.function) for one in encoded}) == 1
        assert len({id(one.constants) for one in encoded}) == 1
        template = cpu.attempt(task, 1)
        attempts = [template._replace(run_id=str(i), seq=i, encoded=one) for i, one in enumerate(encoded)]
        waiting = list(attempts)

        def fill() -> None:
            while waiting and cpu.executor.room() > 0:
                cpu.executor.begin(waiting.pop(0))

        cpu.sink.on_room = fill
        fill()
        assert [(await cpu.outcome(attempt)).value for attempt in attempts] == [i**2 for i in range(100)]


async def test_an_unchanged_function_is_pickled_once(cell: Cell) -> None:
    names = cell("""
        import math
        limit = 3
        def helper(x): return math.sqrt(x) + limit
        def task(x): return helper(x)
    """)
    executor = CpuExecutor(1)
    first, second = (executor.encode(Call("task", names.task, (n,), {})) for n in (1, 2))
    assert first.function is second.function
    cell("limit = 4")
    assert executor.encode(Call("task", names.task, (1,), {})).function.digest != first.function.digest


# Data.


async def test_large_arrays_travel_as_arguments_and_results_and_both_sides_may_write(cell: Cell) -> None:
    task = cell("""
        def task(array):
            array += 1
            return array * 2
    """).task
    array = np.arange(300_000.0)
    async with pool() as cpu:
        result = await cpu.run(task, array)
        np.testing.assert_array_equal(result, (np.arange(300_000.0) + 1) * 2)
        result[0] = 7
    np.testing.assert_array_equal(array, np.arange(300_000.0))


async def test_arguments_are_snapshotted_by_submit(cell: Cell) -> None:
    array, small = np.zeros(100_000), [0]
    async with pool() as cpu:
        attempts = [cpu.attempt(np.sum, array), cpu.attempt(sum, small)]
        array += 1
        small[0] = 5
        for attempt in attempts:
            cpu.executor.begin(attempt)
        assert [(await cpu.outcome(attempt)).value for attempt in attempts] == [0, 0]


async def test_a_captured_frame_can_be_changed_by_a_run_without_anybody_noticing(cell: Cell) -> None:
    names = cell("""
        import pandas as pd
        frame = pd.DataFrame({"a": range(50_000), "b": 1.5})
        def task(group):
            frame.loc[:, "b"] += group
            return float(frame["b"].iloc[0]), len(frame)
    """)
    before = names.frame.copy()
    async with pool(1) as cpu:
        assert await cpu.run(names.task, 1) == (2.5, 50_000)
        assert await cpu.run(names.task, 2) == (3.5, 50_000)
    pd.testing.assert_frame_equal(names.frame, before)


async def test_long_text_and_bytes_that_fit_no_message_travel(cell: Cell) -> None:
    task = cell("def task(text, data): return text + '!', data[::-1]").task
    async with pool() as cpu:
        text, data = await cpu.run(task, "ä" * 500_000, bytes(range(256)) * 4000)
        assert text == "ä" * 500_000 + "!"
        assert data == (bytes(range(256)) * 4000)[::-1]


async def test_hundreds_of_large_results_use_no_descriptors(cell: Cell) -> None:
    task = cell("""
        import numpy as np
        def task(n): return np.full(20_000, n)
    """).task
    async with pool() as cpu:
        await cpu.outcome(cpu.submit(task, 0))
        before = len(os.listdir("/proc/self/fd"))
        attempts = [cpu.submit(task, n) for n in range(300)]
        values = [(await cpu.outcome(attempt)).value for attempt in attempts]
        del attempts
        assert all(value[0] == n for n, value in enumerate(values))
        # Each result would take one. A few belong to workers: spares are just being replaced by ones that have NumPy.
        assert len(os.listdir("/proc/self/fd")) < before + 100


# Errors.


async def test_an_error_keeps_type_causes_and_the_cells_own_lines(cell: Cell) -> None:
    task = cell("""
        def inner(): return {}["missing"]
        def task():
            try:
                inner()
            except KeyError as error:
                raise ValueError("no luck") from error
    """).task
    async with pool() as cpu:
        outcome = await cpu.outcome(cpu.submit(task))
    assert outcome.kind is OutcomeKind.RAISED
    assert isinstance(outcome.exception, ValueError)
    assert isinstance(outcome.exception.__cause__, KeyError)
    remote = outcome.exception.__cause__.__cause__
    assert isinstance(remote, RemoteTraceback)
    assert outcome.error is not None
    assert outcome.error.causes == ("KeyError: 'missing'",)
    for text in (str(remote), outcome.error.traceback):
        assert 'raise ValueError("no luck") from error' in text
        assert 'def inner(): return {}["missing"]' in text
        assert "flowrra/pool" not in text


async def test_a_function_from_a_huge_cell_runs(cell: Cell) -> None:
    task = cell("text = '" + "x" * 300_000 + "'\ndef task(): return len(text)\n").task
    async with pool(1) as cpu:
        assert await cpu.run(task) == 300_000


async def test_an_exception_class_of_a_cell_comes_back_as_that_class(cell: Cell) -> None:
    names = cell("""
        class Trouble(Exception):
            def __init__(self, code): super().__init__(f"code {code}"); self.code = code
            def __reduce__(self): return Trouble, (self.code,)
        def task(): raise Trouble(7)
    """)
    async with pool() as cpu:
        outcome = await cpu.outcome(cpu.submit(names.task))
    assert type(outcome.exception) is names.Trouble
    assert outcome.exception.code == 7


async def test_an_exception_that_cannot_be_rebuilt_is_told_as_text(cell: Cell) -> None:
    names = cell("""
        class Odd(Exception):
            def __init__(self, a, b): super().__init__("odd one")
        class Locked(Exception):
            def __init__(self): super().__init__("locked one"); self.file = open("/dev/null")
        def odd(): raise Odd(1, 2)
        def locked(): raise Locked
    """)
    async with pool() as cpu:
        for function, name in ((names.odd, "Odd: odd one"), (names.locked, "Locked: locked one")):
            outcome = await cpu.outcome(cpu.submit(function))
            assert isinstance(outcome.exception, RemoteError)
            assert name in str(outcome.exception)
            assert isinstance(outcome.exception.__cause__, RemoteTraceback)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
async def test_asking_the_interpreter_to_end_is_a_failure_of_the_run_alone(error: BaseException) -> None:
    def leave() -> None:
        raise error

    async with pool(1) as cpu:
        pid = await cpu.run(os.getpid)
        outcome = await cpu.outcome(cpu.submit(leave))
        assert isinstance(outcome.exception, TaskExit)
        assert await cpu.run(os.getpid) == pid


async def test_an_asyncio_function_by_mistake_gets_an_explanation() -> None:
    async def work() -> None: ...

    async with pool(1) as cpu:
        with pytest.raises(TypeError, match="returned a coroutine"):
            await cpu.run(lambda: work())  # noqa: PLW0108 - a function whose result is a coroutine


class FakeHandle:
    __flowrra_handle__ = True


async def test_what_cannot_travel_is_refused_with_the_path_to_it(cell: Cell) -> None:
    names = cell("""
        import threading
        lock = threading.Lock()
        class Box: pass
        box = Box(); box.inner = {"lock": lock}
        def uses_global(): return lock
        def make():
            held = threading.Lock()
            return lambda: held
        closure = make()
    """)
    executor = CpuExecutor(1)

    def path(function: Any, *args: Any, **kwargs: Any) -> str:
        with pytest.raises(NotEncodable) as caught:
            executor.encode(Call("task", function, args, kwargs))
        assert caught.value.what == "_thread.lock"
        assert caught.value.task == "task"
        return caught.value.path

    assert path(print, [1, {"db": names.box}]) == "args[0][1]['db'].inner['lock']"
    assert path(print, x=(names.lock,)) == "kwargs['x'][0]"
    assert path(names.uses_global) == "global 'lock' of the function"
    assert path(names.closure) == "closure 'held' of the function"
    with pytest.raises(HandleNotAllowed) as caught:
        executor.encode(Call("task", print, ([FakeHandle()],), {}))
    assert caught.value.path == "args[0][0]"
    with pytest.raises(NotEncodable) as refused:
        executor.encode_map(Call("task", print, (), {"c": names.lock}), [(1,)])
    assert refused.value.path == "kwargs['c']"


async def test_a_handle_or_batch_inside_an_argument_is_refused_by_its_path() -> None:
    app = Flowrra("handles")
    executor = CpuExecutor(1)

    @app.task
    def plain(n: int = 0) -> int:
        return n

    async with app:
        handle, batch = plain.submit(), plain.map([1, 2])
        for value in (handle, batch):
            with pytest.raises(HandleNotAllowed) as caught:
                executor.encode(Call("task", print, ([1, value],), {}))
            assert caught.value.path == "args[0][1]"
        with pytest.raises(HandleNotAllowed) as caught:
            executor.encode(Call("task", lambda: handle, (), {}))
        assert caught.value.path == "closure 'handle' of the function"


def test_a_task_that_uses_its_app_is_refused_with_advice(cell: Cell) -> None:
    names = cell("""
        from flowrra import Flowrra
        app = Flowrra("captured")
        def task(): return app.stats()
    """)
    with pytest.raises(NotEncodable, match=r"global 'app' of the function.*leave it out of the task") as caught:
        CpuExecutor(1).encode(Call("task", names.task, (), {}))
    assert caught.value.what == "flowrra.app.Flowrra"


async def test_a_result_that_cannot_travel_fails_its_run_and_keeps_the_worker(cell: Cell) -> None:
    task = cell("""
        import threading
        def task(): return {"lock": threading.Lock()}
    """).task
    async with pool(1) as cpu:
        pid = await cpu.run(os.getpid)
        outcome = await cpu.outcome(cpu.submit(task))
        assert outcome.kind is OutcomeKind.NOT_ENCODABLE
        assert isinstance(outcome.exception, NotEncodable)
        assert outcome.exception.path == "the result['lock']"
        assert await cpu.run(os.getpid) == pid


async def test_arguments_and_results_that_cannot_be_rebuilt_are_told_apart_from_errors_of_the_task(cell: Cell) -> None:
    cell("""
        def explode(): raise RuntimeError("cannot be rebuilt")
        class Explosive:
            def __reduce__(self): return explode, ()
        def make(): return Explosive()
    """)
    names = types.SimpleNamespace(**cell.names)
    async with pool(1) as cpu:
        for attempt, path in (
            (cpu.submit(print, names.Explosive()), "the arguments"),
            (cpu.submit(names.make), "the result"),
        ):
            outcome = await cpu.outcome(attempt)
            assert outcome.kind is OutcomeKind.NOT_ENCODABLE
            assert isinstance(outcome.exception, NotDecodable)
            assert outcome.exception.path == path
            assert "cannot be rebuilt" in str(outcome.exception)


# Surroundings.


async def test_a_run_sees_folder_path_and_environment_of_its_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module_of_this_test.py").write_text("def answer(): return 42\n")

    def look() -> tuple[str, str | None, str | None]:
        return os.getcwd(), os.environ.get("FLAVOUR"), os.environ.get("OMP_NUM_THREADS")

    def use_module() -> int:
        import module_of_this_test

        return module_of_this_test.answer()

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    share = str(available_cores())  # there is one worker only
    async with pool(1) as cpu:
        here = os.getcwd()
        assert await cpu.run(look) == (here, None, share)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("FLAVOUR", "vanilla")
        monkeypatch.syspath_prepend("")
        assert await cpu.run(look) == (str(tmp_path), "vanilla", share)
        assert await cpu.run(use_module) == 42
        monkeypatch.setenv("OMP_NUM_THREADS", "4")
        assert await cpu.run(look) == (str(tmp_path), "vanilla", "4")


async def test_what_a_run_does_to_its_surroundings_is_undone(tmp_path: Path) -> None:
    def vandalise() -> None:
        os.chdir(tmp_path)
        os.environ["MESS"] = "1"
        sys.path.insert(0, "/nowhere")
        warnings.simplefilter("ignore")

    def look() -> tuple[str, bool, bool, bool]:
        return os.getcwd(), "MESS" in os.environ, "/nowhere" in sys.path, warnings.filters[0][0] == "ignore"

    async with pool(1) as cpu:
        before = await cpu.run(look)
        await cpu.run(vandalise)
        assert await cpu.run(look) == before


async def test_warning_filters_of_the_submission_apply() -> None:
    def warn() -> str:
        warnings.warn("careful", UserWarning, stacklevel=1)
        return "only warned"

    async with pool(1) as cpu:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            attempt = cpu.submit(warn)
        with pytest.raises(UserWarning, match="careful"):
            raise (await cpu.outcome(attempt)).exception or AssertionError
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attempt = cpu.submit(warn)
        assert (await cpu.outcome(attempt)).value == "only warned"


async def test_a_submission_from_a_deleted_folder_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool(1) as cpu:
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        assert await cpu.run(sum, [1, 2]) == 3


async def test_workers_draw_different_random_numbers() -> None:
    def draw() -> tuple[int, float, float]:
        import random

        time.sleep(0.05)
        return os.getpid(), random.random(), float(np.random.random())

    async with pool() as cpu:
        drawn = [await cpu.outcome(attempt) for attempt in [cpu.submit(draw) for _ in range(4)]]
    values = [outcome.value for outcome in drawn]
    assert len({pid for pid, _, _ in values}) == 2
    assert len({first for _, first, _ in values}) == 4
    assert len({second for _, _, second in values}) == 4


# Inside a task.


async def test_a_task_knows_its_run_and_reports_progress() -> None:
    def work() -> tuple[str, int, str]:
        for _ in progress(range(3), message="step"):
            pass
        run = current_run()
        return run.id, run.attempt, run.task_name

    async with pool(1) as cpu:
        attempt = cpu.submit(work)
        assert (await cpu.outcome(attempt)).value == (attempt.run_id, 1, "work")
        assert cpu.sink.progress[0] == (attempt.run_id, 0, 3, "step")
        assert cpu.sink.progress[-1] == (attempt.run_id, 3, 3, "step")


async def test_progress_is_thinned_and_the_last_report_arrives() -> None:
    def work() -> None:
        for done in range(10_001):
            progress.update(done)

    async with pool(1) as cpu:
        await cpu.outcome(cpu.submit(work))
        assert cpu.sink.progress[-1][1] == 10_000
        assert len(cpu.sink.progress) < 50


async def test_everything_printed_has_arrived_when_the_run_ends() -> None:
    def talk(name: str) -> None:
        print("python says", name)
        print("to stderr", file=sys.stderr)
        os.write(1, b"fd says hello\n")
        os.system("echo child says hello")

    async with pool() as cpu:
        attempts = [cpu.submit(talk, str(n)) for n in range(6)]
        for n, attempt in enumerate(attempts):
            await cpu.outcome(attempt)
            assert cpu.text(attempt).splitlines() == [f"python says {n}", "fd says hello", "child says hello"]
            assert cpu.text(attempt, "stderr") == "to stderr\n"


async def test_output_of_c_code_is_flushed_at_the_end_of_the_run() -> None:
    def talk() -> None:
        import ctypes

        ctypes.CDLL(None).printf(b"c says hello\n")

    async with pool(1) as cpu:
        attempt = cpu.submit(talk)
        await cpu.outcome(attempt)
        assert cpu.text(attempt) == "c says hello\n"


async def test_output_can_be_seen_while_the_run_goes_on(tmp_path: Path) -> None:
    def talk(gate: Path) -> None:
        print("before")
        while not gate.exists():
            time.sleep(0.005)
        print("after")

    async with pool(1) as cpu:
        attempt = cpu.submit(talk, tmp_path / "gate")
        await cpu.sink.until(lambda: cpu.text(attempt) == "before\n")
        (tmp_path / "gate").touch()
        await cpu.outcome(attempt)
        assert cpu.text(attempt) == "before\nafter\n"


async def test_a_run_that_ruins_its_streams_ruins_them_for_itself_only() -> None:
    def ruin() -> None:
        import io

        sys.stdout.close()
        os.close(1)
        os.close(2)
        sys.stderr = io.StringIO()
        print("into the void", file=sys.stderr)

    def talk() -> None:
        print("still here")
        print("and here", file=sys.stderr)

    async with pool(1) as cpu:
        pid = await cpu.run(os.getpid)
        await cpu.run(ruin)
        attempt = cpu.submit(talk)
        await cpu.outcome(attempt)
        assert cpu.text(attempt) == "still here\n"
        assert cpu.text(attempt, "stderr") == "and here\n"
        assert await cpu.run(os.getpid) == pid


async def test_modules_that_runs_import_are_there_in_later_workers() -> None:
    def uses_pandas() -> bool:
        import pandas

        return pandas is not None

    def knows_pandas() -> bool:
        return "pandas" in sys.modules

    async with pool(1) as cpu:
        assert await cpu.run(knows_pandas) is False
        before = await _worker_and_spare(cpu)
        assert await cpu.run(uses_pandas) is True
        await _until(lambda: len(before - set(cpu.executor.describe()["pids"])) == 1)
        pid = await cpu.run(os.getpid)
        outcome = await cpu.outcome(cpu.submit(os._exit, 1))
        assert outcome.kind is OutcomeKind.WORKER_LOST
        assert await cpu.run(knows_pandas) is True
        assert await cpu.run(os.getpid) != pid


async def test_a_module_that_leaves_a_thread_behind_is_not_preloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Under a name that is worth preloading; for an interpreter of its own it hides the real one.
    (tmp_path / "sklearn.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def uses_it() -> str:
        sys.path.insert(0, os.environ["PYTHONPATH"])
        import sklearn

        return sklearn.__file__

    def knows_it() -> bool:
        return "sklearn" in sys.modules

    async with pool(1) as cpu:
        first = psutil.Process(await cpu.run(os.getpid)).ppid()
        before = await _worker_and_spare(cpu)
        assert await cpu.run(uses_it) == str(tmp_path / "sklearn.py")
        await _until(lambda: len(before - set(cpu.executor.describe()["pids"])) == 1)
        await cpu.outcome(cpu.submit(os._exit, 1))
        assert await cpu.run(knows_it) is False
        assert psutil.Process(await cpu.run(os.getpid)).ppid() != first
        await _until(lambda: not psutil.pid_exists(first))


async def test_a_module_that_the_first_function_refers_to_is_loaded_once_for_all_workers(
    cell: Cell, tmp_path: Path
) -> None:
    names = cell("""
        import sys, time, os
        import pandas
        def uses_pandas(folder):
            open(os.path.join(folder, "begun"), "w").close()
            while not os.path.exists(os.path.join(folder, "free")):
                time.sleep(0.01)
            return pandas.__name__
        def knows_pandas():
            return "pandas" in sys.modules
    """)
    async with pool(2) as cpu:
        held = cpu.submit(names.uses_pandas, str(tmp_path))
        await _until((tmp_path / "begun").exists)
        assert await cpu.run(names.knows_pandas) is True, "this worker has not run anything that imports it"
        (tmp_path / "free").touch()
        assert (await cpu.outcome(held)).value == "pandas"


async def test_a_module_that_the_first_function_refers_to_and_that_leaves_a_thread_behind_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: Cell
) -> None:
    (tmp_path / "sklearn.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # Here it needs no thread, only a name that is found.
    monkeypatch.setitem(sys.modules, "sklearn", types.ModuleType("sklearn"))
    monkeypatch.syspath_prepend(str(tmp_path))
    names = cell("""
        import os, sys, sklearn
        def uses_it(): return sklearn.__file__, len(os.listdir(f"/proc/{os.getppid()}/task"))
        def threads_of_the_zygote(): return len(os.listdir(f"/proc/{os.getppid()}/task")), "sklearn" in sys.modules
    """)
    async with pool(2) as cpu:
        assert await cpu.run(names.uses_it) == (str(tmp_path / "sklearn.py"), 1)
        await cpu.outcome(cpu.submit(os._exit, 1))
        await cpu.outcome(cpu.submit(os._exit, 1))
        assert await cpu.run(names.threads_of_the_zygote) == (1, False)


async def test_a_zygote_that_was_started_for_a_run_that_never_came_ends_with_the_executor() -> None:
    children = set(psutil.Process().children())
    descriptors = len(os.listdir("/proc/self/fd"))
    executor = CpuExecutor(1)
    await executor.start(RecordingSink())
    assert set(psutil.Process().children()) == children, "nothing is started before the first run"
    executor.encode(Call("task", print, (), {}))
    assert len(set(psutil.Process().children()) - children) == 1
    await executor.close()
    assert set(psutil.Process().children()) == children
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_a_function_without_classes_of_its_own_loads_no_cloudpickle_in_a_worker(cell: Cell) -> None:
    names = cell("""
        import sys
        def helper(): return sys.modules
        def task(): return sorted({"cloudpickle", "logging", "asyncio"} & set(helper()))
    """)
    async with pool(1) as cpu:
        assert await cpu.run(names.task) == []


async def _worker_and_spare(cpu: Pool) -> set[int]:
    await _until(lambda: len(cpu.executor.describe()["pids"]) == 2)
    return set(cpu.executor.describe()["pids"])


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_of_endless_output_beginning_and_end_are_kept() -> None:
    def shout() -> None:
        line = "x" * 999 + "\n"
        print("first line")
        for _ in range(100):
            sys.stdout.write(line * 1000)
        print("last line")

    async with pool(1) as cpu:
        attempt = cpu.submit(shout)
        await cpu.outcome(attempt)
        text = cpu.text(attempt)
        assert text.startswith("first line\n")
        assert text.endswith("last line\n")
        assert "bytes left out" in text
        assert len(text) < 200_000


# The executor itself.


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(workers: Any) -> None:
    with pytest.raises(InvalidOption, match="cpu_workers"):
        CpuExecutor(workers)


async def test_runs_share_the_workers() -> None:
    def work() -> int:
        time.sleep(0.02)
        return os.getpid()

    async with pool() as cpu:
        attempts = [cpu.submit(work) for _ in range(20)]
        pids = {(await cpu.outcome(attempt)).value for attempt in attempts}
    assert len(pids) == 2


async def test_facts_are_described() -> None:
    executor = CpuExecutor(2)
    assert executor.slots == 2
    shared = dict.fromkeys(
        (
            "shared_slabs",
            "mapped_slabs",
            "shared_bytes",
            "pinned_bytes",
            "spilled_bytes",
            "copied_bytes",
            "found_bytes",
        ),
        0,
    )
    assert executor.describe() == {"slots": 2, "workers_by": "fork", **shared}
    sink = RecordingSink()
    await executor.start(sink)
    try:
        cpu = Pool(executor, sink)
        assert cpu.executor.describe()["workers"] == 0, "processes start when the first run comes"
        assert await cpu.run(sum, [1, 2]) == 3
        assert cpu.executor.describe() | {"pids": []} == {
            "slots": 2,
            "workers_by": "fork",
            "workers": 2,
            "spare": 1,
            "busy": 0,
            "prefetched": 0,
            "lost": 0,
            "replaced": 0,
            "pids": [],
            **shared,
        }
    finally:
        await executor.close()


def test_an_executor_can_be_started_and_closed_again_on_another_loop() -> None:
    executor = CpuExecutor(1)
    descriptors = len(os.listdir("/proc/self/fd"))

    async def life() -> None:
        sink = RecordingSink()
        await executor.start(sink)
        await executor.start(sink)
        assert await Pool(executor, sink).run(sum, [1, 2]) == 3
        await executor.close()
        await executor.close()

    for _ in range(2):
        asyncio.run(life())
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_closing_with_busy_workers_is_quick() -> None:
    async with pool() as cpu:
        attempts = [cpu.submit(time.sleep, 60) for _ in range(4)]
        await cpu.started(attempts[0])
        await cpu.started(attempts[1])
        begun = time.monotonic()
    assert time.monotonic() - begun < 1.5

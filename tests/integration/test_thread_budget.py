"""Numeric libraries and nested pools inside of tasks keep as many cores busy as are their worker's share."""

from __future__ import annotations

import ctypes
import os
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from flowrra import Flowrra, current_run
from flowrra.executors import cpu
from flowrra.pool.cores import available_cores
from flowrra.pool.thread_variables import THREAD_VARIABLES

CORES = 4


@pytest.fixture(autouse=True)
def _nothing_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flowrra]:
    """On a machine of four cores, as far as the pool knows."""
    monkeypatch.setattr(cpu, "available_cores", lambda: CORES)
    with Flowrra(cpu_workers=2) as app:
        yield app


def threads_of(name: str) -> int:
    """Of NumPy's OpenBLAS, or of NumExpr."""
    import numexpr
    import numpy as np
    import threadpoolctl

    np.ones((4, 4)) @ np.ones((4, 4))
    if name == "numexpr":
        return int(numexpr.get_num_threads())
    (found,) = {each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"}
    return int(found)


def look(seconds: float) -> dict[str, Any]:
    found = {"openblas": threads_of("openblas"), "numexpr": threads_of("numexpr"), "cores": current_run().cores}
    found["pid"] = os.getpid()
    time.sleep(seconds)
    return found


def shares(found: dict[str, Any]) -> set[int]:
    return {found["openblas"], found["numexpr"], found["cores"]}


def test_a_run_alone_gets_all_cores_of_the_machine() -> None:
    with Flowrra(cpu_workers=2) as app:
        assert shares(app.task(cpu_bound=True)(look).submit(0.0).result()) == {available_cores()}


def test_runs_share_the_cores_and_whoever_is_alone_again_gets_all(app: Flowrra) -> None:
    task = app.task(cpu_bound=True)(look)
    task.map([0.3, 0.3]).result()  # see below
    for _ in range(3):  # with libraries that are preloaded, and there already
        together = task.map([0.3, 0.3]).result()
        assert [shares(found) for found in together] == [{CORES // 2}] * 2
        assert len({found["pid"] for found in together}) == 2
        assert shares(task.submit(0.0).result()) == {CORES}


def test_more_workers_than_cores_get_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "available_cores", lambda: 2)
    with Flowrra(cpu_workers=3) as app:
        found = app.task(cpu_bound=True)(look).map([0.5] * 3).result()
    assert [shares(each) for each in found] == [{1}] * 3


def test_what_the_user_has_decided_wins(app: Flowrra, monkeypatch: pytest.MonkeyPatch) -> None:
    task = app.task(cpu_bound=True)(look)
    task.submit(0.0).result()  # OpenBLAS refuses, while it is being loaded, to use more threads than there are cores
    assert shares(task.submit(0.0).result()) == {CORES}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = task.submit(0.0).result()
    assert (found["openblas"], found["numexpr"], found["cores"]) == (3, 3, CORES)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    found = task.submit(0.0).result()
    assert (found["openblas"], found["numexpr"]) == (2, 3)
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert shares(task.submit(0.0).result()) == {CORES}


def use_seven() -> int:
    import numexpr
    import threadpoolctl

    threadpoolctl.threadpool_limits(7)
    numexpr.set_num_threads(7)
    os.environ["OMP_NUM_THREADS"] = "7"
    return threads_of("openblas") + threads_of("numexpr")


def test_what_a_run_changes_does_not_reach_the_next(app: Flowrra) -> None:
    task, spoil = app.task(cpu_bound=True)(look), app.task(cpu_bound=True)(use_seven)
    pids = set()
    for _ in range(3):
        assert spoil.submit().result() == 14
        found = task.submit(0.0).result()
        assert shares(found) == {CORES}
        pids.add(found["pid"])
    assert len(pids) < 3


def environment(_: int) -> tuple[set[str], str]:
    first = {os.environ[name] for name in THREAD_VARIABLES if name != "NUMBA_NUM_THREADS"}
    time.sleep(0.2)
    return first, os.environ["NUMBA_NUM_THREADS"]


def test_libraries_that_are_loaded_later_find_the_share_in_the_environment(app: Flowrra) -> None:
    task = app.task(cpu_bound=True)(environment)
    assert task.map([1, 2]).result() == [({str(CORES // 2)}, str(CORES))] * 2
    assert task.submit(1).result() == ({str(CORES)}, str(CORES))


def short(_: int) -> int:
    return int(os.environ["OMP_NUM_THREADS"])


def test_short_runs_that_travel_together_have_their_share(app: Flowrra) -> None:
    task = app.task(cpu_bound=True)(short)
    task.map(range(2000)).result()  # how long they take is known from now on
    assert set(task.map(range(20_000)).result()) <= {CORES // 2, CORES}


def identify(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def counted(seconds: float) -> tuple[int, int]:
    import joblib

    time.sleep(seconds)
    return joblib.cpu_count(), joblib.effective_n_jobs(-1)


def nested(seconds: float) -> tuple[int, int]:
    """Cores and processes of a joblib in a task."""
    import joblib

    pids = joblib.Parallel(n_jobs=-1)(joblib.delayed(identify)(number) for number in range(12))
    time.sleep(seconds)
    return joblib.cpu_count(), len(set(pids) - {os.getpid()})


@pytest.mark.slow
def test_a_nested_joblib_has_as_many_processes_as_its_share_and_leaves_none(app: Flowrra) -> None:
    alone, half = min(CORES, available_cores()), min(CORES // 2, available_cores())  # joblib counts for itself, too
    cores, processes = app.task(cpu_bound=True)(nested).submit(0.0).result()
    assert cores == alone
    assert (processes <= alone) if alone > 1 else (processes == 0)
    assert app.task(cpu_bound=True)(counted).map([0.5, 0.5]).result() == [(half, half)] * 2


def test_a_nested_joblib_on_one_core_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "available_cores", lambda: 1)
    with Flowrra(cpu_workers=1) as app:
        assert app.task(cpu_bound=True)(nested).submit(0.0).result() == (1, 0)


GOMP = "libgomp.so.1"


def use_openmp() -> int:
    """Have GNU's OpenMP run something on all the threads that it is to use; how many these were."""
    import numpy as np  # noqa: F401 - a library that brings OpenMP brings NumPy

    gomp = ctypes.CDLL(GOMP)
    seen: set[int] = set()
    body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: seen.add(threading.get_native_id()))
    gomp.GOMP_parallel(body, None, 0, 0)
    return len(seen)


def in_a_forked_child() -> tuple[int, int]:
    """Threads in this process, and in one that it forks after having used them."""
    here = use_openmp()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of what is tested here
        child = os.fork()
    if child == 0:
        os._exit(use_openmp())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return here, os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return here, -1


def has_gomp() -> bool:
    try:
        ctypes.CDLL(GOMP)
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_gomp(), reason=f"there is no {GOMP} on this machine")
def test_openmp_has_its_share_and_does_not_hang_in_processes_that_a_run_forks(app: Flowrra) -> None:
    app.task(cpu_bound=True)(use_openmp).submit().result()  # it is known from now on
    assert app.task(cpu_bound=True)(in_a_forked_child).submit().result(timeout=30) == (CORES, 1)


def cores_here() -> int:
    return current_run().cores


async def coroutine() -> int:
    return current_run().cores


def test_coroutines_and_threads_share_a_process_and_so_one_core(app: Flowrra) -> None:
    assert app.task(cores_here).submit().result() == 1
    assert app.task(coroutine).submit().result() == 1

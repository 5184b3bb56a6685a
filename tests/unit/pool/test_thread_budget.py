"""Who decides how many threads numeric libraries use, and how the cores are shared out."""

from __future__ import annotations

import os
import sys
import types

import pytest

from flowrra.pool.encoding.surroundings import Surroundings
from flowrra.pool.process.libraries import Libraries
from flowrra.pool.process.thread_budget import ThreadBudget
from flowrra.pool.shares import Shares
from flowrra.pool.thread_variables import THREAD_VARIABLES, budgeted, limits, single_threaded
from flowrra.pool.transport.page import SHARE, Page


def a_page() -> Page:
    fd = Page.create()
    try:
        return Page(fd)
    finally:
        os.close(fd)


def test_whatever_the_user_has_not_decided_is_the_share() -> None:
    added = budgeted({}, 3, 12)
    assert set(added) == set(THREAD_VARIABLES)
    assert added.pop("NUMBA_NUM_THREADS") == "12", "Numba could never be told to use more"
    assert set(added.values()) == {"3"}


@pytest.mark.parametrize(
    ("environ", "library", "threads"),
    [
        ({"OPENBLAS_NUM_THREADS": "5"}, "openblas", 5),
        ({"OPENBLAS_NUM_THREADS": "5", "OMP_NUM_THREADS": "4"}, "openblas", 5),
        ({"OMP_NUM_THREADS": "4"}, "openblas", 4),
        ({"OMP_NUM_THREADS": "4"}, "numexpr", 4),
        ({"OMP_NUM_THREADS": "4,2"}, "openmp", 4),
        ({"OMP_NUM_THREADS": "4"}, "numba", 2),
        ({"NUMBA_NUM_THREADS": "3"}, "numba", 3),
        ({"OPENBLAS_NUM_THREADS": "5"}, "mkl", 2),
        ({"OMP_NUM_THREADS": ""}, "openmp", 2),
        ({"OMP_NUM_THREADS": "all"}, "openmp", 2),
        ({"OMP_NUM_THREADS": "0"}, "openmp", 2),
    ],
)
def test_what_the_user_has_decided_counts_for_the_libraries_that_would_read_it(
    environ: dict[str, str], library: str, threads: int
) -> None:
    assert limits(environ, 2)[library] == threads


def test_nothing_is_added_where_the_users_general_variable_decides() -> None:
    assert set(budgeted({"OMP_NUM_THREADS": "4"}, 1, 8)) == {"NUMBA_NUM_THREADS", "LOKY_MAX_CPU_COUNT"}
    assert "MKL_NUM_THREADS" not in budgeted({"MKL_NUM_THREADS": "4"}, 1, 8)


def test_the_process_that_forks_has_one_thread_whatever_the_user_wants() -> None:
    environ = single_threaded({"OMP_NUM_THREADS": "4", "HOME": "here"})
    assert environ["HOME"] == "here"
    assert {environ[name] for name in THREAD_VARIABLES} == {"1"}


@pytest.mark.parametrize(("cores", "busy", "share"), [(8, 0, 8), (8, 1, 8), (8, 3, 2), (8, 8, 1), (2, 5, 1), (1, 1, 1)])
def test_cores_are_shared_among_those_that_work(cores: int, busy: int, share: int) -> None:
    page = a_page()
    shares = Shares(cores)
    shares.tell(page)
    assert page.words[SHARE] == cores
    shares.share_out(busy, [page])
    assert page.words[SHARE] == share


def test_the_surroundings_are_completed_again_only_if_share_or_submission_have_changed() -> None:
    page = a_page()
    budget = ThreadBudget(page)
    page.words[SHARE] = 2
    submitted = Surroundings(None, (), {b"MKL_NUM_THREADS": b"7", b"HOME": b"here"}, (), 30)
    first = budget.surroundings(1, submitted)
    assert first.environ[b"OMP_NUM_THREADS"] == b"2"
    assert first.environ[b"MKL_NUM_THREADS"] == b"7"
    assert budget.surroundings(1, submitted) is first
    page.words[SHARE] = 1
    assert budget.surroundings(1, submitted).environ[b"OMP_NUM_THREADS"] == b"1"
    assert budget.surroundings(2, submitted._replace(environ={})).environ[b"MKL_NUM_THREADS"] == b"1"


class StandIn:
    """As Numba behaves: threads are started by whoever asks, as many as its variable said when it was imported."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, *, layer: bool = True) -> None:
        self.calls: list[int] = []
        self._layer = layer
        self.threads = most
        numba, self.parallel = types.ModuleType("numba"), types.ModuleType("numba.np.ufunc.parallel")
        self.parallel._is_initialized = False  # type: ignore[attr-defined]  # noqa: SLF001 - as Numba calls it
        numba.config = types.SimpleNamespace(NUMBA_NUM_THREADS=most)  # type: ignore[attr-defined]
        numba.get_num_threads = self.get  # type: ignore[attr-defined]
        numba.set_num_threads = self.change  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "numba", numba)
        monkeypatch.setitem(sys.modules, "numba.np.ufunc.parallel", self.parallel)

    def get(self) -> int:
        if not self._layer:
            raise ValueError("No threading layer could be loaded.")
        self.parallel._is_initialized = True  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        return self.threads

    def change(self, threads: int) -> None:
        self.get()
        assert 1 <= threads <= 8
        self.calls.append(threads)
        self.threads = threads


def test_numba_gets_its_share_and_never_more_than_it_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    numba = StandIn(monkeypatch, 8)
    libraries = Libraries()
    libraries.look()
    libraries.limit(limits({}, 8))
    assert not numba.parallel._is_initialized, "no threads for runs that use none"  # type: ignore[attr-defined]  # noqa: SLF001 - as above
    libraries.limit(limits({}, 3))
    libraries.limit(limits({}, 3))
    libraries.limit(limits({"NUMBA_NUM_THREADS": "50"}, 3))
    assert numba.calls == [3, 8]
    numba.threads = 5  # as a run has left it
    libraries.limit(limits({}, 3))
    assert numba.calls == [3, 8, 3]


def test_a_numba_that_cannot_start_threads_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    numba = StandIn(monkeypatch, 8, layer=False)
    libraries = Libraries()
    libraries.look()
    libraries.limit(limits({}, 3))
    assert numba.threads == 8

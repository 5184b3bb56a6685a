"""Random numbers of runs: the same for the same seed, however the runs are executed."""

# The legacy generator of NumPy is what is tested here.

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from flowrra import Flowrra, InvalidOption, WorkerLost, current_run


def draw(_: int) -> list[Any]:
    """From everything that is seeded, with NumPy imported in the middle of the run."""
    early = [random.random(), random.gauss(0, 1), random.sample(range(100), 3)]
    import numpy as np

    shared = np.random.mtrand._rand  # type: ignore[attr-defined]  # noqa: SLF001 - what SciPy and scikit-learn hold
    legacy = [np.random.rand(2).tolist(), shared.normal(size=2).tolist(), np.random.permutation(4).tolist()]
    run = current_run()
    return [*early, *legacy, run.rng.random(), run.random.random(), run.rng.random()]


def draw_after_trouble(path: str) -> tuple[int, bool]:
    """Draw, and die on the first attempt."""
    drawn = random.random()
    if not Path(path).exists():
        Path(path).write_text(str(drawn))
        os._exit(3)
    return current_run().attempt, float(Path(path).read_text()) == drawn


def seed_by_hand(_: int) -> list[float]:
    import numpy as np

    random.seed(5)
    np.random.seed(5)
    return [random.random(), float(np.random.rand())]


def restore_the_state(_: int) -> bool:
    import numpy as np

    before, legacy = random.getstate(), np.random.get_state()
    drawn = random.random(), float(np.random.rand())
    random.setstate(before)
    np.random.set_state(legacy)
    return drawn == (random.random(), float(np.random.rand()))


def draw_and_fail_first(path: str) -> list[Any]:
    """Draw, and raise on the first attempt."""
    drawn = draw(0)
    if not Path(path).exists():
        Path(path).write_text(repr(drawn))
        raise ValueError(drawn)
    return [repr(drawn), Path(path).read_text()]


def draw_after_a_bit_generator_of_its_own(position: int) -> float:
    import numpy as np

    if position == 0:
        np.random.set_bit_generator(np.random.PCG64(1))
    return float(np.random.rand())


@pytest.fixture(scope="module")
def expected() -> list[list[Any]]:
    with Flowrra(cpu_workers=1) as app:
        return app.task(cpu_bound=True)(draw).options(seed=42).map(range(12)).result()


@pytest.mark.parametrize("workers", [2, 8])
def test_the_number_of_workers_does_not_matter(workers: int, expected: list[list[Any]]) -> None:
    with Flowrra(cpu_workers=workers) as app:
        assert app.task(cpu_bound=True)(draw).options(seed=42).map(range(12)).result() == expected
    assert len({str(drawn) for drawn in expected}) == 12


def test_neither_the_order_nor_what_other_runs_draw_matters(expected: list[list[Any]]) -> None:
    with Flowrra(cpu_workers=2) as app:
        task = app.task(cpu_bound=True)(draw)
        app.pause()
        batches = [task.options(seed=seed, priority=seed).map(range(12)) for seed in (41, 42, 43)]
        app.resume()
        results = [batch.result() for batch in batches]
    assert results[1] == expected
    assert results[0] != results[1] != results[2]


def test_an_attempt_after_a_crash_draws_what_the_first_one_drew(tmp_path: Path) -> None:
    with Flowrra(cpu_workers=1) as app:
        task = app.task(cpu_bound=True, max_retries=1, retry_delay=0.0)(draw_after_trouble)
        assert task.submit(str(tmp_path / "drawn")).result() == (2, True)
        with pytest.raises(WorkerLost):
            task.options(max_retries=0).submit(str(tmp_path / "other")).result()


def test_an_attempt_after_a_failure_draws_what_the_first_one_drew(tmp_path: Path) -> None:
    with Flowrra(cpu_workers=2) as app:
        task = app.task(cpu_bound=True, max_retries=1, retry_delay=0.0)(draw_and_fail_first)
        for second, first in task.map([str(tmp_path / str(number)) for number in range(4)]).result():
            assert second == first


def test_runs_of_an_imap_share_its_seed_and_differ_in_their_places(expected: list[list[Any]]) -> None:
    with Flowrra(cpu_workers=2) as app:
        handles = list(app.task(cpu_bound=True)(draw).options(seed=42).imap(range(12)))
        assert [handle.result() for handle in handles] == expected
        assert [handle.info().index for handle in handles] == list(range(12))
        assert len({str(handle.result()) for handle in app.task(cpu_bound=True)(draw).imap(range(4))}) == 4


def test_a_bit_generator_that_one_run_has_set_is_not_that_of_the_next() -> None:
    with Flowrra(cpu_workers=1) as app:
        task = app.task(cpu_bound=True)(draw_after_a_bit_generator_of_its_own).options(seed=1)
        assert task.map([0, 1, 2]).result()[1:] == task.map([1, 1, 2]).result()[1:]


def test_what_a_module_draws_while_it_is_imported_does_not_shift_what_the_run_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import random\ntoken = random.random()\ndef drawn(_): return random.random()\n"
    (tmp_path / "draws_at_import.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    from draws_at_import import drawn  # type: ignore[import-not-found]  # written above

    with Flowrra(cpu_workers=1) as app:
        task = app.task(cpu_bound=True)(drawn).options(seed=1)
        assert task.submit(0).result() == task.submit(0).result()


def test_the_seed_that_was_not_given_is_told_and_repeats_the_run() -> None:
    with Flowrra(cpu_workers=1) as app:
        task = app.task(cpu_bound=True)(draw)
        one, batch = task.submit(0), task.map(range(3))
        again = task.options(seed=one.info().seed).submit(0), task.options(seed=batch[2].info().seed).map(range(3))
        assert again[0].result() == one.result()
        assert again[1].result() == batch.result()
        assert one.result() != batch.result()[0] != batch.result()[1]


def test_a_task_that_seeds_or_restores_the_generators_itself_gets_what_it_asked_for() -> None:
    import numpy as np

    with Flowrra(cpu_workers=1) as app:
        wanted = [random.Random(5).random(), float(np.random.RandomState(5).rand())]
        assert app.task(cpu_bound=True)(seed_by_hand).map(range(3)).result() == [wanted] * 3
        assert app.task(cpu_bound=True)(restore_the_state).map(range(3)).result() == [True] * 3


def test_functions_that_a_cell_took_from_random_draw_from_the_run_too() -> None:
    from random import random as draw_one

    def of_a_cell(_: int) -> tuple[float, bool]:
        first = draw_one()
        return first, draw_one() != first

    of_a_cell.__module__ = "__main__"
    with Flowrra(cpu_workers=1) as app:
        task = app.task(cpu_bound=True)(of_a_cell).options(seed=1)
        once, twice = task.map(range(3)).result(), task.map(range(3)).result()
    assert once == twice
    assert len({first for first, _ in once}) == 3
    assert all(differs for _, differs in once)


async def test_coroutines_and_threads_have_generators_of_their_own_and_leave_the_shared_ones_alone() -> None:
    async def in_loop(_: int) -> float:
        return current_run().random.random()

    def on_thread(_: int) -> float:
        return current_run().random.random()

    random.seed(9)
    app = Flowrra()
    async with app:
        tasks: list[Any] = [app.task(in_loop).options(seed=3), app.task(on_thread).options(seed=3)]
        drawn = [await task.map(range(3)) for task in tasks for _ in range(2)]
    assert drawn[0] == drawn[1] == drawn[2] == drawn[3]
    assert random.random() == random.Random(9).random()


def test_a_seed_is_a_whole_number_of_one_submission() -> None:
    app = Flowrra()
    with pytest.raises(InvalidOption, match="seed must be a whole number, 0 or more"):
        app.task(abs).options(seed=-1)
    with pytest.raises(TypeError, match="option of one submission"):
        app.task(seed=1)  # type: ignore[call-overload]  # that is the case

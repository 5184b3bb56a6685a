"""The shared generators of a worker: what is drawn, that nothing is seeded before, and that nobody gets around it."""

# ruff: noqa: SLF001 - what libraries hold of the shared generators has no public name

from __future__ import annotations

import copy
import importlib.util
import os
import pickle
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrra.core.seeds import Source
from flowrra.pool.process.draws_numpy import SharedRandomState, shared_generator, words_of
from flowrra.pool.process.draws_stdlib import SharedRandom

SOURCES = st.builds(Source, st.integers(0, 1 << 80) | st.text(max_size=9), st.integers(0, 1 << 20))


class Counted:
    """A source that tells how often something was seeded from it."""

    def __init__(self) -> None:
        self.seedings = 0

    def stream(self, name: str) -> int:
        self.seedings += 1
        return Source(7).stream(name)


def module_of_its_own() -> ModuleType:
    """``random`` once more: what stands before a generator cannot be taken away, and this process needs its own."""
    spec = importlib.util.spec_from_file_location("random", random.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULE = module_of_its_own()
HELD = MODULE._inst
SHARED = SharedRandom(MODULE)
BY_NAME = {name: getattr(MODULE, name) for name in dir(random.Random) if hasattr(random, name)}


@contextmanager
def shared_state() -> Iterator[SharedRandomState]:
    before = np.random.get_bit_generator()
    try:
        yield SharedRandomState()
    finally:
        np.random.set_bit_generator(before)


def shuffled(generator: Any) -> list[int]:
    items = list(range(9))
    generator.shuffle(items)
    return items


def locked(bit_generator: Any) -> int:
    """As C extensions draw: behind the lock, with the pointers of the C interface."""
    with bit_generator.lock:
        interface = bit_generator.ctypes
        number: int = interface.next_uint32(interface.state)
    return number


PYTHON: list[tuple[str, tuple[Any, ...]]] = [
    ("random", ()), ("getrandbits", (70,)), ("uniform", (1, 2)), ("gauss", (0, 1)), ("normalvariate", (0, 1)),
    ("randrange", (10**9,)), ("randint", (1, 6)), ("choice", ("abc",)), ("choices", ("abc", None)),
    ("sample", (range(99), 5)), ("betavariate", (2, 3)), ("randbytes", (5,)), ("getstate", ()), ("seed", (3,)),
]  # fmt: skip
NUMPY: list[Callable[[Any], Any]] = [
    lambda r: r.random_sample(), lambda r: r.rand(5), lambda r: r.standard_normal(), lambda r: r.normal(size=3),
    lambda r: r.randint(0, 200, 9, dtype=np.uint8), lambda r: r.randint(10**12), lambda r: r.bytes(7),
    lambda r: r.permutation(9), lambda r: r.choice(20, 4, replace=False), lambda r: r.choice(9, p=[1 / 9] * 9),
    lambda r: r.poisson(3.0, 2), lambda r: r.binomial(9, 0.3), lambda r: r.gamma(2.0), lambda r: r.tomaxint(),
    lambda r: r.multinomial(9, [0.5, 0.5]), lambda r: r.dirichlet([1, 2]), lambda r: r.exponential([1, 2]),
    lambda r: r.multivariate_normal([0, 0], np.eye(2)), lambda r: r.get_state()[1:], lambda r: r.seed(3),
    lambda r: r.set_state(np.random.RandomState(3).get_state()), shuffled, lambda r: r.hypergeometric(5, 5, 3),
    lambda r: copy.deepcopy(r).rand(), lambda r: pickle.loads(pickle.dumps(r)).rand(), lambda r: r.vonmises(0, 1),
    lambda r: np.random.Generator(r._bit_generator).random(), lambda r: r._bit_generator.random_raw(2),
    lambda r: r._bit_generator.jumped().random_raw(), lambda r: r._bit_generator.state["state"]["pos"],
    lambda r: locked(r._bit_generator),
]  # fmt: skip


@given(SOURCES, st.lists(st.sampled_from(PYTHON), min_size=1, max_size=6), st.booleans())
def test_each_function_of_random_draws_what_a_generator_of_that_seed_draws(
    source: Source, calls: list[tuple[str, tuple[Any, ...]]], by_name: bool
) -> None:
    plain = random.Random(source.stream("random"))
    SHARED.begin(source)
    for name, arguments in calls:
        drawn = (BY_NAME[name] if by_name else getattr(HELD, name))(*arguments)
        assert drawn == getattr(plain, name)(*arguments)


@given(SOURCES, st.lists(st.sampled_from(NUMPY), min_size=1, max_size=5))
def test_whatever_asks_the_shared_random_state_gets_what_one_of_that_seed_gives(
    source: Source, calls: list[Callable[[Any], Any]]
) -> None:
    with shared_state() as shared:
        for _ in range(2):
            plain = np.random.RandomState(words_of(source))
            shared.begin(source)
            for call in calls:
                np.testing.assert_equal(call(np.random.mtrand._rand), call(plain))  # type: ignore[attr-defined]


def test_nothing_is_seeded_for_runs_that_draw_nothing_and_once_for_one_that_does() -> None:
    with shared_state() as state:
        for shared, draw in ((SHARED, HELD.random), (state, np.random.rand)):
            source = Counted()
            for _ in range(5):
                shared.begin(source)  # type: ignore[arg-type]  # it is asked for a stream only
            assert source.seedings == 0
            for _ in range(5):
                draw()
            assert source.seedings == 1


def test_after_its_first_draw_numpy_is_as_if_we_were_not_there() -> None:
    with shared_state() as shared:
        shared.begin(Source(1))
        np.random.rand()
        assert type(np.random.get_bit_generator()) is np.random.MT19937


def test_the_spare_number_of_a_normal_pair_does_not_pass_to_the_next_run() -> None:
    with shared_state() as shared:
        draws = []
        for _ in range(2):
            shared.begin(Source(1))
            SHARED.begin(Source(1))
            draws.append((np.random.standard_normal(), HELD.gauss(0, 1)))
        assert draws[0] == draws[1]


def test_a_state_that_is_set_before_any_draw_keeps_its_spare_number() -> None:
    plain = np.random.RandomState(1)
    plain.standard_normal()
    with shared_state() as shared:
        shared.begin(Source(1))
        np.random.set_state(plain.get_state())
        assert np.random.standard_normal() == plain.standard_normal()


def test_a_bit_generator_that_a_run_has_set_is_gone_in_the_next() -> None:
    with shared_state() as shared:
        for draws_first in (False, True):
            shared.begin(Source(1))
            if draws_first:
                np.random.rand()
            np.random.set_bit_generator(np.random.PCG64(1))
            shared.begin(Source(2))
            assert np.random.rand() == np.random.RandomState(words_of(Source(2))).rand()


def test_threads_that_draw_first_at_the_same_time_share_one_stream() -> None:
    numbers = 100_000
    with shared_state() as shared:
        for round_ in range(20):
            source = Source(round_)
            shared.begin(source)
            SHARED.begin(source)
            together(lambda: (np.random.rand(numbers), HELD.random()))
            plain, python = np.random.RandomState(words_of(source)), random.Random(source.stream("random"))
            plain.rand(3 * numbers)
            for _ in range(3):
                python.random()
            np.testing.assert_equal(np.random.get_state(), plain.get_state())
            assert HELD.getstate() == python.getstate()


def together(call: Callable[[], object]) -> None:
    """Call it on three threads at once."""
    start = threading.Barrier(3)

    def work() -> None:
        start.wait()
        call()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_forked_process_draws_numbers_of_its_own() -> None:
    SHARED.begin(Source(1))
    children = [in_a_fork(HELD.random) for _ in range(2)]
    assert len({*children, repr(HELD.random())}) == 3


def in_a_fork(call: Callable[[], object]) -> str:
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(theirs, repr(call()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    told = os.read(ours, 100).decode()
    os.close(ours)
    os.close(theirs)
    return told


@pytest.mark.parametrize("drawn", [False, True])
def test_functions_of_random_can_be_pickled_at_any_time(drawn: bool) -> None:
    def pickled() -> bool:
        shared = SharedRandom()  # before the real module, whose functions alone can be pickled
        shared.begin(Source(1))
        if drawn:
            random.random()
        return 0 <= pickle.loads(pickle.dumps(random.random))() < 1

    assert in_a_fork(pickled) == "True"


def test_a_numpy_whose_bit_generator_cannot_be_exchanged_is_seeded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = np.random.get_state()
    monkeypatch.delattr(np.random.mtrand, "set_bit_generator")
    shared_generator().begin(Source(1))
    drawn = np.random.rand()
    np.random.set_state(before)
    assert drawn == np.random.RandomState(words_of(Source(1))).rand()

"""The page that a worker shares with the engine: readable whenever the worker is killed."""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrra.pool.transport.page import DONE, ENTRIES, FLUSHED, VERSION, Page, entries_of, instants_of

atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False)
entries = atoms | st.text() | st.binary() | st.just(()) | st.tuples(st.text(), st.binary(), st.booleans())


@pytest.fixture
def sides() -> Iterator[tuple[Page, Page]]:
    fd = Page.create()
    try:
        yield Page(fd), Page(fd)
    finally:
        os.close(fd)


@given(st.lists(entries))
def test_entries_written_one_by_one_are_read_as_a_list(values: list[object]) -> None:
    data = b"".join(marshal.dumps(value, VERSION) for value in values)
    assert entries_of(len(values), data + b"whatever follows") == values


@pytest.mark.parametrize("data", [b"", b"\xff\xff", b"("])
def test_what_makes_no_sense_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"cannot be read|bad marshal data"):
        entries_of(2, data)


def test_the_engine_sees_how_far_the_worker_is(sides: tuple[Page, Page]) -> None:
    worker, engine = sides
    assert engine.reached() == (0, 0)
    worker.begin(3)
    assert engine.reached() == (3, 0)
    worker.words[DONE] += 2
    assert engine.reached() == (3, 2)
    assert worker.index() == 2


def test_what_has_ended_and_was_not_sent_is_on_the_page(sides: tuple[Page, Page]) -> None:
    worker, engine = sides
    word = worker.begin(1)
    end = ENTRIES
    for index, value in enumerate([10, "x", None]):
        entry = marshal.dumps(value, VERSION)
        worker.map[end : end + len(entry)] = entry
        end += len(entry)
        worker.starts[index + 1] = index + 1.0
        worker.words[DONE] += 1
    assert engine.unsent(3) == (0, [10, "x", None], [0.0, 1.0, 2.0, 3.0])
    assert engine.unsent(2) == (0, [10, "x"], [0.0, 1.0, 2.0])
    worker.words[FLUSHED] = word | 3
    assert engine.unsent(3) == (3, [], [])


def test_only_the_run_that_was_named_is_skipped(sides: tuple[Page, Page]) -> None:
    worker, engine = sides
    worker.begin(1)
    engine.skip(1, 1)
    assert not worker.skips(0)
    worker.words[DONE] += 1
    assert worker.skips(1)
    worker.begin(2)
    worker.words[DONE] += 1
    assert not worker.skips(1), "it was of another group"


@given(st.lists(st.floats(allow_nan=False)))
def test_instants_travel_as_they_are(instants: list[float]) -> None:
    import array

    assert instants_of(array.array("d", instants).tobytes()) == instants

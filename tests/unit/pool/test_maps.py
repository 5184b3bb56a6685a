"""Calls of a map in chunks: the same as calls one by one, only smaller."""

from __future__ import annotations

import math
import pickle
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrra.errors import NotEncodable
from flowrra.interfaces import Call
from flowrra.pool.data.depot import Depot
from flowrra.pool.encoding.calls import CallEncoder, EncodedMap
from flowrra.pool.encoding.maps import CHUNK, LONGEST, ROWS, rows_of
from flowrra.rows import Rows

atoms = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
anything = atoms | st.lists(st.integers(), max_size=3) | st.tuples(st.integers())


def encoded(rows: Any) -> EncodedMap:
    return CallEncoder(Depot()).encode_map(Call("task", math.hypot, (), {}), rows)


def arguments(calls: EncodedMap, position: int) -> tuple[Any, ...]:
    args, kwargs = pickle.loads(calls[position].arguments.head)
    assert kwargs == {}
    return tuple(args)


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


@given(st.lists(st.tuples(anything, anything) | st.tuples(anything), max_size=30))
def test_every_row_comes_back_as_it_was(rows: list[tuple[Any, ...]]) -> None:
    calls = encoded(rows)
    assert len(calls) == len(rows)
    assert same([arguments(calls, at) for at in range(len(rows))], rows)
    assert sum(stretch.length for stretch in calls.rows.stretches(0, len(rows))) == len(rows)


@given(st.integers(1, 3000), st.data())
def test_any_part_travels_as_columns(length: int, data: st.DataObject) -> None:
    calls = encoded(Rows([range(length), list(map(str, range(length)))]))
    first = data.draw(st.integers(0, length - 1))
    count = data.draw(st.integers(1, length - first))
    skipped = data.draw(st.integers(0, count))
    pieces = calls.rows.columns(first, count)
    assert list(rows_of(pieces, skipped)) == [(n, str(n)) for n in range(first + skipped, first + count)]


def test_columns_and_rows_are_encoded_alike() -> None:
    columns = [list(range(3000)), [float(n) for n in range(3000)]]
    one, other = encoded(Rows(columns)), encoded(list(zip(*columns, strict=True)))
    assert one.rows.columns(0, 3000) == other.rows.columns(0, 3000)


def test_what_can_be_changed_is_encoded_row_by_row_and_never_shared() -> None:
    shared = [1]
    calls = encoded([(1,)] * ROWS + [(shared,), (shared,)])
    assert [(part.first, part.length, part.together) for part in calls.rows.stretches(0, ROWS + 2)] == [
        (0, ROWS, True),
        (ROWS, 2, False),
    ]
    shared.append(2)
    assert arguments(calls, ROWS) == ([1],)
    assert arguments(calls, ROWS + 1)[0] is not arguments(calls, ROWS)[0]


@pytest.mark.parametrize(
    "value", ["x" * (LONGEST + 1), 10 ** (CHUNK * 3), True, b"x" * LONGEST], ids=["long", "huge", "bool", "bytes"]
)
def test_chunks_are_bounded_whatever_is_in_them(value: Any) -> None:
    rows = [(1,), (value,)] * 100
    calls = encoded(rows)
    parts = calls.rows.stretches(0, 200)
    pieces = [piece for part in parts if part.together for piece in calls.rows.columns(part.first, part.length)]
    assert all(len(piece) <= CHUNK for piece in pieces)
    assert [arguments(calls, at) for at in range(200)] == rows


def test_rows_of_no_arguments_and_no_rows_are_maps_too() -> None:
    assert [arguments(encoded([()] * 3), at) for at in range(3)] == [()] * 3
    assert len(encoded([])) == 0


def test_a_subclass_of_an_atom_keeps_its_type() -> None:
    class Length(int):
        """Of the user's own."""

    assert not encoded([(Length(3),)]).rows.stretches(0, 1)[0].together


def test_an_item_that_cannot_travel_is_named() -> None:
    import threading

    with pytest.raises(NotEncodable, match="lock"):
        encoded([(1,), (threading.Lock(),)])


def test_two_hundred_thousand_numbers_take_a_few_bytes_each() -> None:
    rows = Rows([range(200_000)])
    tracemalloc.start()
    try:
        calls = encoded(rows)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(calls) == 200_000
    assert size < 200_000 * 8

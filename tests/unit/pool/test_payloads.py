"""Values to bytes: which pickle, where the bytes go, and that what arrives is a private copy."""

from __future__ import annotations

import os
import tracemalloc
from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrra.pool.data.depot import Depot
from flowrra.pool.data.mappings import Mappings
from flowrra.pool.encoding import payloads
from flowrra.pool.encoding.payloads import BUILTIN, CLOUD, INLINE, PLAIN, Payload, arrived, load
from flowrra.pool.encoding.values import encode_arguments, encode_value, kind_of
from flowrra.pool.transport import messages
from flowrra.pool.transport.segments import ALIGNMENT, Segment, layout, map_segment

Pair = namedtuple("Pair", "a b")


class Number(int):
    pass


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, BUILTIN),
        (None, BUILTIN),
        ([1, "a", {2.5: (b"x", {3})}, frozenset({4})], BUILTIN),
        (np.zeros(3), PLAIN),
        ({"a": [np.float64(1)]}, PLAIN),
        (np.array([object()]), CLOUD),
        (Number(1), CLOUD),
        (Pair(1, 2), CLOUD),
        (OrderedDict(a=1), CLOUD),
        (len, CLOUD),
        (list(range(1000)), CLOUD),
    ],
)
def test_plain_pickle_is_used_only_where_it_means_the_same_everywhere(value: Any, kind: int) -> None:
    assert kind_of(value) == kind


def received(payload: Payload) -> Any:
    if payload.segment is None:
        return load(payload.head, [])
    fd = payload.segment.descriptor()
    try:
        return load(payload.head, arrived(fd, payload.table))
    finally:
        os.close(fd)


def test_small_values_travel_in_the_message_and_large_ones_in_shared_memory() -> None:
    assert encode_value(b"x" * 100).segment is None
    assert encode_value(np.zeros(100)).segment is None
    large = encode_value(b"x" * 2 * INLINE)
    assert large.head == b""
    assert received(large) == b"x" * 2 * INLINE
    both = encode_value([b"y" * 2 * INLINE, np.ones(10_000)])
    assert len(both.table) == 2
    text, array = received(both)
    assert text == b"y" * 2 * INLINE
    np.testing.assert_array_equal(array, np.ones(10_000))


def test_what_arrives_can_be_written_to_and_nobody_else_sees_it() -> None:
    payload = encode_value(np.zeros(10_000))
    first, second = received(payload), received(payload)
    first += 1
    assert second.sum() == 0
    assert received(payload).sum() == 0


def test_a_value_of_very_many_buffers_still_fits_into_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "OUT_OF_BAND", 8)
    arrays = [np.full(4, n) for n in range(3000)]
    payload = encode_value(arrays)
    assert len(payload.table) <= 1 + payloads.MOST_BUFFERS
    np.testing.assert_array_equal(received(payload), arrays)


def test_a_mapping_outlives_its_descriptor_and_its_segment() -> None:
    payload = encode_value(np.arange(10_000))
    array = received(payload)
    del payload
    assert array.sum() == sum(range(10_000))


def test_a_segment_cannot_be_written_to() -> None:
    segment = Segment([memoryview(b"content" * 1000)])
    fd = segment.descriptor()
    try:
        with pytest.raises(PermissionError):
            os.write(fd, b"other")
    finally:
        os.close(fd)


def test_a_lost_descriptor_is_an_error_that_says_so() -> None:
    with pytest.raises(OSError, match="too many open files"):
        arrived(None, ((0, 10),))


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=8))
def test_parts_come_back_as_they_were_and_aligned(parts: list[bytes]) -> None:
    segment = Segment([memoryview(part) for part in parts])
    fd = segment.descriptor()
    try:
        assert [bytes(part) for part in map_segment(fd, segment.table)] == parts
    finally:
        os.close(fd)
    assert all(offset % ALIGNMENT == 0 for offset, _ in layout([len(part) for part in parts]))


@pytest.mark.parametrize(
    "message",
    [
        messages.Quit(),
        messages.Ended(3, -9, b"tail", 10**8, (7, 10**7), False),
        messages.RunGroup("n", b"d", b"", 4, 9, True, 2, ((1, "id", 2, None, 0, b"head", ((3, 0, 5),), "s", 3),)),
        messages.Report(1, 2, 3, b"starts", b"entries", True, ("numpy",)),
        messages.SlabSupply(1, 4096),
        messages.SlabDropped(1, True),
        messages.Supply(b"digest", True, (("file", "text"),), 2, b"head", ()),
    ],
)
def test_messages_survive_the_journey(message: messages.Message) -> None:
    again = messages.unpack(memoryview(messages.pack(message)))
    assert again == message
    assert type(again) is type(message)


def from_depot(payload: Payload) -> Any:
    """Rebuilt as a worker does."""
    mappings = Mappings()
    assert payload.blocks is not None
    for slab in payload.blocks.slabs:
        mappings.put(slab.number, os.dup(slab.fd), slab.size)
    loaded = load(payload.head, mappings.parts(payload.places, readonly=False))
    for slab in payload.blocks.slabs:
        mappings.drop(slab.number)
    return loaded


LONG = bytes(range(256)) * 20_000


def test_long_bytes_are_not_copied_into_a_pickle_and_arrive_as_bytes() -> None:
    depot = Depot()
    first = encode_arguments("f", (LONG, 1, LONG), {"text": LONG, "short": b"x"}, depot)
    assert len(first.head) < 1000
    copied = depot.describe()["copied_bytes"]
    assert copied == len(LONG)
    (one, number, other), named = from_depot(first)
    assert type(one) is bytes
    assert one == LONG
    assert one is other is named["text"]
    assert (number, named["short"]) == (1, b"x")

    tracemalloc.start()
    again = encode_arguments("f", (LONG,), {}, depot)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert depot.describe()["copied_bytes"] == copied
    assert again.kind == BUILTIN
    assert peak < 100_000


def test_long_bytes_beside_what_needs_cloudpickle_and_as_a_result() -> None:
    payload = encode_arguments("f", (lambda: 1, LONG), {}, Depot())
    function, text = from_depot(payload)[0]
    assert (payload.kind, function(), text) == (CLOUD, 1, LONG)
    result = encode_value(LONG)
    assert (result.kind, len(result.table), received(result)) == (BUILTIN, 1, LONG)
    assert type(received(result)) is bytes

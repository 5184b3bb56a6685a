"""A submission back to the function and its arguments, in the process that submitted it."""

from __future__ import annotations

from functools import partial
from typing import Any

from flowrra.pool.encoding.calls import EncodedCall
from flowrra.pool.encoding.payloads import Payload, load


def decode_call(call: EncodedCall) -> partial[Any]:
    """Return the function with its arguments, as a worker would get them: snapshots, which the caller may change."""
    function = _loaded(call.function.payload)
    constants = {} if call.constants is None else _loaded(call.constants.payload)
    args, kwargs = _loaded(call.arguments)
    return partial(function, *args, **constants, **kwargs)


def _loaded(payload: Payload) -> Any:
    if payload.blocks is None:
        return load(payload.head, [])
    slabs = {slab.number: slab for slab in payload.blocks.slabs}
    # Copies: what others read must not be changed.
    parts = [
        memoryview(bytearray(slabs[number].view[offset : offset + size]))
        for number, offset, size in payload.blocks.places
    ]
    return load(payload.head, parts)

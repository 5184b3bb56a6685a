"""What runs have in common, and what is known of how long they take."""

from __future__ import annotations

from typing import TypeVar

from flowrra.core.tuples import NamedTuple
from flowrra.interfaces import Span
from flowrra.pool.encoding.calls import EncodedCall
from flowrra.pool.groups import Kind
from flowrra.pool.prefetch import Pace
from flowrra.pool.transport.messages import PACKET

_KEPT = 1000
_OVERHEAD = 80
"""Bytes of a run in a packet beside its arguments."""

T = TypeVar("T")


class Stretch(NamedTuple):
    """Facts of a kind whose runs travel as columns."""

    task_name: str
    common: EncodedCall
    span: Span
    number: int
    """Of the span's first run."""


class Single(NamedTuple):
    """Facts of a kind whose runs have a payload each."""

    task_name: str
    common: EncodedCall
    """Of one of them; its arguments are not those of the others."""


class Kinds:
    """Remembers the latest kinds of single runs, so that equal ones are one object, and the paces of functions."""

    def __init__(self) -> None:
        self._paces: dict[bytes, Pace] = {}
        self._singles: dict[tuple[object, ...], Kind] = {}

    def single(self, task_name: str, call: EncodedCall) -> Kind:
        constants = call.constants.digest if call.constants is not None else b""
        key = (task_name, call.function.digest, constants, call.surroundings.number, call.memory_limit, call.readonly)
        kind = self._singles.get(key)
        if kind is None:
            # Without its arguments, which may be large.
            kind = Kind(self._pace(call), Single(task_name, call._replace(arguments=call.function.payload)))
            _keep(self._singles, key, kind)
        return kind

    def stretch(self, common: EncodedCall, span: Span, number: int) -> Kind:
        return Kind(self._pace(common), Stretch(span.task_name, common, span, number), together=True)

    def _pace(self, call: EncodedCall) -> Pace:
        digest = call.function.digest
        pace = self._paces.get(digest)
        if pace is None:
            pace = Pace()
            _keep(self._paces, digest, pace)
        return pace


def size_of(call: EncodedCall) -> int:
    """Bytes in a packet. A run with large arguments travels alone: it is not short."""
    return PACKET if call.arguments.blocks is not None else len(call.arguments.head) + _OVERHEAD


def _keep(kept: dict[object, T] | dict[bytes, T] | dict[tuple[object, ...], T], key: object, value: T) -> None:
    if len(kept) >= _KEPT:
        del kept[next(iter(kept))]  # type: ignore[arg-type]  # one of its own keys
    kept[key] = value  # type: ignore[index]  # as above

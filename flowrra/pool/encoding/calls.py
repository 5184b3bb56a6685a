"""A submission to all that a worker needs for it, snapshotted on the submitter's thread."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, overload

from flowrra.core.tuples import NamedTuple
from flowrra.interfaces import Call
from flowrra.pool.data.depot import Depot
from flowrra.pool.encoding.functions import FunctionEncoder, FunctionRef, encode_constants
from flowrra.pool.encoding.maps import EncodedRows
from flowrra.pool.encoding.payloads import BUILTIN, Payload
from flowrra.pool.encoding.surroundings import SurroundingsReader, SurroundingsRef
from flowrra.pool.encoding.values import encode_arguments


class EncodedCall(NamedTuple):
    """What a submission became."""

    function: FunctionRef
    constants: FunctionRef | None
    """Keywords that all runs of a map share."""
    arguments: Payload
    """(args, kwargs)"""
    surroundings: SurroundingsRef
    memory_limit: int = 0
    """Bytes; 0: none."""
    readonly: bool = False
    """Arrays cannot be written to in the worker."""


_NOTHING = Payload(BUILTIN, b"")


class EncodedMap(Sequence[EncodedCall]):
    """The calls of one map: what they share, once, and their arguments."""

    __slots__ = ("common", "rows")

    def __init__(self, common: EncodedCall, rows: EncodedRows) -> None:
        self.common, self.rows = common, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, position: int) -> EncodedCall: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[EncodedCall]: ...
    def __getitem__(self, position: int | slice) -> EncodedCall | Sequence[EncodedCall]:
        if isinstance(position, slice):
            return [self[at] for at in range(*position.indices(len(self)))]
        return self.common._replace(arguments=self.rows[position])


class CallEncoder:
    """Encodes submissions. Thread-safe. Raises ``NotEncodable``, which names the culprit, or ``HandleNotAllowed``."""

    def __init__(self, depot: Depot) -> None:
        self._depot = depot
        self._functions = FunctionEncoder(depot)
        self._surroundings = SurroundingsReader()

    def encode(self, call: Call) -> EncodedCall:
        function = self._functions.encode(call.task_name, call.function, readonly=call.readonly)
        arguments = encode_arguments(call.task_name, call.args, call.kwargs, self._depot, readonly=call.readonly)
        surroundings = self._surroundings.current()
        return EncodedCall(function, None, arguments, surroundings, call.memory_limit or 0, call.readonly)

    def encode_map(self, call: Call, rows: Sequence[tuple[Any, ...]]) -> EncodedMap:
        """As :meth:`encode`, a call per row; function, keywords and surroundings are read once for all rows."""
        function = self._functions.encode(call.task_name, call.function, readonly=call.readonly)
        constants = None
        if call.kwargs:
            constants = encode_constants(call.task_name, call.kwargs, self._depot, readonly=call.readonly)
        surroundings = self._surroundings.current()
        encode = partial(encode_arguments, call.task_name, kwargs={}, depot=self._depot, readonly=call.readonly)
        common = EncodedCall(function, constants, _NOTHING, surroundings, call.memory_limit or 0, call.readonly)
        return EncodedMap(common, EncodedRows(rows, encode))

    def forget(self) -> None:
        """Drop the pickles kept of functions."""
        self._functions.forget()

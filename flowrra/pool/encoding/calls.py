"""A submission to all that a worker needs for it, snapshotted on the submitter's thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flowrra.interfaces import Call
from flowrra.pool.encoding.functions import FunctionEncoder, FunctionRef, encode_constants
from flowrra.pool.encoding.payloads import Payload
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


class CallEncoder:
    """Encodes submissions. Thread-safe. Raises ``NotEncodable``, which names the culprit, or ``HandleNotAllowed``."""

    def __init__(self) -> None:
        self._functions = FunctionEncoder()
        self._surroundings = SurroundingsReader()

    def encode(self, call: Call) -> EncodedCall:
        function = self._functions.encode(call.task_name, call.function)
        arguments = encode_arguments(call.task_name, call.args, call.kwargs)
        return EncodedCall(function, None, arguments, self._surroundings.current(), call.memory_limit or 0)

    def encode_map(self, call: Call, rows: Sequence[tuple[Any, ...]]) -> Sequence[EncodedCall]:
        """As :meth:`encode`, a call per row; function, keywords and surroundings are read once for all rows."""
        function = self._functions.encode(call.task_name, call.function)
        constants = encode_constants(call.task_name, call.kwargs) if call.kwargs else None
        surroundings = self._surroundings.current()
        return [
            EncodedCall(
                function, constants, encode_arguments(call.task_name, row, {}), surroundings, call.memory_limit or 0
            )
            for row in rows
        ]

    def forget(self) -> None:
        """Drop the pickles kept of functions."""
        self._functions.forget()

"""How a failed attempt travels: the error as text, and the exception itself where it can be pickled."""

from __future__ import annotations

import pickle
from typing import Any

from flowrra.core.records import ErrorInfo, Outcome
from flowrra.core.statuses import OutcomeKind
from flowrra.errors import RemoteError, RemoteTraceback
from flowrra.pool.encoding.payloads import BUILTIN, CLOUD, Keep, Payload, build, load, plain_pickle
from flowrra.pool.encoding.values import cloud_pickle, kind_of
from flowrra.pool.transport.segments import Segment

_LONGEST_CHAIN = 8
_CAUSE = BaseException.__dict__["__cause__"]
"""Read past whatever a class of the user's does with attributes."""
_OWN = frozenset({"builtins", "flowrra.errors"})


def encode_failure(outcome: Outcome, keep: Keep = Segment) -> Payload:
    """Never raises: what cannot be pickled goes as text."""
    chain = _cause_chain(outcome.exception)
    kind = BUILTIN if all(_is_harmless(error) for error in chain) else CLOUD
    pickles = []
    for error in chain:
        try:
            pickles.append(cloud_pickle(error))
        except BaseException:  # noqa: BLE001 - the user's __reduce__ may raise anything; the text tells of what is left
            break
    info = tuple(outcome.error) if outcome.error is not None else None
    return build(kind, (info, pickles), plain_pickle, keep)


def decode_failure(kind: OutcomeKind, head: bytes, parts: list[memoryview]) -> Outcome:
    """Rebuild the outcome. The exception's causes are kept, the last of them is the remote traceback."""
    told, pickles = load(head, parts)
    if told is None:
        return Outcome(kind)
    info = ErrorInfo(*told)
    return Outcome(kind, exception=_rebuilt(info, pickles), error=info)


def _rebuilt(info: ErrorInfo, pickles: list[bytes]) -> BaseException:
    chain = []
    for data in pickles:
        try:
            error = pickle.loads(data)
        except BaseException:  # noqa: BLE001 - the user's constructor may raise anything here; the text is at hand
            break
        if not isinstance(error, BaseException):
            break
        chain.append(error)
    if not chain:
        return RemoteError.of(info.type, info.message, info.traceback)
    for error, cause in zip(chain, [*chain[1:], RemoteTraceback(info.traceback)], strict=True):
        error.__cause__ = cause
    return chain[0]


def _cause_chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and all(error is not known for known in chain) and len(chain) < _LONGEST_CHAIN:
        chain.append(error)
        error = _CAUSE.__get__(error)
    return chain


def _is_harmless(error: BaseException) -> bool:
    """Rebuilding *error* runs none of the user's code."""
    if type(error).__module__ not in _OWN:
        return False
    state: list[Any] = [error.args, error.__dict__]
    return kind_of(state) == BUILTIN

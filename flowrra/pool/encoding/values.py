"""Values to payloads: arguments and results."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flowrra.errors import FlowrraError, HandleNotAllowed, NoRoomForData, NotEncodable
from flowrra.failures import safe_str
from flowrra.pool.encoding.payloads import BUILTIN, CLOUD, INLINE, PLAIN, Keep, Payload, build, plain_pickle
from flowrra.pool.encoding.staying import AppFoundError, HandleFoundError
from flowrra.pool.transport.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowrra.pool.data.depot import Depot
    from flowrra.pool.encoding.culprit import Culprit

_LOOK_AT_MOST = 200
"""Objects looked at to find that plain pickle will do; beyond that cloudpickle costs no more."""
_UNCOPIED = 256 * 1024
"""Length of bytes from which on they are kept where they are while they are pickled."""
_APP_STAYS = "an app belongs to the process that made it"
_WITHOUT_APP = "leave it out of the task, and submit from where the app is, with what the task has returned"
_ATOMS = frozenset({int, float, complex, str, bytes, bytearray, bool, type(None)})


def cloud_pickle(value: Any, keep_in_band: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
    """The pickler of cells, loaded when it is first needed: most values do without, and it is half a worker's start."""
    from flowrra.pool.encoding import pickler

    return pickler.cloud_pickle(value, keep_in_band)


def readonly_pickle(value: Any, keep_in_band: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
    from flowrra.pool.encoding import pickler

    return pickler.readonly_pickle(value, keep_in_band)


def encode_value(value: Any, keep: Keep = Segment, *, readonly: bool = False) -> Payload:
    """Snapshot *value*; if *readonly*, the arrays in it arrive so that nobody can write to them.

    Raises whatever its pickling raises; :func:`refusal` turns that into an error that names the culprit.
    """
    if type(value) is bytes:
        return build(BUILTIN, _uncopied(value), plain_pickle, keep)
    return _encode(kind_of(value), value, keep, readonly=readonly)


def _encode(kind: int, value: Any, keep: Keep, *, readonly: bool) -> Payload:
    if readonly and kind != BUILTIN:
        return build(kind, value, readonly_pickle, keep)
    return build(kind, value, plain_pickle if kind != CLOUD else cloud_pickle, keep)


class _Uncopied:
    """Stands for long bytes in a pickle, which would hold a copy of them; arrives as they are."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (pickle.PickleBuffer(self._value),)


def _uncopied(value: Any, known: dict[int, Any] | None = None) -> Any:
    """What to pickle for *value*, the same for the same bytes if they are *known*."""
    if type(value) is not bytes or len(value) < _UNCOPIED:
        return value
    return (known if known is not None else {}).setdefault(id(value), _Uncopied(value))


def kind_of(value: Any) -> int:
    """Which pickle *value* needs. Only exact types count: a subclass may be the user's, with a reducer of its own."""
    if type(value) in _ATOMS:
        return BUILTIN
    numpy = sys.modules.get("numpy")
    kind, seen, todo = BUILTIN, 0, [value]
    while todo:
        part = todo.pop()
        seen += 1
        if seen > _LOOK_AT_MOST:
            return CLOUD
        exact = type(part)
        if exact in _ATOMS:
            continue
        if exact in (tuple, list, set, frozenset):
            todo.extend(part)
        elif exact is dict:
            todo.extend(part)
            todo.extend(part.values())
        elif numpy is not None and (exact is numpy.ndarray or issubclass(exact, numpy.generic)):
            if part.dtype.hasobject:
                return CLOUD
            kind = PLAIN
        else:
            return CLOUD
    return kind


def encode_arguments(
    task: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], depot: Depot, *, readonly: bool = False
) -> Payload:
    """Snapshot the arguments of one call. Raises ``NotEncodable`` or ``HandleNotAllowed``."""
    try:
        kinds = set(map(type, args))
        if not kwargs and len(args) <= _LOOK_AT_MOST and kinds <= _ATOMS and bytes not in kinds:
            # What most calls of small tasks are.
            head = pickle.dumps((args, {}), protocol=5)
            if len(head) <= INLINE:
                return Payload(BUILTIN, head)
        kind = kind_of((args, kwargs))
        if any(type(value) is bytes and len(value) >= _UNCOPIED for value in (*args, *kwargs.values())):
            known: dict[int, Any] = {}
            args = tuple(_uncopied(value, known) for value in args)
            kwargs = {name: _uncopied(value, known) for name, value in kwargs.items()}
        return _encode(kind, (args, dict(kwargs)), depot.keep, readonly=readonly)
    except Exception as error:
        parts = {f"args[{index}]": value for index, value in enumerate(args)}
        parts.update({f"kwargs[{name!r}]": value for name, value in kwargs.items()})
        raise refusal(task, error, parts) from error


def refusal(task: str, error: BaseException, parts: Mapping[str, Any]) -> FlowrraError:
    """The error that names what could not be kept or pickled. *parts* are the places to look in, by their paths."""
    from flowrra.pool.data import memory
    from flowrra.pool.data.slab import NoRoomError
    from flowrra.pool.encoding.culprit import find_culprit

    if isinstance(error, NoRoomError):
        return NoRoomForData(task, error.need, error.strerror or str(error), error.place, memory.free_bytes())
    for path, value in parts.items():
        culprit = find_culprit(value, path, cloud_pickle)
        if culprit is not None:
            return _refusal_of(task, culprit)
    first = next(iter(parts))
    return NotEncodable(task, first, _type_name(parts[first]), _words(error))


def _refusal_of(task: str, culprit: Culprit) -> FlowrraError:
    what = _type_name(culprit.value)
    if isinstance(culprit.error, HandleFoundError):
        return HandleNotAllowed(task, culprit.path)
    if isinstance(culprit.error, AppFoundError):
        return NotEncodable(task, culprit.path, what, _APP_STAYS, remedy=_WITHOUT_APP)
    return NotEncodable(task, culprit.path, what, _words(culprit.error))


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {safe_str(error)}"

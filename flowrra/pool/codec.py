"""Functions and values to payloads, on the submitter's side and on the worker's.

One pickler for everything that may belong to a notebook's cell: cloudpickle, extended to refuse handles, to note the
source of what it pickles by value, to send back a class as the very class it came from, and to send what cloudpickle
does not get right.
"""

from __future__ import annotations

import io
import linecache
import pickle
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import xxhash

from flowrra.errors import FlowrraError, HandleNotAllowed, NotEncodable
from flowrra.pool.by_value import CachedFunction, reduce_cached, reduce_slotted
from flowrra.pool.captures import Captures, read_captures
from flowrra.pool.culprit import find_culprit
from flowrra.pool.guests import guests
from flowrra.pool.payloads import BUILTIN, CLOUD, PLAIN, Payload, build, plain_pickle
from flowrra.pool.surroundings import NumberedSurroundings

_LOOK_AT_MOST = 200
"""Objects looked at to find that plain pickle will do; beyond that cloudpickle costs no more."""
_MOST_SOURCE = 64 * 1024
"""Bytes of cells' source that travel with a function; a traceback is readable without the rest."""
_ATOMS = frozenset({int, float, complex, str, bytes, bytearray, bool, type(None)})


class FunctionRef(NamedTuple):
    """A function, or the constants of a map, snapshotted; travels once per digest and worker."""

    digest: bytes
    payload: Payload
    sources: tuple[tuple[str, str], ...]
    reusable: bool


class EncodedCall(NamedTuple):
    """What a submission became: all that a worker needs, snapshotted."""

    function: FunctionRef
    constants: FunctionRef | None
    """Keywords that all runs of a map share."""
    arguments: Payload
    """(args, kwargs)"""
    scene: NumberedSurroundings


class HandleFoundError(FlowrraError):
    """Raised out of the pickler when it meets a handle; becomes ``HandleNotAllowed`` once the path is known."""


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """cloudpickle, with the additions of this module."""

    def __init__(self, file: io.BytesIO, keep_in_band: Callable[[pickle.PickleBuffer], bool] | None = None) -> None:
        super().__init__(file, protocol=5, buffer_callback=keep_in_band)
        self.files: dict[str, None] = {}

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, types.FunctionType):
            self.files[value.__code__.co_filename] = None
        elif isinstance(value, type):
            reduced = guests.reduce(value) or reduce_slotted(value)
            if reduced is not None:
                return reduced
        elif isinstance(value, CachedFunction):
            return reduce_cached(value) or super().reducer_override(value)
        elif getattr(type(value), "__flowrra_handle__", False):
            raise HandleFoundError("a handle")
        return super().reducer_override(value)


def cloud_pickle(value: Any, keep_in_band: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
    file = io.BytesIO()
    Pickler(file, keep_in_band).dump(value)
    return file.getvalue()


# -- values -----------------------------------------------------------------------------------------------------


def encode_value(value: Any) -> Payload:
    """Snapshot *value*. Raises whatever its pickling raises; :func:`refusal` turns that into a ``NotEncodable``."""
    kind = kind_of(value)
    return build(kind, value, plain_pickle if kind != CLOUD else cloud_pickle)


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


def refusal(task: str, error: BaseException, parts: Mapping[str, Any]) -> FlowrraError:
    """The error that names what could not be pickled. *parts* are the places to look in, by their paths."""
    for path, value in parts.items():
        culprit = find_culprit(value, path, cloud_pickle)
        if culprit is not None:
            if isinstance(culprit.error, HandleFoundError):
                return HandleNotAllowed(task, culprit.path)
            return NotEncodable(task, culprit.path, _type_name(culprit.value), _words(culprit.error))
    first = next(iter(parts))
    return NotEncodable(task, first, _type_name(parts[first]), _words(error))


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def encode_arguments(task: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Payload:
    """Snapshot the arguments of one call. Raises ``NotEncodable`` or ``HandleNotAllowed``."""
    try:
        return encode_value((args, dict(kwargs)))
    except Exception as error:
        parts = {f"args[{index}]": value for index, value in enumerate(args)}
        parts.update({f"kwargs[{name!r}]": value for name, value in kwargs.items()})
        raise refusal(task, error, parts) from error


# -- functions --------------------------------------------------------------------------------------------------


class FunctionEncoder:
    """Snapshots functions; keeps the last pickle of each while nothing it captures can have changed. Thread-safe."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[Callable[..., Any], tuple[Captures, FunctionRef]]
        self._known = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def encode(self, task: str, function: Callable[..., Any]) -> FunctionRef:
        """Raises ``NotEncodable`` or ``HandleNotAllowed``."""
        captures = read_captures(function)
        if not captures.immutable or not isinstance(function, types.FunctionType):
            return encode_function(task, function, reusable=captures.immutable)
        with self._lock:
            known = self._known.get(function)
        if known is not None and known[0].same_as(captures):
            return known[1]
        ref = encode_function(task, function, reusable=True)
        with self._lock:
            self._known[function] = (captures, ref)
        return ref

    def forget(self) -> None:
        with self._lock:
            self._known.clear()


def encode_function(task: str, function: Callable[..., Any], *, reusable: bool) -> FunctionRef:
    """Snapshot *function* with what it captures and the source of the cells it comes from."""
    files: dict[str, None] = {}

    def pickler(value: Any, keep_in_band: Callable[[pickle.PickleBuffer], bool]) -> bytes:
        file = io.BytesIO()
        cloud = Pickler(file, keep_in_band)
        cloud.dump(value)
        files.update(cloud.files)
        return file.getvalue()

    try:
        payload = build(CLOUD, function, pickler)
    except Exception as error:
        raise refusal(task, error, {"the function": function}) from error
    sources = _sources(files)
    return FunctionRef(_digest(payload, sources), payload, sources, reusable)


def encode_constants(task: str, constants: Mapping[str, Any]) -> FunctionRef:
    """Snapshot the keywords that all runs of a map share."""
    try:
        payload = encode_value(dict(constants))
    except Exception as error:
        raise refusal(task, error, {f"kwargs[{name!r}]": value for name, value in constants.items()}) from error
    return FunctionRef(_digest(payload, ()), payload, (), reusable=False)


def _digest(payload: Payload, sources: tuple[tuple[str, str], ...]) -> bytes:
    hashed = xxhash.xxh3_128(payload.head)
    for text in (part for source in sources for part in source):
        hashed.update(text.encode("utf-8", "surrogatepass"))
    if payload.segment is not None:
        payload.segment.feed(hashed.update)
    return hashed.digest()


def _sources(files: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """(file name, text) of the cells among *files*, the function's own first, as far as they fit into a message."""
    sources, room = [], _MOST_SOURCE
    for name in files:
        text = _cell_source(name)
        size = len(text.encode("utf-8", "surrogatepass"))
        if 0 < size <= room:
            sources.append((name, text))
            room -= size
    return tuple(sources)


def _cell_source(filename: str) -> str:
    """The text of a cell; empty for files, which the worker can read itself, and for what has no source."""
    entry = linecache.cache.get(filename)
    if entry is None or len(entry) == 1 or Path(filename).exists():  # of length 1: a promise to read the text later
        return ""
    return "".join(entry[2])

"""Functions to payloads, with what they capture and the source of the cells they come from."""

from __future__ import annotations

import io
import linecache
import os
import pickle
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import xxhash

from flowrra.core.tuples import NamedTuple
from flowrra.pool.data.depot import Depot
from flowrra.pool.encoding.captures import Captures, read_captures
from flowrra.pool.encoding.large_captures import hint_at_large
from flowrra.pool.encoding.payloads import CLOUD, Payload, build
from flowrra.pool.encoding.pickler import Pickler, ReadonlyPickler
from flowrra.pool.encoding.values import encode_value, refusal
from flowrra.pool.preloading import WORTH_PRELOADING

_MOST_SOURCE = 64 * 1024
"""Bytes of cells' source that travel with a function; a traceback is readable without the rest."""


class FunctionRef(NamedTuple):
    """A function, or the constants of a map, snapshotted; travels once per digest and worker."""

    digest: bytes
    payload: Payload
    sources: tuple[tuple[str, str], ...]
    reusable: bool
    modules: tuple[str, ...] = ()
    """Those worth preloading that it refers to."""


class FunctionEncoder:
    """Snapshots functions; keeps the last pickle of each while nothing it captures can have changed. Thread-safe."""

    def __init__(self, depot: Depot) -> None:
        self._depot = depot
        self._known: weakref.WeakKeyDictionary[Callable[..., Any], tuple[Captures, FunctionRef]]
        self._known = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def encode(self, task: str, function: Callable[..., Any], *, readonly: bool = False) -> FunctionRef:
        """Raises ``NotEncodable`` or ``HandleNotAllowed``."""
        keepable = isinstance(function, types.FunctionType) or getattr(type(function), "__flowrra_task__", False)
        if keepable:
            with self._lock:
                known = self._known.get(function)
            if known is not None and known[0].hold():
                return known[1]
        captures = read_captures(function)
        ref = encode_function(task, function, self._depot, reusable=captures.immutable, readonly=readonly)
        if keepable and captures.immutable:  # then there is nothing that readonly would change
            with self._lock:
                self._known[function] = (captures, ref)
        return ref

    def forget(self) -> None:
        with self._lock:
            self._known.clear()


def encode_function(
    task: str, function: Callable[..., Any], depot: Depot, *, reusable: bool, readonly: bool = False
) -> FunctionRef:
    """Snapshot *function* with what it captures and the source of the cells it comes from."""
    files: dict[str, None] = {}
    modules: set[str] = set()

    def pickler(value: Any, keep_in_band: Callable[[pickle.PickleBuffer], bool]) -> bytes:
        file = io.BytesIO()
        cloud = (ReadonlyPickler if readonly else Pickler)(file, keep_in_band)
        cloud.dump(value)
        files.update(cloud.files)
        modules.update(cloud.modules)
        return file.getvalue()

    try:
        payload = build(CLOUD, function, pickler, depot.keep)
    except Exception as error:
        raise refusal(task, error, {"the function": function}) from error
    hint_at_large(task, function, payload.size)
    sources = _sources(files)
    wanted = tuple(name for name in WORTH_PRELOADING if name in modules)
    return FunctionRef(_digest(payload, sources), payload, sources, reusable, wanted)


def encode_constants(task: str, constants: Mapping[str, Any], depot: Depot, *, readonly: bool = False) -> FunctionRef:
    """Snapshot the keywords that all runs of a map share."""
    try:
        payload = encode_value(dict(constants), depot.keep, readonly=readonly)
    except Exception as error:
        raise refusal(task, error, {f"kwargs[{name!r}]": value for name, value in constants.items()}) from error
    return FunctionRef(_digest(payload, ()), payload, (), reusable=False)


def _digest(payload: Payload, sources: tuple[tuple[str, str], ...]) -> bytes:
    hashed = xxhash.xxh3_128(payload.head)
    for text in (part for source in sources for part in source):
        hashed.update(text.encode("utf-8", "surrogatepass"))
    if payload.blocks is not None:
        hashed.update(b"".join(payload.blocks.digests))
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
    if entry is None or len(entry) == 1 or os.path.exists(filename):  # of length 1: a promise to read the text later
        return ""
    return "".join(entry[2])

"""One pickler for everything that may belong to a notebook's cell.

cloudpickle, extended to refuse what belongs to the submitting process alone, to note the source of what it pickles by
value, to send back a class as the very class it came from, and to send what cloudpickle does not get right.
"""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections.abc import Callable
from typing import Any

import cloudpickle

from flowrra.pool.encoding.by_value import CachedFunction, reduce_cached, reduce_code, reduce_slotted
from flowrra.pool.encoding.readonly import reduce_readonly
from flowrra.pool.encoding.received_classes import received_classes
from flowrra.pool.encoding.staying import refuse_what_stays


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """cloudpickle, with the additions of this module; ``files`` are those of the functions it met."""

    def __init__(self, file: io.BytesIO, keep_in_band: Callable[[pickle.PickleBuffer], bool] | None = None) -> None:
        super().__init__(file, protocol=5, buffer_callback=keep_in_band)
        self.files: dict[str, None] = {}

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, types.FunctionType):
            self.files[value.__code__.co_filename] = None
        elif isinstance(value, types.CodeType):
            return reduce_code(value)
        elif isinstance(value, type):
            reduced = received_classes.reduce(value) or reduce_slotted(value)
            if reduced is not None:
                return reduced
        elif (shared := _shared_generator(value)) is not None:
            return getattr, shared
        elif isinstance(value, CachedFunction):
            return reduce_cached(value) or super().reducer_override(value)
        else:
            refuse_what_stays(value)
        return super().reducer_override(value)


def _shared_generator(value: Any) -> tuple[types.ModuleType, str] | None:
    """Where a worker has its own of a generator that a whole process shares; by value it would draw the same for ever.

    Functions such as ``from random import random`` are methods of such a generator.
    """
    for module, name in (("random", "_inst"), ("numpy.random.mtrand", "_rand")):
        loaded = sys.modules.get(module)
        if loaded is not None and value is getattr(loaded, name, None):
            return loaded, name
    return None


class ReadonlyPickler(Pickler):
    """Arrays arrive so that nobody can write to them."""

    def reducer_override(self, value: Any) -> Any:
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.ndarray):
            return reduce_readonly(value)
        return super().reducer_override(value)


def readonly_pickle(value: Any, keep_in_band: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
    file = io.BytesIO()
    ReadonlyPickler(file, keep_in_band).dump(value)
    return file.getvalue()


def cloud_pickle(value: Any, keep_in_band: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
    file = io.BytesIO()
    Pickler(file, keep_in_band).dump(value)
    return file.getvalue()

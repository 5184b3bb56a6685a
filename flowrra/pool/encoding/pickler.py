"""One pickler for everything that may belong to a notebook's cell.

cloudpickle, extended to refuse what belongs to the submitting process alone, to note the source of what it pickles by
value, to send back a class as the very class it came from, and to send what cloudpickle does not get right.
"""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections import ChainMap
from collections.abc import Callable
from typing import Any, ClassVar

import cloudpickle

from flowrra.pool.encoding import rebuilding
from flowrra.pool.encoding.by_value import (
    CachedFunction,
    reduce_builtin_type,
    reduce_cached,
    reduce_cell,
    reduce_code,
    reduce_function,
    reduce_module,
    reduce_slotted,
)
from flowrra.pool.encoding.readonly import reduce_readonly
from flowrra.pool.encoding.received_classes import received_classes
from flowrra.pool.encoding.staying import refuse_what_stays

_REBUILDING = rebuilding.__name__


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """cloudpickle, with the additions of this module.

    ``files`` are those of the functions it met, ``modules`` the roots of the modules that it refers to.
    """

    # One dictionary before that of copyreg, as cloudpickle has it: each further one is asked for most objects.
    dispatch_table: ClassVar[ChainMap[Any, Any]] = ChainMap(
        {**cloudpickle.Pickler.dispatch_table.maps[0], types.CellType: reduce_cell, types.ModuleType: reduce_module},
        *cloudpickle.Pickler.dispatch_table.maps[1:],
    )

    def __init__(self, file: io.BytesIO, keep_in_band: Callable[[pickle.PickleBuffer], bool] | None = None) -> None:
        super().__init__(file, protocol=5, buffer_callback=keep_in_band)
        self.files: dict[str, None] = {}
        self.modules: set[str] = set()

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, types.FunctionType):
            if value.__module__ == _REBUILDING:
                return NotImplemented  # by its name
            self.files[value.__code__.co_filename] = None
            self._note_module(value.__module__)
        elif isinstance(value, types.CodeType):
            return reduce_code(value)
        elif isinstance(value, types.ModuleType):
            self._note_module(value.__name__)
        elif isinstance(value, type):
            self._note_module(getattr(value, "__module__", None))
            reduced = received_classes.reduce(value) or reduce_builtin_type(value) or reduce_slotted(value)
            if reduced is not None:
                return reduced
        elif (shared := _shared_generator(value)) is not None:
            return getattr, shared
        elif isinstance(value, CachedFunction):
            return reduce_cached(value) or super().reducer_override(value)
        else:
            refuse_what_stays(value)
        return super().reducer_override(value)

    def _note_module(self, name: object) -> None:
        if isinstance(name, str):
            self.modules.add(name.partition(".")[0])

    def _dynamic_function_reduce(self, function: types.FunctionType) -> tuple[Any, ...]:
        """What cloudpickle asks for a function that cannot be imported."""
        return reduce_function(*super()._dynamic_function_reduce(function))


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

"""What functions of a cell are rebuilt with in a worker: cloudpickle's own ways, without loading cloudpickle there.

Loading it takes longer than everything else that the first run of a worker waits for. Classes are still rebuilt by
cloudpickle itself, which knows those that it has met.
"""

from __future__ import annotations

import sys
import types
from typing import Any


def make_function(
    code: types.CodeType, names: dict[str, Any], closure: tuple[types.CellType, ...] | None
) -> types.FunctionType:
    """A function without its state, so that what it refers to may refer to it. *names* are its globals."""
    names["__builtins__"] = __builtins__
    return types.FunctionType(code, names, None, None, closure)


def set_function_state(function: types.FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Complete what :func:`make_function` made: (its ``__dict__``, its other attributes as cloudpickle collects them).

    Globals and cells are updated in place, since functions pickled together share them.
    """
    attributes, slots = state
    function.__dict__.update(attributes)
    function.__globals__.update(slots.pop("__globals__"))
    function.__globals__["__builtins__"] = __builtins__
    del slots["_cloudpickle_submodules"]  # to load the pickle was to import them
    for own, sent in zip(function.__closure__ or (), slots.pop("__closure__") or (), strict=True):
        try:
            own.cell_contents = sent.cell_contents
        except ValueError:  # empty until the enclosing function assigns it
            continue
    for name, value in slots.items():
        setattr(function, name, value)


def make_cell(*contents: Any) -> types.CellType:
    """A cell, empty without an argument."""
    return types.CellType(*contents)


def builtin_type(name: str) -> Any:
    """A type that has no name of its own among the builtins, such as that of code objects."""
    return getattr(types, name)


def imported(name: str) -> types.ModuleType:
    __import__(name)
    return sys.modules[name]

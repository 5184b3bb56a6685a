"""Things of a cell that cloudpickle sends but that do not arrive as what they were."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, Final

from cloudpickle import cloudpickle as internals

from flowrra.pool.encoding import rebuilding

_FILE_NAME = 10
"""Position of the file's name among the arguments of ``types.CodeType``, from Python 3.11 on."""
CachedFunction: Final = type(functools.lru_cache(lambda: None))


def reduce_function(_make: Any, new: tuple[Any, ...], state: Any, *_rest: Any) -> tuple[Any, ...]:
    """Cloudpickle's way to pickle a function by value, to be rebuilt without it."""
    code, names, _name, _defaults, closure = new
    return rebuilding.make_function, (code, names, closure), state, None, None, rebuilding.set_function_state


def reduce_cell(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return rebuilding.make_cell, (cell.cell_contents,)
    except ValueError:  # empty
        return rebuilding.make_cell, ()


def reduce_module(module: types.ModuleType) -> tuple[Any, ...]:
    make, args, *rest = internals._module_reduce(module)  # noqa: SLF001 - see Pickler
    return (rebuilding.imported if make is internals.subimport else make), args, *rest


def reduce_builtin_type(kind: type) -> tuple[Any, ...] | None:
    """How to pickle a type that only the module ``types`` names; None for all others."""
    name = internals._BUILTIN_TYPE_NAMES.get(kind)  # noqa: SLF001 - see Pickler
    return None if name is None else (rebuilding.builtin_type, (name,))


def reduce_slotted(kind: type) -> tuple[Any, ...] | None:
    """How to pickle a class with ``__slots__`` by value; None for what cloudpickle does right.

    cloudpickle makes the class without slots and adds the names of the slots as an attribute, so that instances get a
    ``__dict__`` there, and cannot be rebuilt on the way back, where there is none.
    """
    if "__slots__" not in kind.__dict__ or _travels_by_name(kind):
        return None
    make, (*new, type_kwargs, number, extra), *rest = internals._dynamic_class_reduce(kind)  # noqa: SLF001 - see Pickler
    return make, (*new, {**type_kwargs, "__slots__": kind.__dict__["__slots__"]}, number, extra), *rest


def reduce_code(code: types.CodeType) -> tuple[Any, ...]:
    """How to pickle *code* with the name of the cell that it comes from, without which no traceback can show its lines.

    Since 3.1.3 cloudpickle leaves the name out, so that equal code of different cells has the same pickle.
    """
    make, args, *rest = internals._code_reduce(code)  # noqa: SLF001 - see Pickler
    return make, (*args[:_FILE_NAME], code.co_filename, *args[_FILE_NAME + 1 :]), *rest


def reduce_cached(function: Any) -> tuple[Any, ...] | None:
    """How to pickle a function behind ``functools.lru_cache`` by value; None if it can be imported.

    It pickles itself by name, under which a worker has nothing if the name is one of a notebook. The cache stays here.
    """
    if _travels_by_name(function):
        return None
    parameters = function.cache_parameters()
    return cached, (function.__wrapped__, parameters["maxsize"], parameters["typed"])


def cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Callable[..., Any]:  # noqa: FBT001 - called by pickle
    """The cached function, with an empty cache."""
    return functools.lru_cache(maxsize, typed)(function)


def _travels_by_name(value: Any) -> bool:
    return internals._lookup_module_and_qualname(value) is not None  # noqa: SLF001 - cloudpickle offers no other way

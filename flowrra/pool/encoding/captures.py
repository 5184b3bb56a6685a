"""What a function carries along: its code, defaults, cells and the globals it names, through its helpers.

The pickle of a function may be used again exactly as long as all of that consists of the same immutable objects. The
same property tells a worker that no run can leave a trace in the loaded function, so that it may be kept.
"""

from __future__ import annotations

import builtins
import dis
import sys
import types
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from flowrra.core.tuples import NamedTuple

_SCALARS = frozenset({int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented), range})
_ABSENT = object()
_MOST_CODES = 4096
"""Code objects whose names are remembered."""


class Captures(NamedTuple):
    """One reading of everything a function carries along."""

    seen: tuple[object, ...]
    """Every object met, in order; a later reading meets the same objects if none was replaced."""
    immutable: bool
    """None of it can be changed in place."""

    def same_as(self, other: Captures) -> bool:
        """Whether pickling the function now would give the same bytes as at the time of *other*."""
        if not (self.immutable and other.immutable) or len(self.seen) != len(other.seen):
            return False
        return all(map(_identical, self.seen, other.seen))


def _identical(one: object, other: object) -> bool:
    return one is other


def read_captures(function: Callable[..., Any]) -> Captures:
    """Follow *function* through cells, defaults, globals and cell-defined helpers."""
    if not isinstance(function, types.FunctionType):
        return Captures((function,), is_importable(function))
    seen: list[object] = []
    immutable = True
    todo, known = [function], {function}
    while todo:
        current = todo.pop()
        seen.append(current)
        if is_importable(current):
            continue
        if current.__dict__ or rebinds(current.__code__):
            immutable = False
        for part in _parts(current):
            seen.append(part)
            followed = _function_of(part)
            if followed is not None:
                if followed not in known:
                    known.add(followed)
                    todo.append(followed)
            elif not _is_immutable(part):
                immutable = False
    return Captures(tuple(seen), immutable)


def _function_of(part: object) -> types.FunctionType | None:
    """*part* if it is a function, or the function that it makes a task of: a task itself never changes."""
    if getattr(type(part), "__flowrra_task__", False):
        part = getattr(part, "__wrapped__", None)
    return part if isinstance(part, types.FunctionType) else None


def _parts(function: types.FunctionType) -> Iterator[object]:
    yield function.__code__
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # empty until the enclosing function assigns it
            yield _ABSENT
    names = function.__globals__
    for name in global_names(function.__code__):
        yield names.get(name, _ABSENT)


def global_names(code: types.CodeType) -> tuple[str, ...]:
    """Names that *code*, or a function defined in it, looks up in its module; attribute names may be among them."""
    names = _names_of.get(code)
    if names is None:
        found: dict[str, None] = dict.fromkeys(code.co_names)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                found.update(dict.fromkeys(global_names(constant)))
        if len(_names_of) > _MOST_CODES:
            _names_of.clear()
        names = _names_of[code] = tuple(found)
    return names


_names_of: dict[types.CodeType, tuple[str, ...]] = {}


@lru_cache(_MOST_CODES)
def rebinds(code: types.CodeType) -> bool:
    """Whether *code*, or a function defined in it, assigns to a global or to a variable of a function around it.

    Such a variable may hold the same immutable object at every submission, and yet a run would find what the run before
    it in that worker has left there.
    """
    if _MAY_REBIND.isdisjoint(code.co_code[::2]):
        inside = False
    else:
        inside = any(
            step.opname in _REBINDS_GLOBAL or (step.opname in _REBINDS_CELL and step.argval in code.co_freevars)
            for step in dis.get_instructions(code)
        )
    return inside or any(rebinds(part) for part in code.co_consts if isinstance(part, types.CodeType))


_REBINDS_GLOBAL = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_REBINDS_CELL = frozenset({"STORE_DEREF", "DELETE_DEREF"})
_MAY_REBIND = frozenset(dis.opmap[name] for name in _REBINDS_GLOBAL | _REBINDS_CELL)


def _is_immutable(value: object) -> bool:
    kind = type(value)
    if kind in _SCALARS or value is _ABSENT or kind is types.CodeType or kind is types.ModuleType:
        return True
    if kind is tuple or kind is frozenset:
        return all(_is_immutable(part) for part in value)  # type: ignore[attr-defined]  # narrowed by exact type
    if kind is types.BuiltinFunctionType:
        owner = value.__self__  # type: ignore[attr-defined]  # narrowed by exact type
        return owner is None or isinstance(owner, types.ModuleType)
    return isinstance(value, type) and is_importable(value)


def is_importable(value: object) -> bool:
    """A worker finds *value* itself under its module and name (``__main__`` does not exist there)."""
    module_name, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module_name, str) or not isinstance(path, str) or module_name == "__main__":
        return False
    found: object = builtins if module_name == "builtins" else sys.modules.get(module_name, _ABSENT)
    for name in path.split("."):
        found = getattr(found, name, _ABSENT)
    return found is value

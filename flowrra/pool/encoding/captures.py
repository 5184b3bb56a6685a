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


class Look(NamedTuple):
    """What one function that cannot be imported carried along."""

    function: Any
    code: types.CodeType
    defaults: tuple[object, ...] | None
    keyword_defaults: tuple[object, ...]
    cells: tuple[object, ...]
    names: tuple[tuple[str, object], ...]
    """In its module."""
    classes: tuple[object, ...]
    """Those of all these that may turn mutable, though they stay the same: a class that cannot be imported any more."""

    def is_the_same(self) -> bool:
        """It would carry the same objects now. Asked for each submission, unlike all the rest."""
        function = self.function
        if (
            function.__code__ is not self.code
            or function.__defaults__ is not self.defaults
            or function.__dict__
            or is_importable(function)
        ):
            return False
        if (function.__kwdefaults__ or self.keyword_defaults) and not _same(
            _keyword_defaults(function), self.keyword_defaults
        ):
            return False
        if self.cells and not _same(_cells(function), self.cells):
            return False
        get = function.__globals__.get
        for name, value in self.names:
            if get(name, _ABSENT) is not value:
                return False
        return not self.classes or all(map(_is_immutable, self.classes))


class Captures(NamedTuple):
    """One reading of everything a function carries along."""

    seen: tuple[object, ...]
    """Every object met, in order."""
    immutable: bool
    """None of it can be changed in place."""
    importable: tuple[object, ...]
    """Of the functions met, those that can be imported."""
    looks: tuple[Look, ...]
    """The others."""

    def hold(self) -> bool:
        """Whether pickling the function now would give the same bytes as at the time of this reading."""
        if not self.immutable:
            return False
        for look in self.looks:
            if not look.is_the_same():
                return False
        return not self.importable or all(map(is_importable, self.importable))


def _same(some: tuple[object, ...], others: tuple[object, ...]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


def read_captures(function: Callable[..., Any]) -> Captures:
    """Follow *function* through cells, defaults, globals and cell-defined helpers."""
    if not isinstance(function, types.FunctionType):
        return Captures((function,), is_importable(function), (function,), ())
    seen: list[object] = []
    importable: list[object] = []
    looks: list[Look] = []
    immutable = True
    todo, known = [function], {function}
    while todo:
        current = todo.pop()
        seen.append(current)
        if is_importable(current):
            importable.append(current)
            continue
        if current.__dict__ or rebinds(current.__code__):
            immutable = False
        look = _look_at(current)
        looks.append(look)
        for part in _parts(look):
            seen.append(part)
            followed = _function_of(part)
            if followed is not None:
                if followed not in known:
                    known.add(followed)
                    todo.append(followed)
            elif not _is_immutable(part):
                immutable = False
    return Captures(tuple(seen), immutable, tuple(importable), tuple(looks))


def _function_of(part: object) -> types.FunctionType | None:
    """*part* if it is a function, or the function that it makes a task of: a task itself never changes."""
    if getattr(type(part), "__flowrra_task__", False):
        part = getattr(part, "__wrapped__", None)
    return part if isinstance(part, types.FunctionType) else None


def _look_at(function: types.FunctionType) -> Look:
    code, named = function.__code__, function.__globals__
    names = tuple((name, named.get(name, _ABSENT)) for name in global_names(code))
    look = Look(function, code, function.__defaults__, _keyword_defaults(function), _cells(function), names, ())
    return look._replace(classes=tuple(part for part in _parts(look) if isinstance(part, type | tuple | frozenset)))


def _parts(look: Look) -> Iterator[object]:
    yield look.code
    yield from look.defaults or ()
    yield from look.keyword_defaults
    yield from look.cells
    for _, value in look.names:
        yield value


def _keyword_defaults(function: types.FunctionType) -> tuple[object, ...]:
    return tuple((function.__kwdefaults__ or {}).values())


def _cells(function: types.FunctionType) -> tuple[object, ...]:
    return tuple(map(_content, function.__closure__ or ()))


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # empty until the enclosing function assigns it
        return _ABSENT


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

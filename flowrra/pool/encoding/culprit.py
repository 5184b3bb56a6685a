"""After a pickle has failed: which part of the value it was, as a path a reader can follow."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flowrra.core.tuples import NamedTuple
from flowrra.pool.encoding.captures import global_names, is_importable
from flowrra.pool.encoding.staying import is_app, is_handle

_TRIES = 500
"""Parts that are pickled to find the culprit; a value with more suspects is blamed as a whole."""
_MOST_STEPS = 12
"""Steps of a path that are written out."""


class Culprit(NamedTuple):
    path: str
    value: Any
    error: Exception


def find_culprit(value: Any, path: str, pickle: Callable[[Any], object]) -> Culprit | None:
    """Return the innermost part of *value* that *pickle* refuses, or None if it takes all of it."""
    error = _refused(value, pickle)
    if error is None:
        return None
    steps: list[str] = []
    suspects, tries, known = _parts(value), _TRIES, {id(value)}
    while (suspect := next(suspects, None)) is not None:
        step, part = suspect
        if id(part) in known:
            continue
        known.add(id(part))
        tries -= 1
        if tries < 0:
            break
        refused = _refused(part, pickle)
        if refused is not None:
            steps.append(step)
            value, error, suspects = part, refused, _parts(part)
    return Culprit(write_path(path, steps), value, error)


def _refused(value: Any, pickle: Callable[[Any], object]) -> Exception | None:
    try:
        pickle(value)
    except Exception as error:  # noqa: BLE001 - whatever a reducer raises is the answer we look for
        return error
    return None


def write_path(root: str, steps: Sequence[str]) -> str:
    """``root[0].name``, ``global 'x' of root``; of a very long path only where it begins and ends."""
    if len(steps) <= _MOST_STEPS:
        return _join(root, steps)
    beginning, end = _join(root, steps[:2]), steps[-1]
    levels = f"{len(steps):,}".replace(",", " ")
    return f"{_join(f'{beginning}…', [end])} ({levels} levels)"


def _join(path: str, steps: Sequence[str]) -> str:
    for step in steps:
        path = f"{path}{step}" if step.startswith((".", "[")) else f"{step} of {path}"
    return path


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a pickler would look into, each with the step that leads there."""
    if is_handle(value) or is_app(value):
        return
    if isinstance(value, dict):
        for key, part in value.items():
            yield f"[{key!r}]", part
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from (("an element", part) for part in value)
    elif isinstance(value, types.FunctionType):
        yield from carried_along(value)
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield from _parts(value.__func__)
    elif isinstance(value, type):
        yield from ((f".{name}", part) for name, part in vars(value).items() if not name.startswith("__"))
    else:
        yield from _state_parts(value)


def carried_along(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What *function* takes with it when it is pickled, by the words for each."""
    if is_importable(function):
        return
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"closure {name!r}", cell.cell_contents
        except ValueError:  # empty until the enclosing function assigns it
            continue
    for name in global_names(function.__code__):
        if name in function.__globals__:
            yield f"global {name!r}", function.__globals__[name]
    yield from (("a default", part) for part in function.__defaults__ or ())
    yield from ((f"default {name!r}", part) for name, part in (function.__kwdefaults__ or {}).items())


def _state_parts(value: Any) -> Iterator[tuple[str, Any]]:
    for name in ("func", "args", "keywords"):  # functools.partial keeps these outside of __dict__
        if hasattr(value, name) and not hasattr(value, "__dict__"):
            yield f".{name}", getattr(value, name)
    for name, part in getattr(value, "__dict__", {}).items():
        yield f".{name}", part
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield f".{name}", getattr(value, name)

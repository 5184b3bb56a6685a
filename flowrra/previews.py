"""Short, safe texts for arguments: bounded, never a repr of the user's own classes, secrets hidden."""

from __future__ import annotations

import itertools
import re
import reprlib
import types
from collections.abc import Iterable, Mapping
from typing import Any, Final

SECRET: Final = re.compile(r"password|passwd|token|secret|key", re.IGNORECASE)
HIDDEN: Final = "•••"
LIMIT: Final = 200

LONGEST_INT: Final = 1_000
"""Bits; Python itself refuses to print very long ones."""

_NAMED = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_SCALARS = (int, float, bool, type(None), complex)
_CONTAINERS = (list, tuple, dict, set, frozenset, str, bytes, bytearray, range)


class _Preview(reprlib.Repr):
    """A repr of builtins to a bounded depth and length; everything else by type, shape and dtype.

    A user's ``__repr__`` may be slow, endless or raise, and this runs while they wait for ``submit``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxtuple, self.maxdict, self.maxset, self.maxfrozenset = 3, 6, 6, 6, 6, 6
        self.maxstring, self.maxother = 60, 60

    def repr1(self, x: Any, level: int) -> str:
        if type(x) in _SCALARS:
            return super().repr1(x, level)
        if type(x) not in _CONTAINERS:
            return describe(x)
        if level <= 0 and type(x) in (dict, set, frozenset):
            return "{...}"
        return super().repr1(x, level)

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        shown = [
            f"{self.repr1(key, level - 1)}: {self._value(key, value, level)}" for key, value in self._first(x.items())
        ]
        return self._joined("{", shown, "}", len(x))

    def repr_set(self, x: set[Any], level: int) -> str:
        # reprlib would sort it, all of it, with whatever comparisons the members have.
        shown = [self.repr1(member, level - 1) for member in self._first(x)]
        return self._joined("{", shown, "}", len(x)) if x else "set()"

    def repr_frozenset(self, x: frozenset[Any], level: int) -> str:
        shown = [self.repr1(member, level - 1) for member in self._first(x)]
        return self._joined("frozenset({", shown, "})", len(x)) if x else "frozenset()"

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() <= LONGEST_INT else f"<int of {x.bit_length()} bits>"

    def repr_bytes(self, x: bytes, level: int) -> str:
        return super().repr_instance(x[: self.maxother], level)

    def repr_bytearray(self, x: bytearray, level: int) -> str:
        return super().repr_instance(x[: self.maxother], level)

    def _value(self, key: object, value: object, level: int) -> str:
        return HIDDEN if type(key) is str and SECRET.search(key) else self.repr1(value, level - 1)

    def _first(self, items: Iterable[Any]) -> list[Any]:
        return list(itertools.islice(items, self.maxdict))

    def _joined(self, opening: str, shown: list[str], closing: str, length: int) -> str:
        return f"{opening}{', '.join([*shown, '...'] if length > len(shown) else shown)}{closing}"


def describe(value: object) -> str:
    """Name *value* by type and, for arrays and frames, shape and dtype. Runs no code of the value's class but these."""
    kind = type(value)
    if kind in _NAMED:
        return str(value.__name__)  # type: ignore[attr-defined]  # each of these kinds has a name
    facts = [kind.__name__]
    if kind.__module__.partition(".")[0] in ("numpy", "pandas", "polars", "pyarrow", "torch", "scipy", "xarray"):
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        facts += [f"shape={shape}"] if shape is not None else []
        facts += [f"dtype={dtype}"] if dtype is not None else []
    return f"<{' '.join(facts)}>"


_repr = _Preview()


def preview_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any], names: tuple[str, ...] = ()) -> str:
    """Show a call's arguments: ``seed=603, n=2000``. *names* are the parameters, in order, that ``args`` fill."""
    parts = [_named(names[i] if i < len(names) else "", value) for i, value in enumerate(args[:20])]
    parts += [_named(name, value) for name, value in list(kwargs.items())[:20]]
    text = ", ".join(parts)
    return text if len(text) <= LIMIT else f"{text[: LIMIT - 1]}…"


def _named(name: str, value: object) -> str:
    shown = HIDDEN if name and SECRET.search(name) else _repr.repr(value)
    return f"{name}={shown}" if name else shown


def is_cheap(value: object) -> bool:
    """Whether *value* can be kept by reference and previewed later: immutable and small."""
    kind = type(value)
    return kind in _SCALARS or (kind in (str, bytes) and len(value) <= LIMIT)  # type: ignore[arg-type]  # str or bytes here

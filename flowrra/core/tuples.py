"""``NamedTuple``, made in a third of the time: fifty such classes are a good part of what starts with a worker."""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any

__all__ = ["NamedTuple"]

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    _REPLACED = frozenset({"__dict__", "__weakref__", "__module__", "__qualname__"})

    class _FromAnnotations(type):
        """Turns a class whose body lists fields into a named tuple with its methods. Annotations are not evaluated."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = tuple(body.get("__annotations__", ()))
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            made.__qualname__ = body["__qualname__"]
            for key, value in body.items():
                if key not in _REPLACED:
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_FromAnnotations):
        """As in :mod:`typing`, which compiles and checks the annotation of each field."""

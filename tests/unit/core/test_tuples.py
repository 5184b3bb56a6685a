from __future__ import annotations

import pickle
import typing

import pytest

from flowrra.core.tuples import NamedTuple


class Place(NamedTuple):
    """Where something is."""

    row: int
    column: int = 2
    """Counted from the left."""
    name: str | None = None

    @property
    def area(self) -> int:
        return self.row * self.column

    @classmethod
    def origin(cls) -> Place:
        return cls(0, 0)


class Expected(typing.NamedTuple):
    row: int
    column: int = 2
    name: str | None = None


def test_it_is_what_typing_makes() -> None:
    assert Place._fields == Expected._fields
    assert Place._field_defaults == Expected._field_defaults
    assert Place.__match_args__ == Expected.__match_args__
    assert Place.__annotations__.keys() == Expected.__annotations__.keys()
    assert (Place.__module__, Place.__qualname__) == (__name__, "Place")
    assert Place.__bases__ == (tuple,)
    assert Place.__doc__ == "Where something is."


def test_fields_defaults_and_methods() -> None:
    place = Place(3)
    assert place == (3, 2, None)
    assert (place.row, place.area) == (3, 6)
    assert place._replace(column=4).area == 12
    assert Place.origin() == Place(row=0, column=0)
    assert repr(place) == "Place(row=3, column=2, name=None)"
    assert pickle.loads(pickle.dumps(place)) == place
    assert type(pickle.loads(pickle.dumps(place))) is Place


def test_a_field_without_a_value_is_an_error() -> None:
    with pytest.raises(TypeError, match="row"):
        Place()  # type: ignore[call-arg]

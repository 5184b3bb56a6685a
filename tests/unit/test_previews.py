from __future__ import annotations

import sys
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrra.previews import HIDDEN, LIMIT, is_cheap, preview_arguments


class Hostile:
    """Nothing of it may run while a user waits for ``submit``."""

    def _run(self, *args: object) -> NoReturn:
        raise AssertionError("code of the user's class has run")

    __repr__ = __str__ = __getattr__ = __lt__ = __iter__ = __len__ = __bool__ = __call__ = __format__ = _run  # type: ignore[assignment]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=30,
)


@settings(max_examples=40)
@given(st.lists(plain, max_size=30), st.dictionaries(st.text(min_size=1), plain, max_size=30))
def test_every_preview_is_bounded(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert len(preview_arguments(tuple(args), kwargs)) <= LIMIT


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value, {"inner": value}]
    return value


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10_000_000,
        b"x" * 10_000_000,
        bytearray(10_000_000),
        10**6000,
        -(10**6000),
        list(range(1_000_000)),
        set(range(100_000)),
        frozenset(range(100_000)),
        dict.fromkeys(range(100_000)),
        nested(200),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_huge_is_shown_short(value: object) -> None:
    assert 0 < len(preview_arguments((value,), {})) <= 100


def test_an_int_too_long_for_python_to_print_is_shown_by_its_size() -> None:
    assert 10 ** sys.get_int_max_str_digits() < 10**6000
    assert preview_arguments((10**6000,), {}) == "<int of 19932 bits>"


def test_no_code_of_a_users_class_runs() -> None:
    one = Hostile()
    values = (one, [one], (one,), {"a": one}, {one, Hostile()}, frozenset({one, Hostile()}), {one: 1, Hostile(): 2})
    assert "<Hostile>" in preview_arguments(values, {"b": one})


def test_arguments_carry_the_names_of_their_parameters() -> None:
    assert preview_arguments((603, "a", 3), {"n": 2000}, ("seed", "text")) == "seed=603, text='a', 3, n=2000"


@pytest.mark.parametrize("name", ["password", "API_TOKEN", "client_secret", "ssh_key", "db_passwd"])
def test_secrets_are_hidden_wherever_they_have_a_name(name: str) -> None:
    text = preview_arguments(("hunter2", {name: "hunter2", "deep": {name: "hunter2"}}), {name: "hunter2"}, (name,))
    assert "hunter2" not in text
    assert text.count(HIDDEN) == 4


def test_arrays_and_frames_are_shown_by_shape() -> None:
    frame = pd.DataFrame({"a": [1, 2, 3]})
    text = preview_arguments((np.zeros((3, 4), dtype="f4"), frame, frame["a"]), {})
    assert text == "<ndarray shape=(3, 4) dtype=float32>, <DataFrame shape=(3, 1)>, <Series shape=(3,) dtype=int64>"


def test_functions_and_classes_are_shown_by_name() -> None:
    assert preview_arguments((len, preview_arguments, Hostile), {}) == "len, preview_arguments, Hostile"


@pytest.mark.parametrize("value", [1, 1.5, None, True, "short", b"short", 2j])
def test_small_immutable_values_are_cheap(value: object) -> None:
    assert is_cheap(value)


@pytest.mark.parametrize("value", [[], {}, (), "x" * 1000, b"x" * 1000, Hostile()], ids=lambda v: type(v).__name__)
def test_what_is_large_or_can_change_is_not(value: object) -> None:
    assert not is_cheap(value)

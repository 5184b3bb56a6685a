"""Which part of a value could not be pickled, and how a reader is told."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

from flowrra.pool.encoding.culprit import find_culprit, write_path


def test_what_can_be_pickled_has_no_culprit() -> None:
    assert find_culprit([1, {"a": 2}], "args[0]", pickle.dumps) is None


def test_the_innermost_part_is_named() -> None:
    lock = threading.Lock()
    culprit = find_culprit({"a": [1, (2, lock)]}, "args[0]", pickle.dumps)
    assert culprit is not None
    assert culprit.path == "args[0]['a'][1][1]"
    assert culprit.value is lock
    assert isinstance(culprit.error, TypeError)


def test_the_insides_of_a_handle_are_none_of_the_readers_business() -> None:
    class Handle:
        __flowrra_handle__ = True

        def __init__(self) -> None:
            self.engine = threading.Lock()

    handle = Handle()
    culprit = find_culprit([1, handle], "args[0]", pickle.dumps)
    assert culprit is not None
    assert culprit.path == "args[0][1]"
    assert culprit.value is handle


def test_a_value_that_is_nested_too_deeply_is_told_in_one_line() -> None:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    culprit = find_culprit(value, "args[0]", pickle.dumps)
    assert culprit is not None
    assert isinstance(culprit.error, RecursionError)
    assert len(culprit.path) < 50


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        ([], "args[0]"),
        ([".db", "['a']"], "args[0].db['a']"),
        (["closure 'held'", "[2]"], "closure 'held' of args[0][2]"),
        (["[0]"] * 12, "args[0]" + "[0]" * 12),
        (["[0]"] * 1699 + ["[7]"], "args[0][0][0]…[7] (1 700 levels)"),
    ],
)
def test_a_path_is_written_out_unless_it_is_very_long(steps: list[str], path: str) -> None:
    assert write_path("args[0]", steps) == path

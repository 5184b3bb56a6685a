"""When may the pickle of a function be used again?"""

from __future__ import annotations

import decimal
import math
import types
from collections.abc import Callable
from typing import Any

import pytest

from flowrra.pool.encoding.captures import is_importable, read_captures


def defined(source: str, **names: Any) -> dict[str, Any]:
    """Execute *source* as a cell: its functions belong to ``__main__``."""
    namespace: dict[str, Any] = {"__name__": "__main__", **names}
    exec(source, namespace)
    return namespace


@pytest.mark.parametrize(
    "value", [1, 1.5, 2j, "text", b"bytes", None, True, ..., (1, ("a",)), frozenset({1}), range(3), math, len, int]
)
def test_immutable_captures_can_be_recognised_again(value: Any) -> None:
    task = defined("def task(): return captured", captured=value)["task"]
    captures = read_captures(task)
    assert captures.immutable
    assert captures.hold()


@pytest.mark.parametrize("value", [[1], {"a": 1}, {1}, bytearray(b"x"), ([1],), object(), types.SimpleNamespace()])
def test_captures_that_can_change_in_place_never_count_as_the_same(value: Any) -> None:
    task = defined("def task(): return captured", captured=value)["task"]
    assert not read_captures(task).immutable
    assert not read_captures(task).hold()


def _exchange_global(names: dict[str, Any]) -> None:
    names["factor"] = 3


def _exchange_helper(names: dict[str, Any]) -> None:
    exec("def helper(): return 0", names)


def _exchange_default(names: dict[str, Any]) -> None:
    names["task"].__defaults__ = (9,)


def _exchange_keyword_default(names: dict[str, Any]) -> None:
    names["task"].__kwdefaults__ = {"key": 9}


def _exchange_code(names: dict[str, Any]) -> None:
    names["helper"].__code__ = (lambda: 0).__code__


def _remove_global(names: dict[str, Any]) -> None:
    del names["factor"]


def _exchange_cell(names: dict[str, Any]) -> None:
    names["change"](8)


@pytest.mark.parametrize(
    "change",
    [
        _exchange_global,
        _exchange_helper,
        _exchange_default,
        _exchange_keyword_default,
        _exchange_code,
        _remove_global,
        _exchange_cell,
    ],
)
def test_every_exchange_of_a_captured_object_is_noticed(change: Callable[[dict[str, Any]], None]) -> None:
    names = defined("""
factor = 2
def helper(): return factor
def make():
    inner = 7
    def change(value):
        nonlocal inner
        inner = value
    def task(x=1, *, key=2): return helper() + inner
    return task, change
task, change = make()
""")
    before = read_captures(names["task"])
    assert before.immutable
    change(names)
    assert not before.hold()


def test_names_used_by_nested_functions_count() -> None:
    names = defined("""
factor = 2
def task(): return [(lambda: factor)() for _ in range(1)]
""")
    before = read_captures(names["task"])
    names["factor"] = 3
    assert not before.hold()


def test_a_captured_class_that_can_be_imported_no_more_counts_as_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    task = defined("def task(): return kind()", kind=decimal.Decimal)["task"]
    before = read_captures(task)
    assert before.immutable
    assert before.hold()
    monkeypatch.setattr(decimal, "Decimal", object)
    assert not before.hold()


def test_recursion_and_mutual_recursion_end() -> None:
    names = defined("""
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
""")
    assert read_captures(names["even"]).hold()


def test_tasks_are_followed_into_their_functions() -> None:
    class Task:
        __flowrra_task__ = True

        def __init__(self, function: Callable[..., Any]) -> None:
            self.__wrapped__ = function

    names = defined("""
factor = 2
def other(): return factor
def task(n): return task(n - 1) + other()
""")
    function = names["task"]
    names["task"], names["other"] = Task(function), Task(names["other"])
    before = read_captures(function)
    assert before.immutable
    assert before.hold()
    names["factor"] = 3
    assert not before.hold()


def test_what_a_worker_can_import_is_told_from_what_only_looks_so() -> None:
    assert is_importable(math.sqrt)
    assert is_importable(int)
    assert is_importable(Callable)
    assert not is_importable(defined("def task(): ...")["task"])
    assert not is_importable(lambda: None)
    assert not is_importable(is_importable.__get__(1))

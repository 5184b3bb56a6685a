"""Functions are rebuilt as cloudpickle rebuilds them."""

from __future__ import annotations

import io
import json
import os.path
import pickle
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

from flowrra.pool.encoding.pickler import Pickler, cloud_pickle

_CELL = """
import os.path, types
import json as module
factor, unused = 3, object()
def plain(x, *, by: int = 2) -> int:
    "Its text."
    return x * by * factor
plain.note = ["kept"]
def recursive(n): return 1 if n < 2 else n * recursive(n - 1)
def counting():
    count = [0]
    def up():
        count[0] += 1
        return count[0]
    def look(): return count[0]
    return up, look
def late():
    def first(): return second()
    kept = [first]
    if False: second = None
    return first
uses_module = lambda: (module.dumps([1]), os.path.sep, types.CodeType.__name__)
def takes_types(kind=types.CodeType, other=types.FunctionType): return kind, other
"""


@pytest.fixture(scope="module")
def cell() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(_CELL, "<cell 7>", "exec"), names)
    return names


@pytest.mark.parametrize("name", ["plain", "recursive", "counting", "late", "uses_module", "takes_types"])
def test_a_function_arrives_as_with_cloudpickle(cell: dict[str, Any], name: str) -> None:
    ours, theirs = pickle.loads(cloud_pickle(cell[name])), pickle.loads(cloudpickle.dumps(cell[name]))
    for attribute in (
        *("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__", "__annotations__"),
        "__dict__",
    ):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    assert ours.__globals__.keys() == theirs.__globals__.keys()
    assert ours.__globals__["__builtins__"] is theirs.__globals__["__builtins__"]
    assert ours.__code__.co_code == theirs.__code__.co_code
    assert ours.__code__.co_filename == "<cell 7>"


def test_what_it_does_is_the_same(cell: dict[str, Any]) -> None:
    assert loaded(cell["plain"])(2, by=5) == 30
    assert loaded(cell["recursive"])(5) == 120
    assert loaded(cell["uses_module"])() == (json.dumps([1]), os.path.sep, "code")
    assert loaded(cell["takes_types"])() == (types.CodeType, types.FunctionType)


def test_functions_that_share_cells_and_globals_still_do(cell: dict[str, Any]) -> None:
    up, look = loaded(cell["counting"]())
    assert (up(), up(), look()) == (1, 2, 2)
    assert up.__globals__ is look.__globals__


def test_an_empty_cell_stays_empty(cell: dict[str, Any]) -> None:
    first = loaded(cell["late"]())
    with pytest.raises(NameError, match="second"):
        first()
    with pytest.raises(ValueError, match="empty"):
        assert first.__closure__[0].cell_contents


def test_no_class_and_no_function_of_it_needs_cloudpickle_to_arrive(cell: dict[str, Any]) -> None:
    functions = [cell[name] for name in ("plain", "recursive", "uses_module", "takes_types")]
    code = "import pickle, sys; pickle.load(sys.stdin.buffer); print('cloudpickle' in sys.modules)"
    data = cloud_pickle([*functions, *cell["counting"]()])
    done = subprocess.run([sys.executable, "-c", code], input=data, stdout=subprocess.PIPE, check=True)
    assert done.stdout.split() == [b"False"]


def test_the_modules_that_a_function_refers_to_are_noted(cell: dict[str, Any]) -> None:
    pickler = Pickler(io.BytesIO())
    pickler.dump([cell["uses_module"], json.JSONEncoder])
    assert {"json", "os", "types"} <= pickler.modules


def loaded(value: Callable[..., Any] | tuple[Any, ...]) -> Any:
    return pickle.loads(cloud_pickle(value))

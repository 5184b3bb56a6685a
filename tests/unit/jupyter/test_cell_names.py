from __future__ import annotations

import builtins

import pytest

from flowrra_jupyter.cell_code import AsyncCellCode, CellCode
from flowrra_jupyter.cell_names import names_of


def needed(source: str, given: tuple[str, ...] = ()) -> set[str]:
    return {name for name in names_of(source, given).needed if not hasattr(builtins, name)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("y = x + 1", {"x"}),
        ("x = 1\ny = x", set()),
        ("x = x + 1", {"x"}),
        ("x += 1", {"x"}),
        ("x: int = y", {"y"}),
        ("x: int\nz = x", {"x"}),
        ("a = b = c; d = a + b", {"c"}),
        ("import os, a.b as c\nos.getcwd(), c, a", {"a"}),
        ("import a.b\na.b.c", set()),
        ("from m import n as o\no, n", {"n"}),
        ("print(len([i for i in data if i > low]), i)", {"data", "low", "i"}),
        ("{k: v for k, v in pairs}", {"pairs"}),
        ("[a for row in table for a in row]", {"table"}),
        ("sum(x * w for x in xs)", {"xs", "w"}),
        ("f = lambda a, b=c: a + b + d", {"c", "d"}),
        ("def f(a, b=c): return a + b + later\nlater = 1\nf(2)", {"c"}),
        ("def f(): return helper(1)\nf()", {"helper"}),
        ("@wraps\ndef f(a: Hint) -> Out: pass", {"wraps", "Hint", "Out"}),
        ("def outer():\n    inner = 1\n    def g(): return inner + far\n    return g", {"far"}),
        ("class A(Base):\n    x = y\n    z = x\n    def m(self): return A, other", {"Base", "y", "other"}),
        ("class A:\n    for i in items: pass", {"items"}),
        ("f'{a!r:>{width}}'", {"a", "width"}),
        ("if flag:\n    x = 1\nprint(x)", {"flag", "x"}),
        ("if flag:\n    x = 1\nelse:\n    x = 2\nprint(x)", {"flag"}),
        ("for i in items:\n    total = i\nprint(total)", {"items", "total"}),
        ("for i in items:\n    total = i\n    print(total, i)", {"items"}),
        ("while go:\n    x = 1\nx", {"go", "x"}),
        ("with open(p) as f, g() as (a, b):\n    f, a, b\nf", {"p", "g"}),
        ("try:\n    x = risky()\nexcept Oops as e:\n    x = e\nprint(x, e)", {"risky", "Oops", "e"}),
        ("try:\n    x = 1\nexcept ValueError:\n    pass\nprint(x)", {"x"}),
        ("try:\n    pass\nfinally:\n    x = 1\nprint(x)", set()),
        ("(n := 10)\nn", set()),
        ("match thing:\n    case {'a': a, **rest}: a, rest\n    case [b, *c] if b > low: c\n", {"thing", "low"}),
        ("def f():\n    global made\n    made = 1\nf()\nmade", {"made"}),
        ("del x", set()),
        ("x = 1\ndel x\nx", {"x"}),
        ("await fetch(url)", {"fetch", "url"}),
        ("async for a in source():\n    b = a\nasync with lock: pass", {"source", "lock"}),
        ("[x async for x in source()]", {"source"}),
        ("", set()),
    ],
)
def test_what_a_cell_reads_before_it_has_assigned_it(source, expected):
    assert needed(source) == expected


def test_what_is_given_need_not_be_there():
    assert needed("x + y", ("x",)) == {"y"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a = 1\nimport os\ndef f(): b = 2\nclass C: d = 3\nfor e in []: pass", {"a", "os", "f", "C", "e"}),
        ("with x as y: pass\n(z := 1)\nif u: w = 1", {"y", "z", "w"}),
        ("def f():\n    global g\n    g = 1", {"f", "g"}),
        ("[i for i in x]", set()),
    ],
)
def test_what_a_cell_assigns(source, expected):
    assert set(names_of(source).assigned) == expected


@pytest.mark.parametrize(
    ("source", "has_value", "is_async"),
    [
        ("x", True, False), ("x;", False, False), ("x ; ", False, False), ("x  # why", True, False),
        ("x = 1", False, False), ("await x", True, True), ("y = await x\n1", True, True), ("", False, False),
        ("async def f(): await x\nf()", True, False), ("'é';", False, False), ("f(\n 1\n)", True, False),
    ],
)  # fmt: skip
def test_whether_a_cell_has_a_value_and_waits(source, has_value, is_async):
    names = names_of(source)
    assert (names.has_value, names.is_async) == (has_value, is_async)


def code(
    source: str, kind: type[CellCode] = CellCode, outputs: tuple[str, ...] = (), *, plain: bool = False
) -> CellCode:
    return kind("cell", source, "<a cell>", ("x",), outputs, {"fixed": 5}, plain=plain)


def test_a_cell_is_executed_in_a_namespace_of_its_own():
    done = code("x = x + n\ny = [x + i for i in range(2)]\ndef f(): return y, fixed\nf()", outputs=("y",))(1, n=10)
    assert done.value == ([11, 12], 5)
    assert done.outputs == {"y": [11, 12]}
    assert repr(done) == "([11, 12], 5)"


def test_of_a_map_an_output_is_the_value():
    assert code("y = x + 1; x", outputs=("y",), plain=True)(1) == 2
    assert code("y = x + 1; x", outputs=("y", "x"), plain=True)(1) == (2, 1)
    assert code("x * 3", plain=True)(2) == 6


def test_an_output_that_was_not_assigned_is_named():
    with pytest.raises(NameError, match="without assigning its output 'y'"):
        code("if x: y = 1", outputs=("y",))(0)


async def test_a_cell_that_waits_is_a_coroutine_function():
    cell = code("import asyncio\nawait asyncio.sleep(0)\ndef f(): return x\nawait g(f())", AsyncCellCode)

    async def double(value: int) -> int:
        return 2 * value

    assert (await cell(4, g=double)).value == 8


async def test_a_coroutine_as_the_last_value_is_not_awaited():
    cell = code("import asyncio\nawait asyncio.sleep(0)\ng()", AsyncCellCode)

    async def given() -> int:
        return 3

    coroutine = (await cell(0, g=given)).value
    assert await coroutine == 3

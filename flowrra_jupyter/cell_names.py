"""What a cell reads, what it assigns and what its value is: pure functions of its text."""

from __future__ import annotations

import ast
import dis
import inspect
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

_READS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ASSIGNS: Final = frozenset({"STORE_NAME", "STORE_GLOBAL"})
_ITS_OWN: Final = frozenset({"__name__", "__builtins__", "__annotations__", "__doc__"})


class CellNames(NamedTuple):
    """The names of a cell that live outside of its functions."""

    needed: tuple[str, ...]
    """Read before the cell is sure to have assigned them, builtins among them; sorted."""
    assigned: tuple[str, ...]
    """Assigned, defined or imported, perhaps only in a branch; sorted."""
    has_value: bool
    """It ends with an expression that is not silenced by a semicolon."""
    is_async: bool
    """It has an ``await`` outside of its functions."""


class CompiledCell(NamedTuple):
    """Two pieces of code, to be evaluated one after the other in the same namespace."""

    body: types.CodeType
    value: types.CodeType | None
    """Of the last expression."""


def compile_cell(source: str, filename: str) -> CompiledCell:
    """Compile a cell of plain Python; a piece with ``await`` gives a coroutine. Raises ``SyntaxError``."""
    tree = ast.parse(source, filename)
    last = _last_expression(tree, source)
    if last is not None:
        tree.body.pop()
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    body = compile(tree, filename, "exec", flags=flags, dont_inherit=True)
    if last is None:
        return CompiledCell(body, None)
    return CompiledCell(body, compile(ast.Expression(last.value), filename, "eval", flags=flags, dont_inherit=True))


def names_of(source: str, given: Iterable[str] = ()) -> CellNames:
    """Say what a cell of plain Python needs; *given* names are there when it begins. Raises ``SyntaxError``."""
    compiled = compile_cell(source, "<cell>")
    pieces = [piece for piece in compiled if piece is not None]
    reading = _InOrder({*given, *_ITS_OWN})
    reading.visit(ast.parse(source))
    # Functions run later: what the cell defines by its end is there for them.
    later = {name for piece in pieces for inner in _functions(piece) for name in _names(inner, _READS)}
    needed = reading.needed | (later - reading.bound)
    assigned = {name for piece in pieces for code in (piece, *_functions(piece)) for name in _names(code, _ASSIGNS)}
    is_async = any(piece.co_flags & inspect.CO_COROUTINE for piece in pieces)
    return CellNames(
        tuple(sorted(needed)), tuple(sorted(assigned - _ITS_OWN)), compiled.value is not None, bool(is_async)
    )


def function_of(name: str, parameters: Sequence[ast.arg], source: str, filename: str, *, is_async: bool) -> ast.Module:
    """Return a module that defines a function of *name* with the cell as its body and its value as the result.

    Lines keep their numbers. Raises ``SyntaxError`` for what cannot be in a function.
    """
    tree = ast.parse(source, filename)
    last = _last_expression(tree, source)
    body: list[ast.stmt] = list(tree.body) or [ast.Pass()]
    if last is not None:
        body[-1] = ast.copy_location(ast.Return(last.value), last)
    arguments = ast.arguments(
        posonlyargs=[], args=list(parameters), vararg=None, kwonlyargs=[], kw_defaults=[], kwarg=None, defaults=[]
    )
    fields: dict[str, Any] = {"name": name, "args": arguments, "body": body, "decorator_list": [], "returns": None}
    if "type_params" in ast.FunctionDef._fields:  # from Python 3.12 on
        fields["type_params"] = []
    define = (ast.AsyncFunctionDef if is_async else ast.FunctionDef)(**fields)
    return ast.fix_missing_locations(ast.Module([define], []))


def _last_expression(tree: ast.Module, source: str) -> ast.Expr | None:
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        return None
    line = source.splitlines()[(last.end_lineno or 1) - 1].encode()[last.end_col_offset :]
    return None if line.lstrip().startswith(b";") else last


def _functions(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of everything that is defined in *code*: functions, lambdas, comprehensions, bodies of classes."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _functions(constant)


def _names(code: types.CodeType, kinds: frozenset[str]) -> set[str]:
    """What *code* itself looks up or assigns outside of its function; in the body of a class, what is the class's."""
    steps = {step.argval for step in dis.get_instructions(code) if step.opname in kinds}
    in_class = code.co_name != "<module>" and not code.co_flags & inspect.CO_OPTIMIZED
    if not in_class:
        return steps
    own = {step.argval for step in dis.get_instructions(code) if step.opname == "STORE_NAME"}
    if kinds is _ASSIGNS:
        return {step.argval for step in dis.get_instructions(code) if step.opname == "STORE_GLOBAL"}
    return steps - own - {"__name__", "__module__", "__qualname__"}


class _InOrder(ast.NodeVisitor):
    """Follows what runs at once, in its order. What a branch or a loop assigns is not sure to be there afterwards."""

    def __init__(self, bound: set[str]) -> None:
        self.bound = bound
        self.needed: set[str] = set()

    def _visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def _apart(self, *parts: Iterable[ast.AST | None]) -> set[str]:
        """Visit *parts* in a scope of their own; returns what they have bound."""
        before = self.bound
        self.bound = set(before)
        for part in parts:
            self._visit_all(part)
        bound, self.bound = self.bound, before
        return bound

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            if node.id not in self.bound:
                self.needed.add(node.id)
        elif isinstance(node.ctx, ast.Store):
            self.bound.add(node.id)
        else:
            self.bound.discard(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._visit_all([node.value, *node.targets])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._visit_all([node.annotation, node.value])
        if node.value is not None:
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name) and node.target.id not in self.bound:
            self.needed.add(node.target.id)
        self._visit_all([node.value, node.target])

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._visit_all([node.value, node.target])

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.bound.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)

    visit_ImportFrom = visit_Import  # noqa: N815 - as NodeVisitor names them

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = node.args
        hints = [each.annotation for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        self._visit_all([*node.decorator_list, *arguments.defaults, *arguments.kw_defaults, *hints, node.returns])
        self.bound.add(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - as NodeVisitor names them

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_all([*node.args.defaults, *node.args.kw_defaults])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        self._apart(node.body)
        self.bound.add(node.name)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        steps: list[ast.AST] = []
        for generator in node.generators:
            steps += [generator.iter, generator.target, *generator.ifs]
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self._apart(steps, results)

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _comprehension  # noqa: N815 - as NodeVisitor names them

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.bound = self._apart(node.body) & self._apart(node.orelse)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self._apart([node.target], node.body, node.orelse)

    visit_AsyncFor = visit_For  # noqa: N815 - as NodeVisitor names them

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._apart(node.body, node.orelse)

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        ways = [self._apart(node.body, node.orelse), *(self._handler(handler) for handler in node.handlers)]
        self.bound = set.intersection(*ways)
        self._visit_all(node.finalbody)

    visit_TryStar = visit_Try  # noqa: N815 - as NodeVisitor names them

    def _handler(self, node: ast.ExceptHandler) -> set[str]:
        self._visit_all([node.type])
        caught = set() if node.name is None else {node.name}
        before, self.bound = self.bound, self.bound | caught
        try:
            return self._apart(node.body) - caught
        finally:
            self.bound = before

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        for case in node.cases:
            captured = {
                name
                for part in ast.walk(case.pattern)
                for name in (getattr(part, "name", None), getattr(part, "rest", None))
                if isinstance(name, str)
            }
            before, self.bound = self.bound, self.bound | captured
            self._apart([case.pattern, case.guard], case.body)
            self.bound = before

"""``%%flowrra run``, ``%%flowrra task`` and ``%%flowrra map``: a cell becomes a run, a task or many runs."""

from __future__ import annotations

import ast
import builtins
import contextvars
import difflib
import hashlib
import importlib.util
import io
import types
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from flowrra import Batch, Flowrra, NotEncodable, TaskHandle
from flowrra_jupyter.cell_code import AsyncCellCode, CellCode, CellValue, show_lines
from flowrra_jupyter.cell_names import CellNames, function_of, names_of
from flowrra_jupyter.errors import CannotTravel, CellRefused
from flowrra_jupyter.words import Binding

T = TypeVar("T")

NAMES_OF_THE_SHELL: Final = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open", "_", "__", "___"})
_ABSENT: Final = object()
_REMEDIES: Final = {
    "file": "open it in the cell: pass its path",
    "generator": "pass a list of its items, or make it in the cell",
    "Connection": "connect in the cell: pass the address",
    "Cursor": "connect in the cell: pass the address",
    "Session": "connect in the cell: pass the address",
    "socket": "connect in the cell: pass the address",
}


class CellRequest(NamedTuple):
    """What was asked for in the line above a cell."""

    command: str
    source: str
    """Plain Python, as the shell has transformed it."""
    inputs: tuple[str, ...] | None = None
    """None: those that the cell needs."""
    outputs: tuple[str, ...] = ()
    bindings: tuple[Binding, ...] = ()
    name: str | None = None
    options: Mapping[str, Any] = types.MappingProxyType({})


class CellHandle(TaskHandle[Any]):
    """The run of a cell: its result is the value of the last expression."""

    def result(self, timeout: float | None = None) -> Any:
        """Block for the value of the cell's last expression, None if there is none; see ``TaskHandle.result``."""
        value: CellValue = super().result(timeout)
        return value.value

    def __await__(self) -> Generator[Any, None, Any]:
        value: CellValue = yield from super().__await__()
        return value.value

    @property
    def outputs(self) -> dict[str, Any]:
        """The variables named with ``-o``, once the run is done; blocks until then."""
        value: CellValue = super().result()
        return value.outputs


class Cells:
    """Submits cells. Binds what they come to in the user's namespace, unless that was assigned meanwhile."""

    def __init__(self, namespace: dict[str, Any], app: Callable[[], Flowrra]) -> None:
        self._namespace = namespace
        self._app = app
        self._claims: dict[str, object] = {}
        """By name: the latest submission that will bind it."""

    def run(self, asked: CellRequest) -> CellHandle:
        """Execute the cell once, in a worker process; with ``await`` in it, in the kernel's loop."""
        names = self._checked(asked, ())
        inputs = self._inputs(asked, names, ())
        code = self._code(asked, names, (), inputs, plain=False)
        task = self._app().task(name=code.__name__, cpu_bound=not names.is_async, **asked.options)(code)
        handle = _submitted(lambda: task.submit(**inputs))
        shown = CellHandle(handle._run)
        self._bind_when_done(asked.outputs, shown, lambda: shown.outputs)
        return shown

    def map(self, asked: CellRequest) -> Batch[Any]:
        """Execute the cell once per value."""
        if not asked.bindings:
            raise CellRefused("'%%flowrra map' needs the values: %%flowrra map x=range(10)")
        parameters = [binding.name for binding in asked.bindings]
        names = self._checked(asked, parameters)
        inputs = self._inputs(asked, names, parameters)
        code = self._code(asked, names, parameters, inputs, plain=True)
        task = self._app().task(name=code.__name__, cpu_bound=not names.is_async, **asked.options)(code)
        columns = [self._evaluated(binding) for binding in asked.bindings]
        batch = _submitted(lambda: task.map(*columns, **inputs))
        self._bind_when_done(asked.outputs, batch, lambda: _by_name(asked.outputs, batch.result()))
        return batch

    def task(self, asked: CellRequest) -> str:
        """Define a task whose body is the cell and bind it to its name; returns a line that says so."""
        assert asked.name is not None, "the parser asks for it"
        names = self._checked(asked, [binding.name for binding in asked.bindings])
        filename = _filename(asked.source)
        parameters = [ast.arg(binding.name) for binding in asked.bindings]
        try:
            module = function_of(asked.name, parameters, asked.source, filename, is_async=names.is_async)
            code = compile(module, filename, "exec", dont_inherit=True)
        except SyntaxError as error:
            raise CellRefused(f"the cell cannot be the body of a function: {error.msg}, line {error.lineno}") from error
        show_lines(asked.source, filename)
        made: dict[str, Any] = {}
        # Its globals are the notebook's, as those of any function of a cell.
        exec(code, self._namespace, made)  # noqa: S102 - it is what the user has asked for
        function = made[asked.name]
        function.__module__ = "__main__"
        function.__defaults__ = self._defaults(asked.bindings)
        task = self._app().task(cpu_bound=not names.is_async, **asked.options)(function)
        self._namespace[asked.name] = task
        shown = ", ".join(f"{each.name}={each.expression}" if each.expression else each.name for each in asked.bindings)
        where = "in the kernel's event loop" if names.is_async else "in worker processes"
        return f"flowrra: the task {asked.name}({shown}) runs {where}"

    # Before it is submitted.

    def _checked(self, asked: CellRequest, given: Sequence[str]) -> CellNames:
        doubled = [name for name in given if list(given).count(name) > 1]
        if doubled:
            raise CellRefused(f"the parameter {doubled[0]!r} is given twice")
        try:
            names = names_of(asked.source, given)
        except SyntaxError as error:
            raise CellRefused(f"the cell is not Python: {error.msg}, line {error.lineno}") from error
        if "get_ipython" in names.needed:
            raise CellRefused(
                "magics and shell commands (%…, !…) belong to the kernel and cannot run elsewhere; "
                "put them into a cell of their own, and use subprocess.run() here"
            )
        # The only output of a map may also be a name for the results.
        free = asked.command == "map" and len(asked.outputs) == 1
        for name in () if free else asked.outputs:
            if name not in (*names.assigned, *given):
                hint = _nearest(name, names.assigned)
                raise CellRefused(f"-o {name}: the cell assigns no variable of that name{hint}")
        return names

    def _inputs(self, asked: CellRequest, names: CellNames, given: Iterable[str]) -> dict[str, Any]:
        known = self._namespace
        if asked.inputs is None:
            # A builtin that the notebook has replaced is in its namespace, any other is everywhere.
            wanted = [name for name in names.needed if name in known and name not in NAMES_OF_THE_SHELL]
            missing = [name for name in names.needed if name not in known and not hasattr(builtins, name)]
        else:
            wanted = list(asked.inputs)
            missing = [name for name in wanted if name not in known]
        if missing:
            hint = _nearest(missing[0], known)
            raise CellRefused(f"the cell needs {missing[0]!r}, and there is no variable of that name{hint}")
        inputs = {name: known[name] for name in wanted if name not in set(given)}
        if not names.is_async:
            for name, value in inputs.items():
                _check_travels(name, value)
        return inputs

    def _code(
        self,
        asked: CellRequest,
        names: CellNames,
        parameters: Sequence[str],
        inputs: dict[str, Any],
        *,
        plain: bool,
    ) -> CellCode:
        """Takes the modules out of *inputs*: they tell nothing about one run."""
        kind = AsyncCellCode if names.is_async else CellCode
        # Of a map an output that the cell does not assign names its value.
        outputs = [name for name in asked.outputs if name in (*names.assigned, *parameters)]
        name = asked.name or f"{asked.command}_cell"
        modules = {each: inputs.pop(each) for each in list(inputs) if isinstance(inputs[each], types.ModuleType)}
        return kind(name, asked.source, _filename(asked.source), parameters, outputs, modules, plain=plain)

    def _evaluated(self, binding: Binding) -> Any:
        return eval(binding.expression, self._namespace)  # noqa: S307 - an expression of the user's own cell

    def _defaults(self, bindings: Sequence[Binding]) -> tuple[Any, ...]:
        with_default = [bool(binding.expression) for binding in bindings]
        if with_default != sorted(with_default):
            raise CellRefused("parameters without a default come first: -p x -p y=1")
        return tuple(self._evaluated(binding) for binding in bindings if binding.expression)

    # When it is done.

    def _bind_when_done(
        self, names: Sequence[str], runs: CellHandle | Batch[Any], values: Callable[[], Mapping[str, Any]]
    ) -> None:
        if not names:
            return
        claim = object()
        before = {name: self._namespace.get(name, _ABSENT) for name in names}
        self._claims.update(dict.fromkeys(names, claim))
        # What is said later appears below this cell.
        context = contextvars.copy_context()
        runs.add_done_callback(lambda done: context.run(self._bind, done, claim, before, values))

    def _bind(
        self, done: Any, claim: object, before: Mapping[str, object], values: Callable[[], Mapping[str, Any]]
    ) -> None:
        """Called on the app's callback thread."""
        failed = done.errors if isinstance(done, Batch) else done.exception()
        if failed:
            return
        kept = []
        for name, value in values().items():
            if self._claims.get(name) is not claim or self._namespace.get(name, _ABSENT) is not before[name]:
                kept.append(name)
            else:
                self._namespace[name] = value
                del self._claims[name]
        if kept:
            where = "its batch (batch.result())" if isinstance(done, Batch) else "its handle (handle.outputs)"
            listed = ", ".join(map(repr, kept))
            print(f"flowrra: {listed} was assigned meanwhile and is left alone; {where} has the value")  # noqa: T201 - said in the cell


def _submitted(submit: Callable[[], T]) -> T:
    """Raises ``CannotTravel`` where the engine refuses an input."""
    try:
        return submit()
    except NotEncodable as error:
        parts = error.path.split("'")
        if not error.path.startswith("kwargs['") or len(parts) < 3:
            raise
        within = error.path if parts[2] != "]" else ""
        what = error.what if error.what.startswith(("a ", "an ")) else f"an object of type {error.what}"
        raise CannotTravel(parts[1], what, _remedy(what), within) from error


def _check_travels(name: str, value: object) -> None:
    """Refuse what could be pickled but would not be what it was. Raises ``CannotTravel``."""
    if isinstance(value, io.IOBase) and not isinstance(value, (io.BytesIO, io.StringIO)):
        raise CannotTravel(name, "an open file", _REMEDIES["file"])
    if isinstance(value, types.ModuleType) and not _is_found(value.__name__):
        raise CannotTravel(
            name, "a module that a worker process cannot import", "save it as a .py file in a folder on sys.path"
        )


def _is_found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # its package is not there, or it was made by hand
        return False


def _remedy(what: str) -> str:
    found = [remedy for word, remedy in _REMEDIES.items() if word in what]
    return found[0] if found else "create it in the cell, or pass what it is made from"


def _by_name(names: Sequence[str], values: Sequence[Any]) -> dict[str, list[Any]]:
    if len(names) == 1:
        return {names[0]: list(values)}
    return {name: [value[place] for value in values] for place, name in enumerate(names)}


def _filename(source: str) -> str:
    digest = hashlib.blake2b(source.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"<flowrra cell {digest}>"


def _nearest(name: str, known: Iterable[str]) -> str:
    candidates = [each for each in known if not each.startswith("_") and each not in NAMES_OF_THE_SHELL]
    near = difflib.get_close_matches(name, candidates, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""

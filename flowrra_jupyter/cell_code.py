"""A cell as a function that a worker process can call. Imported there: it needs the standard library alone."""

from __future__ import annotations

import inspect
import linecache
import types
from collections.abc import Mapping, Sequence
from typing import Any

from flowrra_jupyter.cell_names import compile_cell


class CellValue:
    """What a cell came to: the value of its last expression, and the variables that were asked for."""

    __slots__ = ("outputs", "value")

    def __init__(self, value: Any, outputs: Mapping[str, Any]) -> None:
        self.value = value
        self.outputs = dict(outputs)

    def __repr__(self) -> str:
        return repr(self.value)


class CellCode:
    """Executes a cell in a namespace of its own: the *parameters* by position, everything else by keyword.

    Returns a :class:`CellValue`, or with *plain* what a list of such values is made of: the outputs if there are any
    (one as it is, several as a tuple), else the value. *fixed* variables, such as modules, are part of the code. With
    ``await`` in the cell use :class:`AsyncCellCode`.
    """

    def __init__(
        self,
        name: str,
        source: str,
        filename: str,
        parameters: Sequence[str],
        outputs: Sequence[str],
        fixed: Mapping[str, Any],
        *,
        plain: bool,
    ) -> None:
        self.__name__ = self.__qualname__ = name
        # It is one of the notebook's functions: the latest of its name counts.
        self.__module__ = "__main__"
        kinds = inspect.Parameter
        given = [kinds(each, kinds.POSITIONAL_OR_KEYWORD) for each in parameters]
        self.__signature__ = inspect.Signature([*given, kinds("inputs", kinds.VAR_KEYWORD)])
        self._source, self._filename, self._fixed = source, filename, dict(fixed)
        self._parameters, self._outputs, self._plain = tuple(parameters), tuple(outputs), plain

    def __call__(self, *values: Any, **inputs: Any) -> Any:
        namespace = self._namespace(values, inputs)
        body, value = compile_cell(self._source, self._filename)
        exec(body, namespace)  # noqa: S102 - it is what the user has asked for
        return self._outcome(namespace, None if value is None else eval(value, namespace))  # noqa: S307 - the same

    def _namespace(self, values: tuple[Any, ...], inputs: Mapping[str, Any]) -> dict[str, Any]:
        show_lines(self._source, self._filename)
        return {"__name__": "__main__", **self._fixed, **inputs, **dict(zip(self._parameters, values, strict=True))}

    def _outcome(self, namespace: Mapping[str, Any], value: Any) -> Any:
        outputs = {}
        for name in self._outputs:
            if name not in namespace:
                raise NameError(f"the cell has ended without assigning its output {name!r}", name=name)
            outputs[name] = namespace[name]
        if not self._plain:
            return CellValue(value, outputs)
        if not outputs:
            return value
        return next(iter(outputs.values())) if len(outputs) == 1 else tuple(outputs.values())


class AsyncCellCode(CellCode):
    """The same for a cell with ``await``, which is executed in an event loop."""

    async def __call__(self, *values: Any, **inputs: Any) -> Any:
        namespace = self._namespace(values, inputs)
        body, last = compile_cell(self._source, self._filename)
        await _evaluated(body, namespace)
        return self._outcome(namespace, None if last is None else await _evaluated(last, namespace))


async def _evaluated(code: types.CodeType, namespace: dict[str, Any]) -> Any:
    """What *code* comes to; if there is an ``await`` in it, it gives a coroutine first."""
    result = eval(code, namespace)  # noqa: S307 - it is what the user has asked for
    return await result if code.co_flags & inspect.CO_COROUTINE else result


def show_lines(source: str, filename: str) -> None:
    """Have tracebacks show the lines of *source*."""
    linecache.cache[filename] = len(source), None, source.splitlines(keepends=True), filename

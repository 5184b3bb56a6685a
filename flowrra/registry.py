"""The tasks of an app by name, and what a name means when it is defined again."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

from flowrra.core.tuples import NamedTuple
from flowrra.errors import DuplicateTask
from flowrra.task import Task


class _Entry(NamedTuple):
    task: Task[..., Any]
    function: Callable[..., Any]
    module: str
    execution: object
    """Stands for one execution of the module's code; a reload is another one."""


class Registry:
    """In ``__main__``, where cells are run again, the last definition of a name wins, as it does after a reload.

    In importable modules two functions that ask for one name are a mistake, and the second one is refused.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def add(self, task: Task[..., Any], function: Callable[..., Any]) -> None:
        """Register *task*. Raises ``DuplicateTask``."""
        # The __module__ of a partial, an instance or a builtin says where its class was written, not who registers it.
        module = function.__module__ if inspect.isfunction(function) else "__main__"
        entry = _Entry(task, function, module, _execution_of(module))
        known = self._entries.get(task.name)
        if known is not None and not _may_replace(known, entry):
            raise DuplicateTask(task.name, module, known.module)
        self._entries[task.name] = entry

    def __getitem__(self, name: str) -> Task[..., Any]:
        return self._entries[name].task

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _may_replace(known: _Entry, new: _Entry) -> bool:
    if "__main__" in (known.module, new.module) or known.function is new.function:
        return True
    return known.module == new.module and known.execution is not new.execution


def _execution_of(module: str) -> object:
    # importlib makes a new spec each time it executes a module, so the spec's identity tells executions apart. A
    # module without one cannot be reloaded either.
    return getattr(sys.modules.get(module), "__spec__", None)

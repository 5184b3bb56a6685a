"""Errors of the notebook side."""

from __future__ import annotations

from flowrra import FlowrraError


class MissingExtra(FlowrraError, ImportError):
    """A package that the notebook side needs is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"flowrra in a notebook needs {package}: pip install 'flowrra[jupyter]'", name=package)


class NoApp(FlowrraError, RuntimeError):
    """There is no app in this kernel yet."""

    def __init__(self) -> None:
        super().__init__("there is no app in this kernel yet; make one with '%flowrra start'")


class NameTaken(FlowrraError, NameError):
    """The variable that the app was to be bound to holds something else."""

    def __init__(self, variable: str, holds: object) -> None:
        super().__init__(
            f"the variable {variable!r} holds a value of type {type(holds).__name__} and is left alone; "
            "choose another one: %flowrra start --as NAME"
        )


class CellRefused(FlowrraError, ValueError):
    """The cell below a ``%%flowrra`` line cannot be what was asked for."""


class CannotTravel(FlowrraError, TypeError):
    """A variable that the cell needs cannot be sent to a worker process."""

    def __init__(self, variable: str, what: str, remedy: str, path: str = "") -> None:
        self.variable, self.what, self.path = variable, what, path
        where = f" (in {path})" if path else ""
        super().__init__(
            f"the cell needs the variable {variable!r}, which holds {what}{where} and cannot be sent to a worker "
            f"process; {remedy}"
        )

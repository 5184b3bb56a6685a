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

"""``%flowrra`` and ``%%flowrra``: parse one line and make one call of the session."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from flowrra import FlowrraError
from flowrra_jupyter import commands
from flowrra_jupyter.cell_magics import CellRequest
from flowrra_jupyter.commands import COMMANDS, STATUSES, Asked
from flowrra_jupyter.session import Session

Arguments = argparse.Namespace


@magics_class
class FlowrraMagics(Magics):
    """Registered by ``%load_ext flowrra_jupyter``."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.shell)
        self._session = session
        self._transform = session.shell.transform_cell

    @no_var_expand
    @line_cell_magic
    def flowrra(self, line: str, cell: str | None = None) -> Any:
        """Orchestrate tasks; ``%flowrra help`` says how."""
        magic = "%flowrra" if cell is None else "%%flowrra"
        asked = commands.parse(line, has_cell=cell is not None)
        try:
            if asked.wants_help:
                print(commands.page(asked.command))  # noqa: T201 - said in the cell
                return None
            if cell is not None:
                return self._do_with_cell(asked, cell)
            return _ACTIONS[asked.command](self._session, asked.arguments)
        except FlowrraError as error:
            # Said in one line: the way through the magic to it helps nobody.
            raise UsageError(f"{magic}: {error}") from error

    def _do_with_cell(self, asked: Asked, cell: str) -> Any:
        given, cells = asked.arguments, self._session.cells
        if asked.command == "help":
            return _say(commands.page(given.topic))
        is_task = asked.command == "task"
        request = CellRequest(
            asked.command or "",
            self._transform(cell),
            None if is_task else commands.listed(given.inputs),
            () if is_task else commands.listed(given.outputs) or (),
            tuple(given.parameters) if is_task else asked.bindings,
            given.name,
            commands.task_options(given),
        )
        if is_task:
            return _say(cells.task(request))
        return cells.run(request) if asked.command == "run" else cells.map(request)


def _say(text: str) -> None:
    print(text)  # noqa: T201 - said in the cell


def _start(session: Session, given: Arguments) -> None:
    _say(session.start(given.workers, given.variable, given.on_interrupt))


def _cancel(session: Session, given: Arguments) -> int:
    if (given.id is not None) + given.all > 1:
        raise UsageError("%flowrra cancel: a run's id, or --all, not both; see %flowrra help cancel")
    if given.id is None and not given.all and not given.now:
        raise UsageError("%flowrra cancel: which one? a run's id, --all or --now is required; see %flowrra help cancel")
    return session.cancel(given.id, everything=given.all, now=given.now)


_ACTIONS: Final[dict[str | None, Callable[[Session, Arguments], Any]]] = {
    None: lambda session, _: session.current(),
    "start": _start,
    "stop": lambda session, given: _say(session.stop(drain=given.drain)),
    "status": lambda session, _: session.status(),
    "runs": lambda session, given: session.runs(STATUSES.get(given.status), given.limit),
    "show": lambda session, given: session.find(given.id) if given.id else session.current(),
    "logs": lambda session, given: _say(session.logs(given.id)),
    "cancel": _cancel,
    "retry": lambda session, given: session.retry(given.id),
    "pause": lambda session, given: _say(session.pause(given.task)),
    "resume": lambda session, given: _say(session.resume(given.task)),
    "workers": lambda session, given: _say(session.workers(given.number)),
    "debug": lambda session, given: session.debug(given.id),
    "doctor": lambda session, _: session.doctor(),
    "help": lambda _, given: _say(commands.page(given.topic)),
}
assert {name for name, command in COMMANDS.items() if not command.has_cell} == _ACTIONS.keys() - {None}

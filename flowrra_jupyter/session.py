"""One kernel's flowrra: its app, its views, and what each magic does. The magics only parse and call."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Final

from flowrra import AppStats, Flowrra, FlowrraError, Status, TaskHandle, TaskResult
from flowrra_jupyter import rich
from flowrra_jupyter.displays import Displays
from flowrra_jupyter.errors import NameTaken, NoApp
from flowrra_jupyter.host import KernelHost, TerminalHost
from flowrra_jupyter.sources import cancel_all, latest_runs
from flowrra_jupyter.view_models import TERMINAL, short_id

SHUTDOWN_SECONDS: Final = 0.02
"""How long the end of the kernel may wait for us; what is left then ends with the process."""
DEFAULT_VARIABLE: Final = "app"
FINDABLE: Final = 10_000
"""How far back a run is found by a part of its id."""


class Session:
    """What ``%load_ext flowrra_jupyter`` sets up, and ``%unload_ext`` closes."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.kernel = getattr(shell, "kernel", None)
        self.host = TerminalHost(shell) if self.kernel is None else KernelHost(self.kernel)
        self.displays = Displays(shell)
        self._app: Flowrra | None = None

    # The app.

    def app(self, workers: int | None = None, name: str | None = None) -> Flowrra:
        """Return the kernel's running app, made now if there is none or if it has another number of workers or name.

        A new one takes over from the old one, which ends when its runs are done; tasks of the old one run on the new.
        """
        app = self._existing()
        if app is None or workers not in (None, app.cpu_workers) or name not in (None, app.name):
            app = Flowrra(name or (app.name if app is not None else None), cpu_workers=workers)
        self._app = app
        if not app.running:
            app.blocking.start()
        return app

    def start(self, workers: int | None = None, variable: str = DEFAULT_VARIABLE) -> str:
        """Bind the kernel's app to *variable*; returns a line that says what there is now. Raises ``NameTaken``."""
        held = self.shell.user_ns.get(variable)
        if held is not None and not isinstance(held, Flowrra):
            raise NameTaken(variable, held)
        before = self._existing()
        app = self.app(workers)
        self.shell.user_ns[variable] = app
        line = f"flowrra: {variable} is running, with {_processes(app.cpu_workers)} for CPU-bound tasks"
        if before is not None and before is not app:
            line += f" instead of {_processes(before.cpu_workers)}"
        return line

    def current(self) -> Flowrra:
        """Return the app that the magics are about, started by one or made in a cell. Raises ``NoApp``."""
        app = self._existing()
        if app is None:
            raise NoApp
        return app

    def stop(self, *, drain: bool = False) -> str:
        """Stop the app; unfinished runs are cancelled, or with *drain* finished first."""
        app = self.current()
        if not app.running:
            return f"flowrra: {app.name} is not running"
        unfinished = sum(number for status, number in app.stats().counts.items() if status not in TERMINAL)
        app.blocking.stop(drain=drain)
        given_up = f"; {rich.plural(unfinished, 'unfinished run')} cancelled" if unfinished and not drain else ""
        return f"flowrra: {app.name} is stopped{given_up}"

    def status(self) -> AppStats:
        """Return the numbers of the app."""
        return self.current().stats()

    def runs(self, status: Status | None = None, limit: int = 100) -> RunList:
        """Return the latest runs, newest first."""
        return RunList(latest_runs(self.current(), status, limit))

    def find(self, run_id: str) -> TaskHandle[Any]:
        """Return the handle of a run by its id, in full or as views show it, or by a beginning that is its alone."""
        app = self.current()
        known = [record.task_id for record in latest_runs(app, limit=FINDABLE)]
        matches = [each for each in known if each.startswith(run_id) or short_id(each) == run_id]
        if len(matches) > 1 and run_id not in matches:
            raise FlowrraError(f"{rich.plural(len(matches), 'run')} go by {run_id!r}; give more of the id")
        return app.handle(matches[0] if len(matches) == 1 else run_id)

    def cancel(self, run_id: str | None = None) -> int:
        """Cancel one run, or without an id all that are not done; returns how many."""
        if run_id is not None:
            return int(self.find(run_id).cancel())
        return cancel_all(self.current())

    def _existing(self) -> Flowrra | None:
        if self._app is not None:
            return self._app
        held = self.shell.user_ns.get(DEFAULT_VARIABLE)
        return held if isinstance(held, Flowrra) else next(iter(self._all_apps()), None)

    def _all_apps(self) -> Iterable[Flowrra]:
        held = (value for value in list(self.shell.user_ns.values()) if isinstance(value, Flowrra))
        return {id(app): app for app in (self._app, *held) if app is not None}.values()

    # Life.

    def cell_began(self, *_: object) -> None:
        self.host.cell_began()

    def cell_ended(self, *_: object) -> None:
        self.host.cell_ended()
        self.displays.flush()

    def close(self) -> None:
        """Leave views as they are and let go of the shell. Apps go on."""
        self.displays.close()

    def shutdown(self) -> None:
        """Cancel everything, because the kernel ends, and leave the views as they are then, whatever user code does."""
        stopper = threading.Thread(target=self._stop_apps, name="flowrra-shutdown", daemon=True)
        stopper.start()
        stopper.join(SHUTDOWN_SECONDS)
        self.displays.close(SHUTDOWN_SECONDS)

    def _stop_apps(self) -> None:
        for app in self._all_apps():
            if app.running:
                app.blocking.stop(drain=False)


def _processes(workers: int) -> str:
    return "1 process" if workers == 1 else f"{workers} processes"


class RunList(list[TaskResult]):
    """Records of runs that show themselves as a table."""

    def _repr_html_(self) -> str:
        return rich.html(rich.listing(self), rows=len(self))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - IPython's signature
        printer.text(rich.text(rich.listing(self), rows=len(self)))

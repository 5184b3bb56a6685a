"""One kernel's flowrra: its app, its views, and what each magic does. The magics only parse and call."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import reprlib
import threading
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, Final

from flowrra import AppStats, Batch, Flowrra, FlowrraError, Status, Task, TaskHandle, TaskResult, Waits
from flowrra_jupyter import doctor, rich
from flowrra_jupyter.cell_magics import Cells
from flowrra_jupyter.commands import DEFAULT_VARIABLE
from flowrra_jupyter.displays import Displays
from flowrra_jupyter.errors import NameTaken, NoApp
from flowrra_jupyter.host import KernelHost, TerminalHost
from flowrra_jupyter.interrupts import Interrupts
from flowrra_jupyter.sources import cancel_all, latest_runs
from flowrra_jupyter.stopping import line_about
from flowrra_jupyter.view_models import TERMINAL, short_id

SHUTDOWN_SECONDS: Final = 0.02
"""How long the end of the kernel may wait for us; what is left then ends with the process."""
FINDABLE: Final = 10_000
"""How far back a run is found by a part of its id."""


class Session:
    """What ``%load_ext flowrra_jupyter`` sets up, and ``%unload_ext`` closes."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.kernel = getattr(shell, "kernel", None)
        self.host = TerminalHost(shell) if self.kernel is None else KernelHost(self.kernel)
        self.displays = Displays(shell)
        self.cells = Cells(shell.user_ns, self.app)
        self.on_interrupt = "own"
        self._interrupts = Interrupts(shell, self.host.io_loop) if isinstance(self.host, KernelHost) else None
        self._app: Flowrra | None = None

    # The app.

    def app(self, workers: int | None = None, name: str | None = None) -> Flowrra:
        """Return the kernel's running app, made now if there is none or if it has another name.

        With another number of *workers* it has that many from now on.
        """
        app = self._existing()
        if app is None or name not in (None, app.name):
            app = Flowrra(name, cpu_workers=workers)
        elif workers not in (None, app.cpu_workers):
            app.resize(workers or app.cpu_workers)
        self._app = app
        if not app.running:
            app.blocking.start()
        return app

    def start(
        self, workers: int | None = None, variable: str = DEFAULT_VARIABLE, on_interrupt: str | None = None
    ) -> str:
        """Bind the kernel's app to *variable*; returns a line that says what there is now. Raises ``NameTaken``."""
        self.on_interrupt = on_interrupt or self.on_interrupt
        held = self.shell.user_ns.get(variable)
        if held is not None and not isinstance(held, Flowrra):
            raise NameTaken(variable, held)
        before = self._existing()
        number = None if before is None else before.cpu_workers
        app = self.app(workers)
        self.shell.user_ns[variable] = app
        line = f"flowrra: {variable} is running, with {_processes(app.cpu_workers)} for CPU-bound tasks"
        return line if number in (None, app.cpu_workers) else f"{line} instead of {_processes(number or 0)}"

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

    def cancel(self, run_id: str | None = None, *, everything: bool = False, now: bool = False) -> int:
        """Cancel one run, or *everything* that is not done, or else what is being cancelled; returns how many runs.

        With *now* they get no time to clean up, or none any more.
        """
        if run_id is not None:
            return int(self.find(run_id).cancel(now=now))
        if everything and not now:
            return cancel_all(self.current())
        app = self.current()
        running = latest_runs(app, Status.RUNNING, FINDABLE)
        hurried = {record.task_id for record in running if everything or record.stopping}
        cancelled = sum(app.handle(run).cancel(now=True) for run in hurried)
        return cancelled + (cancel_all(app) if everything else 0)

    def logs(self, run_id: str) -> str:
        """Return what a run has printed."""
        handle = self._held(self.find(run_id))
        if handle.logs:
            return handle.logs.rstrip("\n")
        return f"flowrra: run {short_id(handle.id)} ({handle.task_name}) has printed nothing that was captured"

    def _held(self, handle: TaskHandle[Any]) -> TaskHandle[Any]:
        """The handle that a variable of the notebook has of the same run: it knows what no record keeps."""
        for value in list(self.shell.user_ns.values()):
            if isinstance(value, TaskHandle) and value == handle:
                return value
            if isinstance(value, Batch) and value.id == handle.batch_id:
                return next((each for each in value if each == handle), handle)
        return handle

    def retry(self, run_id: str | None = None) -> TaskHandle[Any] | RunList:
        """Submit a run again, or without an id all failed ones of which there is no retry yet."""
        app = self.current()
        if run_id is not None:
            return app.blocking.retry(self.find(run_id))
        known = latest_runs(app, limit=FINDABLE)
        retried = {record.retry_of for record in known}
        failed = [record for record in known if record.status is Status.FAILED and record.task_id not in retried]
        again: list[TaskHandle[Any]] = [app.blocking.retry(record.task_id) for record in reversed(failed)]
        return RunList([handle.info() for handle in reversed(again)])

    def debug(self, run_id: str) -> None:
        """Make the call of a failed run here, and open the debugger where it raises."""
        __tracebackhide__ = True
        handle = self.find(run_id)
        call = self.current().call_of(handle)
        try:
            value = _called(call)
        except (Exception, SystemExit):  # noqa: BLE001 - whatever it raises is what the user is after
            self.shell.showtraceback()
            self.shell.debugger(force=True)
        else:
            print(f"flowrra: {handle.task_name} has not failed this time: it returned {reprlib.repr(value)}")  # noqa: T201 - said in the cell

    def doctor(self) -> None:
        """Say what there is, and what to do about what is in the way."""
        for finding in doctor.look(self.shell, self._existing()):
            print(finding)  # noqa: T201 - said in the cell

    def pause(self, task: str | None) -> str:
        """Hold back a task, or everything; returns a line that says so."""
        app = self._with_task(task)
        app.pause(task)
        return f"flowrra: {task or 'everything'} is paused; '%flowrra resume{f' {task}' if task else ''}' lets it go on"

    def resume(self, task: str | None) -> str:
        """Undo :meth:`pause`."""
        self._with_task(task).resume(task)
        return f"flowrra: {task or 'everything'} goes on"

    def workers(self, number: int) -> str:
        """Have *number* worker processes."""
        app = self.current()
        before = app.cpu_workers
        app.resize(number)
        return f"flowrra: {_processes(number)} for CPU-bound tasks instead of {_processes(before)}"

    def tasks(self) -> list[str]:
        """Names of the tasks in the notebook's variables, and of the latest runs."""
        held = [value.name for value in list(self.shell.user_ns.values()) if isinstance(value, Task)]
        app = self._existing()
        ran = [] if app is None else [record.task_name for record in latest_runs(app, limit=FINDABLE)]
        return sorted({*held, *ran})

    def run_ids(self) -> list[str]:
        """Ids of the latest runs, newest first."""
        app = self._existing()
        return [] if app is None else [record.task_id for record in latest_runs(app)]

    def variables(self) -> list[str]:
        """Names of the notebook's variables, without those of the shell."""
        return sorted(
            name for name in list(self.shell.user_ns) if not name.startswith("_") and not self._is_hidden(name)
        )

    def _is_hidden(self, name: str) -> bool:
        return name in self.shell.user_ns_hidden

    def _with_task(self, task: str | None) -> Flowrra:
        """The app, if it knows a task of that name."""
        app = self.current()
        known = self.tasks()
        if task is not None and task not in known:
            near = get_close_matches(task, known, n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}" if known else "there is none"
            )
            raise FlowrraError(f"there is no task {task!r}; {hint}")
        return app

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
        if self._interrupts is not None:
            self._interrupts.cell_began()

    def cell_ended(self, result: Any) -> None:
        """*result* is the shell's; None if the cell could not be run at all."""
        waits = self.host.cell_ended()
        if self._was_interrupted(result):
            self._stop_waited_for(waits)
        self.displays.flush()

    def _was_interrupted(self, result: Any) -> bool:
        if self._interrupts is not None:
            return self._interrupts.ended_by(result)
        return result is not None and isinstance(result.error_in_exec, KeyboardInterrupt)

    def _stop_waited_for(self, waits: Waits | None) -> None:
        """Cancel what the interrupted cell has waited for, as far as that is asked for, and say so in a line."""
        if self.on_interrupt == "all":
            # Finding all of them takes a while with many runs, and the cell is to be over now.
            threading.Thread(target=self._cancel_all, name="flowrra-cancel", daemon=True).start()
            print("flowrra: all runs that are not done are cancelled")  # noqa: T201 - said in the cell
        elif waits is not None:
            line = line_about(waits.interrupt(cancel=self.on_interrupt == "own"), self.shell.user_ns)
            if line is not None:
                print(line)  # noqa: T201 - said in the cell

    def _cancel_all(self) -> None:
        for app in self._all_apps():
            if app.running:
                cancel_all(app)

    def close(self) -> None:
        """Leave views as they are and let go of the shell. Apps go on."""
        if self._interrupts is not None:
            self._interrupts.close()
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


def _called(call: Callable[[], Any]) -> Any:
    """What *call* comes to; a coroutine is run to its end in a loop of its own, as the kernel's is taken."""
    __tracebackhide__ = True
    value = call()
    if not inspect.iscoroutine(value):
        return value
    ended: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def run() -> None:
        try:
            ended.set_result(asyncio.run(value))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            ended.set_exception(error)

    threading.Thread(target=run, name="flowrra-debug", daemon=True).start()
    return ended.result()


def _processes(workers: int) -> str:
    return "1 process" if workers == 1 else f"{workers} processes"


class RunList(list[TaskResult]):
    """Records of runs that show themselves as a table."""

    def _repr_html_(self) -> str:
        return rich.html(rich.listing(self), rows=len(self))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - IPython's signature
        printer.text(rich.text(rich.listing(self), rows=len(self)))

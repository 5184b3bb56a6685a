"""The app: what a program or kernel owns. Reads like a table of contents; the work is done below."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, ParamSpec, Self, TypeVar, Unpack, overload

from flowrra.batch import Batch
from flowrra.blocking import Blocking
from flowrra.config import IoLoop, WorkersBy, settings_from
from flowrra.core.statuses import Status
from flowrra.engine.engine import Engine
from flowrra.engine.run import Run
from flowrra.engine.waiters import Over, begin_wait, wait_here
from flowrra.errors import AppNotRunning, UnknownRun, WaitTimeout, WouldDeadlock
from flowrra.events import RunEvent
from flowrra.functions import check_function, is_coroutine_function, name_of
from flowrra.handle import TaskHandle, sources
from flowrra.hosting import current_host
from flowrra.interfaces import Executor, ResultBackend
from flowrra.losses import warn_of
from flowrra.options import Options, TaskOptions, check_count, check_positive_count, checked_status, not_of_a_task
from flowrra.pool.cores import available_cores
from flowrra.registry import Registry
from flowrra.results import AppStats, TaskResult, snapshot
from flowrra.state import AppState, hosted
from flowrra.submitter import Submitter, open_blocks
from flowrra.tables import RunTable
from flowrra.task import CoroutineTask, Task, TaskDecorator, checked_name
from flowrra.waiting import Completed, as_completed

P = ParamSpec("P")
R = TypeVar("R")


class Flowrra:
    """Tasks, executors and results, and their lifetime.

    ``async with app:`` runs the engine on the running loop, ``with app:`` on a thread of its own. A running app is
    entered without being started and left without being stopped; leaving then waits for what the block submitted. With
    a host (in a notebook, after ``%load_ext flowrra_jupyter``) it starts by itself when something is submitted.

    Leaving drains what is queued, running or retrying; paused runs and those not yet due are cancelled and named in a
    warning; an exception in the block cancels everything. Finished handles answer for ever; unfinished ones are
    CANCELLED with ``AppStopped``. Every method may be called from any thread and any loop.
    """

    __flowrra_app__: ClassVar[bool] = True
    """Says what this is to the pool, which must not import it."""

    def __init__(
        self,
        name: str | None = None,
        *,
        backend: str | ResultBackend | None = None,
        cpu_workers: int | None = None,
        workers_by: WorkersBy | None = None,
        initializer: Callable[[], object] | None = None,
        nice: int | None = None,
        io_concurrency: int | None = None,
        io_threads: int | None = None,
        io_loop: IoLoop | None = None,
        keep_arguments: int | str | None = None,
        executors: dict[str, Executor] | None = None,
        **unknown: Any,
    ) -> None:
        """Make an app; nothing is started. What is None comes from ``FLOWRRA_<NAME>``, else from the default.

        Raises ``UnknownOption`` and ``InvalidOption``.
        """
        self._settings = settings_from(
            {
                "name": name,
                "backend": backend,
                "cpu_workers": cpu_workers,
                "workers_by": workers_by,
                "initializer": initializer,
                "nice": nice,
                "io_concurrency": io_concurrency,
                "io_threads": io_threads,
                "io_loop": io_loop,
                "keep_arguments": keep_arguments,
                "executors": executors,
                **unknown,
            }
        )
        self._state = AppState(self.name, self._settings)
        self._registry = Registry()
        self._submitter = Submitter(lambda: self.name, self._engine_for_submitting)
        sources[id(self)] = self

    @classmethod
    def from_urls(cls, *, backend: str = "memory://", **settings: Any) -> Self:
        """The constructor, with URLs only."""
        return cls(backend=backend, **settings)

    # Defining tasks.

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, *, name: str | None = None, **options: Unpack[TaskOptions]) -> TaskDecorator: ...
    def task(self, function: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
        """Make a task of a function: ``@app.task``, or ``@app.task(cpu_bound=True, max_retries=5, …)``.

        ``async def`` runs in an event loop, ``def`` on a daemon thread, ``def`` with ``cpu_bound=True`` in a worker
        process. Raises ``InvalidTask`` (a ``TypeError``), ``UnknownOption``, ``InvalidOption`` or ``DuplicateTask``.
        """
        for option in options.keys() - TaskOptions.__annotations__.keys():
            raise not_of_a_task(option)
        checked = Options().updated(options)
        chosen = None if name is None else checked_name(name)

        def decorate(decorated: Callable[..., Any]) -> Task[..., Any]:
            task = self._make_task(decorated, chosen, checked)
            self._registry.add(task, decorated)
            return task

        return decorate if function is None else decorate(function)

    def _make_task(self, function: Callable[..., Any], name: str | None, options: Options) -> Task[..., Any]:
        check_function(function)
        kind = CoroutineTask if is_coroutine_function(function) else Task
        return kind(function, name or name_of(function), options, self._submitter)

    def task_of(self, given: Callable[..., Any]) -> Task[..., Any]:
        """Return *given* if it is a task, else one with default options that is not registered."""
        return given if isinstance(given, Task) else self._make_task(given, None, Options())

    # Submitting.

    @overload
    async def submit(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]: ...
    @overload
    async def submit(
        self, task: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]: ...
    @overload
    async def submit(self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]: ...
    async def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskHandle[Any]:
        """Queue one run of a task, or of any callable, and return its handle once the backend has accepted it."""
        return self.task_of(task).submit(*args, **kwargs)

    @overload
    async def map(
        self, task: Task[..., R], items: Iterable[Any], /, *more: Iterable[Any], **constants: Any
    ) -> Batch[R]: ...
    @overload
    async def map(
        self,
        task: Callable[..., Coroutine[Any, Any, R]],
        items: Iterable[Any],
        /,
        *more: Iterable[Any],
        **constants: Any,
    ) -> Batch[R]: ...
    @overload
    async def map(
        self, task: Callable[..., R], items: Iterable[Any], /, *more: Iterable[Any], **constants: Any
    ) -> Batch[R]: ...
    async def map(
        self, task: Callable[..., Any], items: Iterable[Any], /, *more: Iterable[Any], **constants: Any
    ) -> Batch[Any]:
        """Queue one run per item, of a task or of any callable; see :meth:`Task.map`."""
        return self.task_of(task).map(items, *more, **constants)

    # Asking.

    async def wait_for_result(self, run: TaskHandle[Any] | str, timeout: float | None = None) -> TaskResult:
        """Wait until the run is done and return its record, a failed one's too.

        Raises ``WaitTimeout`` (a ``TimeoutError``) after *timeout* seconds, and ``UnknownRun``.
        """
        handle = self.handle(run) if isinstance(run, str) else run
        awaited = handle._run
        if not awaited.settled:
            begin_wait((awaited,))
            await wait_here(Over(awaited), timeout)
        if not awaited.settled:
            assert timeout is not None, "only a wait with a timeout gives up"
            raise WaitTimeout(f"run {handle.id} ({handle.task_name})", timeout)
        return snapshot(awaited)

    async def get_result(self, run: TaskHandle[Any] | str) -> TaskResult | None:
        """Return the run's record as it is now, or None if no run of that id is known."""
        if isinstance(run, TaskHandle):
            return run.info()
        active = self._state.find(run)
        if active is not None:
            return snapshot(active)
        life, query = self._state.life, self._state.backend.get(run)
        stored = await (query if life is None else life.ask(query))
        return None if stored is None else snapshot(Run.from_stored(stored))

    async def runs(
        self, status: Status | str | None = None, task_name: str | None = None, limit: int = 100
    ) -> list[TaskResult]:
        """Return the latest runs that match, latest first. Raises ``InvalidOption``."""
        wanted = None if status is None else checked_status(status)
        check_count("limit", limit)
        life = self._state.life
        # Before the backend is asked: a run that ends meanwhile is found twice rather than not at all.
        unfinished = self._state.unfinished()
        query = self._state.backend.query(wanted, task_name, limit)
        stored = await (query if life is None else life.ask(query))
        done = [Run.from_stored(one) for one in stored]
        known = {run.id for run in done}
        active = [run for run in unfinished if run.id not in known and wanted in (None, run.status)]
        active = [run for run in active if task_name in (None, run.submission.task_name)]
        latest = sorted([*active, *done], key=lambda run: run.submission.seq, reverse=True)
        return [snapshot(run) for run in latest[:limit]]

    async def table(self, history: int = 1_000) -> RunTable:
        """Return the runs that are not over, the latest *history* of the others and all to come; ``close()`` it."""
        table = RunTable(self.handle)
        table.follow(self._state.dispatcher)
        life, query = self._state.life, self._state.backend.query(None, None, history)
        stored = await (query if life is None else life.ask(query))
        table.add_all(map(Run.from_stored, stored), () if life is None else life.engine.active())
        return table

    async def cancel(self, run: TaskHandle[Any] | str, *, now: bool = False) -> bool:
        """Ask the run to stop; return whether it will; see :meth:`TaskHandle.cancel`. Raises ``UnknownRun``."""
        return (self.handle(run) if isinstance(run, str) else run).cancel(now=now)

    async def retry(self, run: TaskHandle[R] | str) -> TaskHandle[R]:
        """Submit a run again that has failed or was cancelled: the same code, arguments, options and seed.

        It is a run of its own, with ``retry_of`` set; a ``delay`` is not waited for again, a ``deadline`` counts anew.
        In its batch it takes the place of the old one. Raises ``NotRetryable``, ``UnknownRun``, and ``ArgumentsGone``
        if what it was executed with is no longer kept, as ``keep_arguments`` says.
        """
        handle = self.handle(run) if isinstance(run, str) else run
        return TaskHandle(self._submitter.retry([handle._run])[0])

    def call_of(self, run: TaskHandle[Any] | str) -> Callable[[], Any]:
        """Return the call that a failed or cancelled run has made: calling it runs the function here, to see why.

        Code and arguments are those of the run, with nothing of its attempts: no retries, no seed. Raises as
        :meth:`retry` does.
        """
        return self._submitter.call_of((self.handle(run) if isinstance(run, str) else run)._run)

    def handle(self, run_id: str) -> TaskHandle[Any]:
        """Return a handle of the run with that id. Raises ``UnknownRun``."""
        run = self._state.find(run_id)
        life = self._state.life
        if run is None and life is not None and (kept := life.engine.kept.get(run_id)) is not None:
            run = kept.run  # with all that is known of it, such as its logs
        if run is None:
            stored = self._state.backend.recent(run_id)
            if stored is None:
                raise UnknownRun(run_id)
            run = Run.from_stored(stored)
        return TaskHandle(run)

    def as_completed(self, handles: Iterable[TaskHandle[R]]) -> Completed[R]:
        """Iterate over *handles* as they end; see :func:`flowrra.as_completed`."""
        return as_completed(handles)

    # Watching and holding back.

    def subscribe(self, callback: Callable[[RunEvent], object]) -> Callable[[], None]:
        """Call *callback* with each change of each run, on the app's callback thread; returns the call that ends it.

        Events come in order, one at a time. A callback that raises is logged; one that cannot keep up misses events,
        which ``stats().lost_events`` counts, and never slows the engine down.
        """
        return self._state.dispatcher.subscribe(callback)

    def stats(self) -> AppStats:
        """The app in numbers, now."""
        life = self._state.life
        engine = None if life is None else life.engine
        return AppStats(
            name=self.name,
            running=life is not None,
            counts={status: 0 if engine is None else engine.counts[status] for status in Status},
            executors={} if engine is None else {name: dict(e.describe()) for name, e in engine.executors.items()},
            paused=() if engine is None else tuple(engine.paused),
            lost_events=self._state.dispatcher.lost,
        )

    def pause(self, task: Task[..., Any] | str | None = None) -> None:
        """Start no more runs, of one task or at all; what has begun goes on. Raises ``AppNotRunning``."""
        engine = self._state.engine
        engine.call(engine.pause, task.name if isinstance(task, Task) else task)

    def resume(self, task: Task[..., Any] | str | None = None) -> None:
        """Undo :meth:`pause` of the same task; without one, of everything. Raises ``AppNotRunning``."""
        engine = self._state.engine
        engine.call(engine.resume, task.name if isinstance(task, Task) else task)

    def resize(self, cpu_workers: int) -> None:
        """Have that many worker processes from now on; a plain call, from any thread.

        Workers that are too many finish the run they execute, what they had queued goes to others, then they end.
        Raises ``InvalidOption``.
        """
        self._state.resize(check_positive_count("cpu_workers", cpu_workers))

    # Life.

    @property
    def name(self) -> str:
        """Namespace of the app's tasks: as given, else the notebook's or the main module's path."""
        if self._settings.name is not None:
            return self._settings.name
        host = current_host()
        main = getattr(sys.modules.get("__main__"), "__file__", None)
        return host.name if host is not None else str(Path(main).resolve()) if main else "interactive"

    @property
    def backend_url(self) -> str:
        """Where results are kept; without credentials."""
        return self._state.backend.url

    @property
    def running(self) -> bool:
        return self._state.life is not None

    def executes_with(self, engine: Engine) -> bool:
        """Whether *engine* is the one of the current start."""
        life = self._state.life
        return life is not None and life.engine is engine

    @property
    def cpu_workers(self) -> int:
        """Worker processes: as set, else as many as there are cores for this process."""
        return self._state.settings.cpu_workers or available_cores()

    @property
    def blocking(self) -> Blocking:
        """The coroutine methods for code without a loop: ``app.blocking.runs()``."""
        return Blocking(self, lambda: self._state, self._start_on_a_thread)

    async def start(self) -> None:
        """Start on the running loop, or with a host on a thread of its own. May be repeated, also after ``stop``."""
        if current_host() is None:
            await self._state.start_here()
        else:
            self._start_on_a_thread()

    async def stop(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """End the app. May be repeated, and be followed by ``start``.

        With *drain* what is queued, running or retrying is waited for, at most *timeout* seconds; a warning names what
        was given up. Without, everything is cancelled. When the drain is over submitting raises ``AppNotRunning``.
        """
        warn_of(await self._state.stop(drain=drain, timeout=timeout))

    async def __aenter__(self) -> Self:
        open_blocks.push(self._submitter, joined=not await self._state.start_here())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        runs, life = open_blocks.pop(self._submitter), self._state.life
        if runs is None:
            warn_of(await self._state.stop(drain=kind is None, timeout=None))
        elif life is not None:
            with suppress(AppNotRunning):  # it was stopped meanwhile, so what the block has submitted is over
                warn_of(await life.ask(life.leave_block(runs, cancel=kind is not None)))

    def __enter__(self) -> Self:
        life = self._state.life
        if life is not None and life.engine.on_loop:
            raise WouldDeadlock("'with app' inside the app's own loop, at its end,")
        open_blocks.push(self._submitter, joined=not self._state.start_on_a_thread())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        runs, life = open_blocks.pop(self._submitter), self._state.life
        if runs is None:
            warn_of(self._state.stop_blocking(drain=kind is None, timeout=None))
        elif life is not None:
            leaving = life.leave_block(runs, cancel=kind is not None)
            with suppress(AppNotRunning):  # as above
                warn_of(life.call(leaving, "leaving the app", waits_for_runs=True))

    def _start_on_a_thread(self) -> None:
        if current_host() is None:
            self._state.start_on_a_thread()
        else:
            self._state = hosted(self._state)

    def _engine_for_submitting(self) -> Engine:
        if current_host() is not None and (self._state.life is None or self._state.superseded):
            self._state = hosted(self._state)
        return self._state.engine

    def __repr__(self) -> str:
        return f"<Flowrra {self.name}: {'running' if self.running else 'not running'}, {len(self._registry)} tasks>"


def app_of(runs: Batch[Any] | TaskHandle[Any]) -> Flowrra | None:
    """The running app that executes *runs*, or None."""
    engine = runs._run.engine if isinstance(runs, TaskHandle) else runs.selection.columns.engine
    apps = [app for app in list(sources.values()) if isinstance(app, Flowrra)]
    return next((app for app in apps if engine is not None and app.executes_with(engine)), None)

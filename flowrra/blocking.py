"""The app's coroutine methods for code that has no event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from flowrra.batch import Batch
from flowrra.core.statuses import Status
from flowrra.handle import TaskHandle
from flowrra.losses import warn_of
from flowrra.results import TaskResult
from flowrra.state import AppState
from flowrra.tables import RunTable
from flowrra.task import Task

if TYPE_CHECKING:
    from flowrra.app import Flowrra

P = ParamSpec("P")
R = TypeVar("R")


class Blocking:
    """``app.blocking``: the same names, blocking. What has to wait raises ``WouldDeadlock`` in the app's own loop."""

    def __init__(self, app: Flowrra, state: Callable[[], AppState], start: Callable[[], None]) -> None:
        self._app = app
        self._state = state
        self._start = start

    def start(self) -> None:
        """Start the app on a thread of its own."""
        self._start()

    def stop(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """See :meth:`Flowrra.stop`."""
        warn_of(self._state().stop_blocking(drain=drain, timeout=timeout))

    @overload
    def submit(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]: ...
    @overload
    def submit(
        self, task: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]: ...
    @overload
    def submit(self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]: ...
    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskHandle[Any]:
        """See :meth:`Flowrra.submit`."""
        return self._app.task_of(task).submit(*args, **kwargs)

    @overload
    def map(self, task: Task[..., R], items: Iterable[Any], /, *more: Iterable[Any], **constants: Any) -> Batch[R]: ...
    @overload
    def map(
        self,
        task: Callable[..., Coroutine[Any, Any, R]],
        items: Iterable[Any],
        /,
        *more: Iterable[Any],
        **constants: Any,
    ) -> Batch[R]: ...
    @overload
    def map(
        self, task: Callable[..., R], items: Iterable[Any], /, *more: Iterable[Any], **constants: Any
    ) -> Batch[R]: ...
    def map(
        self, task: Callable[..., Any], items: Iterable[Any], /, *more: Iterable[Any], **constants: Any
    ) -> Batch[Any]:
        """See :meth:`Flowrra.map`."""
        return self._app.task_of(task).map(items, *more, **constants)

    def wait_for_result(self, run: TaskHandle[Any] | str, timeout: float | None = None) -> TaskResult:
        """See :meth:`Flowrra.wait_for_result`."""
        handle = self._app.handle(run) if isinstance(run, str) else run
        # Waits as the handle does, which keeps the host's loop going only if this very run needs it.
        handle.exception(timeout)
        return handle.info()

    def get_result(self, run: TaskHandle[Any] | str) -> TaskResult | None:
        """See :meth:`Flowrra.get_result`."""
        return self._state().call(self._app.get_result(run), "blocking.get_result()")

    def cancel(self, run: TaskHandle[Any] | str, *, now: bool = False) -> bool:
        """See :meth:`Flowrra.cancel`."""
        return self._state().call(self._app.cancel(run, now=now), "blocking.cancel()")

    def retry(self, run: TaskHandle[R] | str) -> TaskHandle[R]:
        """See :meth:`Flowrra.retry`."""
        return self._state().call(self._app.retry(run), "blocking.retry()")

    def table(self, history: int = 1_000) -> RunTable:
        """See :meth:`Flowrra.table`."""
        return self._state().call(self._app.table(history), "blocking.table()")

    def runs(
        self, status: Status | str | None = None, task_name: str | None = None, limit: int = 100
    ) -> list[TaskResult]:
        """See :meth:`Flowrra.runs`."""
        return self._state().call(self._app.runs(status, task_name, limit), "blocking.runs()")

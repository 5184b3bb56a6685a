"""What ``@app.task`` returns: a function with options, which can be called, submitted and mapped."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, ClassVar, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from flowrra.batch import Batch
from flowrra.errors import InvalidOption, NotInWorker, UnknownOption
from flowrra.functions import executor_for, is_importable, parameter_names
from flowrra.handle import TaskHandle
from flowrra.options import Options, SubmitOptions
from flowrra.rows import Rows
from flowrra.stream import Stream
from flowrra.submitter import Callee, Submitter

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """A registered function. Immutable: :meth:`options` makes a variant. Its methods are thread-safe and never wait.

    Calling it runs the plain function here and now. In a worker process only that is possible: submitting raises
    ``NotInWorker``.
    """

    __flowrra_task__: ClassVar[bool] = True
    """Says what this is to the pool, which must not import it."""

    def __init__(self, function: Callable[..., Any], name: str, options: Options, submitter: Submitter | None) -> None:
        # Raises here, so that a variant made with .options() is refused where it is written.
        executor = executor_for(function, options)
        self._submitted = Callee(
            function, name, executor, parameter_names(function), options, options.retry_policy(), options.is_timed
        )
        functools.update_wrapper(self, function, updated=())
        self._is_local = getattr(self, "__module__", "__main__") == "__main__"
        """Another process cannot import it, so nobody has to ask whether it is what would be imported."""
        self.name = name
        self._function = function
        self._options = options
        self._submitter = submitter

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the plain function here and now."""
        value: R = self._function(*args, **kwargs)
        return value

    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Queue one run with these arguments and return its handle at once.

        For the CPU pool the arguments are snapshotted here: what is done to them later changes nothing. Coroutines and
        threads get the objects themselves. Raises ``AppNotRunning``, and ``NotEncodable`` for what cannot travel.
        """
        submitter = self._submitter or self._submitter_here()
        return submitter.submit(self._submitted if self._is_local else self._callee(), args, kwargs)

    def map(self, items: Iterable[Any], /, *more: Iterable[Any], **constants: Any) -> Batch[R]:
        """Queue one run per item and return their batch at once.

        *more* iterables give further positional arguments and must be as long as *items*; *constants* are keyword
        arguments of every run, encoded once. The iterables are read to their end before this returns: for long or
        endless ones use :meth:`imap`. Nothing is queued if it raises.
        """
        rows = list(zip(items, *more, strict=True)) if more else Rows((list(items),))
        return self._submitter_here().submit_rows(self._callee(), rows, constants)

    def starmap(self, rows: Iterable[Iterable[Any]], /, **constants: Any) -> Batch[R]:
        """Like :meth:`map`, with all positional arguments of a run in one row: ``task.starmap([(1, 2), (3, 4)])``."""
        listed = [tuple(row) for row in rows]
        return self._submitter_here().submit_rows(self._callee(), listed, constants)

    def imap(self, items: Iterable[Any], window: int | None = None) -> Stream[R]:
        """Iterate, sync or async, over the finished handles of one run per item, in input order.

        *items* may be endless: only *window* of them (default: four per slot of the executor) are submitted ahead of
        the one that is returned next. Leaving the loop early leaves what was submitted alone.
        """
        if window is None:
            window = 4 * self._submitter_here().slots(self._callee())
        places = itertools.count()

        def submit(item: Any) -> TaskHandle[R]:
            # With a seed for all of them it is the place that makes their draws differ; else each has its own.
            place = None if self._options.seed is None else next(places)
            return self._submitter_here().submit(self._callee(), (item,), {}, place)

        return Stream(submit, items, window)

    def options(self, **changes: Unpack[SubmitOptions]) -> Task[P, R]:
        """Return this task with other options, for one submission or many: ``task.options(priority=10).submit(…)``.

        Raises ``UnknownOption`` or ``InvalidOption``.
        """
        if "name" in changes:
            raise UnknownOption("a task's name is given at its definition: @app.task(name=…)")
        return type(self)(self._function, self.name, self._options.updated(changes), self._submitter)

    def _callee(self) -> Callee:
        # A worker that can import this task finds it, not the function behind it, under the function's name.
        return self._submitted._replace(function=self) if self._is_importable() else self._submitted

    def _is_importable(self) -> bool:
        module, qualname = getattr(self, "__module__", ""), getattr(self, "__qualname__", "")
        return is_importable(self, module, qualname)

    def _submitter_here(self) -> Submitter:
        if self._submitter is None:
            raise NotInWorker(self.name)
        return self._submitter

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self._is_importable():
            return str(getattr(self, "__qualname__"))  # noqa: B009 - update_wrapper sets it, mypy cannot know
        return _without_app, (type(self), self._function, self.name, self._options)


class CoroutineTask(Task[P, R]):
    """A task made from an ``async def``: calling it gives the coroutine, a run gives what that returns."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]  # the plain function's own return type, while Task speaks of the run's
        """Return the plain function's coroutine."""
        coroutine: Coroutine[Any, Any, R] = self._function(*args, **kwargs)
        return coroutine


class TaskDecorator(Protocol):
    """What ``@app.task(…)`` returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


def _without_app(
    kind: type[Task[..., Any]], function: Callable[..., Any], name: str, options: Options
) -> Task[..., Any]:
    """Rebuild a task that travelled: it can be called, not submitted."""
    return kind(function, name, options, None)


def checked_name(name: object) -> str:
    """A task name given by the user."""
    if not isinstance(name, str) or not name.strip():
        raise InvalidOption(f"name must be a text that is not empty, not {name!r}")
    return name

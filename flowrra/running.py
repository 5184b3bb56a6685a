"""Inside a task: which run this is, and how far it has come.

An executor enters a :class:`RunContext` around the user's function, in whatever thread or process that happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from flowrra.core.seeds import Source
from flowrra.errors import FlowrraError

if TYPE_CHECKING:
    import random

    import numpy.random

T = TypeVar("T")

Report = Callable[[float, float | None, str], object]


class NotInTask(FlowrraError, RuntimeError):
    """``current_run()`` was called outside of a task."""

    def __init__(self) -> None:
        super().__init__("there is no current run here: current_run() only works in the body of a task")


class ThinnedReport:
    """Passes on one report in ``EVERY`` seconds, and the last one: a loop may report each of a million steps."""

    EVERY = 0.1

    __slots__ = ("_held_back", "_pass_on", "_passed_at")

    def __init__(self, pass_on: Report) -> None:
        self._pass_on = pass_on
        self._passed_at = 0.0
        self._held_back: tuple[float, float | None, str] | None = None

    def __call__(self, done: float, total: float | None, message: str) -> None:
        # Converted here, so that a value that is no number is an error of the task that reports it.
        report = float(done), None if total is None else float(total), str(message)
        now = time.monotonic()
        if now - self._passed_at < self.EVERY:
            self._held_back = report
            return
        self._passed_at, self._held_back = now, None
        self._pass_on(*report)

    def finish(self) -> None:
        """Pass on what was held back. Called when the function has returned or raised."""
        if self._held_back is not None:
            last, self._held_back = self._held_back, None
            self._pass_on(*last)


class RunContext:
    """The run whose function is executing."""

    __slots__ = (
        "_random",
        "_rng",
        "_source",
        "attempt",
        "cores",
        "deadline",
        "id",
        "report",
        "set_waiting",
        "task_name",
    )

    def __init__(
        self,
        id: str,  # noqa: A002 - the public name of the attribute
        attempt: int,
        task_name: str,
        deadline: float | None,
        report: Report,
        set_waiting: Callable[[bool], object] | None = None,
        source: Source = Source(0),  # noqa: B008 - immutable
        cores: int = 1,
    ) -> None:
        self.id = id
        self.attempt = attempt
        """1 for the first attempt."""
        self.task_name = task_name
        self.deadline = deadline
        """``time.monotonic()`` by which the run has to be done, or None."""
        self.report = report
        self.set_waiting = set_waiting
        """Tells the executor that the run waits for another one, or goes on; None where its slot stays its own."""
        self.cores = cores
        """Cores that the run may keep busy, for libraries and processes of its own that have to be told.

        In a worker process it is the worker's share when the run began: all cores of the machine (or container) if no
        other worker executes anything, one if all do. Elsewhere it is 1: coroutines and threads share their process.
        """
        self._source = source
        self._random: random.Random | None = None
        self._rng: Any = None

    @property
    def random(self) -> random.Random:
        """A generator of its own, seeded for this run: the same numbers in each attempt, on any worker.

        In a worker process the functions of ``random`` and ``numpy.random`` are seeded for each run as well. Around
        coroutines and threads those belong to the whole program: only this one and ``rng`` are the run's own there.
        PyTorch, TensorFlow and others are seeded nowhere.
        """
        if self._random is None:
            import random

            self._random = random.Random(self._source.stream("run.random"))  # noqa: S311 - for simulations
        return self._random

    @property
    def rng(self) -> numpy.random.Generator:
        """A NumPy generator of its own, seeded for this run as :attr:`random` is. Imports NumPy."""
        if self._rng is None:
            import numpy.random

            self._rng = numpy.random.default_rng(self._source.stream("run.rng"))
        generator: numpy.random.Generator = self._rng
        return generator

    def __repr__(self) -> str:
        return f"<RunContext {self.id} {self.task_name}, attempt {self.attempt}>"


_current: ContextVar[RunContext | Callable[[], RunContext | None] | None] = ContextVar(
    "flowrra_current_run", default=None
)


def become(context: Callable[[], RunContext | None]) -> None:
    """Make the run that *context* describes, when it is asked, the current one of the running code.

    It stays: the code runs in a copy of the context variables that is its own, and the run ends with it.
    """
    _current.set(context)


def _look() -> RunContext | None:
    current = _current.get()
    return current if current is None or isinstance(current, RunContext) else current()


@contextmanager
def entered(context: RunContext) -> Iterator[None]:
    """Make *context* the current run of this thread or coroutine for the block."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def slot_given_back() -> AbstractContextManager[None]:
    """Let another run have the slot of the current one, if there is one, while that waits in the block.

    Otherwise runs that wait for runs of the same executor would keep them from starting once they fill all slots.
    """
    context = _look()
    return _KEPT if context is None or context.set_waiting is None else _given_back(context.set_waiting)


_KEPT = nullcontext()
"""One for all who have no slot: most waits are theirs."""


@contextmanager
def _given_back(set_waiting: Callable[[bool], object]) -> Iterator[None]:
    set_waiting(True)
    try:
        yield
    finally:
        set_waiting(False)


def current_run() -> RunContext:
    """Return the run that is executing this code.

    Follows the code into coroutines and tasks that it starts, not into threads. Raises :exc:`NotInTask` elsewhere.
    """
    context = _look()
    if context is None:
        raise NotInTask
    return context


class _Progress:
    """Reports how far a run has come: ``for x in progress(items)``, or ``progress.update(done, total, message)``.

    Outside of a task both do nothing but pass the items on, so that the function can be called directly. Reports are
    thinned on their way (about ten a second), the last one always arrives.
    """

    def __call__(self, items: Iterable[T], total: float | None = None, message: str = "") -> Iterator[T]:
        """Yield *items*, reporting after each that the caller is done with; *total* defaults to ``len(items)``."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        self.update(0, total, message)
        for done, item in enumerate(items, start=1):
            yield item
            self.update(done, total, message)

    def update(self, done: float, total: float | None = None, message: str = "") -> None:
        """Report that *done* of *total* units are through."""
        context = _look()
        if context is not None:
            context.report(done, total, message)


progress = _Progress()

"""The seams: what the engine asks of an executor, a backend and a host. Someone can write one from this text alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from flowrra.core.records import Outcome, RunRecord
from flowrra.core.statuses import Status, StopReason
from flowrra.core.tuples import NamedTuple
from flowrra.previews import preview_arguments


class Call(NamedTuple):
    """A function and its arguments, as the user gave them. ``str()`` of it is a preview of the arguments."""

    task_name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    parameters: tuple[str, ...] = ()
    """Names of the function's parameters."""
    memory_limit: int | None = None
    """Bytes of private memory that a run may use; for executors whose runs have processes of their own."""
    readonly: bool = False
    """Option of the task: in another process, arrays cannot be written to."""

    def __str__(self) -> str:
        return preview_arguments(self.args, self.kwargs, self.parameters)


class Attempt(NamedTuple):
    """One execution of a run, as an executor sees it. ``(run_id, number)`` names it; executors may key by it."""

    run_id: str
    number: int
    """1 for the first attempt."""
    task_name: str
    priority: int
    seq: int
    """Order of entry into the ready queue, among equal priorities. A retry enters anew, so it has a later one."""
    encoded: Any
    """What this executor's :meth:`Executor.encode` returned for the call."""
    deadline: float | None = None
    """Monotonic clock; for ``current_run()``. The engine enforces it."""
    seed: int | str = 0
    """With *position*: what the run draws from, in each of its attempts; see :class:`flowrra.core.seeds.Source`."""
    position: int = 0


class Span(NamedTuple):
    """Consecutive runs of one ``map``, none of which has begun: what is common to them, and where they lie.

    They are kept as columns: a run of its own exists only for an item that someone asked for or that did not succeed.
    """

    batch_id: str
    first: int
    """Position of the first one in its batch."""
    length: int
    task_name: str
    priority: int
    seq: int
    """Place of the first one in the ready queue; the others follow one by one."""
    encoded: Sequence[Any]
    """What :meth:`Executor.encode_map` returned: the calls of the whole batch, by position."""
    prefix: str
    number: int
    """Run ids are ``prefix-number``, *number* being that of the batch's first run plus the position."""
    deadline: float | None = None
    seed: int | str = 0
    """What its runs draw from, with their positions."""

    def run_id(self, position: int) -> str:
        return f"{self.prefix}-{self.number + position}"

    def attempt(self, position: int) -> Attempt:
        """The first attempt of one of its runs."""
        return Attempt(
            self.run_id(position),
            1,
            self.task_name,
            self.priority,
            self.seq + position - self.first,
            self.encoded[position],
            self.deadline,
            self.seed,
            position,
        )

    def part(self, first: int, length: int) -> Span:
        """*length* of its runs, from position *first* on."""
        return self._replace(first=first, length=length, seq=self.seq + first - self.first)


class SpanSink(Protocol):
    """What an executor that takes spans reports beside what an :class:`AttemptSink` hears.

    A run of a span that ends in any other way than by returning, or of which there is more to tell than its value, is
    reported as an attempt (:meth:`Span.attempt`): ``started`` and ``finished``. Every run is reported in one of these
    ways, once.
    """

    def span_began(self, span: Span, position: int, worker: str | None, at: float) -> None:
        """User code of the run at *position* began at *at* (monotonic clock), and is known not to be over yet."""

    def span_values(
        self, span: Span, first: int, values: Sequence[Any], starts: Sequence[float], end: float, worker: str | None
    ) -> None:
        """The runs from position *first* on have returned *values*.

        Each began at its instant in *starts* (monotonic clock) and ended where the next one began, the last at *end*.
        """

    def span_returned(self, span: Span) -> None:
        """The runs of *span*, a part of one that was begun, were taken back before their user code began."""


class SpanExecutor(Protocol):
    """An executor that takes runs of a map together. ``room()`` counts runs, however they come."""

    def begin_span(self, span: Span) -> None:
        """Like ``begin`` for each of its runs, in their order. Its length is at most ``room()``."""


class AttemptSink(Protocol):
    """Where an executor reports. Every method is called on the engine's loop, is quick and never raises."""

    def started(self, attempt: Attempt, worker: str | None, at: float | None = None) -> None:
        """User code of *attempt* began *at* (monotonic clock; None: now). Once per attempt, before ``finished``."""

    def finished(self, attempt: Attempt, outcome: Outcome, at: float | None = None) -> None:
        """*attempt* was over *at* (monotonic clock; None: now). Exactly once for each attempt begun and not returned.

        May come without ``started`` when the function or its arguments could not be loaded, or the worker died first.
        With ``outcome.abandoned`` the attempt could not be stopped: its slot is still taken; call ``released`` later.
        """

    def returned(self, attempt: Attempt) -> None:
        """*attempt* was taken back before its user code began; it re-enters the queue at its place, charged nothing."""

    def released(self, attempt: Attempt) -> None:
        """An abandoned attempt has returned at last; its answer is dropped, its slot is free."""

    def progressed(self, run_id: str, done: float, total: float | None, message: str) -> None:
        """The task reported progress."""

    def logged(self, run_id: str, stream: str, text: str) -> None:
        """The task wrote *text* to *stream* (``"stdout"`` or ``"stderr"``)."""

    def room_changed(self) -> None:
        """``room()`` may have grown for a reason other than ``finished``, ``returned`` or ``released``."""


class Executor(Protocol):
    """Runs attempts of one kind. Everything but :meth:`encode` is called on the engine's loop."""

    name: str

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that has to be free for attempts to go on, if that is another one than the engine's."""

    @property
    def slots(self) -> int:
        """How many attempts can execute at the same time."""

    def encode(self, call: Call) -> Any:
        """Snapshot *call* on the submitter's thread, so that what it does to its arguments later changes nothing.

        An executor that runs in this process may keep references instead. Raises ``NotEncodable``. Thread-safe; may be
        called while the executor is not started.
        """

    def encode_map(self, call: Call, rows: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """Snapshot one call per row: ``call.args`` is replaced by each row, function and keywords are common."""

    async def start(self, sink: AttemptSink) -> None:
        """Make ready. May be called again after ``close``, also on another loop."""

    def room(self) -> int:
        """How many more attempts :meth:`begin` would take now, prefetch included."""

    def begin(self, attempt: Attempt) -> None:
        """Take *attempt*, to run it as soon as a slot is free. Never blocks or raises: a mishap is an outcome."""

    def stop(self, attempt: Attempt, reason: StopReason) -> None:
        """End *attempt*: softly, then by force. ``sink.finished`` follows within the grace (about half a second).

        It follows even if the attempt cannot be stopped (``outcome.abandoned``). An attempt still in prefetch is taken
        back and reported as ``finished`` with ``OutcomeKind.CANCELLED``. An attempt not known here is ignored: its
        ``finished`` is already on the way.
        """

    def recall(self, above: tuple[int, int] | None = None) -> None:
        """Return prefetched attempts to the sink (``returned``), so that others can go first.

        ``None``: all of them. Otherwise *above* is ``(priority, seq)`` of a run that waits: give back enough of what it
        should overtake to make room for it. Attempts whose user code has begun stay.
        """

    def describe(self) -> Mapping[str, Any]:
        """Facts for ``app.stats()``: plain values by name, such as the number of workers and abandoned attempts."""

    async def close(self) -> None:
        """Release everything. The engine has stopped all attempts before; whatever is left is ended by force."""


class Stored(NamedTuple):
    """A run that is over, as a backend keeps it."""

    record: RunRecord
    outcome: Outcome
    arguments: object
    """``str()`` of it is the preview of the arguments; made when someone looks."""


class StoredSpan(Sequence[Stored]):
    """Runs of one map that are over. Each ``Stored`` is made when it is looked at, so a backend may keep this as it is.

    They never change, and are successes with small values.
    """

    @property
    def numbers(self) -> range:
        """The numbers in their ids, in order."""
        raise NotImplementedError

    def index_of(self, run_id: str) -> int | None:
        """The index of the run of that id, or None if it is not one of these."""
        raise NotImplementedError


class ResultBackend(Protocol):
    """Keeps the records and values of runs that are over. Called on the engine's loop, one call at a time."""

    url: str
    """Names it in messages and pickled handles; carries no credentials."""

    async def save(self, done: Sequence[Stored]) -> None:
        """Keep *done*, all of them or, if it raises, none. Handles wake when this has returned.

        Runs of a map that have ended together come as a :class:`StoredSpan`. A backend that never waits and never
        fails may also offer a plain method ``save_now``, defined beside ``save`` and doing the same.
        """

    async def get(self, run_id: str) -> Stored | None:
        """Return the run, or None if it is not known (any more).

        A value that was purged while the record stayed is an outcome whose exception is ``ResultGone``.
        """

    def recent(self, run_id: str) -> Stored | None:
        """Return the run if this process has it at hand, without waiting; from any thread."""

    async def query(self, status: Status | None, task_name: str | None, limit: int) -> Sequence[Stored]:
        """Return the latest runs that match, latest first."""

    async def close(self) -> None:
        """Release connections. What is kept in memory alone stays readable."""


class Host(Protocol):
    """What surrounds an app that starts by itself, such as a notebook's kernel. Registered with ``set_host``."""

    name: str
    """Namespace of the app's tasks: the notebook's path."""
    io_loop: asyncio.AbstractEventLoop
    """Where coroutine tasks run."""

    def owner(self) -> str | None:
        """The cell execution that is submitting right now; called on the submitter's thread."""

    def pump(self, until: asyncio.Future[None]) -> None:
        """Run ``io_loop`` from inside the code it is running until *until* is done; called on its thread.

        Raises ``NeedsAwait`` where that is impossible.
        """

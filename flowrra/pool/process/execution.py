"""Executes the runs of a group one by one and tells how they ended: on the page at once, to the engine now and then.

What happens between two runs is what makes small ones slow, so most of it happens only if something calls for it. A run
is *plain* if it was short, returned an atom, and did nothing that the next one could notice or that has to be told
apart (see :class:`Notes`); after any other run everything is looked at.
"""

from __future__ import annotations

import logging
import marshal
import os
import socket
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

from flowrra.core.records import Outcome
from flowrra.core.seeds import Source
from flowrra.core.statuses import OutcomeKind
from flowrra.errors import InitializerFailed
from flowrra.failures import error_info, outcome_of_exception, safe_str
from flowrra.pool.encoding.failures import encode_failure
from flowrra.pool.encoding.maps import FIXED, LONGEST, SIZED
from flowrra.pool.encoding.payloads import Payload
from flowrra.pool.encoding.received_classes import received_classes
from flowrra.pool.encoding.surroundings import settle
from flowrra.pool.encoding.values import encode_value, refusal
from flowrra.pool.prefetch import FLUSH_EVERY
from flowrra.pool.process.draws import draws
from flowrra.pool.process.notes import Notes
from flowrra.pool.process.output import OutputEnd
from flowrra.pool.process.state import ProcessState
from flowrra.pool.process.supplies import Shelf
from flowrra.pool.process.thread_budget import ThreadBudget
from flowrra.pool.process.work import Arguments, UnfitError, Work, naming
from flowrra.pool.transport.messages import Progressed, Report
from flowrra.pool.transport.page import DONE, ENTRIES, FLUSHED, FULL, LARGE, SHARE, SKIPS, VERSION, Ending, Page
from flowrra.pool.transport.segments import Segment
from flowrra.pool.transport.wire import send, send_with
from flowrra.running import RunContext, ThinnedReport, become

WORTH_PRELOADING = ("numpy", "pandas", "scipy", "sklearn", "pyarrow")
GIVE_BACK_AFTER = 0.025
"""Seconds after which the rest of a group, which was to take a sixth of that, is left to others."""
_SHORT = 50e-6
"""Seconds. After a longer run a few system calls do not matter."""
_LONGEST_MESSAGE = 1000
"""Characters of a progress message that are sent on."""
_NOTHING = object()
"""In the place of a value: the run at hand has not begun."""


class StopRequested(BaseException):
    """Raised in the middle of a run that is to end; not an ``Exception``, so that only ``finally`` blocks see it."""


class Execution:
    """The runs of one worker, one group after the other."""

    def __init__(
        self, answers: socket.socket, page: Page, output: OutputEnd, shelf: Shelf, state: ProcessState
    ) -> None:
        self._answers, self._page, self._output, self._shelf = answers, page, output, shelf
        self._state = state
        self._pid = os.getpid()
        self._work: Work | None = None
        self._serial = 0
        self._first = 0
        """Index of the first run that has not been reported."""
        self._end = ENTRIES
        """Where the next entry goes."""
        self._flush_at = self._give_back_at = 0.0
        self._over = False
        """The group is over for this worker."""
        self._armed = False
        """A stop may raise: what is executing is a run, not this module."""
        self._to_stop = 0
        """Number of the latest run that is to stop; it may have been claimed a moment ago, or have just ended."""
        self._stopped = 0
        """Number of the latest run that was interrupted."""
        self._leaving = False
        """A run was to be stopped: whatever has not begun is left to others."""
        self._report: ThinnedReport | None = None
        """Of the run at hand, if it has asked who it is."""
        self._context: RunContext | None = None
        self.budget = ThreadBudget()
        self.initializer = b""
        """Digest of what is to be called before the first run; empty: nothing, or it has been."""
        self._imported = frozenset(name for name in WORTH_PRELOADING if name in sys.modules)
        self._modules = len(sys.modules)
        self._notes = Notes()
        self._notes.watch_process()
        output.watch(self._notes)
        become(self._who)
        self._source = _CurrentSource(0)
        self._source.execution = self

    def perform(self, work: Work) -> None:
        """Execute *work*, as much of it as there is time for, and report."""
        self._work, self._first, self._end = work, 0, ENTRIES
        self._over = False
        if self._leaving and self._to_stop != work.number_of(0):  # which has been claimed and so has to be answered
            self._flush(0, over=True)
            return
        self._serial += 1
        self._page.begin(self._serial)
        now = time.monotonic()
        self._flush_at = now + FLUSH_EVERY
        self._give_back_at = now + GIVE_BACK_AFTER
        index = 0
        while index < work.count and not self._over:
            index = self._execute_some(work, index)
        if not self._over:
            self._flush(index, over=True)
        self._work = None

    def stop(self, number: int) -> None:
        """Called by a signal handler: raise in run *number* if it executes. Otherwise it is over, or not yet begun."""
        self._to_stop = number
        self._leaving = self._notes.fresh = True
        if self._armed and self._work is not None and self._work.number_of(self._page.index()) == number:
            self._interrupt(number)

    def _interrupt(self, number: int) -> NoReturn:
        self._armed = False
        self._stopped = number
        raise StopRequested

    # Executing.

    def _execute_some(self, work: Work, index: int) -> int:
        """Execute plain runs from *index* on and one that is not, or the last one; returns the index behind it."""
        if self._page.skips(index):
            self._append(index, marshal.dumps((), VERSION), time.monotonic())
            return index + 1
        self._page.starts[index] = time.monotonic()
        self._output.begin_run(work.number_of(index), work.common.memory_limit)
        index, kind, payload = self._execute_to_special(work, index)
        if os.getpid() != self._pid:
            # A child that the function forked has come to the function's end; it is nobody's worker.
            os._exit(0)
        if payload is None:
            return index
        self._conclude(index, kind, payload)
        return index + 1

    def _execute_to_special(self, work: Work, index: int) -> tuple[int, OutcomeKind, Payload | bytes | None]:
        """Like :meth:`_execute_plain`, with what has become of the run; None: it has not begun."""
        try:
            try:
                self._armed = True
                if self._to_stop == work.number_of(index):  # the signal came before the line above
                    self._interrupt(self._to_stop)
                index, value = self._execute_plain(work, index)
                payload = None if value is _NOTHING else _encoded(work.common.task_name, value)
            finally:
                self._armed = False
        except StopRequested:
            return self._page.index(), OutcomeKind.CANCELLED, encode_failure(Outcome(OutcomeKind.CANCELLED))
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
            outcome = self._outcome(error)
            return self._page.index(), outcome.kind, encode_failure(outcome)
        return index, OutcomeKind.RETURNED, payload

    def _execute_plain(self, work: Work, index: int) -> tuple[int, Any]:
        """Execute runs until one is not plain, and all but the last one of the group at most.

        Returns the index of that run and its value, or ``_NOTHING`` if it has not begun. Raises what a run raises; the
        page has its index.
        """
        function, calls, alone = self._prepare(work, index)
        page, notes, last = self._page, self._notes, index if alone else work.count - 1
        area, words, starts, skipped = page.map, page.words, page.starts, page.skipped
        now_is, dumps = time.monotonic, marshal.dumps
        stdout, stderr, path, filters = sys.stdout, sys.stderr, sys.path[:], warnings.filters[:]
        root = logging.getLogger()
        level = root.level
        done, end, enough = words[DONE], self._end, min(self._flush_at, self._give_back_at)
        began = now_is()
        notes.fresh = self._leaving
        try:
            for args, kwargs in calls:
                if words[SKIPS] and skipped[index] == done:
                    return index, _NOTHING
                value = function(*args, **kwargs)
                now = now_is()
                kind = type(value)
                if (
                    now - began > _SHORT
                    or notes.fresh
                    or index == last
                    or not (kind in FIXED or (kind in SIZED and len(value) <= LONGEST))
                    or sys.stdout is not stdout
                    or sys.stderr is not stderr
                    or sys.path != path
                    or warnings.filters != filters
                    or root.level != level
                    or now >= enough
                    or end >= FULL
                ):
                    return index, value
                entry = dumps(value, VERSION)
                if len(entry) > LARGE:
                    return index, value
                area[end : end + len(entry)] = entry
                index += 1
                starts[index] = now
                done += 1
                words[DONE] = done
                end += len(entry)
                began = now
        finally:
            self._end = end
        return index, _NOTHING

    def _prepare(self, work: Work, index: int) -> tuple[Callable[..., Any], Iterator[Arguments], bool]:
        """The function, the calls from *index* on, and whether the first run may spoil something for the next."""
        common = work.common
        self._state.restore()
        number = common.surroundings
        settle(self.budget.surroundings(number, self._shelf.surroundings[number], self._page.words[SHARE]))
        if self.initializer:
            self._initialize(common.task_name)
        with naming(common.task_name, "the function"):
            function = self._shelf.function(common.function, readonly=common.readonly)
        received_classes.note_new()
        calls = work.arguments(index)
        fixed = self._shelf.is_reusable(common.function) and not common.memory_limit and work.is_harmless()
        if common.constants:
            with naming(common.task_name, "the arguments"):
                constants = self._shelf.value(common.constants, readonly=common.readonly)
            received_classes.note_new()
            fixed = fixed and all(map(_is_atom, constants.values()))
            calls = ((args, {**constants, **kwargs}) for args, kwargs in calls)
        if not fixed:
            calls = iter([next(calls)])
        self.budget.apply()
        # After loading: what modules draw while they are imported depends on what this worker has executed before.
        draws.begin(self._source)
        return function, calls, not fixed

    def _initialize(self, task: str) -> None:
        """Again with the next run if it fails: what it needs may be there by then."""
        try:
            self._shelf.function(self.initializer, readonly=False)()
        except Exception as error:
            raise InitializerFailed(task, f"{type(error).__name__}: {safe_str(error)}") from error
        self.initializer = b""

    def _outcome(self, error: BaseException) -> Outcome:
        assert self._work is not None, "what raised is one of its runs"
        if type(error) is UnfitError:
            error.reason.__cause__ = error.__cause__
            return Outcome(OutcomeKind.NOT_ENCODABLE, exception=error.reason, error=error_info(error.reason))
        who = self._work.who(self._page.index())
        return outcome_of_exception(self._work.common.task_name, who.run_id, error)

    # Who is executing.

    def _who(self) -> RunContext | None:
        work, index = self._work, self._page.index()
        if work is None or index >= work.count:
            return None
        who = work.who(index)
        if self._context is None or self._context.id != who.run_id:
            self._notes.fresh = True
            self._report = ThinnedReport(partial(self._send_progress, who.number))
            self._context = RunContext(
                who.run_id,
                who.attempt,
                work.common.task_name,
                who.deadline,
                self._report,
                source=who.source,
                cores=self.budget.share,
            )
        return self._context

    def drawing(self) -> Source:
        """Called at the first draw of a run: what it draws from. The next one is to be seeded anew."""
        self._notes.fresh = True
        work, index = self._work, self._page.index()
        return work.who(index).source if work is not None and index < work.count else Source(0)

    def _send_progress(self, number: int, done: float, total: float | None, message: str) -> None:
        send(self._answers, Progressed(number, done, total, message[:_LONGEST_MESSAGE]))

    # Concluding.

    def _conclude(self, index: int, kind: OutcomeKind, payload: Payload | bytes) -> None:
        """Make sure that nothing of the run at *index* reaches the next one, and note its end."""
        work = self._work
        assert work is not None, "the run is one of its"
        now = time.monotonic()
        self._output.begin_run(0, 0)
        if self._report is not None:
            self._report.finish()
            self._report = self._context = None
        self._shelf.mappings.settle()
        number = work.number_of(index)
        wrote = self._output.close_run(number)
        stopped = self._stopped == number
        if not isinstance(payload, bytes) or wrote or stopped:
            if isinstance(payload, bytes):
                payload = encode_value(marshal.loads(payload))
            ending = Ending(kind.value, stopped, wrote, payload.kind, payload.head, payload.table)
            self._write(index, marshal.dumps(tuple(ending), VERSION), now)
            segment = payload.segment
        else:
            self._write(index, payload, now)
            segment = None
        over = self._leaving or now >= self._give_back_at or index + 1 == work.count
        # Before the page tells that the next run executes: it cannot hold a descriptor; what the zygote hears is for
        # the run that it names; and if this was the last one, there is none.
        if over or wrote or segment is not None or self._end >= FULL or now >= self._flush_at:
            self._send(index + 1, segment, over=over)
        if not over:
            self._page.words[DONE] += 1

    def _send(self, index: int, segment: Segment | None, *, over: bool) -> None:
        fd = segment.descriptor() if segment is not None else None
        try:
            self._flush(index, over=over, fd=fd)
        finally:
            if fd is not None:
                os.close(fd)

    def _append(self, index: int, entry: bytes, now: float) -> None:
        self._write(index, entry, now)
        self._page.words[DONE] += 1

    def _write(self, index: int, entry: bytes, now: float) -> None:
        page = self._page
        page.map[self._end : self._end + len(entry)] = entry
        self._end += len(entry)
        page.starts[index + 1] = now

    def _flush(self, index: int, *, over: bool, fd: int | None = None) -> None:
        """Report what ended before the run at *index*."""
        assert self._work is not None, "what is reported belongs to it"
        page, first = self._page, self._first
        report = Report(
            self._work.number,
            first,
            index - first,
            bytes(page.starts[first : index + 1].cast("B")),
            bytes(page.map[ENTRIES : self._end]),
            over,
            self._newly_imported(),
        )
        if fd is None:
            send(self._answers, report)
        else:
            send_with(self._answers, report, [fd])
        self._first, self._end, self._over = index, ENTRIES, over
        page.words[FLUSHED] = self._serial << 32 | index
        self._flush_at = time.monotonic() + FLUSH_EVERY

    def _newly_imported(self) -> tuple[str, ...]:
        if len(sys.modules) == self._modules:
            return ()
        self._modules = len(sys.modules)
        now = frozenset(name for name in WORTH_PRELOADING if name in sys.modules)
        new, self._imported = now - self._imported, now
        return tuple(sorted(new))


class _CurrentSource(Source):
    """What the run draws from that executes when something is drawn."""

    execution: Execution

    def stream(self, name: str) -> int:
        return self.execution.drawing().stream(name)


def _is_atom(value: Any) -> bool:
    kind = type(value)
    return kind in FIXED or (kind in SIZED and len(value) <= LONGEST)


def _encoded(task: str, value: Any) -> Payload | bytes:
    """The entry for an atom, or the payload of anything else."""
    if _is_atom(value):
        entry = marshal.dumps(value, VERSION)
        if len(entry) <= LARGE:
            return entry
    if isinstance(value, types.CoroutineType):
        value.close()
        raise TypeError(
            f"{task!r} returned a coroutine; a CPU task is a plain function, write 'async def' without cpu_bound=True"
        )
    try:
        return encode_value(value)
    except Exception as error:
        raise UnfitError(refusal(task, error, {"the result": value})) from error

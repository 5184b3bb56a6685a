"""Executes the runs of a group one by one: stretches of plain ones at once, others with all that belongs to a run."""

from __future__ import annotations

import marshal
import os
import time
import types
from typing import Any, NoReturn

from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind
from flowrra.failures import error_info, outcome_of_exception
from flowrra.pool.encoding.failures import encode_failure
from flowrra.pool.encoding.payloads import Keep, Payload
from flowrra.pool.encoding.values import encode_value, refusal
from flowrra.pool.process.answers import Answers
from flowrra.pool.process.current import Current
from flowrra.pool.process.notes import Notes
from flowrra.pool.process.output import OutputEnd
from flowrra.pool.process.plain import NOTHING, SHORT, execute_plain, is_atom
from flowrra.pool.process.preparing import Preparer
from flowrra.pool.process.reporter import Reporter
from flowrra.pool.process.state import ProcessState
from flowrra.pool.process.supplies import Shelf
from flowrra.pool.process.thread_budget import ThreadBudget
from flowrra.pool.process.work import UnfitError, Work
from flowrra.pool.transport.page import DONE, LARGE, VERSION, Ending, Page
from flowrra.running import become

GIVE_BACK_AFTER = 0.025
"""Seconds after which the rest of a group, which was to take a sixth of that, is left to others."""

_MEASURED = 0.05
"""Seconds; of a shorter run the memory is measured by chance, if at all, and not told."""


class StopRequested(BaseException):
    """Raised in the middle of a run that is to end; not an ``Exception``, so that only ``finally`` blocks see it."""


class Execution:
    """The runs of one worker, one group after the other."""

    def __init__(self, answers: Answers, page: Page, output: OutputEnd, shelf: Shelf, state: ProcessState) -> None:
        self._page, self._output, self._shelf = page, output, shelf
        self._keep = answers.segment
        self._pid = os.getpid()
        self._give_back_at = 0.0
        self._armed = False
        """A stop may raise: what is executing is a run, not this module."""
        self._to_stop = 0
        """Number of the latest run that is to stop; it may have been claimed a moment ago, or have just ended."""
        self._stopped = 0
        """Number of the latest run that was interrupted."""
        self._leaving = False
        """A run was to be stopped: whatever has not begun is left to others."""
        self._notes = Notes()
        self._notes.watch_process()
        output.watch(self._notes)
        self._reporter = Reporter(answers, page)
        self._budget = ThreadBudget(page)
        self._current = Current(page, self._notes, self._budget, self._reporter.say)
        become(self._current.context)
        self._preparer = Preparer(shelf, state, output, self._notes, self._budget, self._current.source)
        self._all_plain = True
        """Since it was tidied up."""

    def prepare_with(self, cores: int, initializer: bytes) -> None:
        """All workers share *cores*. Call the supply with that digest, unless it is empty, before the first run."""
        self._budget.cores = cores
        self._preparer.initializer = initializer

    def perform(self, work: Work) -> None:
        """Execute *work*, as much of it as there is time for, and report."""
        reporter = self._reporter
        self._current.work = work
        reporter.claimed(work.number)
        if self._leaving and self._to_stop != work.number_of(0):  # which has been claimed and so has to be answered
            reporter.report(0, over=True)
            return
        now = time.monotonic()
        reporter.begin(now)
        self._give_back_at = now + GIVE_BACK_AFTER
        index = 0
        while index < work.count and not reporter.over:
            index = self._execute_some(work, index)
        if not reporter.over:
            reporter.report(index, over=True)
        self._current.work = None

    def tidy_up(self) -> None:
        """After a group, when nobody waits: put back what its last runs may have changed."""
        self._preparer.tidy_up(plain=self._all_plain)
        self._all_plain = True

    def stop(self, number: int) -> None:
        """Called by a signal handler: raise in run *number* if it executes. Otherwise it is over, or not yet begun."""
        self._to_stop = number
        self._leaving = self._notes.fresh = True
        who = self._current.who() if self._armed else None
        if who is not None and who.number == number:
            self._interrupt(number)

    def _interrupt(self, number: int) -> NoReturn:
        self._armed = False
        self._stopped = number
        raise StopRequested

    def _execute_some(self, work: Work, index: int) -> int:
        """Execute plain runs from *index* on and one that is not, or the last one; returns the index behind it."""
        if self._page.skips(index):
            self._reporter.skip(index)
            return index + 1
        self._page.starts[index] = time.monotonic()
        self._output.begin_run(work.number_of(index), work.common.memory_limit)
        index, kind, payload = self._execute_to_special(work, index)
        if os.getpid() != self._pid:
            # A child that the function forked has come to the function's end; it is nobody's worker.
            os._exit(0)
        if payload is None:
            return index
        self._conclude(work, index, kind, payload)
        return index + 1

    def _execute_to_special(self, work: Work, index: int) -> tuple[int, OutcomeKind, Payload | bytes | None]:
        """Execute plain runs and one that is not; with what has become of it. None: it has not begun."""
        try:
            try:
                self._armed = True
                if self._to_stop == work.number_of(index):  # the signal came before the line above
                    self._interrupt(self._to_stop)
                index, value = self._execute_plain(work, index)
                payload = None if value is NOTHING else _encoded(work.common.task_name, value, self._keep)
            finally:
                self._armed = False
        except StopRequested:
            return self._page.index(), OutcomeKind.CANCELLED, encode_failure(Outcome(OutcomeKind.CANCELLED), self._keep)
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
            outcome = self._outcome(work, error)
            return self._page.index(), outcome.kind, encode_failure(outcome, self._keep)
        return index, OutcomeKind.RETURNED, payload

    def _execute_plain(self, work: Work, index: int) -> tuple[int, Any]:
        last = work.count - 1
        function, calls, alone = self._preparer.prepare(work, index, last=index == last)
        if self._leaving:
            self._notes.fresh = True
        if alone:
            args, kwargs = next(calls)
            return index, function(*args, **kwargs)
        enough = min(self._reporter.due_at, self._give_back_at)
        return execute_plain(function, calls, index, last, enough, self._reporter, self._notes)

    def _outcome(self, work: Work, error: BaseException) -> Outcome:
        if type(error) is UnfitError:
            error.reason.__cause__ = error.__cause__
            return Outcome(OutcomeKind.NOT_ENCODABLE, exception=error.reason, error=error_info(error.reason))
        who = work.who(self._page.index())
        return outcome_of_exception(work.common.task_name, who.run_id, error)

    def _conclude(self, work: Work, index: int, kind: OutcomeKind, payload: Payload | bytes) -> None:
        """Make sure that nothing of the run at *index* reaches the next one, and note its end."""
        now = time.monotonic()
        reporter = self._reporter
        self._output.begin_run(0, 0)
        self._current.finish()
        self._shelf.mappings.settle()
        number = work.number_of(index)
        wrote = self._output.close_run(number)
        stopped = self._stopped == number
        peak = self._output.peak_of(number) if now - self._page.starts[index] >= _MEASURED else 0
        segment = None
        if now - self._page.starts[index] > SHORT:
            self._all_plain = False
        if not isinstance(payload, bytes) or wrote or stopped or peak:
            self._all_plain = False
            if isinstance(payload, bytes):
                payload = encode_value(marshal.loads(payload))
            segment = payload.segment
            ending = Ending(kind.value, stopped, wrote, payload.kind, payload.head, payload.table, peak)
            payload = marshal.dumps(tuple(ending), VERSION)
        reporter.write(index, payload, now)
        over = self._leaving or now >= self._give_back_at or index + 1 == work.count
        # Before the page tells that the next run executes: it cannot hold a descriptor; what the zygote hears is for
        # the run that it names; and if this was the last one, there is none.
        if over or wrote or segment is not None or reporter.is_due(now):
            reporter.report(index + 1, segment, over=over)
        if not over:
            self._page.words[DONE] += 1


def _encoded(task: str, value: Any, keep: Keep) -> Payload | bytes:
    """The entry for an atom, or the payload of anything else."""
    if is_atom(value):
        entry = marshal.dumps(value, VERSION)
        if len(entry) <= LARGE:
            return entry
    if isinstance(value, types.CoroutineType):
        value.close()
        raise TypeError(
            f"{task!r} returned a coroutine; a CPU task is a plain function, write 'async def' without cpu_bound=True"
        )
    try:
        return encode_value(value, keep)
    except Exception as error:
        raise UnfitError(refusal(task, error, {"the result": value})) from error

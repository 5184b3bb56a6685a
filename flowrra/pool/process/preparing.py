"""What is done before a run: the process is put back as it should be, function and arguments are rebuilt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from flowrra.core.seeds import Source
from flowrra.core.tuples import NamedTuple
from flowrra.errors import InitializerFailed
from flowrra.failures import safe_str
from flowrra.pool.encoding.received_classes import received_classes
from flowrra.pool.encoding.surroundings import Surroundings, are_settled, settle
from flowrra.pool.process.draws import draws
from flowrra.pool.process.notes import Notes
from flowrra.pool.process.output import OutputEnd
from flowrra.pool.process.plain import is_atom
from flowrra.pool.process.state import ProcessState
from flowrra.pool.process.supplies import Shelf
from flowrra.pool.process.thread_budget import ThreadBudget
from flowrra.pool.process.work import Arguments, Work, not_decodable

_LOOK_EVERY = 0.01
"""Seconds for which what short runs change without a note may stay: by native code, or in the dict of a module."""


class Prepared(NamedTuple):
    function: Callable[..., Any]
    calls: Iterator[Arguments]
    alone: bool
    """There is one: it is the last, or may spoil something for the next, which has to be prepared anew."""


class Preparer:
    """Of one worker. Runs draw at random from *source*."""

    def __init__(
        self,
        shelf: Shelf,
        state: ProcessState,
        output: OutputEnd,
        notes: Notes,
        budget: ThreadBudget,
        source: Source,
    ) -> None:
        self._shelf, self._state, self._output, self._notes = shelf, state, output, notes
        self._budget, self._source = budget, source
        self._wanted: Surroundings | None = None
        """Those of the latest run."""
        self._settled: Surroundings | None = None
        """Those that the process has now; None: a run may have changed something."""
        self._look_at = 0.0
        """When everything is to be looked at again, whatever the runs have done."""
        self.initializer = b""
        """Digest of what is to be called before the first run; empty: nothing, or it has been."""

    def prepare(self, work: Work, index: int, *, last: bool) -> Prepared:
        """Get ready for the runs from *index* on, the *last* one or more.

        Raises ``UnfitError``, and what the user's code raises in it.
        """
        common = work.common
        submitted = self._shelf.surroundings[common.surroundings]
        self._wanted = self._budget.surroundings(common.surroundings, submitted)
        # A thread that a run has left behind may have done something since.
        if self._settled is not self._wanted or self._notes.fresh or time.monotonic() >= self._look_at:
            self._put_right(self._wanted)
        self._settled = None
        if self.initializer:
            self._initialize(common.task_name)
        try:
            function = self._shelf.function(common.function, readonly=common.readonly)
        except Exception as error:
            raise not_decodable(common.task_name, "the function", error) from error
        received_classes.note_new()
        calls = work.arguments(index)
        fixed = not last and self._shelf.is_reusable(common.function) and not common.memory_limit and work.is_harmless()
        if common.constants:
            try:
                constants = self._shelf.value(common.constants, readonly=common.readonly)
            except Exception as error:
                raise not_decodable(common.task_name, "the arguments", error) from error
            received_classes.note_new()
            fixed = fixed and all(map(is_atom, constants.values()))
            calls = ((args, {**constants, **kwargs}) for args, kwargs in calls)
        if not fixed:
            # Loaded before the draws begin, see below.
            calls = iter([next(calls)])
        self._budget.apply()
        # After loading: what modules draw while they are imported depends on what this worker has executed before.
        draws.begin(self._source)
        return Prepared(function, calls, not fixed)

    def tidy_up(self, *, plain: bool) -> None:
        """Undo now what the latest runs have changed: the next one finds it done, and nothing of it goes on meanwhile.

        If all of them were *plain*, most of it need not be looked at each time.
        """
        wanted = self._wanted
        if self._settled is not None or wanted is None:
            return
        if plain and not self._notes.fresh and time.monotonic() < self._look_at:
            self._state.restore_unseen()
            if are_settled(wanted):
                self._settled = wanted
                return
        with suppress(OSError):  # the folder is gone, which the next run hears
            self._put_right(wanted)

    def _put_right(self, wanted: Surroundings) -> None:
        self._look_at = time.monotonic() + _LOOK_EVERY
        self._output.put_back()
        self._state.restore()
        settle(wanted)
        # Of what these two have done.
        self._notes.fresh = False
        self._settled = wanted

    def _initialize(self, task: str) -> None:
        """Again with the next run if it fails: what it needs may be there by then."""
        try:
            self._shelf.function(self.initializer, readonly=False)()
        except Exception as error:
            raise InitializerFailed(task, f"{type(error).__name__}: {safe_str(error)}") from error
        self.initializer = b""

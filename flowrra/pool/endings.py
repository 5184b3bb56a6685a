"""Attempts whose answer has arrived, but whose end cannot be told yet.

Either their value is still being rebuilt, or some of their output is still on its way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from flowrra.core.records import Outcome
from flowrra.interfaces import Attempt
from flowrra.pool import outcomes
from flowrra.pool.decoder import Decoder
from flowrra.pool.ledger import Due
from flowrra.pool.transport.page import Ending

Tell = Callable[[Due, Outcome], None]


class Hold:
    """One such attempt."""

    __slots__ = ("due", "outcome", "output_due", "worker")

    def __init__(self, worker: int, due: Due, outcome: Outcome | None, *, output_due: bool) -> None:
        self.worker, self.due = worker, due
        self.outcome = outcome
        """None: being rebuilt."""
        self.output_due = output_due


class Endings:
    """Tells the end of an attempt once its outcome is there and everything that it wrote has been passed on."""

    def __init__(self, tell: Tell, decoder: Decoder) -> None:
        self._tell = tell
        self._decoder = decoder
        self._holds: dict[int, dict[int, Hold]] = {}
        """By worker and number, in the order of the answers."""
        self._early: set[tuple[int, int]] = set()
        """(worker, run) whose output was complete before its answer was read: two sockets, no order between them."""

    def answered(self, worker: int, due: Due, ending: Ending, fd: int | None) -> None:
        """Turn an answer into the attempt's outcome: at once, or when its value is rebuilt and its output is here."""
        outcome: Outcome | None = None
        if ending.stopped:
            outcome = outcomes.stopped(due.attempt)
            if fd is not None:
                os.close(fd)
        elif outcomes.is_quick(ending):
            outcome = outcomes.rebuilt(due.attempt, ending, outcomes.received(ending, fd))
        hold = self.hold(worker, due, outcome, wrote=ending.wrote)
        if hold is not None and outcome is None:
            # Mapped before it waits for the thread: descriptors are few, mappings are many.
            parts = outcomes.received(ending, fd)
            self._decoder.decode(partial(outcomes.rebuilt, due.attempt, ending, parts), partial(self.decoded, hold))

    def awaits_output(self, worker: int, number: int) -> bool:
        """Not everything that the run, which wrote something, has written was passed on."""
        return (worker, number) not in self._early

    def hold(self, worker: int, due: Due, outcome: Outcome | None, *, wrote: bool) -> Hold | None:
        """Tell the end now if nothing is missing; else keep it and return the hold."""
        output_due = wrote and self.awaits_output(worker, due.number)
        self._early.discard((worker, due.number))
        if outcome is not None and not output_due:
            self._tell(due, outcome)
            return None
        held = Hold(worker, due, outcome, output_due=output_due)
        self._holds.setdefault(worker, {})[due.number] = held
        return held

    def stop(self, attempt: Attempt) -> None:
        """End *attempt* now if its value is still being rebuilt, which runs the user's code and may never end."""
        key = attempt.run_id, attempt.number
        for hold in [hold for holds in self._holds.values() for hold in holds.values()]:
            if hold.outcome is None and (hold.due.attempt.run_id, hold.due.attempt.number) == key:
                hold.output_due = False
                self.decoded(hold, outcomes.stopped(attempt))

    def forget(self) -> None:
        """Tell nothing any more."""
        self._holds.clear()

    async def close(self) -> None:
        self.forget()
        await self._decoder.close()

    def decoded(self, hold: Hold, outcome: Outcome) -> None:
        if hold.outcome is not None:  # it has been stopped meanwhile
            return
        hold.outcome = outcome
        self._release(hold)

    def output_complete(self, worker: int, number: int | None = None) -> None:
        """All output of run *number* of *worker* has been passed on; None: of all its runs, for it has ended."""
        holds = self._holds.get(worker, {})
        if number is None:
            self._early = {early for early in self._early if early[0] != worker}
        elif number not in holds:
            self._early.add((worker, number))
            return
        for hold in list(holds.values()) if number is None else [holds[number]]:
            hold.output_due = False
            self._release(hold)

    def oldest(self, worker: int) -> str | None:
        """The oldest run of *worker* that has been answered while its output is not complete: new output is its."""
        for hold in self._holds.get(worker, {}).values():
            if hold.output_due:
                return hold.due.attempt.run_id
        return None

    def _release(self, hold: Hold) -> None:
        if hold.outcome is None or hold.output_due:
            return
        holds = self._holds.get(hold.worker)
        if holds is None or hold.due.number not in holds:  # everything was forgotten
            return
        del holds[hold.due.number]
        if not holds:
            del self._holds[hold.worker]
        self._tell(hold.due, hold.outcome)

"""What workers tell, and what their pages show: brought to the roster, which decides, and to the ledger, which tells.

A report comes at the end of a group, or when it has become long or 10 ms old. If none has come for that long, the page
is looked at: the run that executes then has begun, as far as the engine is concerned, and what has ended before it is
taken from the page, so that no answer waits for the run behind it. The worker knows nothing of that and reports
everything; what was taken before is dropped, by its index.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from flowrra import log
from flowrra.core.statuses import OutcomeKind
from flowrra.interfaces import AttemptSink, Span
from flowrra.pool import outcomes
from flowrra.pool.encoding.payloads import load
from flowrra.pool.endings import Endings
from flowrra.pool.groups import Group, Ticket
from flowrra.pool.ledger import Due, Ledger
from flowrra.pool.link import Link
from flowrra.pool.orders import Order
from flowrra.pool.roster import Roster
from flowrra.pool.sources import Sources, Version
from flowrra.pool.transport import messages as said
from flowrra.pool.transport.page import FLUSHED, Ending, entries_of, instants_of
from flowrra.pool.transport.wire import Received


class Dropped(Protocol):
    def __call__(self, number: int, worker: int, *, clean: bool) -> None: ...


class Hearing:
    """Listens to all workers. *carry_out* is called with what the roster decides, *ended* when runs have ended."""

    def __init__(
        self,
        name: str,
        sink: AttemptSink,
        roster: Roster,
        ledger: Ledger,
        endings: Endings,
        carry_out: Callable[[Sequence[Order]], None],
        ended: Callable[[], None],
        prefer: Callable[[Sequence[str]], None],
        dropped: Dropped,
        sources: Sources,
    ) -> None:
        self._name, self._sink, self._roster, self._ledger, self._endings = name, sink, roster, ledger, endings
        self._carry_out, self._after_end, self._prefer, self._dropped = carry_out, ended, prefer, dropped
        self._sources = sources

    def hear(self, link: Link) -> bool:
        """Read everything that the worker has said. False: nothing."""
        heard = False
        for received in link.read_answers():
            heard = True
            self._hear(link, received)
        return heard

    def hear_one(self, link: Link) -> bool:
        """Read one message that the worker has said. False: there was none."""
        received = link.read_answer()
        if received is not None:
            self._hear(link, received)
        return received is not None

    def _hear(self, link: Link, received: Received) -> None:
        message = received.message
        if isinstance(message, said.Report):
            group = self._roster.holds(link.worker, message.group)
            if group is None or message.first > group.told or message.first + message.length > group.count:
                self._mistrust(link, received.fd)
            else:
                self._reported(link, group, message, received.fd)
        elif isinstance(message, said.Progressed):
            self._progressed(link, message)
        elif isinstance(message, said.SlabDropped):
            self._dropped(message.slab, link.worker, clean=message.clean)
        elif isinstance(message, said.Imported):
            self._sources.imported(link.worker, message.path, Version(*message[1:]))

    def _mistrust(self, link: Link, fd: int | None) -> None:
        """Something that a task left behind speaks in the worker's name; nothing it says can be trusted."""
        log.pool.error("worker %s answers for a run that it does not have; it is replaced", link.pid)
        if fd is not None:
            os.close(fd)
        link.kill()

    def owes_answer(self, link: Link, number: int) -> bool:
        """Run *number* is in the worker's hands, and its end is not known."""
        return self._index_in_hand(link, number) is not None

    def _index_in_hand(self, link: Link, number: int) -> int | None:
        state = self._roster.states.get(link.worker)
        group = state.first if state is not None else None
        if group is None:
            return None
        indices = (at for at in range(group.told, group.count) if at not in group.skipped)
        return next((at for at in indices if group.number_at(at) == number), None)

    def _progressed(self, link: Link, message: said.Progressed) -> None:
        index = self._index_in_hand(link, message.number)
        group = self._roster.states[link.worker].first if index is not None else None
        if index is not None and group is not None:
            self._begun(link, group, index)
            self._sink.progressed(link.running, message.done, message.total, message.text)

    # What has ended.

    def _reported(self, link: Link, group: Group, report: said.Report, fd: int | None) -> None:
        try:
            entries = entries_of(report.length, report.entries)
            instants = instants_of(report.starts)
        except ValueError:
            self._mistrust(link, fd)
            return
        link.claims += report.over
        if report.imported:
            self._prefer(report.imported)
        self._ended(link, group, report.first, entries, instants, fd, over=report.over)

    def _ended(
        self,
        link: Link,
        group: Group,
        first: int,
        entries: list[Any],
        instants: list[float],
        fd: int | None,
        *,
        over: bool,
    ) -> None:
        """The runs from *first* on have ended so. Each began at its instant; the last one ended at the one more."""
        known = group.told - first
        if known > 0:
            entries, instants, first = entries[known:], instants[known:], group.told
        told = first + len(entries)
        seconds = instants[-1] - instants[0] if entries else 0.0
        orders = self._roster.answered(link.worker, group, told, seconds, over=over)
        if len(entries) == 1 and type(entries[0]) is not tuple and not group.skipped and not link.begun:
            self._ledger.tell_value(group.number_at(first), entries[0], instants, self._name_of(link))
        else:
            self._tell(link, group, first, entries, instants, fd)
        self._carry_out(orders)
        self._after_end()

    def _tell(
        self, link: Link, group: Group, first: int, entries: list[Any], instants: list[float], fd: int | None
    ) -> None:
        # All are forgotten before the first one is told: what the engine does then must not find any of them.
        steps: list[Callable[[], None]] = []
        start = 0
        if group.skipped or tuple in set(map(type, entries)):
            for index, entry in enumerate(entries):
                special = type(entry) is tuple or first + index in group.skipped
                if not special or self._simplify(group, first + index, entries, index):
                    continue
                self._add_values(link, group, first, entries, instants, slice(start, index), steps)
                self._add_special(link, group, first + index, entry, instants[index : index + 2], fd, steps)
                start = index + 1
        self._add_values(link, group, first, entries, instants, slice(start, len(entries)), steps)
        for step in steps:
            step()

    def _simplify(self, group: Group, index: int, entries: list[Any], at: int) -> bool:
        """Replace the entry by the value it speaks of if that needs no care. Spans have no place for sizes."""
        entry = entries[at]
        if not group.kind.together or index in group.skipped or not entry:
            return False
        ending = Ending(*entry)
        if ending.outcome != OutcomeKind.RETURNED.value or not outcomes.is_quick(ending):
            return False
        if ending.stopped or ending.wrote or ending.table or ending.peak:
            return False
        entries[at] = load(ending.head, [])
        return True

    def _add_values(
        self,
        link: Link,
        group: Group,
        first: int,
        entries: list[Any],
        instants: list[float],
        part: slice,
        steps: list[Callable[[], None]],
    ) -> None:
        if part.start == part.stop:
            return
        numbers = group.numbers(first + part.start, first + part.stop)
        begun = link.begun.intersection(numbers) if link.begun else link.begun
        link.begun -= begun
        at = part.start
        for taken in self._ledger.take_values(numbers):
            end = at + (taken.length if isinstance(taken, Span) else len(taken))
            known: list[int] = []
            if begun:
                own = numbers[at - part.start : end - part.start]
                known = [own.index(number) for number in begun if number in own]
            tell, name = self._ledger.tell_values, self._name_of(link)
            steps.append(partial(tell, taken, entries[at:end], instants[at : end + 1], name, known))
            at = end

    def _add_special(
        self,
        link: Link,
        group: Group,
        index: int,
        entry: Any,
        times: list[float],
        fd: int | None,
        steps: list[Callable[[], None]],
    ) -> None:
        number = group.number_at(index)
        ending = Ending(*entry) if type(entry) is tuple and entry else None
        own = fd if ending is not None and ending.table else None
        if index in group.skipped:  # it was told to be cancelled, whatever has become of it
            if own is not None:
                os.close(own)
        elif ending is None:  # left out unasked
            steps.append(partial(self._ledger.give_back, Ticket((0, 0), number, group.kind)))
        else:
            due = self._ledger.take(number)._replace(
                start=times[0], end=times[1], worker=self._name_of(link), begun=number in link.begun
            )
            link.begun.discard(number)
            steps.append(partial(self._answered, link, due, ending, own))

    def _answered(self, link: Link, due: Due, ending: Ending, fd: int | None) -> None:
        rebuilding = not ending.stopped and not outcomes.is_quick(ending)
        if not due.begun and (rebuilding or (ending.wrote and self._endings.awaits_output(link.worker, due.number))):
            # Its output is told before its end, and belongs to a run that the engine knows. A value may take for ever
            # to be rebuilt: that time is the run's, too.
            self._ledger.tell_start(due)
            due = due._replace(begun=True)
        link.running = due.attempt.run_id
        self._endings.answered(link.worker, due, ending, fd)

    # What the page shows.

    def _in_hand(self, link: Link) -> Group | None:
        """The group that the worker has claimed, as far as its page tells."""
        state = self._roster.states.get(link.worker)
        group = state.first if state is not None else None
        return group if group is not None and link.page.reached()[0] == link.claims + 1 else None

    def show(self, link: Link, *, lasting: bool = False) -> None:
        """Tell that the run which executes has begun, and the roster how far the worker is."""
        group = self._in_hand(link)
        if group is None:
            return
        index = link.page.reached()[1]
        if not group.told <= index < group.count:
            return
        if index not in group.skipped:
            self._begun(link, group, index)
        self._carry_out(self._roster.reached(link.worker, index, lasting=lasting))

    def _begun(self, link: Link, group: Group, index: int) -> None:
        number = group.number_at(index)
        link.running = self._ledger.attempt(number).run_id
        if number in link.begun:
            return
        link.begun.add(number)
        now = time.monotonic()
        began = link.page.starts[index]
        # What is read late may find a page that speaks of the next group.
        self._ledger.tell_begun(number, self._name_of(link), min(began, now) if began > 0 else now)

    def look(self, link: Link) -> bool:
        """Look at the page, some time after the latest look. False: there is nothing to see before the next report.

        Only what was there at the latest look is taken: by now all of it is visible, whatever the memory model.
        """
        if not self._roster.states[link.worker].held:
            return False
        here = link.page.reached()
        if here != link.seen:
            link.seen = here
            return True
        group = self._in_hand(link)
        if group is None:
            return True
        self._fetch(link, group, here)
        self.show(link, lasting=True)
        return False

    def _fetch(self, link: Link, group: Group, here: tuple[int, int]) -> None:
        """Take what has ended from the page, unless it has been sent meanwhile."""
        until = min(here[1], group.count)
        if until <= group.told:
            return
        flushed = link.page.words[FLUSHED]
        try:
            first, entries, instants = link.page.unsent(until)
        except ValueError:  # overwritten while it was read
            return
        if not self.hear(link) and link.page.words[FLUSHED] == flushed and first <= group.told < until:
            self._ended(link, group, first, entries, instants, None, over=False)

    def recover(self, link: Link) -> bool:
        """After the worker's end: take what it did not get to send. True: it had begun the first group it holds."""
        group = self._in_hand(link)
        if group is None:
            return False
        until = min(link.page.reached()[1], group.count)
        try:
            first, entries, instants = link.page.unsent(until)
        except ValueError:
            first, entries, instants = until, [], []
        if first > group.told:  # overwritten, or said and lost with the connection
            log.pool.error("what worker %s had done last cannot be read; it may be done again", link.pid)
            return True
        if until > group.told:
            self._ended(link, group, first, entries, instants, None, over=False)
        return True

    def _name_of(self, link: Link) -> str:
        return f"{self._name}-{link.worker}"

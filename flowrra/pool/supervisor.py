"""Carries out what the roster decides, and tells it what happens to runs. On the engine's loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from flowrra import log
from flowrra.interfaces import Attempt, AttemptSink, Span
from flowrra.pool import orders as order
from flowrra.pool import outcomes
from flowrra.pool.data.depot import Depot
from flowrra.pool.decoder import Decoder
from flowrra.pool.encoding.calls import EncodedCall, EncodedMap
from flowrra.pool.endings import Endings
from flowrra.pool.groups import Group, Rank, Ticket
from flowrra.pool.hearing import Hearing
from flowrra.pool.kinds import Kinds, size_of
from flowrra.pool.ledger import Ledger, rank_of
from flowrra.pool.link import Link
from flowrra.pool.prefetch import FLUSH_EVERY
from flowrra.pool.roster import GRACE, Roster
from flowrra.pool.sources import Sources
from flowrra.pool.timers import Timers
from flowrra.pool.upkeep import Upkeep
from flowrra.pool.ways import Launched, Way
from flowrra.pool.worker_state import Role
from flowrra.pool.workforce import RETRY, Preparation, Workforce

_DISMISSAL = 2.0
"""Seconds for a worker to end by itself, exit handlers included."""


class Supervisor:
    """One life of a pool, from ``open`` to ``close``; *launched* is a zygote that was started for it, if one was."""

    def __init__(
        self,
        slots: int,
        name: str,
        sink: AttemptSink,
        depot: Depot,
        sources: Sources,
        preparation: Preparation,
        way: Way,
        launched: Launched | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._sink = sink
        self._roster = Roster(slots)
        self._queues = self._roster.queues
        self._depot, self._sources = depot, sources
        self._ledger = Ledger(sink)
        self._kinds = Kinds()
        self._endings = Endings(self._ledger.tell, Decoder(self._loop, name))
        self._timers = Timers(self._loop)
        self._workforce = Workforce(
            self._loop,
            sink,
            self._roster,
            depot,
            sources,
            self._endings,
            self._timers,
            preparation,
            self._carry_out,
            self._on_answers,
            way,
            launched,
        )
        self._links = self._workforce.links
        self._hearing = self._workforce.hearing = Hearing(
            name,
            sink,
            self._roster,
            self._ledger,
            self._endings,
            self._carry_out,
            self._runs_ended,
            self._workforce.workers.prefer,
            depot.dropped,
            sources,
        )
        self._upkeep = Upkeep(self._loop, self, preparation.idle, depot)
        self._todo: deque[order.Order] = deque()
        self._carrying = False
        self._assigning = False
        """What waits is about to be given to workers."""
        self._looking: asyncio.TimerHandle | None = None
        self._opened = False
        self._closed = False
        self._starved = False
        """The latest attempt to pass a run to a worker has failed for want of descriptors or memory."""

    # What the executor asks for.

    def room(self) -> int:
        return self._queues.room()

    def begin(self, attempt: Attempt) -> None:
        if attempt.number > 1:  # its submission was long ago
            self._sources.look()
        call: EncodedCall = attempt.encoded
        self._open(call)
        kind = self._kinds.single(attempt.task_name, call)
        number = self._ledger.add(attempt)
        self._begin(Ticket(rank_of(attempt), number, kind, 1, size_of(call), kind.pace.seconds))

    def begin_span(self, span: Span) -> None:
        calls: EncodedMap = span.encoded  # type: ignore[assignment]  # what encode_map made of it
        self._open(calls.common)
        number = self._ledger.add_span(span)
        columns = self._kinds.stretch(calls.common, span, number)
        for part in calls.rows.stretches(span.first, span.length):
            at = number + part.first - span.first
            rank = (-span.priority, span.seq + part.first - span.first)
            if part.together:
                self._begin(Ticket(rank, at, columns, part.length, part.size, columns.pace.seconds))
                continue
            for offset in range(part.length):
                call = calls[part.first + offset]
                kind = self._kinds.single(span.task_name, call)
                place = (rank[0], rank[1] + offset)
                self._begin(Ticket(place, at + offset, kind, 1, size_of(call), kind.pace.seconds))

    def _open(self, first: EncodedCall) -> None:
        if not self._opened:
            self._opened = True
            self._workforce.workers.expect(first.function.modules)
            self._carry_out(self._roster.staff.open())
        if self._sources.outdated:
            self._carry_out(self._roster.replace(self._sources.take_outdated()))
        if not self._upkeep.watching or not self._depot.is_empty():
            self._upkeep.runs_came()

    def _begin(self, ticket: Ticket) -> None:
        if not self._assigning:
            given = self._queues.give_at_once(ticket)
            if given:
                self._carry_out(given)
                return
        self._carry_out(self._roster.begin(ticket))
        if self._assigning:
            return
        if self._roster.has_idle():
            self._carry_out(self._queues.assign())
        else:
            self._assign_soon()

    def _assign_soon(self) -> None:
        """In the next turn: what waits by then can travel together, and go where it belongs."""
        if not self._assigning:
            self._assigning = True
            self._loop.call_soon(self._assign)

    def _assign(self) -> None:
        self._assigning = False
        if not self._closed:
            self._carry_out(self._queues.balance())
            self._workforce.share_out()

    def stop(self, attempt: Attempt) -> None:
        found = self._ledger.find(attempt)
        if found is not None:
            self._carry_out(self._roster.stop(*found))
            self._assign_soon()
        else:
            self._endings.stop(attempt)

    def hurry(self, attempt: Attempt) -> None:
        """End what was left of the grace of *attempt*, if it was asked to stop."""
        found = self._ledger.find(attempt)
        worker = None if found is None else self._roster.condemned_for(*found)
        if found is not None and worker is not None:
            self._grace_over(worker, *found)

    def resize(self, slots: int) -> None:
        """Have *slots* workers from now on; those that are too many finish what they execute."""
        self._carry_out(self._roster.resize(slots))
        self._assign_soon()
        self._sink.room_changed()

    def recall(self, above: tuple[int, int] | None) -> None:
        self._carry_out(self._queues.recall(None if above is None else (-above[0], above[1])))
        self._assign_soon()

    def describe(self) -> Mapping[str, Any]:
        roles = [state.role for state in self._roster.states.values()]
        return {
            "workers": roles.count(Role.ACTIVE),
            "spare": roles.count(Role.SPARE),
            "busy": self._roster.busy(),
            "prefetched": self._roster.prefetched(),
            "lost": self._roster.lost,
            "replaced": self._roster.replaced,
            "pids": self._workforce.pids(),
        }

    async def close(self) -> None:
        """End every process and release every descriptor; nothing is reported any more."""
        self._closed = True
        self._upkeep.close()
        if self._looking is not None:
            self._looking.cancel()
        self._timers.close()
        self._endings.forget()
        await self._workforce.close()
        self._ledger.clear()
        await self._endings.close()

    # Carrying out the roster's orders.

    def _carry_out(self, orders: Sequence[order.Order]) -> None:
        """In the order in which they were decided, also those that come up while others are carried out."""
        if not orders and not self._todo:
            return
        self._todo.extend(orders)
        if self._carrying:
            return
        self._carrying = True
        try:
            while self._todo:
                self._carry_out_one(self._todo.popleft())
        finally:
            self._carrying = False

    def _carry_out_one(self, one: order.Order) -> None:
        match one:
            case order.Give(worker, group):
                self._give(worker, group)
            case order.StartWorker(worker):
                self._workforce.start(worker)
            case order.TakeBack() as take:
                self._take_back(take)
                # Before what the answers just read have led to: those decisions know of this one.
                self._todo.extendleft(reversed(self._roster.taken_back(take)))
            case order.Skip(worker, index):
                link = self._links[worker]
                link.page.skip(link.claims + 1, index)
                self._look_soon()
            case order.Interrupt(worker, rank, number):
                self._links[worker].interrupt(number)
                self._timers.later(GRACE, self._grace_over, worker, rank, number)
            case order.Kill(worker):
                if worker in self._links:  # see _give
                    self._links[worker].kill()
            case order.Dismiss(worker):
                self._dismiss(worker)
            case order.Return(ticket):
                self._ledger.give_back(ticket)
            case order.Cancelled(number):
                self._cancelled(number)
            case order.Lost(worker, number, stopped):
                self._lost(worker, number, stopped=stopped)
            case order.StartFailed(ticket):
                self._start_failed(ticket)

    def _dismiss(self, worker: int) -> None:
        link = self._links.get(worker)
        if link is not None:
            link.dismiss()
            self._timers.later(_DISMISSAL, self._dismissal_over, worker)

    def _dismissal_over(self, worker: int) -> None:
        link = self._links.get(worker)
        if link is not None:
            link.kill()

    def _give(self, worker: int, group: Group) -> None:
        link = self._links.get(worker)
        if link is None:  # its sockets could not be made; fork_failed is on the way
            self._queues.refused(worker, group)
            return
        self._workforce.share_out()
        try:
            given = link.give(group, self._ledger)
        except (BrokenPipeError, ConnectionResetError):  # the report of its end is on the way
            self._queues.refused(worker, group)
            return
        except OSError as error:
            self._try_later(worker, group, error)
            return
        self._starved = False
        if given:
            self._look_soon()
        else:
            self._queues.refused(worker, group)
            link.when_room(partial(self._try_again, worker))

    def _try_later(self, worker: int, group: Group, error: OSError) -> None:
        """This process is short of descriptors or memory; the user's code may need them only for a while."""
        if not self._starved:
            self._starved = True
            log.pool.warning("runs cannot be passed to the workers for now (%s); this is tried again", error.strerror)
        self._queues.refused(worker, group)
        self._timers.later(RETRY, self._try_again, worker)

    def _try_again(self, worker: int) -> None:
        self._queues.unblocked(worker)
        self._carry_out(self._queues.assign())

    def _take_back(self, take: order.TakeBack) -> None:
        link = self._links.get(take.worker)
        if link is not None:
            self._queues.received_back(take.worker, link.take_back(take.limit))
            # What it answered until now must be known before anything is concluded from what it still holds.
            self._hearing.hear(link)
            self._hearing.show(link)
        self._assign_soon()

    def _grace_over(self, worker: int, rank: Rank, number: int) -> None:
        link = self._links.get(worker)
        if link is not None:
            self._hearing.hear(link)
            self._hearing.show(link)
            self._carry_out(self._roster.grace_over(worker, rank, number))

    # What the upkeep asks for.

    def is_busy(self) -> bool:
        return bool(self._ledger)

    def measure(self, *, on: bool) -> None:
        self._workforce.measure(on=on)

    def fall_asleep(self) -> None:
        self._carry_out(self._roster.fall_asleep())

    def drop_slab(self, worker: int, slab: int) -> None:
        if worker in self._links:
            self._links[worker].forget_slab(slab)

    # Hearing what workers answer.

    def _on_answers(self, link: Link) -> None:
        if not self._hearing.hear_one(link):
            # Either they were read a moment ago, for a decision, or the worker has closed its end. The zygote will
            # report that; until then the socket would be ready for ever.
            if link.has_hung_up():
                link.mute()
            return
        # What the engine has given for what has ended.
        if self._queues.line.tickets:
            self._carry_out(self._queues.assign())

    def _runs_ended(self) -> None:
        if self._queues.is_uneven():
            self._assign_soon()
        self._look_soon()

    def _look_soon(self) -> None:
        if self._looking is None and not self._closed:
            self._looking = self._loop.call_later(FLUSH_EVERY, self._look)

    def _look(self) -> None:
        self._looking = None
        looks = [self._hearing.look(link) for link in list(self._links.values()) if link.worker in self._roster.states]
        if any(looks):
            self._look_soon()

    # Ends of attempts that no worker answers.

    def _cancelled(self, number: int) -> None:
        due = self._ledger.take(number)
        self._ledger.tell(due, outcomes.stopped(due.attempt))

    def _lost(self, worker: int, number: int, *, stopped: bool) -> None:
        due = self._ledger.take(number)._replace(begun=number in self._links[worker].begun)
        lost = (
            outcomes.stopped(due.attempt)
            if stopped
            else outcomes.lost(due.attempt, number, *self._workforce.exits[worker])
        )
        self._ledger.tell(due, lost)

    def _start_failed(self, ticket: Ticket) -> None:
        outcome = outcomes.not_started(self._workforce.why_no_start or "they end at once")
        for due in [self._ledger.take(number) for number in range(ticket.number, ticket.number + ticket.length)]:
            self._ledger.tell(due, outcome)

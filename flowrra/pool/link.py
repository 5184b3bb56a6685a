"""What the engine holds of one worker: its page, what it has been told, and the way to it.

What is on the way to a worker and not in its hands can be taken back; how, is the business of the kind of link.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Self, cast

from flowrra.pool.data.depot import Depot
from flowrra.pool.data.slab import Slab
from flowrra.pool.encoding.calls import EncodedCall, EncodedMap
from flowrra.pool.encoding.functions import FunctionRef
from flowrra.pool.encoding.maps import EncodedRows
from flowrra.pool.encoding.payloads import Payload
from flowrra.pool.encoding.surroundings import SurroundingsRef
from flowrra.pool.groups import Group
from flowrra.pool.kinds import Single, Stretch
from flowrra.pool.ledger import Ledger
from flowrra.pool.transport.messages import (
    Forget,
    ForgetSlab,
    Message,
    Places,
    RunGroup,
    Setup,
    SlabSupply,
    SpanGroup,
    Supply,
    SurroundingsSupply,
)
from flowrra.pool.transport.page import Page
from flowrra.pool.transport.wire import Received

_SUPPLIES_KEPT = 256
"""Functions a worker keeps loaded."""


class Link(ABC):
    """One worker, as the engine reaches it."""

    def __init__(self, worker: int, depot: Depot, page: Page) -> None:
        self._depot = depot
        self.worker = worker
        self.pid = 0
        self.page = page
        self.claims = 0
        """Groups that are over: the one in its hands is the next one on the page."""
        self.running = ""
        """Id of the run that began last, as far as it was told."""
        self.begun: set[int] = set()
        """Runs whose begin has been told, and whose end is not known."""
        self.seen = (0, 0)
        """How far it had come when the page was last looked at."""
        self.decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in (1, 2)}
        """Of its output: a character may be split between two reports."""
        self._supplied: OrderedDict[bytes, Places] = OrderedDict()
        """Where the parts of each are: content that was given up and came back is elsewhere."""
        self._slabs: set[int] = set()
        self._put = 0
        """Messages in the supplies so far."""
        self._surroundings_sent: set[int] = set()

    def give(self, group: Group, ledger: Ledger) -> bool:
        """Put a group into the queue, after whatever the worker needs for it. False: no room now, see ``when_room``.

        Raises ``BrokenPipeError`` or ``ConnectionResetError`` if the worker is gone, another ``OSError`` if this
        process has no descriptor left. In all these cases nothing was queued.
        """
        common: EncodedCall = group.kind.facts.common
        try:
            if common.surroundings.number not in self._surroundings_sent:
                self._supply_surroundings(common.surroundings)
                self._surroundings_sent.add(common.surroundings.number)
            self._supply(common.function)
            if common.constants is not None:
                self._supply(common.constants)
            for payload in _large_arguments(group, ledger):
                self._supply_slabs(payload)
            self._pass_on(_packet(group, ledger, self._put), group.number)
        except BlockingIOError:
            return False
        return True

    def set_up(self, nice: int, cores: int, initializer: FunctionRef | None) -> None:
        """Tell the worker what to do before its first run. Once, before anything else is sent."""
        if initializer is not None:
            self._supply(initializer)
        self._put_in(Setup(nice, cores, b"" if initializer is None else initializer.digest))

    def _supply(self, ref: FunctionRef) -> None:
        payload = ref.payload
        self._supply_slabs(payload)
        if self._supplied.get(ref.digest) == payload.places:
            self._supplied.move_to_end(ref.digest)
            return
        self._put_in(Supply(ref.digest, ref.reusable, ref.sources, payload.kind, payload.head, payload.places))
        self._supplied[ref.digest] = payload.places
        self._supplied.move_to_end(ref.digest)
        if len(self._supplied) > _SUPPLIES_KEPT:
            # Queued runs cannot need the oldest: whatever they name was moved to the end when they were queued.
            oldest = next(iter(self._supplied))
            self._put_in(Forget(oldest))
            del self._supplied[oldest]

    def _supply_slabs(self, payload: Payload) -> None:
        for slab in payload.blocks.slabs if payload.blocks is not None else ():
            if slab.number not in self._slabs:
                self._put_in(SlabSupply(slab.number, slab.size), slab)
                self._slabs.add(slab.number)
                self._depot.supplied(slab, self.worker)

    def forget_slab(self, number: int) -> None:
        """Have the worker drop a slab that no run refers to, unless it has been told to, or has no room to hear it."""
        if number in self._slabs:
            with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                self._put_in(ForgetSlab(number))
                self._slabs.discard(number)

    def _supply_surroundings(self, surroundings: SurroundingsRef) -> None:
        self._put_in(SurroundingsSupply(surroundings.number, 0, surroundings.pickled, ()))

    # What depends on the kind of link.

    @abstractmethod
    def start(self) -> None:
        """Start the process. Raises ``OSError`` or ``WorkerStartFailed``."""

    @abstractmethod
    def appeared(self, pid: int, pidfd: int | None) -> None:
        """The process exists; *pidfd* is ours from now on."""

    def _put_in(self, message: Message, slab: Slab | None = None) -> None:
        self._tell(message, slab)
        self._put += 1

    @abstractmethod
    def _tell(self, message: Message, slab: Slab | None = None) -> None:
        """Send what is to be known before the next group; with the *slab* that it speaks of. Raises as ``give``."""

    @abstractmethod
    def _pass_on(self, packet: RunGroup | SpanGroup, number: int) -> None:
        """Put a group into the queue. Raises as ``give``, or ``BlockingIOError``."""

    @abstractmethod
    def when_room(self, call: Callable[[], None]) -> None:
        """Call *call* once, when there is room for what :meth:`give` had none for."""

    @abstractmethod
    def take_back(self, limit: int | None = None) -> list[int]:
        """Take groups out of the queue, oldest first, unless the worker has them already. Returns their numbers."""

    @abstractmethod
    def listen(self, call: Callable[[Self], None]) -> None:
        """Call *call* whenever there may be answers, until :meth:`mute`."""

    @abstractmethod
    def mute(self) -> None:
        """May be called twice."""

    @abstractmethod
    def read_answers(self) -> Iterator[Received]:
        """Whatever the worker has said so far; a descriptor that comes along is the caller's to close."""

    @abstractmethod
    def read_answer(self) -> Received | None:
        """The oldest of it. Reading on until there is nothing would cost a lone run more than reading."""

    @abstractmethod
    def has_hung_up(self) -> bool:
        """The worker will say nothing more."""

    @abstractmethod
    def interrupt(self, number: int) -> None:
        """Raise inside run *number*. Its queue must have been taken back before."""

    @abstractmethod
    def dismiss(self) -> None:
        """Let the worker, which has nothing in its queue, end by itself. May be called twice."""

    @abstractmethod
    def kill(self) -> None:
        """End the worker by force; its end is reported."""

    @abstractmethod
    def kill_group(self) -> None:
        """End the worker and what it has started, when nobody else is left to do so."""

    @abstractmethod
    def close(self) -> None:
        """Release everything. May be called twice."""


def _large_arguments(group: Group, ledger: Ledger) -> list[Payload]:
    """The payloads of a group that have large parts: such a run travels alone."""
    if group.count > 1 or isinstance(group.kind.facts, Stretch):
        return []
    payload: Payload = ledger.attempt(group.number).encoded.arguments
    return [payload] if payload.blocks is not None else []


def _packet(group: Group, ledger: Ledger, supplies: int) -> RunGroup | SpanGroup:
    """What is sent for *group*, after so many *supplies*."""
    facts: Single | Stretch = group.kind.facts
    common = facts.common
    shared = (
        facts.task_name,
        common.function.digest,
        common.constants.digest if common.constants is not None else b"",
        common.surroundings.number,
        common.memory_limit,
        common.readonly,
        supplies,
    )
    if isinstance(facts, Stretch):
        span = facts.span
        position = span.first + group.number - facts.number
        rows: EncodedRows = cast("EncodedMap", span.encoded).rows
        return SpanGroup(
            *shared,
            number=group.number,
            length=group.count,
            prefix=span.prefix,
            first_id=span.number + position,
            deadline=span.deadline,
            seed=span.seed,
            position=position,
            pieces=rows.columns(position, group.count),
        )
    runs = []
    for ticket in group.tickets:
        number = ticket.number
        attempt = ledger.attempts.get(number) or ledger.attempt(number)
        run_id, nth, _, _, _, encoded, deadline, seed, position = attempt
        payload: Payload = encoded.arguments
        runs.append((number, run_id, nth, deadline, payload.kind, payload.head, payload.places, seed, position))
    return RunGroup(*shared, tuple(runs))

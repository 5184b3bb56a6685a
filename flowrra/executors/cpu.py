"""The executor of CPU-bound tasks: a pool of worker processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowrra.core.statuses import StopReason
from flowrra.interfaces import Attempt, AttemptSink, Call, Span
from flowrra.options import check_positive_count
from flowrra.pool.cores import available_cores
from flowrra.pool.data.depot import Depot
from flowrra.pool.encoding.calls import CallEncoder, EncodedCall, EncodedMap
from flowrra.pool.encoding.decoded import decode_call
from flowrra.pool.encoding.functions import encode_function
from flowrra.pool.supervisor import Preparation, Supervisor

IDLE = 300.0


class CpuExecutor:
    """Runs each attempt in one of ``workers`` processes (None: one per core that this process may use).

    After *idle* seconds without a run they end, but for a spare that is there when the next run comes.

    Raises ``InvalidOption`` for any other number than a positive one.
    """

    def __init__(
        self,
        workers: int | None = None,
        name: str = "cpu",
        *,
        idle: float = IDLE,
        initializer: Callable[[], object] | None = None,
        nice: int = 0,
    ) -> None:
        self.name = name
        self._idle, self._initializer, self._nice = idle, initializer, nice
        self._workers = available_cores() if workers is None else check_positive_count("cpu_workers", workers)
        self._depot = Depot()
        self._encoder = CallEncoder(self._depot)
        self._supervisor: Supervisor | None = None

    @property
    def loop(self) -> None:
        return None

    @property
    def slots(self) -> int:
        return self._workers

    # On the submitter's thread.

    def encode(self, call: Call) -> EncodedCall:
        """Raises ``NotEncodable``, which names the part that cannot travel, or ``HandleNotAllowed``."""
        return self._encoder.encode(call)

    def encode_map(self, call: Call, rows: Sequence[tuple[Any, ...]]) -> EncodedMap:
        """As :meth:`encode`; function, keywords and surroundings are read once for all rows."""
        return self._encoder.encode_map(call, rows)

    def call_of(self, encoded: EncodedCall) -> Callable[[], Any]:
        """The call that :meth:`encode` has encoded, to be made in this process."""
        return decode_call(encoded)

    # On the engine's loop.

    async def start(self, sink: AttemptSink) -> None:
        """Make ready; the processes are started when the first run comes. Twice is as good as once."""
        if self._supervisor is None:
            self._supervisor = Supervisor(self._workers, self.name, sink, self._depot, self._preparation())

    def _preparation(self) -> Preparation:
        if self._initializer is None:
            return Preparation(self._idle, self._nice)
        ref = encode_function("initializer", self._initializer, self._depot, reusable=True)
        return Preparation(self._idle, self._nice, ref)

    def room(self) -> int:
        return self._running.room()

    def begin(self, attempt: Attempt) -> None:
        self._running.begin(attempt)

    def begin_span(self, span: Span) -> None:
        self._running.begin_span(span)

    def resize(self, workers: int) -> None:
        """Have *workers* processes from now on. Those that are too many finish the run they execute, then end."""
        self._workers = check_positive_count("workers", workers)
        if self._supervisor is not None:
            self._supervisor.resize(workers)

    def stop(self, attempt: Attempt, reason: StopReason) -> None:
        """A running function sees an exception that only ``finally`` blocks notice; 0.25 s later its process is killed.

        Either way the process is replaced, by one that has been waiting for it.
        """
        self._running.stop(attempt)

    def hurry(self, attempt: Attempt) -> None:
        """Kill the process of *attempt*, which was asked to stop, at once."""
        self._running.hurry(attempt)

    def recall(self, above: tuple[int, int] | None = None) -> None:
        self._running.recall(above)

    def describe(self) -> Mapping[str, Any]:
        """slots, workers, spare, busy, prefetched, lost (ended by themselves), replaced (after a stop), pids.

        Of what is shared by content: shared_slabs, mapped_slabs (by workers), shared_bytes (in memory), pinned_bytes
        (for runs that are not over), spilled_bytes (in files); so far: copied_bytes, found_bytes (which were submitted
        and needed no copy).
        """
        shared = self._depot.describe()
        if self._supervisor is None:
            return {"slots": self.slots, **shared}
        return {"slots": self.slots, **self._supervisor.describe(), **shared}

    async def close(self) -> None:
        """End all processes, and what tasks have started in them, by force."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            await supervisor.close()
        self._encoder.forget()
        self._depot.close()

    @property
    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise RuntimeError(f"the executor {self.name!r} has not been started")
        return self._supervisor

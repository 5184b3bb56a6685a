"""The executor of CPU-bound tasks: a pool of worker processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flowrra.core.statuses import StopReason
from flowrra.core.tuples import NamedTuple
from flowrra.errors import InvalidOption, WorkerStartFailed
from flowrra.interfaces import Attempt, AttemptSink, Call, Span
from flowrra.options import check_positive_count
from flowrra.pool.cores import available_cores
from flowrra.pool.ways import Launched, way

if TYPE_CHECKING:
    from flowrra.pool.data.depot import Depot
    from flowrra.pool.encoding.calls import CallEncoder, EncodedCall, EncodedMap
    from flowrra.pool.sources import Sources
    from flowrra.pool.supervisor import Supervisor
    from flowrra.pool.workforce import Preparation

IDLE = 300.0
_NO_WORKERS = {"workers": 0, "spare": 0, "busy": 0, "prefetched": 0, "lost": 0, "replaced": 0}


class _Encoding(NamedTuple):
    depot: Depot
    encoder: CallEncoder
    sources: Sources

    def encode(self, call: Call) -> EncodedCall:
        self.sources.look()
        return self.encoder.encode(call)

    def encode_map(self, call: Call, rows: Sequence[tuple[Any, ...]]) -> EncodedMap:
        self.sources.look()
        return self.encoder.encode_map(call, rows)


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
        workers_by: str | None = None,
    ) -> None:
        self.name = name
        self._way = way(workers_by)
        self._idle, self._initializer, self._nice = idle, initializer, nice
        self._workers = available_cores() if workers is None else check_positive_count("cpu_workers", workers)
        self._lock = threading.Lock()
        """For what the first of several submitters makes."""
        self._encoding: _Encoding | None = None
        self._sink: AttemptSink | None = None
        """There from start to close."""
        self._cold = False
        """Started, and no zygote has been."""
        self._launched: Launched | None = None
        """Until the supervisor has it."""
        self._preparation: Preparation | None = None
        self._supervisor: Supervisor | None = None

    @property
    def loop(self) -> None:
        return None

    @property
    def slots(self) -> int:
        return self._workers

    # On the submitter's thread.

    def encode(self, call: Call) -> EncodedCall:
        """Raises ``NotEncodable``, which names the part that cannot travel, or ``HandleNotAllowed``.

        Raises ``InvalidOption`` for a memory limit where the system does not tell how much memory a process uses.
        """
        self._check(call)
        return self._warm().encode(call)

    def encode_map(self, call: Call, rows: Sequence[tuple[Any, ...]]) -> EncodedMap:
        """As :meth:`encode`; function, keywords and surroundings are read once for all rows."""
        self._check(call)
        return self._warm().encode_map(call, rows)

    def _check(self, call: Call) -> None:
        if call.memory_limit and not self._way.limits_memory:
            raise InvalidOption(
                f"memory_limit: this system does not tell how much memory {call.task_name!r} uses; do without it"
            )

    def _warm(self) -> _Encoding:
        """What encodes. Before all that has to be loaded for it, the zygote is started, which comes up meanwhile."""
        if self._encoding is None or self._cold:
            with self._lock:
                if self._cold:
                    self._cold = False
                    # The supervisor tries it again, and has a run to tell of it.
                    with suppress(WorkerStartFailed):
                        self._launched = self._way.launch()
                if self._encoding is None:
                    self._encoding = self._load()
        return self._encoding

    def call_of(self, encoded: EncodedCall) -> Callable[[], Any]:
        """The call that :meth:`encode` has encoded, to be made in this process."""
        from flowrra.pool.encoding.decoded import decode_call

        return decode_call(encoded)

    # On the engine's loop.

    async def start(self, sink: AttemptSink) -> None:
        """Make ready; the processes are started when the first run is encoded. Twice is as good as once."""
        if self._sink is not None:
            return
        if self._initializer is not None:
            self._preparation = self._prepare(self._warm().depot)
        self._sink, self._cold = sink, True

    def _prepare(self, depot: Depot) -> Preparation:
        from flowrra.pool.encoding.functions import encode_function
        from flowrra.pool.workforce import Preparation

        if self._initializer is None:
            return Preparation(self._idle, available_cores(), self._nice)
        ref = encode_function("initializer", self._initializer, depot, reusable=True)
        return Preparation(self._idle, available_cores(), self._nice, ref)

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
        """slots, workers_by, workers, spare, busy, prefetched, lost (ended by themselves), replaced (stopped), pids.

        Of what is shared by content: shared_slabs, mapped_slabs (by workers), shared_bytes (in memory), pinned_bytes
        (for runs that are not over), spilled_bytes (in files); so far: copied_bytes, found_bytes (which were submitted
        and needed no copy).
        """
        facts = {"slots": self.slots, "workers_by": self._way.name}
        with self._lock:
            self._encoding = self._encoding or self._load()
        shared = self._encoding.depot.describe()
        if self._supervisor is not None:
            return {**facts, **self._supervisor.describe(), **shared}
        if self._sink is not None:
            return {**facts, **_NO_WORKERS, "pids": [], **shared}
        return {**facts, **shared}

    async def close(self) -> None:
        """End all processes, and what tasks have started in them, by force."""
        with self._lock:
            self._cold = False
            supervisor, self._supervisor = self._supervisor, None
            launched, self._launched = self._launched, None
        self._sink = self._preparation = None
        if launched is not None:
            launched.bury()
        if supervisor is not None:
            await supervisor.close()
        if self._encoding is not None:
            self._encoding.encoder.forget()
            self._encoding.depot.close()
            self._encoding.sources.clear()

    @property
    def _running(self) -> Supervisor:
        """Made when it is first needed: an app without a CPU-bound run does not load it."""
        if self._supervisor is None:
            if self._sink is None:
                raise RuntimeError(f"the executor {self.name!r} has not been started")
            from flowrra.pool.supervisor import Supervisor

            depot, _, sources = self._warm()
            preparation = self._preparation or self._prepare(depot)
            with self._lock:
                launched, self._launched = self._launched, None
            self._supervisor = Supervisor(
                self._workers, self.name, self._sink, depot, sources, preparation, self._way, launched
            )
        return self._supervisor

    def _load(self) -> _Encoding:
        # With what the engine's loop will need, which then does not stand still for it.
        from flowrra.pool.encoding.calls import CallEncoder
        from flowrra.pool.sources import Sources

        depot = self._way.depot()
        return _Encoding(depot, CallEncoder(depot), Sources())

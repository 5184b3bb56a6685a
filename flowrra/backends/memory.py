"""Results in this process: the default backend, and the double of the others in tests."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from flowrra.core.records import Outcome
from flowrra.core.statuses import OutcomeKind, Status
from flowrra.errors import ResultGone
from flowrra.interfaces import Stored

KEEP_RUNS = 100_000
KEEP_BYTES = 1 << 30


class MemoryBackend:
    """Keeps the latest runs. A handle holds its own value, so what is dropped here is only unreachable by id.

    Bounded by the number of runs and by the bytes that values took on the wire (values of coroutines and threads never
    travelled and count as nothing); beyond the bytes the oldest values go first, and their records stay.
    """

    url = "memory://"

    def __init__(self, keep_runs: int = KEEP_RUNS, keep_bytes: int = KEEP_BYTES) -> None:
        self._keep_runs, self._keep_bytes = keep_runs, keep_bytes
        self._runs: OrderedDict[str, Stored] = OrderedDict()
        self._sized: OrderedDict[str, int] = OrderedDict()
        self._bytes = 0

    async def save(self, done: Sequence[Stored]) -> None:
        for run in done:
            run_id = run.record.submission.id
            self._runs[run_id] = run
            if run.outcome.size:
                self._bytes += run.outcome.size - self._sized.get(run_id, 0)
                self._sized[run_id] = run.outcome.size
        self._shrink()

    async def get(self, run_id: str) -> Stored | None:
        return self._runs.get(run_id)

    def recent(self, run_id: str) -> Stored | None:
        return self._runs.get(run_id)

    async def query(self, status: Status | None, task_name: str | None, limit: int) -> Sequence[Stored]:
        found: list[Stored] = []
        for run in reversed(self._runs.values()):
            if len(found) >= limit:
                break
            if status in (None, run.record.status) and task_name in (None, run.record.submission.task_name):
                found.append(run)
        return found

    async def close(self) -> None:
        """Nothing to release: finished runs of a stopped app can still be read."""

    def _shrink(self) -> None:
        while len(self._runs) > self._keep_runs:
            run_id, _ = self._runs.popitem(last=False)
            self._bytes -= self._sized.pop(run_id, 0)
        while self._bytes > self._keep_bytes and len(self._sized) > 1:
            run_id, size = self._sized.popitem(last=False)
            self._bytes -= size
            gone = ResultGone(run_id, f"results are kept up to {self._keep_bytes} bytes and newer ones took its place")
            purged = Outcome(OutcomeKind.RETURNED, exception=gone)
            self._runs[run_id] = self._runs[run_id]._replace(outcome=purged)

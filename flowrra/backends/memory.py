"""Results in this process: the default backend, and the double of the others in tests."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Sequence

from flowrra.core.records import Outcome, number_in
from flowrra.core.statuses import OutcomeKind, Status
from flowrra.errors import ResultGone
from flowrra.interfaces import Stored, StoredSpan

KEEP_RUNS = 100_000
KEEP_BYTES = 1 << 30
_SHORT = 8
"""Runs of a map that are so few are kept one by one."""


class MemoryBackend:
    """Keeps the latest runs. A handle holds its own value, so what is dropped here is only unreachable by id.

    Bounded by the number of runs and by the bytes that values took on the wire (values of coroutines and threads never
    travelled and count as nothing); beyond the bytes the oldest values go first, and their records stay.
    """

    url = "memory://"

    def __init__(self, keep_runs: int = KEEP_RUNS, keep_bytes: int = KEEP_BYTES) -> None:
        self._keep_runs, self._keep_bytes = keep_runs, keep_bytes
        self._runs: OrderedDict[str, Stored | StoredSpan] = OrderedDict()
        """By id, or id of the first of them; oldest first."""
        self._count = 0
        self._spans: list[StoredSpan] = []
        """Those in ``_runs``, by number."""
        self._sized: OrderedDict[str, int] = OrderedDict()
        self._bytes = 0

    async def save(self, done: Sequence[Stored]) -> None:
        self.save_now(done)

    def save_now(self, done: Sequence[Stored]) -> None:
        """As :meth:`save`, which has nothing to wait for here."""
        # A tuple first: to ask it whether it is an abstract sequence of some kind takes longer than all that follows.
        if type(done) is not tuple and isinstance(done, StoredSpan) and len(done) >= _SHORT:
            first = done[0].record.submission.id
            if first not in self._runs:
                self._runs[first] = done
                self._count += len(done)
                insort(self._spans, done, key=_first_number)
        else:
            for run in done:
                self._keep(run)
        if self._count > self._keep_runs or self._bytes > self._keep_bytes:
            self._shrink()

    def _keep(self, run: Stored) -> None:
        run_id = run.record.submission.id
        if run_id not in self._runs:
            self._count += 1
        self._runs[run_id] = run
        if run.outcome.size:
            self._bytes += run.outcome.size - self._sized.get(run_id, 0)
            self._sized[run_id] = run.outcome.size

    async def get(self, run_id: str) -> Stored | None:
        return self.recent(run_id)

    def recent(self, run_id: str) -> Stored | None:
        found = self._runs.get(run_id)
        if isinstance(found, Stored):
            return found
        number = number_in(run_id)
        if number is None:
            return None
        # A copy: another thread may be saving.
        spans = list(self._spans)
        before = bisect_right(spans, number, key=_first_number)
        if not before:
            return None
        index = spans[before - 1].index_of(run_id)
        return None if index is None else spans[before - 1][index]

    async def query(self, status: Status | None, task_name: str | None, limit: int) -> Sequence[Stored]:
        found: list[Stored] = []
        for kept in reversed(self._runs.values()):
            if len(found) >= limit:
                break
            run = kept[0] if isinstance(kept, StoredSpan) else kept
            if status not in (None, run.record.status) or task_name not in (None, run.record.submission.task_name):
                continue
            if isinstance(kept, StoredSpan):
                latest = max(0, len(kept) - (limit - len(found)))
                found.extend(reversed(kept[latest:]))
            else:
                found.append(run)
        return found

    async def close(self) -> None:
        """Nothing to release: finished runs of a stopped app can still be read."""

    def _shrink(self) -> None:
        while self._count > self._keep_runs and len(self._runs) > 1:
            run_id, oldest = self._runs.popitem(last=False)
            if isinstance(oldest, Stored):
                self._count -= 1
            else:
                self._count -= len(oldest)
                self._spans.remove(oldest)
            self._bytes -= self._sized.pop(run_id, 0)
        while self._bytes > self._keep_bytes and len(self._sized) > 1:
            run_id, size = self._sized.popitem(last=False)
            self._bytes -= size
            gone = ResultGone(run_id, f"results are kept up to {self._keep_bytes} bytes and newer ones took its place")
            purged = Outcome(OutcomeKind.RETURNED, exception=gone)
            kept = self._runs[run_id]
            assert isinstance(kept, Stored), "only single runs have a size"
            self._runs[run_id] = kept._replace(outcome=purged)


def _first_number(span: StoredSpan) -> int:
    return span.numbers.start

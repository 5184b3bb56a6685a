"""Where worker processes come from, as the supervisor sees it. There are two ways: to fork them, and to spawn them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from flowrra.pool.data.depot import Depot
from flowrra.pool.link import Link
from flowrra.pool.transport import messages as said


class Workers(Protocol):
    """Makes workers, hears what becomes of them and tells."""

    def new_link(self, worker: int, depot: Depot) -> Link:
        """A link to a worker whose process :meth:`Link.start` starts. Raises ``OSError``."""

    def prefer(self, modules: Sequence[str]) -> None:
        """Workers have needed *modules*: have later ones import them before they get a run."""

    def expect(self, modules: Sequence[str]) -> None:
        """The first run needs *modules*."""

    def watch(self, *, on: bool) -> None:
        """Have the memory of runs measured, or not."""

    async def close(self) -> None:
        """End all workers; nothing is reported any more."""


class WorkerEvents(Protocol):
    """Who wants to know what becomes of the workers."""

    def worker_forked(self, worker: int, pid: int, pidfd: int | None) -> None:
        """It runs. *pidfd* is the receiver's to close; None if this process had no descriptor left for it."""

    def worker_came_up(self, worker: int) -> None:
        """It waits for runs: whatever becomes of it now, workers can be started. Of forked ones nobody tells."""

    def worker_wrote(self, worker: int, stream: int, data: bytes) -> None: ...

    def owes_answer(self, worker: int, number: int) -> bool:
        """The end of run *number* is not known, as far as *worker* was heard."""

    def run_output_complete(self, worker: int, number: int) -> None: ...

    def worker_ended(self, ended: said.Ended) -> None: ...

    def fork_failed(self, worker: int, reason: str) -> None: ...

    def zygote_ended(self, workers: Sequence[int], last_words: str) -> None:
        """A zygote has ended by itself; the kernel (PDEATHSIG) has ended its *workers* with it."""

    def zygote_started(self) -> None:
        """A new zygote forks from now on; it measures nothing yet."""

    def better_spares_possible(self) -> None:
        """Workers forked from now on have more modules."""

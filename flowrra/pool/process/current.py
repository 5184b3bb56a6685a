"""Which run executes, for those who ask: ``current_run()``, progress, and what is drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flowrra.core.seeds import Source
from flowrra.pool.process.notes import Notes
from flowrra.pool.process.thread_budget import ThreadBudget
from flowrra.pool.process.work import Who, Work
from flowrra.pool.transport.messages import Message, Progressed
from flowrra.pool.transport.page import Page
from flowrra.running import RunContext, ThinnedReport

_LONGEST_MESSAGE = 1000
"""Characters of a progress message that are sent on."""


class Current:
    """The run at hand, found when somebody asks: most never do. *say* tells the engine something."""

    def __init__(self, page: Page, notes: Notes, budget: ThreadBudget, say: Callable[[Message], None]) -> None:
        self._page, self._notes, self._budget, self._say = page, notes, budget, say
        self.work: Work | None = None
        """The group that executes."""
        self._report: ThinnedReport | None = None
        self._context: RunContext | None = None
        self.source = _CurrentSource(0)
        self.source.current = self

    def who(self) -> Who | None:
        work, index = self.work, self._page.index()
        return work.who(index) if work is not None and index < work.count else None

    def context(self) -> RunContext | None:
        who = self.who()
        if who is None or self.work is None:
            return None
        if self._context is None or self._context.id != who.run_id:
            self._notes.fresh = True
            self._report = ThinnedReport(partial(self._send_progress, who.number))
            self._context = RunContext(
                who.run_id,
                who.attempt,
                self.work.common.task_name,
                who.deadline,
                self._report,
                source=who.source,
                cores=self._budget.share,
            )
        return self._context

    def drawing(self) -> Source:
        """Called at the first draw of a run: what it draws from. The next one is to be seeded anew."""
        self._notes.fresh = True
        who = self.who()
        return who.source if who is not None else Source(0)

    def finish(self) -> None:
        """The function of the run has returned or raised: pass on what was held back of its progress."""
        if self._report is not None:
            self._report.finish()
            self._report = self._context = None

    def _send_progress(self, number: int, done: float, total: float | None, message: str) -> None:
        self._say(Progressed(number, done, total, message[:_LONGEST_MESSAGE]))


class _CurrentSource(Source):
    """What the run draws from that executes when something is drawn."""

    current: Current

    def stream(self, name: str) -> int:
        return self.current.drawing().stream(name)

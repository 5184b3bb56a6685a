"""How runs have ended, on its way to the engine: on the page at once, as messages now and then."""

from __future__ import annotations

import marshal
import sys
import time

from flowrra.pool.prefetch import FLUSH_EVERY
from flowrra.pool.preloading import WORTH_PRELOADING
from flowrra.pool.process.answers import Answers
from flowrra.pool.transport.messages import Message, Report
from flowrra.pool.transport.page import DONE, ENTRIES, FLUSHED, FULL, VERSION, Page
from flowrra.pool.transport.segments import Segment


class Reporter:
    """Of one worker; of one group at a time."""

    def __init__(self, answers: Answers, page: Page) -> None:
        self._answers, self.page = answers, page
        self._group = 0
        self._serial = 0
        self._first = 0
        """Index of the first run that has not been reported."""
        self.end = ENTRIES
        """Where on the page the next entry goes."""
        self.due_at = 0.0
        """When what has ended by then is to be reported."""
        self.over = False
        """The group is over for this worker."""
        self._imported = frozenset(name for name in WORTH_PRELOADING if name in sys.modules)
        self._modules = len(sys.modules)

    def claimed(self, group: int) -> None:
        """From now on all is about *group*, of which nothing has begun."""
        self._group, self._first, self.end, self.over = group, 0, ENTRIES, False

    def begin(self, now: float) -> None:
        """Its first run is about to begin."""
        self._serial += 1
        self.page.begin(self._serial)
        self.due_at = now + FLUSH_EVERY

    def is_due(self, now: float) -> bool:
        return self.end >= FULL or now >= self.due_at

    def write(self, index: int, entry: bytes, now: float) -> None:
        """Note how the run at *index* ended. Nobody looks for it before the page says that the next one executes."""
        page = self.page
        page.map[self.end : self.end + len(entry)] = entry
        self.end += len(entry)
        page.starts[index + 1] = now

    def skip(self, index: int) -> None:
        """The run at *index* is left out, as the engine has asked."""
        self.write(index, marshal.dumps((), VERSION), time.monotonic())
        self.page.words[DONE] += 1

    def report(self, index: int, segment: Segment | None = None, *, over: bool) -> None:
        """Tell the engine what ended before the run at *index*; *over*: none of the others will begin here."""
        page, first = self.page, self._first
        report = Report(
            self._group,
            first,
            index - first,
            page.starts[first : index + 1].tobytes(),
            bytes(page.map[ENTRIES : self.end]),
            over,
            self._newly_imported(),
        )
        self._answers.send(report, segment)
        self._first, self.end, self.over = index, ENTRIES, over
        page.words[FLUSHED] = self._serial << 32 | index
        self.due_at = time.monotonic() + FLUSH_EVERY

    def say(self, message: Message) -> None:
        """Tell the engine something else."""
        self._answers.send(message)

    def _newly_imported(self) -> tuple[str, ...]:
        if len(sys.modules) == self._modules:
            return ()
        self._modules = len(sys.modules)
        now = frozenset(name for name in WORTH_PRELOADING if name in sys.modules)
        new, self._imported = now - self._imported, now
        return tuple(sorted(new))

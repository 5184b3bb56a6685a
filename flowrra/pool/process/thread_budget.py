"""The share of the cores that the runs of this worker have: in the environment and in the libraries there are."""

from __future__ import annotations

import os

from flowrra.pool.encoding.surroundings import Surroundings
from flowrra.pool.process.libraries import libraries
from flowrra.pool.thread_variables import budgeted, limits
from flowrra.pool.transport.page import SHARE, Page


class ThreadBudget:
    """``share`` is the number of cores that the run at hand may keep busy."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.share = 0
        self.cores = 1
        """Of the whole pool."""
        self._number = 0
        self._known: dict[int, tuple[Surroundings, dict[str, int]]] = {}
        """By share, for the latest surroundings; the share changes to and fro while few runs are under way."""

    def surroundings(self, number: int, submitted: Surroundings) -> Surroundings:
        """What is around the runs that begin now: what was *submitted*, completed by what libraries are to read.

        The same object as long as neither these nor the share have changed.
        """
        share = self._page.words[SHARE]
        if number != self._number:
            self._number = number
            self._known.clear()
        if share not in self._known:
            environ = {os.fsdecode(name): os.fsdecode(value) for name, value in submitted.environ.items()}
            added = budgeted(environ, share, self.cores)
            encoded = {os.fsencode(name): os.fsencode(value) for name, value in added.items()}
            completed = submitted._replace(environ={**submitted.environ, **encoded})
            self._known[share] = completed, limits(environ, share)
        self.share = share
        return self._known[share][0]

    def apply(self) -> None:
        """Tell the libraries that are loaded by now. Those that the run loads read the environment."""
        libraries.look()
        libraries.limit(self._known[self.share][1])

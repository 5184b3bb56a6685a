"""How the cores are shared out among the workers that execute something."""

from __future__ import annotations

from collections.abc import Iterable

from flowrra.pool.transport.page import SHARE, Page


class Shares:
    """What each worker may keep busy: all the cores if it is alone, one if there are more workers than cores.

    A run keeps the share that it began with.
    """

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self._share = cores

    def tell(self, page: Page) -> None:
        """Tell a worker, which looks when it begins something."""
        page.words[SHARE] = self._share

    def share_out(self, busy: int, pages: Iterable[Page]) -> None:
        """*busy* workers have something to do: tell all of them if that makes a difference."""
        share = max(1, self.cores // max(1, busy))
        if share != self._share:
            self._share = share
            for page in pages:
                self.tell(page)

"""Which workers there are: how many, in which role, and what is done when they keep failing to start."""

from __future__ import annotations

from collections.abc import Iterable

from flowrra.pool.orders import Kill, Order, StartWorker
from flowrra.pool.worker_state import Role, WorkerState

START_FAILURES = 3
"""Workers in a row that ended before their first run, until waiting runs are told."""
LEAVING = (Role.CONDEMNED, Role.RETIRING)
"""Roles of those whose end is expected."""


class Staff:
    """``slots`` active workers and one spare, as far as they can be had."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.states: dict[int, WorkerState] = {}
        self.failures = 0
        """Workers in a row that ended before their first run."""
        self.is_open = False
        self.asleep = False
        """Nobody but a spare is kept until the next run comes."""
        self._last_worker = 0

    def active(self) -> list[WorkerState]:
        """Those whose queues are in use. That of a condemned worker is empty but for the request to stop."""
        return [state for state in self.states.values() if state.role is Role.ACTIVE]

    def are_failing(self) -> bool:
        return self.failures >= START_FAILURES

    def open(self) -> list[Order]:
        """Start everybody."""
        self.is_open = True
        return self.fill_up()

    def needed(self) -> list[Order]:
        """A run has come: wake those who are asleep, and try once more where starting fails."""
        awakened, self.asleep = self.asleep, False
        return self.fill_up(retry=True) if awakened or not self.states else []

    def work(self) -> list[Order]:
        """One of them has begun a run, so they can be started."""
        if not self.failures:
            return []
        self.failures = 0
        return self.fill_up()

    def remove(self, workers: Iterable[int]) -> list[WorkerState]:
        """*workers* have ended; their states as they were."""
        return [self.states.pop(worker) for worker in workers if worker in self.states]

    def note_failure(self, gone: Iterable[WorkerState]) -> None:
        """*gone* have ended by one cause; count it if none of them had begun a run and none was to end."""
        unexpected = [state for state in gone if state.role not in LEAVING]
        if unexpected and not any(state.proven for state in unexpected):
            self.failures += 1

    def renew_spares(self) -> list[Order]:
        """Replace spares by new ones, which have more modules imported already."""
        orders: list[Order] = []
        for state in self.states.values():
            if state.role is Role.SPARE:
                state.role = Role.CONDEMNED
                orders.append(Kill(state.worker))
        return orders + self.fill_up()

    def fill_up(self, *, retry: bool = False) -> list[Order]:
        """Fill up to ``slots`` active workers and a spare; while starting fails, only one, and only on *retry*."""
        orders: list[Order] = []
        if self.are_failing():
            if retry and not self.states:
                orders.append(self._start_worker(Role.ACTIVE))
            return orders
        active = self.slots if self.asleep else len(self.active())
        spares = [state for state in self.states.values() if state.role is Role.SPARE]
        while active < self.slots:
            active += 1
            if spares:
                spares.pop(0).role = Role.ACTIVE
            else:
                orders.append(self._start_worker(Role.ACTIVE))
        if not spares:
            orders.append(self._start_worker(Role.SPARE))
        return orders

    def _start_worker(self, role: Role) -> StartWorker:
        self._last_worker += 1
        self.states[self._last_worker] = WorkerState(self._last_worker, role)
        return StartWorker(self._last_worker)

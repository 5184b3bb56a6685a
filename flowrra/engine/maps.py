"""Which maps there are, and which of them a run belongs to."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from flowrra.core.records import number_in
from flowrra.engine.columns import Columns
from flowrra.engine.run import Run, lock_of_runs


class Maps:
    """The maps whose runs are not all over. Asked from any thread."""

    def __init__(self) -> None:
        self._by_id: dict[str, Columns] = {}
        self._numbers: list[int] = []
        self._in_order: list[Columns] = []

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Columns]:
        return iter(list(self._by_id.values()))

    def get(self, batch_id: str) -> Columns | None:
        return self._by_id.get(batch_id)

    def find(self, run_id: str) -> Run | None:
        """The run, if it belongs to one of them and is not over."""
        number = number_in(run_id) if self._by_id else None
        if number is None:
            return None
        with lock_of_runs():
            index = bisect_right(self._numbers, number) - 1
            columns = self._in_order[index] if index >= 0 else None
        position = None if columns is None else columns.position_of(run_id)
        if columns is None or position is None or columns.is_settled(position):
            return None
        return columns.run(position)

    def unfinished(self) -> list[Run]:
        """All runs that are not over."""
        return [run for columns in self for run in columns.unfinished()]

    def add(self, columns: Columns) -> None:
        with lock_of_runs():
            self._by_id[columns.id] = columns
            index = bisect_right(self._numbers, columns.numbers.start)
            self._numbers.insert(index, columns.numbers.start)
            self._in_order.insert(index, columns)

    def remove(self, columns: Columns) -> None:
        """Forget one of them; twice is as good as once."""
        with lock_of_runs():
            if self._by_id.pop(columns.id, None) is not None:
                index = self._in_order.index(columns)
                del self._in_order[index], self._numbers[index]

    def clear(self) -> None:
        with lock_of_runs():
            self._by_id.clear()
            self._numbers.clear()
            self._in_order.clear()

from __future__ import annotations

import pytest

from flowrra.pool import recycling


def test_a_worker_serves_on_below_every_limit() -> None:
    assert not recycling.is_due(recycling.MOST_RUNS - 1, recycling.MOST_AGE - 1, recycling.MOST_GROWTH - 1)


@pytest.mark.parametrize(
    ("runs", "age", "growth"),
    [(recycling.MOST_RUNS, 0, 0), (1, recycling.MOST_AGE, 0), (1, 0, recycling.MOST_GROWTH)],
)
def test_reaching_one_limit_is_enough(runs: int, age: float, growth: int) -> None:
    assert recycling.is_due(runs, age, growth)

"""How often the fault table is gone through: once by ``make test``, twenty times by ``make soak``."""

from __future__ import annotations

import pytest

TIMES = 20

repeated = pytest.mark.parametrize(
    "repeat", [0, *(pytest.param(again, marks=pytest.mark.soak) for again in range(1, TIMES + 1))]
)
"""The first time is no part of the twenty: they all happen in one call."""

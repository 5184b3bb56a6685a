"""When a worker has served long enough. Memory that libraries never give back, and other slow leaks, end with it."""

from __future__ import annotations

MOST_RUNS = 100_000
MOST_AGE = 3600.0
"""Seconds since it was forked."""
MOST_GROWTH = 1_000_000_000
"""Bytes of private memory, between runs, beyond what it had before its first one."""


def is_due(runs: int, age: float, growth: int) -> bool:
    """Whether a worker should leave after the run that has just ended, and be replaced by a fresh one."""
    return runs >= MOST_RUNS or age >= MOST_AGE or growth >= MOST_GROWTH

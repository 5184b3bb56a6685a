"""A test whose program is absent is skipped with the reason; in CI (the variable ``CI`` is set) it fails."""

from __future__ import annotations

import os

import pytest

from tests.environment.machine import PROGRAMS


def require(name: str) -> str:
    """The path of the program *name*."""
    program = PROGRAMS[name]
    found = program.find()
    if found is None:
        reason = f"{name} is not installed (Debian's package: {program.package})"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found

"""Tests that run over both ways to worker processes, and the reasons of those that cannot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

WAYS = ("fork", "spawn")


def ways_of(metafunc: pytest.Metafunc) -> tuple[str, ...]:
    """Those over which a test runs; only the first for what is marked ``forked_only(reason)``."""
    marker = metafunc.definition.get_closest_marker("forked_only")
    if marker is None:
        return WAYS
    assert marker.args, "forked_only needs a reason"
    return WAYS[:1]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "each_way" in metafunc.fixturenames:
        metafunc.parametrize("each_way", ways_of(metafunc), indirect=True, scope="module")


@pytest.fixture(scope="module")
def each_way(request: pytest.FixtureRequest) -> Iterator[str]:
    """How the pools of a test make their workers: named in the environment, and returned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWRRA_WORKERS_BY", request.param)
        yield request.param

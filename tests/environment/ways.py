"""Tests that run over both ways to worker processes, and the reasons of those that cannot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

WAYS = ("fork", "spawn")
ONE_SEED = pytest.mark.forked_only("one seed is enough for both ways")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "each_way" in metafunc.fixturenames:
        metafunc.parametrize("each_way", WAYS, indirect=True, scope="module")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, for spawned workers, what is marked ``forked_only(reason)``, be it a test or one of its parameters."""
    left_out = [item for item in items if _is_spawned(item) and _is_forked_only(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _is_spawned(item: pytest.Item) -> bool:
    return (
        isinstance(item, pytest.Function)
        and getattr(item, "callspec", None) is not None
        and (item.callspec.params.get("each_way") == "spawn")
    )


def _is_forked_only(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("forked_only")
    assert marker is None or marker.args, "forked_only needs a reason"
    return marker is not None


@pytest.fixture(scope="module")
def each_way(request: pytest.FixtureRequest) -> Iterator[str]:
    """How the pools of a test make their workers: named in the environment, and returned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWRRA_WORKERS_BY", request.param)
        yield request.param

"""What holds for every test: nothing is left behind, the user's files are out of reach, hypothesis is repeatable."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

from flowrra.testing import leaks

pytest_plugins = ["tests.environment.fixtures", "tests.environment.ways"]

hypothesis.settings.register_profile("flowrra", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("flowrra")


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the user's settings and files, and mark our child processes for the leak check."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("FLOWRRA_")]:
            patch.delenv(name)
        patch.setenv("FLOWRRA_HOME", str(tmp_path_factory.mktemp("flowrra-home")))
        leaks.mark_descendants()
        yield
        patch.delenv(leaks.MARK)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest, surroundings: None) -> Iterator[None]:
    """Fail a test that leaves a thread, a process, a descriptor or shared memory; ``may_leak(reason)`` opts out."""
    marker = request.node.get_closest_marker("may_leak")
    if marker is not None:
        assert marker.args or marker.kwargs.get("reason"), "may_leak needs a reason"
        yield
        return
    before = leaks.resources()
    yield
    found = leaks.left_behind(before)
    if found:
        pytest.fail("the test left behind:\n  " + "\n  ".join(found), pytrace=False)

"""Which workers have imported what has changed since."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

import flowrra
from flowrra.pool.process.imports import is_own
from flowrra.pool.sources import Sources, version_of


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "helpers.py"
    path.write_text("X = 1\n")
    return str(path)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "flowrra.pool"]


def look(sources: Sources) -> set[int]:
    sources.look()
    return sources.take_outdated()


def test_whoever_has_an_old_version_is_named_once(file: str, caplog: pytest.LogCaptureFixture) -> None:
    sources = Sources()
    for worker in (1, 2):
        sources.imported(worker, file, version_of(file))
    assert look(sources) == set()
    found = os.stat(file)
    Path(file).write_text("X = 2\n")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    sources.imported(3, file, version_of(file))
    with caplog.at_level(logging.WARNING):
        assert look(sources) == {1, 2}
        assert look(sources) == set()
    assert said(caplog) == [f"{file} has changed on disk; workers that had imported it are replaced"]


def test_a_file_that_is_gone_has_changed_and_one_that_replaces_it_too(file: str) -> None:
    sources = Sources()
    sources.imported(1, file, version_of(file))
    os.unlink(file)
    assert look(sources) == {1}
    sources.imported(2, file, version_of(file))
    Path(file).write_text("X = 1\n")
    assert look(sources) == {2}


def test_several_files_are_one_line_and_those_below_the_current_folder_go_by_their_short_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    sources = Sources()
    paths = [tmp_path / f"part{number}.py" for number in range(3)]
    for path in paths:
        path.write_text("")
        sources.imported(1, str(path), version_of(str(path)))
        path.write_text("X = 1\n")
    with caplog.at_level(logging.WARNING):
        assert look(sources) == {1}
    assert said(caplog)[0].startswith("part0.py and 2 more of your files have changed on disk")


def test_workers_that_have_ended_are_forgotten(file: str, caplog: pytest.LogCaptureFixture) -> None:
    sources = Sources()
    sources.imported(1, file, version_of(file))
    sources.imported(2, file, version_of(file))
    sources.forget(1)
    Path(file).write_text("X = 12\n")
    sources.look()
    sources.forget(2)
    assert sources.take_outdated() == set()


def test_a_slow_file_system_is_not_asked_at_every_submission(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = Sources()
    sources.imported(1, file, version_of(file))
    now = [time.monotonic()]
    asked: list[float] = []

    def slow(path: str) -> object:
        asked.append(now[0])
        now[0] += 0.02
        return version_of(path)

    monkeypatch.setattr("flowrra.pool.sources.version_of", slow)
    monkeypatch.setattr("flowrra.pool.sources.time.monotonic", lambda: now[0])
    begun = now[0]
    while now[0] < begun + 100:
        sources.look()
        now[0] += 0.001
    assert 240 < len(asked) < 260
    assert asked[1] - asked[0] < 0.1, "a few at once are no matter"


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/some/where/helpers.py", True),
        ("/some/env/lib/python3.11/site-packages/numpy/__init__.py", False),
        ("/usr/lib/python3/dist-packages/numpy/__init__.py", False),
        (os.__file__, False),
        (flowrra.__file__, False),
    ],
)
def test_what_is_installed_is_not_the_users_own(path: str, own: bool) -> None:
    assert is_own(path) is own

"""Modules that the user edits between submissions: the next submission runs with what is on disk then."""

from __future__ import annotations

import importlib.util
import logging
import os
import py_compile
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowrra import Flowrra, NotDecodable, Status, progress

NAME = "helpers_of_this_test"


class Module:
    """A module in a folder of the user's."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{NAME}.py"

    def write(self, answer: object) -> None:
        """With a text of the same size for each digit, in a moment that differs from the one before."""
        before = self.path.stat().st_mtime_ns if self.path.exists() else 0
        self.path.write_text(f"def answer():\n    return {answer}\n")
        while self.path.stat().st_mtime_ns == before:
            time.sleep(0.001)
            self.path.touch()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield Module(tmp_path)
    sys.modules.pop(NAME, None)


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING, "flowrra.pool")
    return lambda: [record.getMessage() for record in caplog.records if "changed on disk" in record.getMessage()]


def ask(_: int) -> tuple[int, int]:
    import helpers_of_this_test as helpers  # type: ignore[import-not-found]  # a test writes it

    return helpers.answer(), os.getpid()


SAID = f"{NAME}.py has changed on disk; workers that had imported it are replaced"


def test_what_was_edited_is_imported_anew_by_other_workers_and_said_once(
    module: Module, messages: Callable[[], list[str]]
) -> None:
    with Flowrra(cpu_workers=1) as app:
        task = app.task(cpu_bound=True)(ask)
        seen = []
        for answer in (1, 2, 3):
            module.write(answer)
            found = [task.submit(0).result(), *task.map([1, 2]).result(), task.submit(0).result()]
            assert {value for value, _ in found} == {answer}
            assert len({pid for _, pid in found}) == 1, "they are not replaced without reason"
            seen.append(found[0][1])
            assert messages() == [SAID] * (answer - 1)
        assert len(set(seen)) == 3
        assert app.stats().executors["cpu"]["lost"] == 0


def test_a_map_notices_as_a_submission_does(module: Module, messages: Callable[[], list[str]]) -> None:
    with Flowrra(cpu_workers=2) as app:
        task = app.task(cpu_bound=True)(ask)
        module.write(1)
        before = task.map(range(8)).result()
        module.write(2)
        after = task.map(range(8)).result()
        assert {value for value, _ in after} == {2}
        assert not {pid for _, pid in before} & {pid for _, pid in after}
        assert messages() == [SAID]


def hold(path: str) -> tuple[int, int]:
    """Import, and go on until there is a file."""
    found = ask(0)
    progress.update(1)
    while not os.path.exists(path):
        time.sleep(0.005)
    return found


def test_what_executes_goes_on_and_what_is_queued_behind_it_finds_the_new_version(
    module: Module, tmp_path: Path
) -> None:
    module.write(1)
    with Flowrra(cpu_workers=1) as app:
        task = app.task(cpu_bound=True)(ask)
        holding = app.task(cpu_bound=True)(hold).submit(str(tmp_path / "go on"))
        deadline = time.monotonic() + 20
        while not holding.progress and time.monotonic() < deadline:
            time.sleep(0.01)
        queued = task.submit(0)
        module.write(2)
        assert task.submit(0).result(timeout=20)[0] == 2
        assert queued.result(timeout=20)[0] == 2
        assert not holding.done()
        (tmp_path / "go on").touch()
        value, pid = holding.result(timeout=20)
        assert value == 1
        assert pid != queued.result()[1]


def test_a_module_that_is_gone_or_broken_is_an_error_of_the_run_that_needs_it(module: Module) -> None:
    def innocent() -> int:
        return 7

    with Flowrra(cpu_workers=1) as app:
        task = app.task(cpu_bound=True)(ask)
        other = app.task(cpu_bound=True)(innocent)
        module.write(1)
        assert task.submit(0).result()[0] == 1
        module.path.unlink()
        with pytest.raises(ModuleNotFoundError, match=NAME):
            task.submit(0).result()
        assert other.submit().result() == 7
        module.write("(")
        with pytest.raises(SyntaxError):
            task.submit(0).result()
        assert other.submit().result() == 7
        module.write(2)
        assert task.submit(0).result()[0] == 2
        assert app.stats().executors["cpu"]["lost"] == 0


def test_a_function_of_a_broken_module_cannot_be_rebuilt(module: Module) -> None:
    module.write(1)
    helpers = importlib.import_module(NAME)
    with Flowrra(cpu_workers=1) as app:
        task = app.task(cpu_bound=True)(helpers.answer)
        assert task.submit().result() == 1
        module.write("(")
        with pytest.raises(NotDecodable, match="SyntaxError"):
            task.submit().result()
        module.write(3)
        assert task.submit().result() == 3


def test_a_module_that_the_submitter_has_reloaded_is_sent_as_it_is_now(module: Module) -> None:
    module.write(1)
    helpers = importlib.import_module(NAME)

    def through_the_module() -> int:
        return helpers.answer()

    with Flowrra(cpu_workers=1) as app:
        cell = app.task(cpu_bound=True)(through_the_module)
        submit = app.blocking.submit
        assert (submit(app.task(cpu_bound=True)(helpers.answer)).result(), cell.submit().result()) == (1, 1)
        module.write(2)
        assert cell.submit().result() == 2, "the workers have what is on disk"
        module.write(3)
        Path(importlib.util.cache_from_source(str(module.path))).unlink(missing_ok=True)
        importlib.reload(helpers)
        assert helpers.answer() == 3
        assert (app.task(cpu_bound=True)(helpers.answer).submit().result(), cell.submit().result()) == (3, 3)


def fails_with_one(_: int) -> int:
    value = ask(0)[0]
    if value == 1:
        raise ValueError(value)
    return value


def test_a_retry_finds_what_was_corrected_while_it_waited(module: Module) -> None:
    module.write(1)
    with Flowrra(cpu_workers=1) as app:
        task = app.task(cpu_bound=True, max_retries=1, retry_delay=1.0)(fails_with_one)
        run = task.submit(0)
        deadline = time.monotonic() + 20
        while run.status is not Status.RETRYING and time.monotonic() < deadline:
            time.sleep(0.01)
        module.write(2)
        assert run.result() == 2


def test_cached_code_of_an_edit_in_the_same_second_is_not_used(module: Module) -> None:
    second = (int(time.time()) - 10) * 10**9
    module.write(1)
    os.utime(module.path, ns=(second, second + 100_000_000))
    cached = py_compile.compile(str(module.path))
    assert cached is not None
    os.utime(cached, ns=(second, second + 200_000_000))
    module.path.write_text("def answer():\n    return 2\n")
    os.utime(module.path, ns=(second, second + 300_000_000))
    fooled = subprocess.run(
        [sys.executable, "-c", f"import {NAME}; print({NAME}.answer())"], capture_output=True, check=True, text=True
    )
    assert fooled.stdout.strip() == "1", "Python itself takes the cached code, or there is nothing to be tested here"
    with Flowrra(cpu_workers=1) as app:
        assert app.task(cpu_bound=True)(ask).submit(0).result()[0] == 2

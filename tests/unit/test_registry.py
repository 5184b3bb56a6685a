from __future__ import annotations

import importlib
import json
import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flowrra import DuplicateTask, Flowrra


def defined_in(module: str, result: object = None) -> Callable[[], object]:
    """A new function that says it comes from *module*."""

    def task() -> object:
        return result

    task.__module__ = module
    return task


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of an importable module ``tasks_under_test``."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "tasks_under_test.py"
    for name in [name for name in sys.modules if name.startswith("tasks_under_test")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def test_in_main_the_last_definition_of_a_name_wins() -> None:
    app = Flowrra()
    app.task(defined_in("__main__", 1))
    last = app.task(defined_in("__main__", 2))
    assert app._registry["task"] is last  # noqa: SLF001 - schedules will read it; nothing public does yet
    assert len(app._registry) == 1  # noqa: SLF001


def test_two_functions_of_one_name_in_one_module_are_refused() -> None:
    app = Flowrra()
    first = app.task(defined_in("json"))
    with pytest.raises(DuplicateTask, match=r"'task', both in module 'json'.*name=") as caught:
        app.task(defined_in("json"))
    assert (caught.value.name, caught.value.module) == ("task", "json")
    assert app._registry["task"] is first  # noqa: SLF001


def test_two_functions_of_one_name_in_two_modules_are_refused() -> None:
    app = Flowrra()
    app.task(defined_in("json"))
    with pytest.raises(DuplicateTask, match="in 'json' and in 'pickle'"):
        app.task(defined_in("pickle"))


def test_another_name_settles_it() -> None:
    app = Flowrra()
    app.task(defined_in("json"))
    assert app.task(name="second")(defined_in("json")).name == "second"


def test_a_cell_may_redefine_what_a_module_defined() -> None:
    app = Flowrra()
    app.task(defined_in("json", 1))
    assert app.task(defined_in("__main__", 2))() == 2


class Instance:
    def __call__(self) -> int:
        return 1


@pytest.mark.parametrize("make", [lambda: partial(json.dumps, indent=2), lambda: len, Instance])
def test_a_cell_that_registers_a_partial_builtin_or_instance_can_be_run_again(make: Callable[[], Any]) -> None:
    app = Flowrra()
    app.task(make())
    app.task(make())


def test_the_same_function_may_be_registered_again() -> None:
    app = Flowrra()
    function = defined_in("json")
    app.task(function)
    app.task(function)


def test_importing_a_module_with_a_duplicate_fails_and_names_it(source: Path) -> None:
    source.write_text(
        "from flowrra import Flowrra\napp = Flowrra()\n@app.task\ndef f(): ...\n@app.task\ndef f(): ...\n"
    )
    with pytest.raises(DuplicateTask, match="tasks_under_test"):
        importlib.import_module("tasks_under_test")


def test_a_reloaded_module_replaces_its_tasks(source: Path) -> None:
    app = Flowrra()
    sys.modules["tasks_under_test_app"] = types.ModuleType("tasks_under_test_app")
    sys.modules["tasks_under_test_app"].app = app  # type: ignore[attr-defined]  # what the module under test imports
    source.write_text("from tasks_under_test_app import app\n@app.task\ndef f(): return 1\n")
    module = importlib.import_module("tasks_under_test")
    assert app._registry["f"]() == 1  # noqa: SLF001
    source.write_text("from tasks_under_test_app import app\n@app.task\ndef f(): return 'changed'\n")
    importlib.reload(module)
    assert app._registry["f"]() == "changed"  # noqa: SLF001
    with pytest.raises(DuplicateTask):
        app.task(name="f")(defined_in("tasks_under_test"))

from __future__ import annotations

import pickle
import sys
import types

import cloudpickle
import pytest

from flowrra import AppNotRunning, DuplicateTask, Flowrra, InvalidOption, NotInWorker, Task, UnknownOption
from flowrra.task import CoroutineTask

app = Flowrra("test_task")


@app.task(priority=3)
def of_the_module(x: int) -> int:
    return x + 1


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """An importable module with a task in it."""
    made = types.ModuleType("importable_tasks")
    made.app = Flowrra()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "importable_tasks", made)
    exec("@app.task(name='importable')\ndef doubled(x): return 2 * x\n", made.__dict__)
    return made


def test_an_importable_task_travels_by_reference(module: types.ModuleType) -> None:
    text = pickle.dumps(module.doubled)
    assert len(text) < 100
    assert pickle.loads(text) is module.doubled


def test_a_local_task_travels_by_value_and_without_its_app() -> None:
    @app.task(priority=7)
    def local(x: int) -> int:
        return x * 3

    local.__module__ = "__main__"
    back = pickle.loads(cloudpickle.dumps(local))
    assert (back(2), back.name, type(back)) == (6, "local", Task)
    with pytest.raises(NotInWorker, match="'local'"):
        back.submit(2)
    with pytest.raises(NotInWorker):
        back.map([1])
    with pytest.raises(NotInWorker):
        back.options(priority=1).submit(1)


async def test_a_local_coroutine_task_stays_one() -> None:
    async def waits(x: int) -> int:
        return x * 3

    back = pickle.loads(cloudpickle.dumps(app.task(waits)))
    assert isinstance(back, CoroutineTask)
    assert await back(2) == 6


def test_a_variant_of_an_importable_task_travels_by_value(module: types.ModuleType) -> None:
    back = pickle.loads(cloudpickle.dumps(module.doubled.options(priority=9)))
    assert back is not module.doubled
    assert back(4) == 8


def test_a_redefined_importable_task_no_longer_travels_by_reference(module: types.ModuleType) -> None:
    before = module.doubled
    module.doubled = None
    assert pickle.loads(cloudpickle.dumps(before)) is not before


def test_options_make_a_variant_and_leave_the_task_alone() -> None:
    variant = of_the_module.options(priority=10, delay=5)
    assert variant is not of_the_module
    assert variant.name == of_the_module.name == "of_the_module"
    assert type(variant) is Task


def test_the_name_is_given_at_the_definition_only() -> None:
    with pytest.raises(UnknownOption, match="at its definition"):
        of_the_module.options(name="other")  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["", "  ", 3])
def test_a_name_that_is_none_is_refused(name: object) -> None:
    with pytest.raises(InvalidOption, match=r"^name must"):
        app.task(name=name)  # type: ignore[call-overload]


def test_bad_options_are_refused_before_there_is_a_function() -> None:
    with pytest.raises(InvalidOption):
        app.task(max_retries=-1)
    with pytest.raises(UnknownOption):
        app.task(retries=1)  # type: ignore[call-overload]


def test_submitting_to_an_app_that_is_not_running_says_what_to_do() -> None:
    with pytest.raises(AppNotRunning, match=r"'test_task' is not running.*with app") as caught:
        of_the_module.submit(1)
    assert caught.value.app == "test_task"
    with pytest.raises(AppNotRunning):
        of_the_module.map([])


def test_a_refused_duplicate_is_not_registered() -> None:
    with pytest.raises(DuplicateTask):
        exec("@app.task\ndef of_the_module(): ...", {"app": app, "__name__": "json"})
    assert app._registry["of_the_module"] is of_the_module  # noqa: SLF001


def test_a_task_shows_its_name() -> None:
    assert repr(of_the_module) == "<Task of_the_module>"

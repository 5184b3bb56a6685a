from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial, wraps
from typing import Any

import pytest

from flowrra import Flowrra, InvalidTask, TaskHandle
from flowrra.functions import executor_for, is_coroutine_function, name_of, parameter_names
from flowrra.options import Options
from flowrra.task import CoroutineTask


def plain(a: int, b: int = 2, *rest: int, c: int = 3) -> int:
    return a + b + c


async def waits(a: int) -> int:
    return a


def generates() -> Iterator[int]:
    yield 1


async def generates_too() -> AsyncIterator[int]:
    yield 1


class Model:
    def __call__(self, x: int) -> int:
        return x

    def method(self, x: int) -> int:
        return x

    @classmethod
    def of_class(cls, x: int) -> int:
        return x

    @staticmethod
    def static(x: int) -> int:
        return x


class AsyncCallable:
    async def __call__(self, x: int) -> int:
        return x


class GeneratorCallable:
    def __call__(self) -> Iterator[int]:
        yield 1


@wraps(plain)
def wrapped(*args: Any, **kwargs: Any) -> int:
    return plain(*args, **kwargs)


@pytest.mark.parametrize(
    ("function", "name", "executor"),
    [
        (plain, "plain", "threads"),
        (waits, "waits", "io"),
        (partial(plain, 1), "plain", "threads"),
        (partial(partial(waits), 1), "waits", "io"),
        (Model(), "Model", "threads"),
        (Model().method, "method", "threads"),
        (Model.of_class, "of_class", "threads"),
        (Model.static, "static", "threads"),
        (AsyncCallable(), "AsyncCallable", "io"),
        (partial(AsyncCallable(), 1), "AsyncCallable", "io"),
        (len, "len", "threads"),
        (operator.itemgetter(1), "itemgetter", "threads"),
        (lambda: 1, "<lambda>", "threads"),
        (wrapped, "plain", "threads"),
    ],
    ids=str,
)
def test_what_can_be_a_task_and_where_it_runs(function: Callable[..., Any], name: str, executor: str) -> None:
    task = Flowrra().task(function)
    assert (task.name, executor_for(function, Options())) == (name, executor)
    assert isinstance(task, CoroutineTask) == is_coroutine_function(function)


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        (generates, "imap"),
        (generates_too, "imap"),
        (GeneratorCallable(), "imap"),
        (partial(generates), "imap"),
        (Model, "a class cannot be a task"),
        (3, "made from a function"),
        (None, "made from a function"),
    ],
    ids=str,
)
def test_what_cannot_be_a_task_is_refused_with_the_remedy(wrong: Any, remedy: str) -> None:
    with pytest.raises(InvalidTask, match=remedy):
        Flowrra().task()(wrong)
    with pytest.raises(TypeError):
        Flowrra().task()(wrong)


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (waits, {"cpu_bound": True}, "async def.*cpu_bound"),
        (plain, {"cpu_bound": True, "executor": "threads"}, "leave out one of"),
        (waits, {"executor": "cpu"}, "async def.*'cpu'"),
        (waits, {"executor": "threads"}, "async def.*'threads'"),
        (plain, {"executor": "io"}, "plain function.*'io'"),
    ],
)
def test_function_and_executor_have_to_fit(function: Callable[..., Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidTask, match=words):
        Flowrra().task(**options)(function)


def test_a_variant_that_does_not_fit_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidTask, match="cpu_bound"):
        Flowrra().task(waits).options(cpu_bound=True)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (plain, ("a", "b")),
        (partial(plain, 1), ("b",)),
        (Model(), ("x",)),
        (Model().method, ("x",)),
        (len, ("obj",)),
        (print, ()),
        (max, ()),
        (wrapped, ()),
    ],
    ids=str,
)
def test_the_names_of_the_positional_parameters(function: Callable[..., Any], names: tuple[str, ...]) -> None:
    assert parameter_names(function) == names


def test_a_name_is_the_functions_own() -> None:
    def inner() -> None: ...

    assert name_of(inner) == "inner"


def test_a_task_called_runs_the_plain_function_here_and_now() -> None:
    task = Flowrra().task(max_retries=3)(plain)
    assert task(1, b=5) == 9
    assert (task.__name__, task.__doc__, task.__wrapped__) == ("plain", plain.__doc__, plain)  # type: ignore[attr-defined]


async def test_a_coroutine_task_called_gives_the_coroutine() -> None:
    assert await Flowrra().task(waits)(7) == 7


def test_handles_are_marked_as_such() -> None:
    assert TaskHandle.__flowrra_handle__ is True

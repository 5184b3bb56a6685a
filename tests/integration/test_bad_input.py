"""Bad input gets an error that helps, never a hang, never half of it done."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from flowrra import Flowrra, InvalidOption, InvalidTask, NotEncodable, UnknownOption
from flowrra.executors.threads import ThreadExecutor


@pytest.fixture
def app() -> Iterator[Flowrra]:
    with Flowrra("bad input", cpu_workers=1) as running:
        yield running
        assert sum(running.stats().counts.values()) == 0, "something was queued all the same"


def test_an_executor_that_is_not_there_is_named_with_those_that_are(app: Flowrra) -> None:
    task = app.task(executor="gpu")(abs)
    with pytest.raises(InvalidOption, match=r"no executor 'gpu'.*'io', 'threads', 'cpu'"):
        task.submit(1)
    with pytest.raises(InvalidOption, match="gpu"):
        task.map([1, 2])


def test_what_cannot_travel_is_named_with_the_path_to_it(app: Flowrra) -> None:
    task = app.task(cpu_bound=True)(abs)
    with pytest.raises(NotEncodable, match=r"args\[0\]") as caught:
        task.submit({"db": [threading.Lock()]})
    assert "'db'" in caught.value.path
    with pytest.raises(NotEncodable):
        task.map([1, 2, threading.Lock()])


@pytest.mark.parametrize("wrong", [3, None, "fetch"])
def test_what_is_no_function_is_refused(app: Flowrra, wrong: object) -> None:
    with pytest.raises(InvalidTask, match="made from a function"):
        app.blocking.submit(wrong)  # type: ignore[call-overload]


def test_a_wrong_number_of_arguments_is_the_runs_own_error() -> None:
    with Flowrra("bad input", cpu_workers=1) as app:
        handle = app.blocking.submit(abs)  # type: ignore[call-overload]
        assert isinstance(handle.exception(10), TypeError)


def test_the_name_of_an_executor_can_be_taken() -> None:
    with pytest.raises(InvalidOption, match="'io' is taken"):
        Flowrra("x", executors={"io": ThreadExecutor(1)})


def test_an_executor_of_ones_own_runs_what_names_it() -> None:
    mine = ThreadExecutor(1, "mine")
    with Flowrra("mine", cpu_workers=1, executors={"mine": mine}) as app:
        assert app.task(executor="mine")(abs).map([-1, -2]).result(timeout=10) == [1, 2]
        assert app.stats().executors["mine"]["slots"] == 1


def test_an_option_of_one_submission_is_sent_where_it_belongs(app: Flowrra) -> None:
    with pytest.raises(UnknownOption, match=r"task\.options\(delay=…\)\.submit"):
        app.task(delay=3)  # type: ignore[call-overload]
    with pytest.raises(UnknownOption, match="did you mean 'timeout'"):
        app.task(tiemout=3)  # type: ignore[call-overload]


def test_a_question_for_runs_that_makes_no_sense_is_refused(app: Flowrra) -> None:
    with pytest.raises(InvalidOption, match=r"one of PENDING, RUNNING, RETRYING, SUCCESS, FAILED, .* not 'done'"):
        app.blocking.runs(status="done")
    with pytest.raises(InvalidOption, match="limit must be a whole number"):
        app.blocking.runs(limit=-1)


def test_a_timeout_in_the_place_of_on_error_is_noticed() -> None:
    with Flowrra("bad input", cpu_workers=1) as app:
        batch = app.blocking.map(abs, [-1])
        with pytest.raises(InvalidOption, match="write timeout=10"):
            batch.result(10)  # type: ignore[arg-type]
        assert batch.result(timeout=10) == [1]

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

import flowrra
from flowrra import TaskCancelled, TaskExit
from flowrra.core.statuses import OutcomeKind
from flowrra.failures import error_info, outcome_of_exception


def raised(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - any error is what the test asks for
        return error
    raise AssertionError("nothing was raised")


def with_cause() -> NoReturn:
    try:
        raise KeyError("the first")
    except KeyError as error:
        raise ValueError("the second") from error


def in_context() -> NoReturn:
    try:
        raise KeyError("the first")
    except KeyError:
        raise ValueError("the second")  # noqa: B904 - an implicit context is what is tested


def without_context() -> NoReturn:
    try:
        raise KeyError("the first")
    except KeyError:
        raise ValueError("the second") from None


def test_the_text_shows_the_line_that_raised() -> None:
    info = error_info(raised(with_cause))
    assert 'raise ValueError("the second") from error' in info.traceback
    assert (info.type, info.message, str(info)) == ("ValueError", "the second", "ValueError: the second")


def test_the_engines_own_frames_are_hidden_and_the_users_are_not() -> None:
    scope: dict[str, Any] = {}
    inside = str(Path(flowrra.__file__).parent / "engine" / "engine.py")
    beside = str(Path(flowrra.__file__).parent) + "_studies/model.py"
    exec(compile("def engine(f): f()", inside, "exec"), scope)
    exec(compile("def study(f): f()", beside, "exec"), scope)
    info = error_info(raised(lambda: scope["engine"](lambda: scope["study"](with_cause))))
    assert inside not in info.traceback
    assert beside in info.traceback


@pytest.mark.parametrize(
    ("call", "causes"),
    [(with_cause, ("KeyError: 'the first'",)), (in_context, ("KeyError: 'the first'",)), (without_context, ())],
)
def test_causes_and_contexts_are_kept_unless_suppressed(call: Callable[[], Any], causes: tuple[str, ...]) -> None:
    info = error_info(raised(call))
    assert info.causes == causes
    assert ("the first" in info.traceback) == bool(causes)


def test_a_cause_with_notes_and_several_lines_is_told_by_its_first() -> None:
    cause = ValueError("first line\nsecond line")
    cause.add_note("a note")
    error = RuntimeError("outer")
    error.__cause__ = cause
    assert error_info(error).causes == ("ValueError: first line",)


def test_a_syntax_error_as_cause_is_told_by_its_message() -> None:
    error = RuntimeError("outer")
    error.__cause__ = raised(lambda: compile("1 +", "cell", "exec"))
    assert error_info(error).causes[0].startswith("SyntaxError: invalid syntax")


def test_the_members_of_a_group_are_among_the_causes() -> None:
    info = error_info(ExceptionGroup("several", [ValueError("a"), KeyError("b")]))
    assert info.causes == ("ValueError: a", "KeyError: 'b'")


@pytest.mark.parametrize("worse", [ValueError, SystemExit, KeyboardInterrupt])
def test_an_error_whose_text_cannot_be_made_is_still_an_outcome(worse: type[BaseException]) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise worse

    outcome = outcome_of_exception("f", "1-1", Mute())
    assert outcome.kind is OutcomeKind.RAISED
    assert outcome.error is not None
    assert outcome.error.message == f"<str() of the Mute failed: {worse.__name__}>"


def test_an_error_that_forbids_to_look_at_it_is_still_told() -> None:
    class Shy(Exception):
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

    info = error_info(Shy("hidden"))
    assert (info.type, info.message) == (f"{__name__}.{Shy.__qualname__}", "hidden")
    assert "cannot be shown" in info.traceback


def test_a_text_of_a_class_of_the_tasks_own_is_plain_text_afterwards() -> None:
    class Odd(str):
        __slots__ = ()

    class Said(Exception):
        def __str__(self) -> str:
            return Odd("odd")

    assert type(error_info(Said()).message) is str


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_what_would_end_the_program_becomes_a_task_exit(error: BaseException) -> None:
    outcome = outcome_of_exception("f", "1-1", error)
    assert outcome.kind is OutcomeKind.RAISED
    assert isinstance(outcome.exception, TaskExit)
    assert type(error).__name__ in str(outcome.exception)
    assert outcome.exception.__cause__ is error


@pytest.mark.parametrize("error", [asyncio.CancelledError(), concurrent.futures.CancelledError()])
def test_a_cancellation_nobody_asked_for_is_one(error: BaseException) -> None:
    outcome = outcome_of_exception("f", "1-1", error)
    assert outcome.kind is OutcomeKind.CANCELLED
    assert isinstance(outcome.exception, TaskCancelled)


def test_any_other_error_is_passed_on_as_it_is() -> None:
    class OfItsOwnKind(BaseException):
        pass

    error = OfItsOwnKind("x")
    assert outcome_of_exception("f", "1-1", error).exception is error


def test_an_error_of_a_module_is_named_with_it() -> None:
    assert error_info(concurrent.futures.InvalidStateError("x")).type == "concurrent.futures._base.InvalidStateError"


def test_endless_recursion_makes_a_text_of_bearable_length() -> None:
    def endless() -> None:
        endless()

    info = error_info(raised(endless))
    assert info.type == "RecursionError"
    assert len(info.traceback) < 200 * sys.getrecursionlimit()

from __future__ import annotations

import builtins
import copy
import inspect
import pickle
from typing import Any

import pytest

from flowrra import errors
from flowrra.errors import FlowrraError
from flowrra.losses import RunsGivenUp
from flowrra.running import NotInTask

EXAMPLES: dict[type[Exception], tuple[tuple[Any, ...], dict[str, Any]]] = {
    errors.FlowrraError: (("anything",), {}),
    errors.InvalidTask: (("a class cannot be a task",), {}),
    errors.UnknownOption: (("unknown option 'x'",), {}),
    errors.InvalidOption: (("timeout must be …",), {}),
    errors.DuplicateTask: (("f", "a", "b"), {}),
    errors.AppNotRunning: (("shop",), {}),
    errors.AppStopped: (("the app was stopped",), {}),
    errors.WouldDeadlock: (("handle.result()",), {}),
    errors.NeedsAwait: (("handle.result()",), {}),
    errors.NotInWorker: (("f",), {}),
    errors.WorkerStartFailed: (("it wrote: no memory",), {}),
    errors.TaskTimeout: (("f", "1-1", 2.5, 3), {}),
    errors.DeadlineExceeded: (("f", "1-1"), {}),
    errors.TaskCancelled: (("f", "1-1", "the block raised"), {}),
    errors.TaskExit: (("f", "1-1", "SystemExit(3)"), {}),
    errors.WorkerLost: (("f", "1-1"), {"pid": 7, "exit_code": -11, "attempt": 2, "stderr_tail": "boom"}),
    errors.InitializerFailed: (("f", "OSError: no database"), {}),
    errors.MemoryLimitExceeded: (("f", "1-1"), {"limit": 150, "peak": 400, "attempt": 2}),
    errors.NotEncodable: (("f", "args[0]['db']", "a lock", "cannot pickle"), {}),
    errors.NoRoomForData: (("f", 5_000_000, "No space left on device", "/spill", 1_000_000), {}),
    errors.NotDecodable: (("f", "args[0]['db']", "a lock", "no module"), {}),
    errors.HandleNotAllowed: (("f", "args[0]"), {}),
    errors.InvalidTransition: (("1-1", "PENDING", "Ended", ["1.000 Started → RUNNING"]), {}),
    errors.WaitTimeout: (("run 1-1", 2.0), {}),
    errors.UnknownRun: (("1-1",), {}),
    errors.ResultGone: (("1-1", "newer ones took its place"), {}),
    errors.RemoteError: (("my.Error", "no", "Traceback …"), {}),
    errors.RemoteTraceback: (("Traceback …",), {}),
    NotInTask: ((), {}),
    RunsGivenUp: (("3 runs",), {}),
}
PUBLIC = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


def test_every_public_error_has_an_example_here() -> None:
    assert set(PUBLIC) <= set(EXAMPLES)


def example(kind: type[Exception]) -> Exception:
    args, kwargs = EXAMPLES[kind]
    return kind(*args, **kwargs)


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_travels_with_its_facts_and_its_text(kind: type[Exception], protocol: int) -> None:
    error = example(kind)
    error.add_note("run 3 of 10")
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is kind
    assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))
    assert back.__notes__ == ["run 3 of 10"]


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_an_error_can_be_copied(kind: type[Exception]) -> None:
    error = example(kind)
    assert str(copy.copy(error)) == str(copy.deepcopy(error)) == str(error)


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_the_text_of_an_error_carries_its_facts(kind: type[Exception]) -> None:
    error = example(kind)
    texts = [fact for fact in EXAMPLES[kind][0] if isinstance(fact, str)]
    hidden = [text for text in texts if text not in str(error) and text not in repr(error.__dict__)]
    assert not hidden
    assert str(error).strip()


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_every_error_is_a_flowrra_error_but_the_remote_traceback(kind: type[Exception]) -> None:
    assert issubclass(kind, FlowrraError) != (kind is errors.RemoteTraceback)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        ("InvalidTask", "TypeError"),
        ("UnknownOption", "TypeError"),
        ("InvalidOption", "ValueError"),
        ("DuplicateTask", "ValueError"),
        ("TaskTimeout", "TimeoutError"),
        ("DeadlineExceeded", "TimeoutError"),
        ("WaitTimeout", "TimeoutError"),
        ("NotEncodable", "TypeError"),
        ("UnknownRun", "LookupError"),
        ("ResultGone", "LookupError"),
        ("WouldDeadlock", "RuntimeError"),
        ("AppNotRunning", "RuntimeError"),
    ],
)
def test_where_a_builtin_fits_the_error_is_one(kind: str, builtin: str) -> None:
    assert issubclass(getattr(errors, kind), getattr(builtins, builtin))


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "exit code 3"), (-9, "out-of-memory"), (-11, "SIGSEGV"), (-77, "signal 77"), (None, "unknown")],
)
def test_how_a_process_ended_is_said_in_words(code: int | None, words: str) -> None:
    assert words in errors.describe_exit(code)


def test_a_remote_error_shows_the_remote_traceback_as_its_cause() -> None:
    error = errors.RemoteError.of("my.Error", "no", "Traceback (far away)")
    assert isinstance(error.__cause__, errors.RemoteTraceback)
    assert "far away" in str(error.__cause__)


def test_a_lost_worker_tells_its_memory_if_somebody_looked() -> None:
    facts: dict[str, Any] = {"pid": 7, "exit_code": -9, "attempt": 1}
    assert "private memory up to 1.5 GB" in str(errors.WorkerLost("f", "1-1", **facts, peak_memory=1_500_000_000))
    assert "MB" not in str(errors.WorkerLost("f", "1-1", **facts))


def test_of_long_last_words_a_lost_worker_shows_the_crash_or_the_end() -> None:
    facts: dict[str, Any] = {"pid": 7, "exit_code": -11, "attempt": 1}
    crash = "noise\n" * 1000 + "Fatal Python error: Segmentation fault\n" + '  File "x.py", line 1 in f\n' * 300
    error = errors.WorkerLost("f", "1-1", **facts, stderr_tail=crash)
    assert "words on stderr:\nFatal Python error" in str(error)
    assert error.stderr_tail == crash
    assert len(str(error)) < 5000
    assert str(errors.WorkerLost("f", "1-1", **facts, stderr_tail="x" * 9000 + "the end")).endswith("xthe end")

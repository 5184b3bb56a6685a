"""Tasks that do what tasks should not: no other run notices, and what they started does not outlive their worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flowrra import Flowrra, NotEncodable, RemoteError, RemoteTraceback, Status, TaskHandle, WorkerLost
from flowrra.testing import leaks
from tests.faults import acts, at_rest, behaviours
from tests.faults.repeats import repeated
from tests.faults.victims import work

DEADLINE = 10.0
AT_REST = 2
"""One worker, so that the next run meets it, and a spare one."""


class Row(NamedTuple):
    task: Callable[..., Any]
    args: tuple[Any, ...] = ()
    error: type[BaseException] | None = None
    says: str = ""
    worker: str = "kept"

    def __str__(self) -> str:
        return "-".join([self.task.__name__, *(getattr(arg, "__name__", str(arg)) for arg in self.args)])


def fails(kind: type[BaseException], error: type[BaseException], says: str) -> Row:
    return Row(behaviours.fail_with, (kind,), error, says)


TABLE = [
    Row(behaviours.print_at_length, (200,)),
    Row(behaviours.write_whatever_bytes, (20,)),
    Row(behaviours.close_stdout_and_stderr),
    Row(behaviours.close_everything_from, (3,), WorkerLost, "Bad file descriptor", "lost"),
    Row(behaviours.close_everything_from, (0,), WorkerLost, "exit code", "lost"),
    Row(behaviours.fork_a_child_that_returns),
    Row(behaviours.fork_a_child_that_raises),
    Row(behaviours.leave_threads_behind),
    Row(behaviours.leave_a_chatty_thread_behind),
    Row(behaviours.change_everything),
    Row(behaviours.set_an_alarm),
    Row(behaviours.replace_what_everybody_uses),
    Row(behaviours.delete_its_own_folder),
    fails(behaviours.Mute, behaviours.Mute, ""),
    fails(behaviours.ExitingOnSight, behaviours.ExitingOnSight, ""),
    fails(behaviours.Locked, RemoteError, "Locked: locked one"),
    fails(behaviours.ExitsWhenPickled, RemoteError, "ExitsWhenPickled: in the task"),
    fails(behaviours.RaisesWhenRebuilt, RemoteError, "RaisesWhenRebuilt: in the task"),
    fails(behaviours.ExitsWhenRebuilt, RemoteError, "ExitsWhenRebuilt: in the task"),
    fails(behaviours.Shy, RemoteError, "Shy: in the task"),
    Row(behaviours.fail_while_pickling_with_a_mute_error, (), NotEncodable, "the result of.*Mute"),
    Row(behaviours.fail_in_a_group, (), ExceptionGroup, "several"),
]
LEAVING = [
    behaviours.fork_a_child_that_goes_on,
    behaviours.start_a_process,
    behaviours.start_a_process_in_a_session_of_its_own,
    behaviours.start_a_daemon,
]


@pytest.fixture(scope="module")
def app() -> Iterator[Flowrra]:
    before = leaks.resources()
    with Flowrra("behaviours", cpu_workers=1) as running:
        # What is started when it is first needed is there before anything is counted.
        running.task(cpu_bound=True, name="rebuilt here")(acts.return_something_of_a_class).submit().result(30)
        yield running
    assert leaks.left_behind(before) == []


def submit(app: Flowrra, function: Callable[..., Any], *args: Any) -> TaskHandle[Any]:
    return app.task(cpu_bound=True)(function).submit(*args)


def error_of(handle: TaskHandle[Any]) -> BaseException | None:
    return handle.exception(DEADLINE)


@repeated
@pytest.mark.may_leak("the app serves all rows; what a row leaves is looked for in the row")
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_the_next_run_finds_the_process_as_ever(app: Flowrra, row: Row, repeat: int) -> None:
    expected = submit(app, behaviours.look_around).result(DEADLINE)
    before, counted = at_rest.settled(app, AT_REST), at_rest.facts(app)
    handle = submit(app, row.task, *row.args)
    after = [submit(app, behaviours.look_around), submit(app, work, 3), submit(app, behaviours.print_from_c, "hello")]
    error = error_of(handle)
    if row.error is None:
        assert error is None
        assert handle.status is Status.SUCCESS
    else:
        assert type(error) is row.error
        assert handle.status is Status.FAILED
        assert handle.info().error is not None
        with pytest.raises(row.error, match=f"(?s){row.says}") if row.says else pytest.raises(row.error):
            raise error
    assert after[0].result(DEADLINE) == expected
    assert after[1].result(DEADLINE) == 9
    after[2].result(DEADLINE)
    assert "hello\n" in after[2].logs
    now = at_rest.facts(app)
    assert (now["lost"] - counted["lost"], now["replaced"] - counted["replaced"]) == (int(row.worker == "lost"), 0)
    assert submit(app, behaviours.pid_of).result(DEADLINE) in now["pids"]
    if "thread" in row.task.__name__:
        renew(app)  # threads end with their worker
    at_rest.until(
        lambda: at_rest.settled(app, AT_REST).is_no_more_than(before),
        lambda: f"left behind: {at_rest.settled(app, AT_REST)}, where there was {before}",
    )


def renew(app: Flowrra) -> None:
    """Another worker, by killing the one there is."""
    pid = submit(app, behaviours.pid_of).result(DEADLINE)
    os.kill(pid, signal.SIGKILL)
    at_rest.until(lambda: pid not in at_rest.facts(app)["pids"], lambda: f"{pid} is not buried")


@repeated
@pytest.mark.may_leak("the app serves all rows; what a row leaves is looked for in the row")
@pytest.mark.parametrize("start", LEAVING, ids=lambda start: start.__name__)
def test_processes_that_a_run_has_left_behind_end_with_its_worker(
    app: Flowrra, start: Callable[[], int], repeat: int
) -> None:
    before = at_rest.settled(app, AT_REST)
    left = submit(app, start).result(DEADLINE)
    assert submit(app, work, 3).result(DEADLINE) == 9
    assert at_rest.is_alive(left)  # a server that the next run wants to use, for all we know
    renew(app)
    at_rest.until(lambda: not at_rest.is_alive(left), lambda: f"{left} outlives its worker")
    at_rest.until(
        lambda: at_rest.settled(app, AT_REST).is_no_more_than(before),
        lambda: f"left behind: {at_rest.settled(app, AT_REST)}, where there was {before}",
    )


@pytest.mark.may_leak("the app serves all rows")
def test_of_what_is_printed_at_length_both_ends_are_kept_and_the_loss_is_counted(app: Flowrra) -> None:
    megabytes = 300
    handle = submit(app, behaviours.print_at_length, megabytes)
    assert handle.result(60) == "done"
    text = handle.logs
    assert text.startswith("first line\n")
    assert text.endswith("last line\n")
    assert len(text) < 250_000
    dropped = int(text.partition("[... ")[2].partition(" bytes left out ...]")[0])
    note = len(f"\n[... {dropped} bytes left out ...]\n")
    assert dropped + len(text) - note == megabytes * behaviours.MEGABYTE + len("first line\nlast line\n")


@pytest.mark.may_leak("the app serves all rows")
def test_a_group_keeps_its_members_notes_and_causes(app: Flowrra) -> None:
    handle = submit(app, behaviours.fail_in_a_group)
    group = error_of(handle)
    assert isinstance(group, ExceptionGroup)
    assert [(type(error), error.__notes__) for error in group.exceptions] == [
        (ValueError, ["note of ValueError"]),
        (KeyError, ["note of KeyError"]),
    ]
    assert group.__notes__ == ["note of the group"]
    assert isinstance(group.__cause__, OSError)
    assert isinstance(group.__cause__.__cause__, RemoteTraceback)
    for text in ("note of KeyError", "note of the group", "OSError: the cause", 'raise kind("inner")'):
        assert text in str(group.__cause__.__cause__)
    assert "flowrra/pool" not in str(group.__cause__.__cause__)


FEW_DESCRIPTORS = """
    import resource, sys
    import numpy
    from flowrra import Flowrra, as_completed
    from tests.faults import behaviours

    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 256
    with Flowrra("few", cpu_workers=2) as app:
        make = app.task(cpu_bound=True)(behaviours.make_a_megabyte)
        seen = set()
        for first in range(0, {results}, 500):
            for handle in make.map(range(first, first + 500)).as_completed():
                value = handle.result(0)
                assert len(value) == behaviours.MEGABYTE // 8 and value[0] == value[-1]
                seen.add(int(value[0]))
        assert seen == set(range({results}))
        kept = make.map(range(600))  # and many that are kept at the same time
        assert [int(value[0]) for value in kept.result(timeout=60)] == list(range(600))
        arrays = [numpy.full(5_000, n) for n in range(5_000)]
        add_up = app.task(cpu_bound=True)(behaviours.add_up)
        assert add_up.submit(arrays).result(60) == sum(range(5_000)) + 5_000 * 5_000
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_thousands_of_results_and_an_argument_of_thousands_of_arrays_fit_into_256_descriptors() -> None:
    root = Path(__file__).parents[2]
    script = textwrap.dedent(FEW_DESCRIPTORS).format(results=5_000)
    begun = time.monotonic()
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 256; exec "$0" -c "$1"', sys.executable, script],
        check=False,
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=220,
    )
    assert done.returncode == 0, done.stderr
    print(f"{time.monotonic() - begun:.1f} s")

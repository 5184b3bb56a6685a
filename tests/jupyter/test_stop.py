"""Stop: what it ends, what it cancels, what goes on, and how soon the cell is over."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import pytest

from tests.jupyter.cells import CellResult
from tests.jupyter.driver import Kernel

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.timeout(300),
    pytest.mark.may_leak("one kernel serves all of them, with workers that come and go"),
]

PROMISED = 0.3
"""Seconds from the interrupt to the end of the cell; asserted at three times as much."""

TASKS = """
import asyncio, os, time
from pathlib import Path

@app.task
async def coroutine(seconds):
    await asyncio.sleep(seconds)
    return seconds

@app.task
def thread(seconds):
    time.sleep(min(seconds, 2))
    return seconds

@app.task(cpu_bound=True)
def cpu(seconds):
    import time
    time.sleep(seconds)
    return seconds

@app.task(cpu_bound=True)
def stubborn(started, seconds):
    import time
    from pathlib import Path
    Path(started).touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            while time.monotonic() < end: time.sleep(0.01)
        except BaseException:
            pass
"""
QUICK_AND_LONG = "[0, 0, 60, 60]"
ASKS = "{str(status): number for status, number in runs.counts().items() if number}"

SHAPES = {
    "blocking result": "runs = {kind}.map({seconds})\nrun = runs[3]\nprint('go', flush=True)\nrun.result()",
    "await of a handle": "runs = {kind}.map({seconds})\nprint('go', flush=True)\nawait runs[3]",
    "blocking result of a batch": "runs = {kind}.map({seconds})\nprint('go', flush=True)\nruns.result()",
    "await of a batch": "runs = {kind}.map({seconds})\nprint('go', flush=True)\nawait runs",
    "loop with slow code": (
        "runs = {kind}.map({seconds})\n"
        "for done in runs.as_completed():\n    print('go', flush=True)\n    time.sleep(30)"
    ),
    "async loop with slow code": (
        "runs = {kind}.map({seconds})\n"
        "async for done in runs.as_completed():\n    print('go', flush=True)\n    await asyncio.sleep(30)"
    ),
    "plain code": "runs = {kind}.map({seconds})\nprint('go', flush=True)\ntime.sleep(30)",
    "awaiting something else": "runs = {kind}.map({seconds})\nprint('go', flush=True)\nawait asyncio.sleep(30)",
}
WAITS_FOR_ALL = {name for name in SHAPES if "batch" in name or "loop" in name}


@pytest.fixture(scope="module")
def shared() -> Iterator[Kernel]:
    with Kernel() as kernel:
        kernel.run("%load_ext flowrra_jupyter")
        kernel.run("%flowrra start --workers 2")
        kernel.run(TASKS)
        kernel.run("cpu.submit(0).result(30)")
        # The first traceback of a kernel takes a second to be made.
        pressed(kernel, "print('go', flush=True)\ncpu.submit(30).result()")
        yield kernel


@pytest.fixture
def notebook(shared: Kernel) -> Iterator[Kernel]:
    yield shared
    # What a test has left must not be in the way of the next one.
    shared.run("%flowrra start --on-interrupt own")
    shared.run("%flowrra cancel --all")
    shared.run("while any(not record.is_complete for record in app.blocking.runs()): time.sleep(0.01)", timeout=60)


def pressed(kernel: Kernel, cell: str, after: float = 0.3) -> tuple[CellResult, float]:
    """Run *cell*, interrupt it when it says go; returns its end and how long that took."""
    running = kernel.start_cell(cell)
    running.wait_for(lambda output: "go" in output.stdout)
    time.sleep(after)  # into the wait itself, wherever that is
    begun = time.monotonic()
    kernel.interrupt()
    result = running.wait(30)
    return result, time.monotonic() - begun


def counted(kernel: Kernel) -> dict[str, int]:
    """Where the runs in the variable ``runs`` stand, once those that were asked to stop have stopped."""
    kernel.run(
        "give_up = time.monotonic() + 20\n"
        "while any(handle.info().stopping for handle in runs) and time.monotonic() < give_up: time.sleep(0.01)"
    )
    return dict(eval(kernel.run(ASKS).text))


@pytest.mark.parametrize("kind", ["coroutine", "thread", "cpu"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_interrupt_ends_the_cell_and_cancels_what_it_has_waited_for(notebook: Kernel, shape: str, kind: str) -> None:
    # A plain cell that waits for coroutines of the kernel's loop has that done by nest_asyncio2.
    result, _ = pressed(notebook, SHAPES[shape].format(kind=kind, seconds=QUICK_AND_LONG))
    assert result.error is not None
    assert result.error.name == "KeyboardInterrupt"
    counts = counted(notebook)
    cancelled = 2 if shape in WAITS_FOR_ALL else 0 if "code" in shape or "else" in shape else 1
    assert counts.get("CANCELLED", 0) == cancelled
    if kind != "coroutine" or shape != "plain code":  # which gives its loop no time
        assert counts.get("SUCCESS", 0) >= 2
    assert ("cancelled" in result.stdout) == (cancelled > 0)
    assert notebook.run("runs.cancel(); 40 + 2").text == "42"
    assert notebook.run(f"await {kind}.submit(0)").text == "0"


@pytest.mark.parametrize("shape", SHAPES)
def test_the_cell_is_over_within_the_promised_time(notebook: Kernel, shape: str) -> None:
    took = []
    for kind in ("coroutine", "cpu", "thread") * 2:
        took.append(pressed(notebook, SHAPES[shape].format(kind=kind, seconds=QUICK_AND_LONG), after=0.2)[1])
        notebook.run("runs.cancel()")
    assert statistics.median(took) < 3 * PROMISED, took


@pytest.mark.parametrize(
    "wait", ["runs.result()", "await runs", "for done in runs.as_completed(): pass", "runs.wait()"]
)
def test_runs_of_an_earlier_cell_go_on_and_one_line_says_so(notebook: Kernel, wait: str) -> None:
    notebook.run(f"runs = cpu.map({QUICK_AND_LONG})\nwhile sum(h.done() for h in runs) < 2: time.sleep(0.01)")
    result, _ = pressed(notebook, f"print('go', flush=True)\n{wait}")
    assert result.error is not None
    assert result.error.name == "KeyboardInterrupt"
    told = [line for line in result.stdout.splitlines() if "flowrra" in line]
    assert told == ["flowrra: 2 of 4 done, the rest goes on; `runs.cancel()` stops it"]
    assert counted(notebook) == {"SUCCESS": 2, "RUNNING": 2}
    assert notebook.run("runs.cancel()").text == "2"
    assert counted(notebook) == {"SUCCESS": 2, "CANCELLED": 2}


def test_of_both_kinds_only_the_cells_own_runs_are_cancelled(notebook: Kernel) -> None:
    notebook.run("earlier = coroutine.submit(60)")
    result, _ = pressed(
        notebook,
        "runs = coroutine.map([60, 60])\nprint('go', flush=True)\nawait asyncio.gather(earlier, *runs)",
    )
    assert "2 of 3 runs cancelled" in result.stdout
    assert "the run is not done, it goes on; `earlier.cancel()` stops it" in result.stdout
    assert counted(notebook) == {"CANCELLED": 2}
    assert notebook.run("str(earlier.status)").text == "'RUNNING'"


def test_a_cell_that_catches_the_interrupt_goes_on_and_so_do_its_runs(notebook: Kernel) -> None:
    result, _ = pressed(
        notebook,
        "runs = cpu.map([60])\ntry:\n    print('go', flush=True)\n    runs.result()\n"
        "except KeyboardInterrupt:\n    print('caught')",
    )
    assert result.error is None
    assert "caught" in result.stdout
    assert "flowrra" not in result.stdout
    assert counted(notebook) == {"RUNNING": 1}


def test_a_blocking_call_in_a_cell_that_awaits_is_interrupted_too(notebook: Kernel) -> None:
    result, took = pressed(
        notebook, "await asyncio.sleep(0)\nruns = cpu.map([60])\nprint('go', flush=True)\nruns.result()"
    )
    assert result.error is not None
    assert result.error.name == "KeyboardInterrupt"
    assert took < 3 * PROMISED
    assert counted(notebook) == {"CANCELLED": 1}


def test_keep_cancels_nothing_and_all_cancels_everything(notebook: Kernel) -> None:
    notebook.run("%flowrra start --on-interrupt keep")
    result, _ = pressed(notebook, f"runs = cpu.map({QUICK_AND_LONG})\nprint('go', flush=True)\nruns.result()")
    assert "the rest goes on; `runs.cancel()` stops it" in result.stdout
    assert counted(notebook) == {"SUCCESS": 2, "RUNNING": 2}
    notebook.run("%flowrra start --on-interrupt all")
    result, _ = pressed(notebook, "print('go', flush=True)\ntime.sleep(30)")
    assert "all runs that are not done are cancelled" in result.stdout
    notebook.run("runs.wait(20)")
    assert counted(notebook) == {"SUCCESS": 2, "CANCELLED": 2}


def test_a_further_interrupt_and_cancel_now_skip_the_grace(notebook: Kernel) -> None:
    # One that ends after the grace anyway would tell nothing: its worker gets a longer one.
    notebook.run("import flowrra.pool.supervisor as supervisor; usual = supervisor.GRACE; supervisor.GRACE = 30.0")
    try:
        for press in ("interrupt", "magic"):
            notebook.run("started = Path('started').absolute(); started.unlink(missing_ok=True)")
            notebook.run(
                "runs = stubborn.map([str(started)], seconds=30)\nwhile not started.exists(): time.sleep(0.01)"
            )
            notebook.run("runs.cancel(); time.sleep(0.3)")
            assert notebook.run("runs[0].info().stopping").text == "True"
            if press == "interrupt":
                notebook.run("again = runs")
                pressed(notebook, "runs = again\nprint('go', flush=True)\nruns.wait()")
            else:
                assert notebook.run("%flowrra cancel --now").text == "1"
            assert notebook.run("runs.wait(5), str(runs[0].status)").text == "(True, 'CANCELLED')"
    finally:
        notebook.run("supervisor.GRACE = usual")


def test_an_await_cell_that_cancels_itself_is_no_interrupt(notebook: Kernel) -> None:
    ended = notebook.run("runs = coroutine.map([60])\nraise asyncio.CancelledError", check=False)
    assert ended.error is not None
    assert ended.error.name == "CancelledError"
    assert notebook.run("await coroutine.submit(0)").text == "0"
    assert notebook.run("runs[0].done(), runs[0].info().stopping").text == "(False, False)"


def test_a_large_batch_holds_up_the_cell_no_longer(notebook: Kernel) -> None:
    _, bare = pressed(notebook, "print('go', flush=True)\ntime.sleep(30)")
    result, took = pressed(notebook, "runs = cpu.map([30] * 20_000)\nprint('go', flush=True)\nruns.result()")
    assert result.error is not None
    assert took < 3 * PROMISED + bare  # a busy machine makes any cell late
    assert notebook.run("runs.wait(60)", timeout=90).text == "True"
    assert notebook.run("runs.counts()['CANCELLED']").text == "20000"

"""Notebooks that are run again, in part or as a whole: no stale code, no second pool, no view that is left."""

from __future__ import annotations

import time

import pytest

from tests.jupyter.cells import CellResult
from tests.jupyter.driver import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

NOTEBOOK = [
    "%load_ext flowrra_jupyter",
    "%flowrra start --workers 2",
    (
        "import os, time\noffset = 1\n"
        "@app.task(cpu_bound=True)\n"
        "def compute(x):\n    import time; time.sleep(0.02)\n    return x + offset"
    ),
    "@app.task\nasync def fetch(x):\n    import asyncio\n    await asyncio.sleep(0.01)\n    return x",
    "%%flowrra task halve -p x\nx / 2",
    "runs = compute.map(range(8))\nruns",
    "results = runs.result(timeout=30)",
    "await fetch.map([1, 2, 3])",
    "%%flowrra run -o bound\nbound = results[0] + 100",
    "%%flowrra map x=[1, 2] -o mapped\nx * 10",
    "halve.submit(5).result(30)",
    "%flowrra",
]


def run_all(kernel: Kernel) -> list[CellResult]:
    results = [kernel.run(cell, timeout=60) for cell in NOTEBOOK]
    for result in results:
        assert result.stderr == "" or "already loaded" in result.stdout
    kernel.run(
        "give_up = time.monotonic() + 20\n"
        "while 'mapped' not in globals() and time.monotonic() < give_up: time.sleep(0.01)"
    )
    assert kernel.run("results, mapped").text == "([1, 2, 3, 4, 5, 6, 7, 8], [10, 20])"
    return results


def processes(kernel: Kernel) -> int:
    """How many there are below the kernel, once those that are ending have ended."""
    give_up, number = time.monotonic() + 5, -1
    while time.monotonic() < give_up:
        before, number = number, len(kernel.descendants())
        if number == before and number <= 4:
            break
        time.sleep(0.2)
    return number


def threads(kernel: Kernel) -> list[str]:
    kernel.run("import threading")
    return sorted(eval(kernel.run("[t.name for t in threading.enumerate() if t.name.startswith('flowrra')]").text))


def test_run_all_twice_gives_the_same_with_the_same_pool_and_threads(kernel: Kernel) -> None:
    run_all(kernel)
    once, first = threads(kernel), kernel.run("id(app)").text
    kernel.run("pids = set(app.stats().executors['cpu']['pids'])")
    for _ in range(2):
        run_all(kernel)
    assert kernel.run("id(app)").text == first
    assert threads(kernel) == once
    # The template process, two workers and a spare.
    assert processes(kernel) <= 4
    assert kernel.run("len(pids & set(app.stats().executors['cpu']['pids']))").text in ("2", "3")


def test_restart_and_run_all_gives_the_same_with_a_pool_of_its_own(kernel: Kernel) -> None:
    run_all(kernel)
    before = {process.pid for process in kernel.descendants()}
    kernel.restart()
    run_all(kernel)
    assert processes(kernel) <= 4
    assert not before & {process.pid for process in kernel.descendants()}


def test_an_edited_task_runs_as_edited_and_what_was_submitted_before_as_it_was(kernel: Kernel) -> None:
    run_all(kernel)
    kernel.run("before = compute.map(range(4))")
    edited = NOTEBOOK[2].replace("x + offset", "x - helper(x)").replace("offset = 1", "def helper(x): return 10")
    kernel.run(edited)
    assert kernel.run("before.result(timeout=30), compute.map(range(3)).result(timeout=30)").text == (
        "([1, 2, 3, 4], [-10, -9, -8])"
    )
    kernel.run("def helper(x): return 20")
    assert kernel.run("compute.submit(0).result(30)").text == "-20"
    kernel.run(NOTEBOOK[4].replace("x / 2", "x / 4"))
    assert kernel.run("halve.submit(8).result(30)").text == "2.0"
    kernel.run(NOTEBOOK[2])
    assert kernel.run("compute.submit(0).result(30)").text == "1"


def test_an_interrupt_in_the_middle_leaves_a_notebook_that_can_go_on(kernel: Kernel) -> None:
    run_all(kernel)
    cell = kernel.start_cell("slow = compute.map(range(2000))\nprint('go', flush=True)\nslow.result()")
    cell.wait_for(lambda output: "go" in output.stdout)
    time.sleep(0.5)
    kernel.interrupt()
    error = cell.wait(20).error
    assert error is not None
    assert error.name == "KeyboardInterrupt"
    assert kernel.run("slow.wait(20)", timeout=30).text == "True"
    assert kernel.run("len(slow.errors) > 0, slow.retry_failed() > 0").text == "(True, True)"
    assert kernel.run("slow.result(timeout=60) == [x + 1 for x in range(2000)]", timeout=90).text == "True"
    run_all(kernel)
    assert processes(kernel) <= 4


def test_views_of_earlier_executions_are_let_go(kernel: Kernel) -> None:
    run_all(kernel)
    kernel.run("import gc\nfrom flowrra_jupyter import extension")
    ask = "gc.collect(); sum(type(thing).__name__ == 'View' for thing in gc.get_objects())"
    first = int(kernel.run(ask).text)
    for _ in range(3):
        kernel.run(NOTEBOOK[5])
        kernel.run(NOTEBOOK[6])
    time.sleep(1.5)  # a view ends a moment after its runs
    assert int(kernel.run(ask).text) <= first + 1

"""Spawned workers in a kernel: functions of cells run, stop, and nothing outlives the kernel."""

from __future__ import annotations

import time

import pytest

from flowrra.testing import leaks
from tests.jupyter.driver import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

BUSY = """
import os
os.environ["FLOWRRA_WORKERS_BY"] = "spawn"
%load_ext flowrra_jupyter
%flowrra start --workers 2
import time

factor = 3

@app.task(cpu_bound=True)
def triple(x):
    return factor * x

@app.task(cpu_bound=True)
def burn():
    import subprocess
    child = subprocess.Popen(["sleep", "300"])
    while True:
        time.sleep(60)

assert app.stats().executors["cpu"]["workers_by"] == "spawn"
"""


def test_a_cells_function_runs_stops_and_leaves_nothing_when_the_kernel_is_killed(kernel: Kernel) -> None:
    kernel.run(BUSY, timeout=60)
    assert kernel.run("triple.map(range(5)).result()").text == "[0, 3, 6, 9, 12]"
    kernel.run("run = burn.submit()\nwhile run.status != 'RUNNING': time.sleep(0.01)")
    cell = kernel.start_cell("print('waiting', flush=True); run.result()")
    cell.wait_for(lambda output: "waiting" in output.stdout)
    kernel.interrupt()
    assert "KeyboardInterrupt" in str(cell.wait(10).error)
    assert kernel.run("run.cancel(), type(run.exception(5)).__name__").text == "(True, 'TaskCancelled')"
    kernel.run("again = burn.submit()\nwhile again.status != 'RUNNING': time.sleep(0.01)")
    give_up = time.monotonic() + 20
    while len(found := kernel.descendants()) < 4 or not any("sleep" in each.command for each in found):
        assert time.monotonic() < give_up, found
        time.sleep(0.02)
    kernel.kill()
    give_up = time.monotonic() + 2.0
    while left := [each for each in found if leaks.alive(each.pid)]:
        assert time.monotonic() < give_up, left
        time.sleep(0.02)

"""Restart, shutdown and death of the kernel with busy workers: nothing of ours is left, and nothing takes longer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flowrra.testing import leaks
from tests.jupyter.driver import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

DEADLINE = 2.0
BUSY = """
%load_ext flowrra_jupyter
%flowrra start --workers 2
import asyncio, subprocess, time
import numpy as np
data = np.zeros(3_000_000)

@app.task(cpu_bound=True)
def burn(x):
    import subprocess, time
    child = subprocess.Popen(['sleep', '300'])
    end = time.monotonic() + 300
    while time.monotonic() < end:
        data.sum()
@app.task
async def nap(): await asyncio.sleep(300)
@app.task
def block(): time.sleep(300)

runs = burn.map(range(20))
naps = [nap.submit() for _ in range(5)]
blocked = block.submit()
while sum(h.status == 'RUNNING' for h in runs) < 2: await asyncio.sleep(0.05)
runs
"""


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm")) if Path("/dev/shm").exists() else set()


def processes(kernel: Kernel) -> list[int]:
    """The zygote, two workers and what their runs have started, once all of them are there."""
    give_up = time.monotonic() + 20
    while len(found := kernel.descendants()) < 5:
        assert time.monotonic() < give_up, found
        time.sleep(0.02)
    return [process.pid for process in found]


@pytest.mark.parametrize("ended_by", ["restart", "shutdown", "kill"])
@pytest.mark.parametrize("during", ["idle", "a blocking cell"])
def test_nothing_is_left_two_seconds_after_the_kernel_has_ended(kernel: Kernel, ended_by: str, during: str) -> None:
    before = shared_memory()
    kernel.run(BUSY, timeout=60)
    ours = processes(kernel)
    if during == "a blocking cell":
        cell = kernel.start_cell("print('in', flush=True); time.sleep(300)")
        cell.wait_for(lambda output: "in" in output.stdout)
    end: Callable[[], object] = getattr(kernel, ended_by)
    end()
    give_up = time.monotonic() + 3 * DEADLINE
    while (left := [pid for pid in ours if leaks.alive(pid)]) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert left == []
    assert shared_memory() <= before


def test_shutdown_is_as_fast_as_without_us(tmp_path: Path) -> None:
    took = {}
    for name, code in (("without", "import numpy"), ("with", BUSY)):
        with Kernel() as kernel:
            kernel.run(code, timeout=60)
            took[name] = kernel.shutdown()
    print(f"shutdown took {took}")
    assert took["with"] < took["without"] + 3 * 0.3

"""Too many descriptors of a user's that are sent and not received yet (ETOOMANYREFS): nothing is lost by it.

The limit is that of open files. It does not hold for a process with certain capabilities, which these give up.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap

import pytest

BEGIN = """
import asyncio, os, resource, socket, sys, threading, time, types
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
import numpy as np
from flowrra import Flowrra
"""

RESULTS = """
waits = sys.argv[1]

def note_waits():
    from flowrra.pool.transport import wire

    def sleep(seconds):
        with open(waits, "a") as file:
            file.write("x")
        time.sleep(seconds)

    wire.time = types.SimpleNamespace(sleep=sleep)

app = Flowrra(cpu_workers=2, initializer=note_waits)

@app.task(cpu_bound=True)
def large(n):
    return np.full(40_000, n % 256, dtype=np.uint8)

async def main():
    async with app:
        for _ in range(3):  # it is learnt how short they are, so that many are prefetched
            await asyncio.gather(*(large.submit(n) for n in range(200)))
        handles = [large.submit(n) for n in range(600)]
        give_up = time.monotonic() + 30
        while not os.path.exists(waits) and time.monotonic() < give_up:
            await asyncio.sleep(0)
            time.sleep(0.2)  # the engine, on this loop, receives nothing
        assert os.path.exists(waits), "there were never too many"
        values = await asyncio.gather(*handles)
        assert [int(value[-1]) for value in values] == [n % 256 for n in range(600)]
        assert {handle.info().attempts for handle in handles} == {1}
        assert app.stats().executors["cpu"]["lost"] == 0

asyncio.run(main())
print("done")
"""

WORKERS = """
app = Flowrra(cpu_workers=2)

@app.task(cpu_bound=True)
def total(array):
    return int(array.sum())

def too_many():
    mine, theirs = socket.socketpair()
    try:
        while True:
            socket.send_fds(mine, [b"x"], [0])
    except OSError as error:
        assert error.errno == 109, error
    return mine, theirs

with app:
    under_way = too_many()
    handles = [total.submit(np.full(50_000, n)) for n in range(10)]
    threading.Timer(1.0, lambda: [end.close() for end in under_way]).start()
    assert [handle.result(30) for handle in handles] == [50_000 * n for n in range(10)]
    again = too_many()
    handles = [total.submit(np.full(50_000, n)) for n in range(10, 20)]
    threading.Timer(1.0, lambda: [end.close() for end in again]).start()
    assert [handle.result(30) for handle in handles] == [50_000 * n for n in range(10, 20)]
print("done")
"""

_PR_CAPBSET_DROP = 24
_CAP_SYS_ADMIN, _CAP_SYS_RESOURCE = 21, 24


def _give_up_capabilities() -> None:
    libc = ctypes.CDLL(None)
    for capability in (_CAP_SYS_ADMIN, _CAP_SYS_RESOURCE):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails if there is nothing to give up


@pytest.mark.parametrize("what", [RESULTS, WORKERS], ids=["results", "workers and arguments"])
def test_with_too_many_descriptors_under_way_every_run_succeeds(what: str, tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BEGIN + what), f"{tmp_path}/waits"],
        preexec_fn=_give_up_capabilities,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.strip() == "done", done.stderr
    assert "Traceback" not in done.stderr

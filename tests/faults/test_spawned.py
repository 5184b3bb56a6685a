"""Workers that are spawned: that they need nothing but what every system has, and what is theirs alone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from flowrra import Flowrra, InvalidOption
from flowrra.core.statuses import OutcomeKind
from flowrra.errors import WorkerStartFailed
from flowrra.pool import ways
from flowrra.pool.portable import folder, spawned
from flowrra.testing import leaks
from tests.faults.pool_driver import PATIENCE, pool
from tests.faults.test_pool_faults import given_up, only_descriptors
from tests.faults.victims import crash, never_return, talk, work

ROOT = str(Path(__file__).parents[2])


@pytest.fixture(autouse=True, scope="module")
def spawn() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWRRA_WORKERS_BY", "spawn")
        yield


WITHOUT_LINUX = """
    import sys
    sys.path.insert(0, {root!r})
    from tests.faults.forbidden import ForbiddenError, forbid
    forbid()
    import os, time
    import numpy as np
    from flowrra import Flowrra, InvalidOption, TaskCancelled, WorkerLost
    from flowrra.pool.portable import spawned

    FORBID = "import sys; sys.path.insert(0, sys.argv[1]); from tests.faults.forbidden import forbid; forbid(); "
    spawned._BOOT = FORBID + spawned._BOOT
    os.environ.pop("FLOWRRA_WORKERS_BY", None)
    app = Flowrra(cpu_workers=2)

    @app.task(cpu_bound=True)
    def double(x):
        print("doubling")
        return x * 2

    @app.task(cpu_bound=True)
    def fork():
        os.fork()

    @app.task(cpu_bound=True)
    def die():
        os._exit(7)

    with app:
        assert app.stats().executors["cpu"]["workers_by"] == "spawn", "there is nothing else"
        handle = double.submit(21)
        assert handle.result() == 42
        assert handle.logs == "doubling\\n", handle.logs
        large = np.arange(1_000_000)
        for _ in range(2):
            assert (double.submit(large).result() == 2 * large).all()
        assert double.map(range(1000)).result() == [2 * n for n in range(1000)]
        assert "ForbiddenError" in repr(fork.submit().exception()), "the workers have not been restrained"
        assert isinstance(die.submit().exception(), WorkerLost)
        sleeper = app.task(cpu_bound=True)(time.sleep).submit(60)
        while sleeper.status != "RUNNING":
            time.sleep(0.01)
        assert sleeper.cancel()
        assert isinstance(sleeper.exception(5), TaskCancelled)
        try:
            double.options(memory_limit="1GB").submit(1)
        except InvalidOption as error:
            assert "memory" in str(error)
        else:
            raise AssertionError("a limit that nobody watches over was accepted")
    try:
        os.fork()
    except ForbiddenError:
        print("done")
"""


def test_neither_engine_nor_workers_use_anything_that_only_linux_has() -> None:
    script = textwrap.dedent(WITHOUT_LINUX).format(root=ROOT)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout.strip() == "done", done.stderr
    assert "Forbidden" not in done.stderr


def test_the_setting_is_told_checked_and_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Flowrra(workers_by="fork")._settings.workers_by == "fork"  # noqa: SLF001 - nothing has to be started for it
    with Flowrra("spawned") as app:
        assert app.stats().executors["cpu"]["workers_by"] == "spawn"
    with pytest.raises(InvalidOption, match=r"workers_by is 'fork' or 'spawn', not 'threads'"):
        Flowrra(workers_by="threads")  # type: ignore[arg-type]
    monkeypatch.setattr(ways, "can_fork", lambda: False)
    assert ways.way(None).name == "spawn"
    with pytest.raises(InvalidOption, match="needs Linux"):
        ways.way("fork")


OWNER = """
    import asyncio, os, subprocess, sys, time
    sys.path.insert(0, {root!r})
    from tests.faults.pool_driver import pool

    def busy(folder):
        child = subprocess.Popen(["sleep", "300"])
        for pid in (child.pid, os.getpid()):
            open(os.path.join(folder, str(pid)), "w").close()
        while True:
            {loop}

    async def main():
        async with pool(2, workers_by="spawn") as cpu:
            await cpu.up(3)
            cpu.submit(busy, {folder!r})
            await asyncio.sleep(60)

    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["time.sleep(1)", "sum(range(10**5))", "os.write(1, b'x' * 65536)"])
async def test_two_seconds_after_the_owner_is_killed_nothing_is_left_but_a_folder_that_goes_with_the_next_start(
    tmp_path: Path, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids_in, spill = tmp_path / "pids", tmp_path / "spill"
    pids_in.mkdir()
    spill.mkdir()
    monkeypatch.setenv("FLOWRRA_SPILL", str(spill))
    script = textwrap.dedent(OWNER).format(root=ROOT, folder=str(pids_in), loop=loop)
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) as owner:
        try:
            while len(names := [path.name for path in pids_in.iterdir()]) < 2:
                await asyncio.sleep(0.02)
                assert owner.poll() is None, owner.stderr and owner.stderr.read().decode()
            pids = {int(name) for name in names}
            pids |= {process.pid for process in psutil.Process(owner.pid).children(recursive=True)}
            assert len(pids) >= 4  # two workers, a spare, and what the task has started
        finally:
            owner.kill()
    give_up = time.monotonic() + 2.0
    while left := [pid for pid in pids if leaks.alive(pid)]:
        assert time.monotonic() < give_up, left
        await asyncio.sleep(0.01)
    [abandoned] = spill.iterdir()
    async with pool(1) as cpu:
        assert await cpu.run(work, 2) == 4
        assert abandoned.exists(), "it may be one in the making"
    monkeypatch.setattr(folder, "_FRESH", 0.0)
    async with pool(1) as cpu:
        assert await cpu.run(work, 2) == 4
        assert not abandoned.exists()
        folder.remove_left_behind(str(spill))
        assert len(list(spill.iterdir())) == 1, "somebody uses it"
    assert not list(spill.iterdir())


async def test_shared_files_are_the_users_own_and_go_with_what_refers_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWRRA_SPILL", str(tmp_path))
    async with pool(1) as cpu:
        attempt = cpu.attempt(np.zeros_like, np.ones(1_000_000))
        cpu.executor.begin(attempt)
        result = (await cpu.outcome(attempt)).value
        [own] = tmp_path.iterdir()
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
        assert not [path for path in own.iterdir() if path.name.startswith("result")], "it was read"
    assert [path.name.partition("-")[0] for path in own.iterdir()].count("page") == 0
    del attempt
    result += 1
    assert result.sum() == 1_000_000
    assert cpu.executor.describe()["shared_slabs"] == 1, "the attempt's arguments are kept, with the run"
    cpu.sink.outcomes.clear()


async def test_nobody_but_a_worker_gets_in() -> None:
    async with pool(1) as cpu:
        await cpu.up(2)
        listening = [each for each in psutil.Process().net_connections("tcp") if each.status == psutil.CONN_LISTEN]
        [port] = [each.laddr.port for each in listening if each.laddr.ip == "127.0.0.1"]
        assert all(each.laddr.ip == "127.0.0.1" for each in listening)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 100)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        assert await cpu.run(work, 3) == 9
        with socket.socket() as elsewhere, pytest.raises(ConnectionRefusedError):
            elsewhere.connect(("127.0.0.2", port))


@pytest.mark.parametrize("boot", ["raise ImportError('broken installation')", "import os; os._exit(9)"])
async def test_workers_that_cannot_start_fail_the_runs_and_recover(boot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool(2) as cpu:
        await cpu.up(3)
        with monkeypatch.context() as patch:
            patch.setattr(spawned, "_BOOT", boot)
            for pid in cpu.executor.describe()["pids"]:
                os.kill(pid, signal.SIGKILL)
            outcome = await cpu.outcome(cpu.submit(work, 2))
            while outcome.exception is None:  # a worker has taken it before it was killed
                outcome = await cpu.outcome(cpu.submit(work, 2))
            while not isinstance(outcome.exception, WorkerStartFailed):
                outcome = await cpu.outcome(cpu.submit(work, 2))
            if "ImportError" in boot:
                assert "broken installation" in str(outcome.exception)
            await given_up(cpu)
        assert await cpu.run(work, 2) == 4
        assert [(await cpu.outcome(a)).value for a in [cpu.submit(work, n) for n in range(9)]][-1] == 64


@pytest.mark.parametrize("left", [0, 3, 6, 9])
async def test_wherever_descriptors_run_out_while_a_pool_starts_nothing_hangs_and_none_is_lost(left: int) -> None:
    async with pool(1) as cpu:
        attempt = cpu.attempt(work, 2)
        with only_descriptors(left):
            cpu.executor.begin(attempt)
            outcome = await cpu.outcome(attempt)
            assert outcome.value == 4 or isinstance(outcome.exception, WorkerStartFailed)
        assert await cpu.run(work, 2) == 4


async def test_interrupts_of_the_owners_process_group_reach_no_worker() -> None:
    async with pool(1) as cpu:
        pid = await cpu.run(os.getpid)
        os.kill(pid, signal.SIGINT)
        assert await cpu.run(os.getpid) == pid
        assert os.getsid(pid) != os.getsid(0)
        assert os.getpgid(pid) == pid


async def test_output_of_quick_neighbours_is_never_mixed() -> None:
    async with pool(2) as cpu:
        attempts = [cpu.submit(talk, n) for n in range(300)]
        for n, attempt in enumerate(attempts):
            await cpu.outcome(attempt)
            assert cpu.text(attempt) == f"run {n}\n"


async def test_the_group_that_waits_is_taken_from_a_worker_that_never_comes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawned, "_BOOT", "import time; time.sleep(60)")
    async with pool(1) as cpu:
        attempt, other = cpu.submit(work, 2), cpu.submit(work, 3)
        await asyncio.sleep(0.1)
        cpu.stop(attempt)
        assert cpu.sink.outcomes[attempt.run_id].kind is OutcomeKind.CANCELLED
        cpu.executor.recall()
        assert [given.run_id for given in cpu.sink.given_back] == [other.run_id]


async def test_a_worker_whose_connection_is_cut_ends_and_is_replaced() -> None:
    async with pool(1) as cpu:
        await cpu.up(2)
        attempt = cpu.submit(never_return)
        await cpu.started(attempt)
        connections = psutil.Process().net_connections("tcp")
        listening = next(each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN)
        ours = [each for each in connections if each.status == psutil.CONN_ESTABLISHED and each.laddr.port == listening]
        for each in ours:
            with socket.socket(fileno=os.dup(each.fd)) as connection:
                connection.shutdown(socket.SHUT_RDWR)
        async with asyncio.timeout(PATIENCE):
            outcome = await cpu.outcome(attempt)
        assert outcome.kind is OutcomeKind.WORKER_LOST
        assert await cpu.run(work, 2) == 4
        await cpu.outcome(cpu.submit(crash))

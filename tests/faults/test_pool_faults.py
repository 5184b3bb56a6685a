"""The CPU pool when things go wrong: crashes, stops, take-backs, and the death of whoever owns it."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from flowrra.core.statuses import OutcomeKind
from flowrra.errors import NotEncodable, TaskCancelled, WorkerLost, WorkerStartFailed
from flowrra.executors.cpu import CpuExecutor
from flowrra.interfaces import Attempt, Call
from flowrra.pool import launch
from tests.environment.ways import ONE_SEED
from tests.faults.pool_driver import PATIENCE, Pool, pool
from tests.faults.victims import (
    answer_for_another,
    close_own_stdout,
    crash,
    fork_a_child_that_returns,
    never_return,
    null_pointer,
    segfault,
    talk,
    unpicklable,
    work,
)

pytestmark = pytest.mark.usefixtures("each_way")

STOP_LIMIT = 1.5
"""Seconds: three times the promise."""


# Crashes.


@pytest.mark.parametrize(
    ("victim", "exit_code", "words"),
    [
        (crash, 3, "exit code 3"),
        (segfault, -signal.SIGSEGV, "SIGSEGV"),
        (null_pointer, -signal.SIGSEGV, "about to crash"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), -signal.SIGKILL, "SIGKILL"),
    ],
)
async def test_a_crash_is_told_with_code_and_last_words(victim: Callable[[], None], exit_code: int, words: str) -> None:
    async with pool(1) as cpu:
        attempt = cpu.submit(victim)
        outcome = await cpu.outcome(attempt)
        assert outcome.kind is OutcomeKind.WORKER_LOST
        error = outcome.exception
        assert isinstance(error, WorkerLost)
        assert (error.run_id, error.attempt, error.exit_code) == (attempt.run_id, 1, exit_code)
        assert error.pid > 0
        assert words in str(error)
        assert await cpu.run(work, 3) == 9
        assert cpu.executor.describe()["lost"] == 1


async def test_four_victims_among_forty_cost_four_runs() -> None:
    async with pool(2) as cpu:
        good, bad = [], []
        for n in range(40):
            if n % 10 == 5:
                bad.append(cpu.submit([crash, segfault, never_return, unpicklable][n // 10]))
            good.append(cpu.submit(work, n))
        await cpu.started(bad[2])
        cpu.stop(bad[2])
        assert [(await cpu.outcome(attempt)).value for attempt in good] == [n * n for n in range(40)]
        kinds = [(await cpu.outcome(attempt)).kind for attempt in bad]
        assert kinds == [
            OutcomeKind.WORKER_LOST,
            OutcomeKind.WORKER_LOST,
            OutcomeKind.CANCELLED,
            OutcomeKind.NOT_ENCODABLE,
        ]
        assert isinstance(cpu.sink.outcomes[bad[3].run_id].exception, NotEncodable)
        assert cpu.sink.given_back == []
        assert await cpu.run(work, 3) == 9


async def test_prefetched_runs_of_a_lost_worker_are_executed_once_and_charged_nothing(tmp_path: Path) -> None:
    def leave_a_trace(n: int) -> int:
        with (tmp_path / "trace").open("a") as file:
            file.write(f"{n}\n")
        return n

    async with pool(1) as cpu:
        victim = cpu.submit(crash)
        others = [cpu.submit(leave_a_trace, n) for n in range(20)]
        assert [(await cpu.outcome(attempt)).value for attempt in others] == list(range(20))
        assert (await cpu.outcome(victim)).kind is OutcomeKind.WORKER_LOST
    assert sorted(map(int, (tmp_path / "trace").read_text().split())) == list(range(20))


async def test_a_function_that_kills_its_worker_while_it_is_loaded_is_charged(tmp_path: Path) -> None:
    class Deadly:
        def __reduce__(self) -> Any:
            return os._exit, (5,)

    async with pool(1) as cpu:
        outcome = await cpu.outcome(cpu.submit(print, Deadly()))
        assert isinstance(outcome.exception, WorkerLost)
        assert outcome.exception.exit_code == 5
        assert await cpu.run(work, 2) == 4


async def test_what_a_crashed_task_printed_is_kept() -> None:
    def talk_and_die() -> None:
        print("almost done")
        os._exit(1)

    async with pool(1) as cpu:
        attempt = cpu.submit(talk_and_die)
        await cpu.outcome(attempt)
        assert cpu.text(attempt) == "almost done\n"


@pytest.mark.forked_only("what has left its process group is out of reach where there is no subreaper")
async def test_processes_that_a_lost_worker_had_started_end_with_it(tmp_path: Path) -> None:
    def start_and_die() -> None:
        for new_session in (False, True):
            child = subprocess.Popen(["sleep", "300"], start_new_session=new_session)
            (tmp_path / str(child.pid)).touch()
        os._exit(1)

    async with pool(1) as cpu:
        await cpu.outcome(cpu.submit(start_and_die))
        pids = [int(path.name) for path in tmp_path.iterdir()]
        assert len(pids) == 2
        await _gone(pids)
        assert await cpu.run(work, 2) == 4


@pytest.mark.forked_only("what has left its process group is out of reach where there is no subreaper")
async def test_a_daemon_of_a_living_worker_survives_the_death_of_another(tmp_path: Path) -> None:
    def daemonise() -> None:
        subprocess.run(["sh", "-c", f"setsid sleep 300 & echo $! > {tmp_path}/pid"], check=True)
        while not (tmp_path / "gate").exists():
            time.sleep(0.01)

    async with pool(2) as cpu:
        keeper = cpu.submit(daemonise)
        await cpu.started(keeper)
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
        await cpu.outcome(cpu.submit(crash))
        await cpu.run(work, 1)
        daemon = psutil.Process(int((tmp_path / "pid").read_text()))
        assert daemon.is_running()
        (tmp_path / "gate").touch()
        await cpu.outcome(keeper)
    await _gone([daemon.pid])


# Stops.


async def test_a_running_task_is_stopped_and_its_finally_blocks_run(tmp_path: Path) -> None:
    def careful(folder: Path) -> None:
        try:
            print("waiting")
            while True:
                time.sleep(60)
        except Exception:  # noqa: BLE001 - what is tested: a stop is no Exception
            (folder / "swallowed").touch()
        finally:
            (folder / "tidied").touch()

    async with pool(1) as cpu:
        pid = await cpu.run(os.getpid)
        attempt = cpu.submit(careful, tmp_path)
        after = cpu.submit(os.getpid)
        await cpu.wrote(attempt)
        begun = time.monotonic()
        cpu.stop(attempt)
        outcome = await cpu.outcome(attempt)
        assert time.monotonic() - begun < STOP_LIMIT
        assert outcome.kind is OutcomeKind.CANCELLED
        assert isinstance(outcome.exception, TaskCancelled)
        assert [path.name for path in tmp_path.iterdir()] == ["tidied"]
        assert (await cpu.outcome(after)).value != pid
        assert cpu.executor.describe()["replaced"] == 1


async def test_a_task_that_resists_is_killed_after_the_grace() -> None:
    def resist() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM, signal.SIGINT})
        print("resisting")
        while True:
            time.sleep(60)

    def swallow() -> None:
        while True:
            try:
                print("resisting")
                time.sleep(60)
            except BaseException:  # noqa: BLE001 - what is tested
                continue

    async with pool(2) as cpu:
        for function in (resist, swallow):
            attempt = cpu.submit(function)
            await cpu.wrote(attempt)
            stopped = time.monotonic()
            cpu.stop(attempt)
            assert (await cpu.outcome(attempt)).kind is OutcomeKind.CANCELLED
            assert 0.2 < time.monotonic() - stopped < STOP_LIMIT
        assert await cpu.run(work, 2) == 4


async def test_a_prefetched_run_is_stopped_at_once_and_never_begins(tmp_path: Path) -> None:
    async with pool(1) as cpu:
        first = cpu.submit(time.sleep, 0.2)
        second = cpu.submit((tmp_path / "began").touch)
        third = cpu.submit(work, 3)
        await cpu.started(first)
        cpu.stop(second)
        assert cpu.sink.outcomes[second.run_id].kind is OutcomeKind.CANCELLED
        assert (await cpu.outcome(third)).value == 9
        assert (await cpu.outcome(first)).kind is OutcomeKind.RETURNED
        assert not (tmp_path / "began").exists()


async def test_stopping_one_run_leaves_those_behind_it_alone() -> None:
    async with pool(1) as cpu:
        victim = cpu.submit(never_return)
        await cpu.started(victim)
        others = [cpu.submit(work, n) for n in range(5)]
        cpu.stop(victim)
        cpu.stop(victim)
        assert [(await cpu.outcome(attempt)).value for attempt in others] == [n * n for n in range(5)]
        assert (await cpu.outcome(victim)).kind is OutcomeKind.CANCELLED


async def test_stopping_a_finished_or_unknown_run_does_nothing() -> None:
    async with pool(1) as cpu:
        attempt = cpu.submit(work, 2)
        await cpu.outcome(attempt)
        cpu.stop(attempt)
        cpu.stop(attempt._replace(run_id="unknown"))
        assert await cpu.run(work, 3) == 9
        assert cpu.executor.describe()["replaced"] == 0


async def test_stops_that_race_with_ends_lose_and_repeat_nothing() -> None:
    async with pool(2) as cpu:
        for _ in range(30):
            attempts = [cpu.submit(work, n) for n in range(6)]
            await cpu.started(attempts[0])
            for attempt in attempts[:4]:
                await asyncio.sleep(0.004)
                cpu.stop(attempt)
            outcomes = [await cpu.outcome(attempt) for attempt in attempts]
            assert [outcome.kind for outcome in outcomes[4:]] == [OutcomeKind.RETURNED] * 2
            for n, outcome in enumerate(outcomes):
                assert outcome.kind is OutcomeKind.CANCELLED or outcome.value == n * n


async def test_a_task_blocked_on_printing_can_be_stopped() -> None:
    def shout() -> None:
        while True:
            os.write(1, b"x" * 65536)

    async with pool(1) as cpu:
        attempt = cpu.submit(shout)
        await cpu.started(attempt)
        await asyncio.sleep(0.1)
        cpu.stop(attempt)
        assert (await cpu.outcome(attempt)).kind is OutcomeKind.CANCELLED
        assert await cpu.run(work, 2) == 4


# Taking back.


async def test_everything_prefetched_can_be_recalled() -> None:
    async with pool(2) as cpu:
        await cpu.up(3)
        running = [cpu.submit(time.sleep, 0.3) for _ in range(2)]
        for attempt in running:
            await cpu.started(attempt)
        queued = [cpu.submit(work, n) for n in range(4)]
        cpu.executor.recall()
        assert {attempt.run_id for attempt in cpu.sink.given_back} == {attempt.run_id for attempt in queued}
        assert cpu.executor.describe()["prefetched"] == 0
        for attempt in queued:
            cpu.executor.begin(attempt)
        assert [(await cpu.outcome(attempt)).value for attempt in queued] == [n * n for n in range(4)]


async def test_a_higher_priority_overtakes_what_is_prefetched(tmp_path: Path) -> None:
    def note(name: str) -> None:
        with (tmp_path / "order").open("a") as file:
            file.write(f"{name}\n")

    async with pool(1) as cpu:
        running = cpu.submit(time.sleep, 0.3)
        await cpu.started(running)
        low = [cpu.submit(note, f"low{n}") for n in range(2)]
        middle = cpu.attempt(note, "middle", priority=5)
        high = cpu.attempt(note, "high", priority=10)
        assert cpu.executor.room() == 0
        for attempt in (middle, high):
            cpu.executor.recall((attempt.priority, attempt.seq))
            assert cpu.executor.room() == 1, "no more is given back than has to be"
            cpu.executor.begin(attempt)
        assert [attempt.run_id for attempt in cpu.sink.given_back] == [low[1].run_id, low[0].run_id]
        for attempt in low:
            cpu.executor.begin(attempt)
        for attempt in (*low, middle, high):
            await cpu.outcome(attempt)
    assert (tmp_path / "order").read_text().split() == ["high", "middle", "low0", "low1"]


async def test_an_idle_worker_takes_over_what_waits_behind_a_long_run() -> None:
    async with pool(2) as cpu:
        for attempt in [cpu.submit(work, n) for n in range(40)]:
            await cpu.outcome(attempt)
        long = cpu.submit(time.sleep, 1.5)
        short = [cpu.submit(work, n) for n in range(30)]
        for attempt in short:
            await cpu.outcome(attempt)
        assert long.run_id not in cpu.sink.outcomes


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=ONE_SEED), pytest.param(3, marks=ONE_SEED)])
async def test_any_mixture_of_ends_stops_and_recalls_accounts_for_every_run(seed: int) -> None:
    kinds = {
        work: {OutcomeKind.RETURNED},
        talk: {OutcomeKind.RETURNED},
        crash: {OutcomeKind.WORKER_LOST},
        segfault: {OutcomeKind.WORKER_LOST},
        never_return: {OutcomeKind.CANCELLED},
        unpicklable: {OutcomeKind.NOT_ENCODABLE},
    }
    chance = random.Random(seed)
    async with pool(2) as cpu:
        chosen = chance.choices(list(kinds), [40, 20, 2, 1, 2, 2], k=300)
        attempts = [cpu.submit(function, n) for n, function in enumerate(chosen)]

        async def stop(attempt: Attempt, delay: float) -> None:
            await (cpu.started(attempt) if delay == 0 else asyncio.sleep(delay))
            cpu.stop(attempt)

        async def recall() -> None:
            for _ in range(5):
                await asyncio.sleep(chance.random() * 0.1)
                cpu.executor.recall()
                cpu.take_again()

        endless = [attempt for attempt, function in zip(attempts, chosen, strict=True) if function is never_return]
        unlucky = chance.sample(attempts, 20)
        await asyncio.gather(
            *(stop(attempt, 0) for attempt in endless),
            *(stop(attempt, chance.random()) for attempt in unlucky),
            recall(),
        )
        for n, (attempt, function) in enumerate(zip(attempts, chosen, strict=True)):
            outcome = await cpu.outcome(attempt)
            stopped = {OutcomeKind.CANCELLED} if attempt in unlucky else set()
            assert outcome.kind in kinds[function] | stopped
            if outcome.kind is OutcomeKind.RETURNED:
                assert outcome.value == n * n
                assert cpu.text(attempt) == (f"run {n}\n" if function is talk else "")
        assert cpu.executor.describe()["busy"] == 0


async def test_what_runs_print_one_after_the_other_is_each_ones_own() -> None:
    async with pool(2) as cpu:
        attempts = [cpu.submit(talk, n) for n in range(2_000)]
        for n, attempt in enumerate(attempts):
            await cpu.outcome(attempt)
            assert cpu.text(attempt) == f"run {n}\n"


# The zygote and the owner.


@pytest.mark.forked_only("there is no zygote")
async def test_a_killed_zygote_is_replaced_and_costs_only_running_runs() -> None:
    async with pool(2) as cpu:
        running = [cpu.submit(never_return) for _ in range(2)]
        for attempt in running:
            await cpu.started(attempt)
        queued = [cpu.submit(work, n) for n in range(4)]
        pids = cpu.executor.describe()["pids"]
        zygote = psutil.Process(pids[0]).parent()
        assert zygote is not None
        os.kill(zygote.pid, signal.SIGKILL)
        for attempt in running:
            assert isinstance((await cpu.outcome(attempt)).exception, WorkerLost)
        assert [(await cpu.outcome(attempt)).value for attempt in queued] == [n * n for n in range(4)]
        await _gone([*pids, zygote.pid])


@pytest.mark.forked_only("there is no zygote")
async def test_a_terminated_zygote_takes_everything_along(tmp_path: Path) -> None:
    def start_and_wait() -> None:
        child = subprocess.Popen(["sleep", "300"], start_new_session=True)
        (tmp_path / str(child.pid)).touch()
        time.sleep(60)

    async with pool(1) as cpu:
        attempt = cpu.submit(start_and_wait)
        await cpu.started(attempt)
        while not list(tmp_path.iterdir()):
            await asyncio.sleep(0.01)
        zygote = psutil.Process(cpu.executor.describe()["pids"][0]).parent()
        assert zygote is not None
        zygote.terminate()
        assert isinstance((await cpu.outcome(attempt)).exception, WorkerLost)
        await _gone([int(path.name) for path in tmp_path.iterdir()])
        assert await cpu.run(work, 2) == 4


@pytest.mark.forked_only("there is no zygote")
@pytest.mark.parametrize("boot", ["raise ImportError('broken installation')", "import os; os._exit(9)"])
async def test_a_zygote_that_cannot_start_fails_the_runs_and_recovers(
    boot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pool(2) as cpu:
        assert await cpu.run(work, 2) == 4
        with monkeypatch.context() as patch:
            patch.setattr(launch, "_BOOT", boot)
            await _kill_zygote(cpu)
            for _ in range(2):
                attempt = cpu.submit(work, 2)
                outcome = await cpu.outcome(attempt)
                assert isinstance(outcome.exception, WorkerStartFailed)
                assert outcome.kind is OutcomeKind.RAISED
            if "ImportError" in boot:
                assert "broken installation" in str(outcome.exception)
        assert await cpu.run(work, 2) == 4
        assert [(await cpu.outcome(a)).value for a in [cpu.submit(work, n) for n in range(9)]][-1] == 64
        assert cpu.executor.describe()["workers"] == 2


async def test_an_interpreter_that_does_not_exist_fails_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with pool(1) as cpu:
        outcome = await cpu.outcome(cpu.submit(work, 2))
        assert isinstance(outcome.exception, WorkerStartFailed)
        assert "/nowhere/python" in str(outcome.exception)


OWNER = """
    import asyncio, os, subprocess, sys, time
    sys.path.insert(0, {root!r})
    from tests.faults.pool_driver import pool

    def busy(folder):
        for new_session in (False, True):
            child = subprocess.Popen(["sleep", "300"], start_new_session=new_session)
            open(os.path.join(folder, str(child.pid)), "w").close()
        os.system("(setsid sleep 300 & echo $! > {folder}/daemon; mv {folder}/daemon {folder}/$(cat {folder}/daemon))")
        open(os.path.join(folder, str(os.getpid())), "w").close()
        while True:
            {loop}

    async def main():
        async with pool(2) as cpu:
            await cpu.run(os.getpid)
            cpu.submit(busy, {folder!r})
            await asyncio.sleep(60)

    asyncio.run(main())
"""


@pytest.mark.forked_only("test_spawned.py has what holds there")
@pytest.mark.parametrize("loop", ["time.sleep(1)", "sum(range(10**9))", "os.write(1, b'x' * 65536)"])
async def test_two_seconds_after_the_owner_is_killed_nothing_is_left(tmp_path: Path, loop: str) -> None:
    folder = tmp_path / "pids"
    folder.mkdir()
    root = str(Path(__file__).parents[2])
    script = textwrap.dedent(OWNER).format(root=root, folder=str(folder), loop=loop)
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) as owner:
        try:
            names: list[str] = []
            while len(names) < 4 or not all(name.isdigit() for name in names):
                await asyncio.sleep(0.02)
                assert owner.poll() is None, owner.stderr and owner.stderr.read().decode()
                names = [path.name for path in folder.iterdir()]
            pids = {int(name) for name in names}
            pids |= {process.pid for process in psutil.Process(owner.pid).children(recursive=True)}
            assert len(pids) >= 7  # zygote, two workers, a spare, and three that the task has started
        finally:
            owner.kill()
    await _gone(pids, within=2.0)


@pytest.mark.forked_only("what has left its process group is out of reach where there is no subreaper")
async def test_closing_ends_what_tasks_have_started(tmp_path: Path) -> None:
    def start() -> int:
        return subprocess.Popen(["sleep", "300"], start_new_session=True).pid

    async with pool(1) as cpu:
        pid = await cpu.run(start)
        assert psutil.pid_exists(pid)
    await _gone([pid])


@pytest.mark.forked_only("there is no zygote")
async def test_interrupts_of_the_owners_process_group_reach_no_worker() -> None:
    async with pool(1) as cpu:
        pid = await cpu.run(os.getpid)
        os.kill(pid, signal.SIGINT)
        parent = psutil.Process(pid).parent()
        assert parent is not None
        os.kill(parent.pid, signal.SIGINT)
        assert await cpu.run(os.getpid) == pid
        assert os.getsid(pid) != os.getsid(0)
        assert os.getpgid(pid) == pid


async def _kill_zygote(cpu: Pool) -> None:
    await cpu.run(os.getpid)
    pids = cpu.executor.describe()["pids"]
    zygote = psutil.Process(pids[0]).parent()
    assert zygote is not None
    os.kill(zygote.pid, signal.SIGKILL)
    await _gone(pids)


async def _gone(pids: Any, within: float = 2.0) -> None:
    """Wait until none of *pids* runs any more (a zombie that only waits for its parent does not)."""
    give_up = time.monotonic() + within
    while left := [pid for pid in pids if _runs(pid)]:
        assert time.monotonic() < give_up, f"still running: {[psutil.Process(pid) for pid in left]}"
        await asyncio.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_worker_that_answers_for_a_run_of_another_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    async with pool(2) as cpu:
        other = cpu.submit(time.sleep, 0.5)
        await cpu.started(other)
        for number in (1, 999):
            outcome = await cpu.outcome(cpu.submit(answer_for_another, number))
            assert isinstance(outcome.exception, WorkerLost)
        assert (await cpu.outcome(other)).kind is OutcomeKind.RETURNED
        assert await cpu.run(work, 2) == 4
    assert sum("answers for a run that it does not have" in text for text in caplog.messages) == 2


# When descriptors run out.


async def test_large_arguments_need_no_descriptor_to_be_passed_on() -> None:
    async with pool(1) as cpu:
        await cpu.run(work, 1)
        attempt = cpu.attempt(len, bytes(100_000))
        with no_more_descriptors():
            cpu.executor.begin(attempt)
            assert (await cpu.outcome(attempt)).value == 100_000


@pytest.mark.forked_only("no descriptor is needed to pass a run on")
async def test_a_run_that_cannot_be_passed_on_for_want_of_a_descriptor_is_passed_on_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with pool(1) as cpu:
        await cpu.run(work, 1)
        monkeypatch.setenv("VERY_LONG", "x" * 100_000)  # surroundings that do not fit into a message
        attempt, stopped = (cpu.attempt(len, bytes(100_000)) for _ in range(2))
        with no_more_descriptors():
            cpu.executor.begin(attempt)
            cpu.executor.begin(stopped)
            assert cpu.executor.describe()["prefetched"] == 2
            cpu.stop(stopped)
            assert cpu.sink.outcomes[stopped.run_id].kind is OutcomeKind.CANCELLED
        assert (await cpu.outcome(attempt)).value == 100_000


async def test_workers_that_cannot_be_started_for_want_of_descriptors_are_told_and_started_later() -> None:
    async with pool(1) as cpu:
        await cpu.outcome(cpu.submit(crash))
        await cpu.up(2)
        with no_more_descriptors():
            for _ in range(2):
                assert isinstance((await cpu.outcome(cpu.submit(crash))).exception, WorkerLost)
            outcome = await cpu.outcome(cpu.submit(work, 2))
            assert isinstance(outcome.exception, WorkerStartFailed)
            assert "Too many open files" in str(outcome.exception)
            await given_up(cpu)
        assert await cpu.run(work, 2) == 4


@pytest.mark.forked_only("test_spawned.py has what holds there")
@pytest.mark.parametrize("left", range(9))
async def test_wherever_descriptors_run_out_while_a_pool_starts_it_says_so_and_loses_none(left: int) -> None:
    CpuExecutor(1).encode(Call("work", work, (2,), {}))  # loads what the first call of a process loads
    async with pool(1) as cpu:
        with only_descriptors(left):
            attempt = cpu.submit(work, 2)  # the zygote is started when the call is encoded
            outcome = await cpu.outcome(attempt)
            assert isinstance(outcome.exception, WorkerStartFailed)
            assert "Too many open files" in str(outcome.exception)
            await given_up(cpu)
        assert await cpu.run(work, 2) == 4


@pytest.mark.forked_only("there is no zygote")
@pytest.mark.parametrize("left", [4, 6, 8], ids=["stdout", "stderr", "pidfd"])
async def test_a_zygote_without_descriptors_says_so_and_goes_on(left: int) -> None:
    async with pool(1) as cpu:
        await cpu.run(work, 1)
        zygote = psutil.Process(cpu.executor.describe()["pids"][0]).parent()
        assert zygote is not None
        open_before = zygote.num_fds()
        with only_descriptors_of_a_zygote(zygote.pid, left):
            for _ in range(2):
                assert isinstance((await cpu.outcome(cpu.submit(crash))).exception, WorkerLost)
            outcome = await cpu.outcome(cpu.submit(work, 2))
            assert isinstance(outcome.exception, WorkerStartFailed)
            assert "oo many open files" in str(outcome.exception)
            await given_up(cpu)
        assert await cpu.run(work, 2) == 4
        async with asyncio.timeout(PATIENCE):
            while len(pids := cpu.executor.describe()["pids"]) < 2:  # the spare is being forked
                await asyncio.sleep(0.01)
        assert psutil.Process(pids[0]).ppid() == zygote.pid
        assert zygote.num_fds() <= open_before


async def given_up(cpu: Pool) -> None:
    """Wait until no worker is being started: a run could be given to one whose failure is on the way."""
    async with asyncio.timeout(PATIENCE):
        while cpu.executor.describe()["workers"] or cpu.executor.describe()["spare"]:
            await asyncio.sleep(0.01)


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Every attempt of this process to open something fails, even in place of something that was closed."""
    with limited(0, 3):
        yield


@contextmanager
def only_descriptors(left: int) -> Iterator[None]:
    """This process has *left* descriptors more."""
    taken = set(map(int, os.listdir("/proc/self/fd")))
    free = (fd for fd in itertools.count() if fd not in taken)
    with limited(0, next(itertools.islice(free, left, None))):
        yield


@contextmanager
def only_descriptors_of_a_zygote(zygote: int, left: int) -> Iterator[None]:
    """The zygote has *left* descriptors for workers, once those that live now have ended."""
    targets = {int(name): os.readlink(f"/proc/{zygote}/fd/{name}") for name in os.listdir(f"/proc/{zygote}/fd")}
    of_the_owner = min(fd for fd, target in targets.items() if "pidfd" in target)
    own = {fd for fd, target in targets.items() if fd == of_the_owner or not ("pidfd" in target or "pipe:" in target)}
    free = (fd for fd in itertools.count() if fd not in own)
    with limited(zygote, next(itertools.islice(free, left, None))):
        yield


@contextmanager
def limited(pid: int, descriptors: int) -> Iterator[None]:
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


# What a run leaves behind for the next.


async def test_a_child_that_a_task_has_forked_never_becomes_a_second_worker() -> None:
    async with pool(1) as cpu:
        for n in (5, 6):
            assert await cpu.run(fork_a_child_that_returns, n) == (n, 0)
        assert await cpu.run(work, 7) == 49
        assert cpu.executor.describe()["lost"] == 0


async def test_the_run_after_one_that_has_closed_its_stdout_can_print() -> None:
    async with pool(1) as cpu:
        await cpu.run(close_own_stdout)
        attempt = cpu.submit(talk, 3)
        assert (await cpu.outcome(attempt)).value == 9
        assert cpu.text(attempt) == "run 3\n"

"""Small runs that travel together keep every promise that runs have alone."""

from __future__ import annotations

import asyncio
import builtins
import ctypes
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flowrra.core.statuses import OutcomeKind
from flowrra.errors import NotDecodable, WorkerLost
from flowrra.interfaces import Attempt
from flowrra.rows import Rows
from flowrra.running import current_run, progress
from tests.environment.ways import ONE_SEED
from tests.faults.pool_driver import Pool, pool

pytestmark = pytest.mark.usefixtures("each_way")

STOP_LIMIT = 1.5
"""Seconds: three times the promise."""


def act(what: object) -> object:
    """Short, unless it is told to be something else: then the pool cannot know by the function."""
    match what:
        case ("sleep", seconds):
            time.sleep(seconds)
        case ("die",):
            os._exit(7)
        case ("raise", words):
            raise LookupError(words)
        case ("print", words):
            print(words)
        case ("write", words):
            os.write(1, f"{words}\n".encode())
        case ("c print", words):
            ctypes.CDLL(None).write(1, f"{words}\n".encode(), len(words) + 1)
        case ("note", path):
            note(path)
        case ("hang",):
            while True:
                time.sleep(60)
        case ("who",):
            return current_run().id, current_run().attempt
        case ("list", size):
            return list(range(size))
    return what


def note(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"x")
    os.close(fd)


async def learned(cpu: Pool) -> None:
    """Let the pool find out that :func:`act` is short."""
    for count in (4, 200):
        for attempt in [cpu.submit(act, 0) for _ in range(count)]:
            await cpu.outcome(attempt)


@pytest.fixture
async def cpu() -> AsyncIterator[Pool]:
    """One worker, so that what is begun at once travels together."""
    async with pool(1) as one:
        await learned(one)
        yield one


def begin_together(cpu: Pool, *calls: object) -> list[Attempt]:
    return [cpu.submit(act, what) for what in calls]


async def kinds(cpu: Pool, attempts: list[Attempt]) -> list[OutcomeKind]:
    return [(await cpu.outcome(attempt)).kind for attempt in attempts]


R, L, C, F = OutcomeKind.RETURNED, OutcomeKind.WORKER_LOST, OutcomeKind.CANCELLED, OutcomeKind.RAISED


async def test_a_crash_in_the_middle_of_a_group_costs_one_run_and_repeats_none(cpu: Pool, tmp_path: Path) -> None:
    paths = [str(tmp_path / str(n)) for n in range(20)]
    calls: list[object] = [("note", path) for path in paths]
    calls[10] = ("die",)
    attempts = begin_together(cpu, *calls)
    assert await kinds(cpu, attempts) == [R] * 10 + [L] + [R] * 9
    error = cpu.sink.outcomes[attempts[10].run_id].exception
    assert isinstance(error, WorkerLost)
    assert (error.run_id, error.exit_code) == (attempts[10].run_id, 7)
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {str(n): 1 for n in range(20) if n != 10}


async def test_a_crash_in_the_middle_of_a_span_costs_one_run_and_repeats_none(cpu: Pool, tmp_path: Path) -> None:
    def note_or_die(n: int, folder: str) -> int:
        if n == 333:
            os._exit(7)
        note(f"{folder}/{n}")
        return n

    span = cpu.map(note_or_die, Rows([range(500)]), folder=str(tmp_path))
    outcomes = await cpu.outcomes(span)
    assert [outcome.kind for outcome in outcomes] == [R] * 333 + [L] + [R] * 166
    assert [outcome.value for outcome in outcomes if outcome.kind is R] == [n for n in range(500) if n != 333]
    assert Counter(path.stat().st_size for path in tmp_path.iterdir()) == {1: 499}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=ONE_SEED), pytest.param(3, marks=ONE_SEED)])
async def test_workers_killed_at_any_time_lose_one_run_each_and_repeat_none(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    async with pool(2) as cpu:
        await learned(cpu)
        trace = str(tmp_path)
        spans = [cpu.map(mark, Rows([range(2500), [trace] * 2500]))]
        singles = [cpu.submit(mark, n, trace) for n in range(2500, 5000)]
        kills = 0
        while len(cpu.sink.outcomes) < 5204 and kills < 8:
            await asyncio.sleep(chance.random() * 0.03)
            pids = cpu.executor.describe()["pids"]
            if pids:
                try:
                    os.kill(chance.choice(pids), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                kills += 1
        outcomes = [outcome for span in spans for outcome in await cpu.outcomes(span)]
        outcomes += [await cpu.outcome(attempt) for attempt in singles]
        lost = [n for n, outcome in enumerate(outcomes) if outcome.kind is L]
        assert len(lost) <= kills
        assert all(outcome.kind in (R, L) for outcome in outcomes)
        assert all(outcome.value == n for n, outcome in enumerate(outcomes) if outcome.kind is R)
        marks = Counter(n for path in tmp_path.iterdir() for n in path.read_text().split())
        assert {n for n, times in marks.items() if times > 1} == set()
        assert {int(n) for n in marks} >= set(range(5000)) - set(lost)
        assert cpu.executor.describe()["busy"] == 0


def mark(n: int, folder: str) -> int:
    """One write each, so that a kill leaves all of it or nothing."""
    fd = os.open(f"{folder}/{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{n}\n".encode())
    os.close(fd)
    return n


async def test_a_slow_run_holds_up_no_result_of_those_before_it_and_is_known_to_run(cpu: Pool) -> None:
    attempts = begin_together(cpu, *range(10), ("hang",), 11)
    assert await kinds(cpu, attempts[:10]) == [R] * 10
    await cpu.started(attempts[10])
    assert attempts[11].run_id not in cpu.sink.workers
    cpu.stop(attempts[10])
    assert await kinds(cpu, attempts[10:]) == [C, R]


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_a_slow_item_of_a_map_holds_up_no_result_of_those_before_it(cpu: Pool) -> None:
    def nap(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    await cpu.outcomes(cpu.map(nap, Rows([[0.0] * 100])))
    span = cpu.map(nap, Rows([[0.0] * 50 + [30.0] + [0.0] * 20]))
    await cpu.sink.until(lambda: all(span.run_id(at) in cpu.sink.outcomes for at in range(50)))
    await cpu.started(span.attempt(50))
    cpu.stop(span.attempt(50))
    outcomes = await cpu.outcomes(span)
    assert [outcome.kind for outcome in outcomes] == [R] * 50 + [C] + [R] * 20


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_what_takes_longer_than_expected_is_shared_with_an_idle_worker() -> None:
    async with pool(2) as cpu:
        await learned(cpu)
        begun = time.monotonic()
        attempts = [cpu.submit(act, ("sleep", 0.1)) for _ in range(20)]
        assert await kinds(cpu, attempts) == [R] * 20
        assert time.monotonic() - begun < 1.9, "one of them did more than its part"


@pytest.mark.parametrize("what", [("hang",), ("sleep", 60.0)])
async def test_the_current_run_of_a_group_is_stopped_and_nothing_else(cpu: Pool, what: object) -> None:
    attempts = begin_together(cpu, 0, 1, what, 3, 4)
    await cpu.started(attempts[2])
    begun = time.monotonic()
    cpu.stop(attempts[2])
    assert (await cpu.outcome(attempts[2])).kind is C
    assert time.monotonic() - begun < STOP_LIMIT
    assert await kinds(cpu, attempts) == [R, R, C, R, R]
    assert cpu.executor.describe()["replaced"] == 1


async def test_a_claimed_run_that_has_not_begun_is_cancelled_at_once_and_never_begins(
    cpu: Pool, tmp_path: Path
) -> None:
    path = str(tmp_path / "began")
    attempts = begin_together(cpu, 0, ("sleep", 0.4), ("note", path), 3)
    await cpu.started(attempts[1])
    cpu.stop(attempts[2])
    assert cpu.sink.outcomes[attempts[2].run_id].kind is C
    assert await kinds(cpu, attempts) == [R, R, C, R]
    assert not (tmp_path / "began").exists()
    assert cpu.executor.describe()["replaced"] == 0


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_a_queued_run_of_a_group_is_cancelled_and_the_others_go_on(cpu: Pool) -> None:
    hang = cpu.submit(act, ("hang",))
    await cpu.started(hang)
    attempts = begin_together(cpu, *range(6))
    await asyncio.sleep(0.01)
    cpu.stop(attempts[3])
    assert cpu.sink.outcomes[attempts[3].run_id].kind is C
    cpu.stop(hang)
    assert await kinds(cpu, attempts) == [R, R, R, C, R, R]


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_thousands_of_queued_runs_are_cancelled_in_a_moment(cpu: Pool) -> None:
    hang = cpu.submit(act, ("hang",))
    await cpu.started(hang)
    span = cpu.map(act, Rows([range(3000)]))
    attempts = begin_together(cpu, *range(3000))
    await asyncio.sleep(0.05)
    begun = time.process_time()
    for at in range(3000):
        cpu.stop(span.attempt(at))
    for attempt in attempts:
        cpu.stop(attempt)
    assert time.process_time() - begun < STOP_LIMIT
    cpu.stop(hang)
    await cpu.outcome(hang)
    waiting = [*cpu.spans, *cpu.waiting]
    told = [cpu.sink.outcomes.get(attempt.run_id) for attempt in attempts]
    assert waiting or all(outcome is not None for outcome in told)
    assert all(outcome is None or outcome.kind is C for outcome in told)


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_failures_and_values_of_any_kind_keep_their_places_in_a_group(cpu: Pool) -> None:
    calls: list[Any] = [1, ("raise", "a"), "x", ("list", 5), None, ("list", 100_000), b"y" * 5000, ("raise", "b"), 2.5]
    attempts = begin_together(cpu, *calls)
    assert await kinds(cpu, attempts) == [R, F, R, R, R, R, R, F, R]
    values = [cpu.sink.outcomes[attempt.run_id].value for attempt in attempts]
    assert values == [1, None, "x", list(range(5)), None, list(range(100_000)), b"y" * 5000, None, 2.5]
    assert [str(cpu.sink.outcomes[attempts[n].run_id].exception) for n in (1, 7)] == ["a", "b"]


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_failures_and_values_of_any_kind_keep_their_places_in_a_span(cpu: Pool) -> None:
    def vary(n: int) -> Any:
        if n % 10 == 3:
            raise LookupError(n)
        return [n] if n % 10 == 5 else "x" * 100_000 if n % 100 == 7 else n

    for _ in range(2):
        outcomes = await cpu.outcomes(cpu.map(vary, Rows([range(1000)])))
        for n, outcome in enumerate(outcomes):
            if n % 10 == 3:
                assert outcome.kind is F
                assert isinstance(outcome.exception, LookupError)
            else:
                assert outcome.value == ([n] if n % 10 == 5 else "x" * 100_000 if n % 100 == 7 else n)


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_items_of_any_kind_keep_their_places_in_a_span(cpu: Pool) -> None:
    rows: list[tuple[Any]] = [(n if n % 700 else [n],) for n in range(3000)]
    outcomes = await cpu.outcomes(cpu.map(act, rows))
    assert [outcome.value for outcome in outcomes] == [row[0] for row in rows]


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_an_argument_that_cannot_be_loaded_costs_its_run_alone(cpu: Pool) -> None:
    class Stubborn:
        def __reduce__(self) -> Any:
            return int, ("no number",)

    attempts = begin_together(cpu, 0, Stubborn(), 2)
    assert await kinds(cpu, attempts) == [R, OutcomeKind.NOT_ENCODABLE, R]
    assert isinstance(cpu.sink.outcomes[attempts[1].run_id].exception, NotDecodable)


@pytest.mark.parametrize("how", ["print", "write", "c print"])
async def test_output_belongs_to_the_run_of_the_group_that_wrote_it(cpu: Pool, how: str) -> None:
    calls = [(how, str(n)) if n % 3 == 1 else n for n in range(30)]
    attempts = begin_together(cpu, *calls)
    assert await kinds(cpu, attempts) == [R] * 30
    if how != "c print":
        assert [cpu.text(attempt) for attempt in attempts] == [f"{n}\n" if n % 3 == 1 else "" for n in range(30)]
    else:
        # Python does not see what C code writes: of runs of a few microseconds it may be shown with the next one.
        assert "".join(cpu.text(attempt) for attempt in attempts) == "".join(f"{n}\n" for n in range(30) if n % 3 == 1)


async def test_what_a_lone_short_run_writes_is_its_own_however_it_writes(cpu: Pool) -> None:
    for n in range(20):
        attempt = cpu.submit(act, ("c print", str(n)))
        await cpu.outcome(attempt)
        assert cpu.text(attempt) == f"{n}\n"


async def test_output_of_a_map_belongs_to_the_item_that_wrote_it(cpu: Pool) -> None:
    def say(n: int) -> None:
        if n % 50 == 7:
            print("item", n, end="")
            print("!", file=sys.stderr)

    await cpu.outcomes(cpu.map(say, Rows([range(100)])))
    span = cpu.map(say, Rows([range(1000)]))
    await cpu.outcomes(span)
    for n in range(1000):
        assert cpu.text(span.attempt(n)) == (f"item {n}" if n % 50 == 7 else "")
        assert cpu.text(span.attempt(n), "stderr") == ("!\n" if n % 50 == 7 else "")


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_each_run_of_a_group_knows_which_it_is(cpu: Pool) -> None:
    attempts = begin_together(cpu, *[("who",)] * 20)
    assert await kinds(cpu, attempts) == [R] * 20
    assert [cpu.sink.outcomes[each.run_id].value for each in attempts] == [(each.run_id, 1) for each in attempts]

    def who(_: int) -> str:
        progress.update(1, 2)
        return current_run().id

    span = cpu.map(who, Rows([range(100)]))
    assert [outcome.value for outcome in await cpu.outcomes(span)] == [span.run_id(n) for n in range(100)]
    assert [told[0] for told in cpu.sink.progress] == [span.run_id(n) for n in range(100)]


WAYS_TO_LEAVE = ["environ", "cwd", "path", "stdout", "settings", "builtins", "umask", "signal", "hook"]


def see(what: str) -> object:
    """Tell what is there, and leave something else behind."""
    if what == "environ":
        found: object = os.environ.get("FLOWRRA_TEST_LEAK")
        os.environ["FLOWRRA_TEST_LEAK"] = "left"
    elif what == "cwd":
        found = os.getcwd()
        os.chdir("/")
    elif what == "path":
        found = "/left" in sys.path
        sys.path.append("/left")
    elif what == "builtins":
        found = ascii("x")
        builtins.ascii = lambda _: "left"  # type: ignore[assignment]
    elif what == "umask":
        found = os.umask(0o007)
    elif what == "signal":
        found = signal.signal(signal.SIGUSR2, lambda *_: None)
    elif what == "hook":
        found = sys.excepthook is sys.__excepthook__
        sys.excepthook = print
    elif what == "stdout":
        found = type(sys.stdout).__name__
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - that nobody closes it is what is tested
    else:
        import logging
        import warnings

        found = logging.getLogger().level, len(warnings.filters)
        logging.getLogger().setLevel(3)
        warnings.simplefilter("ignore", ResourceWarning, append=True)
    return str(found)


@pytest.mark.forked_only("what it is about is the same code for both ways")
@pytest.mark.parametrize("what", WAYS_TO_LEAVE)
async def test_what_a_run_changes_is_gone_for_the_next_one_of_its_group(cpu: Pool, what: str) -> None:
    for _ in range(3):
        span = cpu.map(see, Rows([[what] * 50]))
        values = {outcome.value for outcome in await cpu.outcomes(span)}
        assert len(values) == 1


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_a_timer_that_a_run_has_set_does_not_end_the_idle_worker(cpu: Pool) -> None:
    def set_timer() -> int:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        return os.getpid()

    pid = await cpu.run(set_timer)
    await asyncio.sleep(0.3)
    assert await cpu.run(os.getpid) == pid
    assert cpu.executor.describe()["lost"] == 0


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_functions_and_modules_of_the_system_travel_from_a_worker(cpu: Pool) -> None:
    def give() -> Any:
        return lambda: (sys.version, builtins.len("ab"))

    assert (await cpu.run(give))() == (sys.version, 2)


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_each_run_of_a_group_draws_from_its_own_seed(cpu: Pool) -> None:
    def draw(n: int) -> float | None:
        return random.random() if n % 3 else None

    first = [outcome.value for outcome in await cpu.outcomes(cpu.map(draw, Rows([range(60)])))]
    second = [outcome.value for outcome in await cpu.outcomes(cpu.map(draw, Rows([range(60)])))]
    assert first == second
    assert len(set(first)) == 41


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_a_child_that_a_short_run_forks_reports_nothing(cpu: Pool) -> None:
    def fork(n: int) -> int:
        if n % 10:
            return n
        child = os.fork()
        return n if child == 0 else n + 1 + os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    span = cpu.map(fork, Rows([range(100)]))
    assert [outcome.value for outcome in await cpu.outcomes(span)] == [n if n % 10 else n + 1 for n in range(100)]
    assert cpu.executor.describe()["lost"] == 0


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_constants_that_an_item_changes_are_as_they_were_for_the_next(cpu: Pool) -> None:
    def grow(n: int, seen: list[int]) -> int:
        seen.append(n)
        return len(seen)

    for _ in range(2):
        outcomes = await cpu.outcomes(cpu.map(grow, Rows([range(50)]), seen=[]))
        assert {outcome.value for outcome in outcomes} == {1}


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_a_priority_overtakes_queued_groups(cpu: Pool, tmp_path: Path) -> None:
    def line(name: str) -> None:
        with (tmp_path / "order").open("a") as file:
            file.write(f"{name}\n")

    for attempt in [cpu.submit(line, "") for _ in range(20)]:
        await cpu.outcome(attempt)
    release = tmp_path / "release"

    def hang() -> None:
        while not release.exists():
            time.sleep(0.005)

    await cpu.started(cpu.submit(hang))
    low = [cpu.submit(line, f"low{n}") for n in range(200)]
    await asyncio.sleep(0.05)
    high = cpu.attempt(line, "high", priority=9)
    cpu.executor.recall((high.priority, high.seq))
    cpu.executor.begin(high)
    cpu.take_again()
    release.touch()
    for attempt in (high, *low):
        await cpu.outcome(attempt)
    assert (tmp_path / "order").read_text().split()[0] == "high"


@pytest.mark.forked_only("what it is about is the same code for both ways")
async def test_everything_is_recalled_but_what_a_worker_has_claimed(cpu: Pool) -> None:
    hang = cpu.submit(act, ("hang",))
    await cpu.started(hang)
    span = cpu.map(act, Rows([range(5000)]))
    await asyncio.sleep(0.05)
    cpu.executor.recall()
    assert cpu.executor.describe()["prefetched"] == 0
    assert sum(part.length for part in cpu.sink.spans_given_back) + sum(part.length for part in cpu.spans) == 5000
    cpu.take_again()
    cpu.stop(hang)
    assert [outcome.value for outcome in await cpu.outcomes(span)] == list(range(5000))


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=ONE_SEED)])
async def test_any_mixture_of_stops_recalls_and_kills_accounts_for_every_run_of_a_map(seed: int) -> None:
    chance = random.Random(seed)
    async with pool(2) as cpu:
        await learned(cpu)
        what = chance.choices(
            [0, ("sleep", 0.002), ("raise", "x"), ("print", "y"), ("list", 9)], [60, 5, 2, 2, 4], k=3000
        )
        rows: list[tuple[Any]] = [(each,) if each else (n,) for n, each in enumerate(what)]
        span = cpu.map(act, rows)
        stopped = chance.sample(range(3000), 30)
        for at in stopped:
            await asyncio.sleep(chance.random() * 0.01)
            cpu.stop(span.attempt(at))
            if chance.random() < 0.2:
                cpu.executor.recall()
                cpu.take_again()
            pids = cpu.executor.describe()["pids"]
            if chance.random() < 0.2 and pids:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(pids), signal.SIGKILL)
        # What was not with the executor when it was stopped goes on, as in an engine that did not hear of it.
        outcomes = await cpu.outcomes(span)
        assert len(outcomes) == 3000
        for n, outcome in enumerate(outcomes):
            if outcome.kind is R:
                assert outcome.value == (list(range(9)) if what[n] == ("list", 9) else rows[n][0])
        assert sum(outcome.kind is L for outcome in outcomes) <= 10
        assert cpu.executor.describe()["busy"] == 0

from __future__ import annotations

import asyncio
import threading

import pytest

from flowrra import NotInTask, RunContext, current_run, progress
from flowrra.running import ThinnedReport, entered

Reports = list[tuple[float, float | None, str]]


def context(reports: Reports | None = None) -> RunContext:
    told: Reports = [] if reports is None else reports
    return RunContext("1-1", 2, "f", None, lambda *report: told.append(report))


def test_outside_of_a_task_there_is_no_current_run() -> None:
    with pytest.raises(NotInTask, match="body of a task"):
        current_run()


def test_inside_it_is_known_and_afterwards_it_is_not() -> None:
    with entered(context()) as _:
        assert (current_run().id, current_run().attempt, current_run().task_name) == ("1-1", 2, "f")
    with pytest.raises(NotInTask):
        current_run()


async def test_it_follows_the_code_into_coroutines_and_not_into_threads() -> None:
    async def inner() -> str:
        return current_run().id

    with entered(context()):
        assert await asyncio.create_task(inner()) == "1-1"
        seen: list[str] = []

        def thread() -> None:
            with pytest.raises(NotInTask):
                current_run()
            seen.append("looked")

        other = threading.Thread(target=thread)
        other.start()
        other.join()
        assert seen == ["looked"]


def test_progress_reports_what_is_done_after_each_item() -> None:
    reports: Reports = []
    with entered(context(reports)):
        assert list(progress("abc", message="letters")) == ["a", "b", "c"]
    assert reports[0] == (0, 3, "letters")
    assert reports[-1] == (3, 3, "letters")


def test_the_total_of_a_generator_is_not_known_unless_given() -> None:
    reports: Reports = []
    with entered(context(reports)):
        list(progress(iter("ab")))
        list(progress(iter("ab"), total=2))
    assert (2, None, "") in reports
    assert reports[-1] == (2, 2, "")


def test_outside_of_a_task_progress_passes_the_items_on() -> None:
    progress.update(1, 2, "nobody hears it")
    assert list(progress([1, 2])) == [1, 2]


def test_reports_are_thinned_and_the_last_one_always_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("flowrra.running.time.monotonic", lambda: now)
    passed: Reports = []
    report = ThinnedReport(lambda *told: passed.append(told))
    for step in range(1000):
        now = 100.0 + step / 1000
        report(step, 1000, "")
    report.finish()
    report.finish()
    assert passed[0] == (0, 1000, "")
    assert passed[-1] == (999, 1000, "")
    assert len(passed) <= 12

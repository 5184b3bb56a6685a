from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from flowrra import Flowrra, RunEvent, Status, progress
from flowrra_jupyter.sources import Source, latest_runs, source_of
from flowrra_jupyter.view_models import Frame


@pytest.fixture
def app() -> Iterator[Flowrra]:
    with Flowrra("study.ipynb", io_threads=2) as app:
        yield app


def frame_of(source: Source, *, check: bool = False) -> Frame:
    return source.frame(datetime.now(UTC), check=check)


def shown(frame: Frame) -> list[tuple[str, str]]:
    return [(row["label"], row["word"]) for row in frame["rows"]]


def halve(x: int) -> float:
    return 1 / (x - 3)


def test_a_batch_that_is_done_tells_failures_first_and_all_counts(app: Flowrra):
    batch = app.task(halve).map(range(5))
    batch.wait(10)
    frame = frame_of(source_of(batch))
    assert shown(frame) == [("3", "failed"), ("0", "done"), ("1", "done"), ("2", "done"), ("4", "done")]
    assert frame["head"]["counts"] == {"done": 4, "failed": 1}
    assert not frame["head"]["live"]
    assert frame["rows"][0]["error"] == "ZeroDivisionError: division by zero"
    assert "halve" in frame["rows"][0]["traceback"]


def test_a_source_follows_events_without_asking_every_run(app: Flowrra):
    go = threading.Event()
    batch = app.task(lambda x: go.wait(10) and x, name="wait").map(range(6))
    source = source_of(batch)
    heard: list[RunEvent] = []
    unsubscribe = source.subscribe(lambda event: (heard.append(event), source.note(event)))
    assert frame_of(source)["head"]["live"]
    go.set()
    batch.wait(10)
    give_up = time.monotonic() + 10
    while sum(event.status is Status.SUCCESS for event in heard) < 6:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    unsubscribe()
    assert frame_of(source)["head"]["counts"] == {"done": 6}


def test_what_no_event_told_is_found_out_when_asked_to_check(app: Flowrra):
    go = threading.Event()
    batch = app.task(lambda x: go.wait(10) and x, name="wait").map(range(4))
    source = source_of(batch)
    assert frame_of(source)["head"]["live"]
    go.set()
    batch.wait(10)
    assert frame_of(source, check=True)["head"]["counts"] == {"done": 4}


def test_a_slice_shows_its_own_runs_and_ignores_news_of_others(app: Flowrra):
    batch = app.task(lambda x: x, name="same").map(range(10))
    batch.wait(10)
    first, one, last = source_of(batch[:3]), source_of(batch[4:5]), source_of(batch[7:])
    for source in (first, one, last):
        source.note(RunEvent(batch[5].id, "same", Status.FAILED, 1, batch.id, 5))
    assert shown(frame_of(one)) == [("4", "done")]
    assert [label for label, _ in shown(frame_of(first))] == ["0", "1", "2"]
    assert [label for label, _ in shown(frame_of(last))] == ["7", "8", "9"]


def test_a_single_run_shows_its_progress(app: Flowrra):
    at, go = threading.Event(), threading.Event()

    def train() -> None:
        progress.update(3, 4, "epoch 3")
        at.set()
        go.wait(10)

    handle = app.task(train).submit()
    assert at.wait(10)
    source = source_of(handle)
    give_up = time.monotonic() + 10
    while handle.progress is None:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    (row,) = frame_of(source)["rows"]
    assert (row["word"], row["fraction"], row["message"]) == ("running", 0.75, "epoch 3")
    go.set()
    handle.wait(10)
    assert frame_of(source, check=True)["head"]["counts"] == {"done": 1}


def test_a_slice_of_one_follows_its_own_run(app: Flowrra):
    go = threading.Event()
    batch = app.task(lambda x: x or go.wait(10), name="first_waits").map([0, 1])
    source = source_of(batch[:1])
    source.note(RunEvent(batch[1].id, "first_waits", Status.SUCCESS, 1, batch.id, 1))
    assert frame_of(source)["head"]["live"]
    go.set()
    batch.wait(10)
    assert not frame_of(source, check=True)["head"]["live"]


def test_an_empty_batch_is_over(app: Flowrra):
    frame = frame_of(source_of(app.task(halve).map([])))
    assert (frame["head"]["total"], frame["head"]["live"], frame["rows"]) == (0, False, [])


def test_cancel_reaches_all_runs_that_are_not_done(app: Flowrra):
    go = threading.Event()
    batch = app.task(lambda _: go.wait(10), name="wait").map(range(5))
    assert source_of(batch).cancel() == 5
    batch.wait(10)
    go.set()
    assert batch.counts()[Status.CANCELLED] == 5


def test_the_app_shows_the_runs_of_all_its_tasks_by_the_name_of_the_notebook(app: Flowrra):
    app.task(halve).submit(3).wait(10)
    app.task(lambda x: x, name="same").submit(1).wait(10)
    frame = frame_of(source_of(app))
    assert frame["head"]["title"] == "study.ipynb"
    assert frame["head"]["several_tasks"]
    assert [(row["task"], row["word"]) for row in frame["rows"]] == [("halve", "failed"), ("same", "done")]


async def test_the_runs_of_a_stopped_app_are_read_even_where_a_loop_is_running():
    app = Flowrra("study.ipynb")
    async with app:
        await app.task(halve).submit(4)
    assert [record.task_name for record in latest_runs(app)] == ["halve"]
    assert frame_of(source_of(app))["head"]["counts"] == {"done": 1}

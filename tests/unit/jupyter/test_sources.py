from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flowrra import Flowrra, Status, progress
from flowrra.events import Dispatcher
from flowrra_jupyter.ordering import Query
from flowrra_jupyter.sources import Source, cancel_all, latest_runs, source_of
from flowrra_jupyter.view_models import Frame


@pytest.fixture
def app() -> Iterator[Flowrra]:
    with Flowrra("study.ipynb", io_threads=2, cpu_workers=1) as app:
        yield app


def frame_of(source: Source) -> Frame:
    source.update()
    return source.frame()


def shown(frame: Frame) -> list[tuple[str, str]]:
    return [(row["label"], row["word"]) for row in frame["rows"]]


def wait_for(seen: Callable[[], Any], timeout: float = 10) -> None:
    give_up = time.monotonic() + timeout
    while not seen():
        assert time.monotonic() < give_up, "it did not come"
        time.sleep(0.01)


def halve(x: int) -> float:
    return 1 / (x - 3)


def test_a_batch_that_is_done_tells_failures_first_and_all_counts(app: Flowrra):
    batch = app.task(halve).map(range(5))
    batch.wait(10)
    source = source_of(batch)
    frame = frame_of(source)
    assert shown(frame) == [("3", "failed"), ("0", "done"), ("1", "done"), ("2", "done"), ("4", "done")]
    assert frame["head"]["counts"] == {"done": 4, "failed": 1}
    assert not frame["head"]["live"]
    assert source.done()
    assert frame["rows"][0]["error"] == "ZeroDivisionError: division by zero"
    assert "halve" in frame["rows"][0]["traceback"]


def test_a_source_sees_what_has_become_of_its_runs(app: Flowrra):
    go = threading.Event()
    batch = app.task(lambda x: go.wait(10) and x, name="wait").map(range(6))
    source = source_of(batch)
    assert frame_of(source)["head"]["live"]
    assert not source.done()
    told = threading.Event()
    source.when_done(told.set)
    go.set()
    batch.wait(10)
    assert told.wait(10)
    assert frame_of(source)["head"]["counts"] == {"done": 6}


def test_watching_makes_no_events(app: Flowrra, monkeypatch: pytest.MonkeyPatch):
    published: list[object] = []
    monkeypatch.setattr(Dispatcher, "publish", lambda _, event: published.append(event))
    source = source_of(app)
    batch = app.task(halve).map(range(5))
    source_of(batch)
    batch.wait(10)
    source.update()
    assert published == []
    leave = app.subscribe(published.append)
    app.task(halve).submit(9).wait(10)
    wait_for(lambda: published)
    leave()


def test_a_slice_shows_its_own_runs(app: Flowrra):
    batch = app.task(lambda x: x, name="same").map(range(10))
    batch.wait(10)
    assert shown(frame_of(source_of(batch[4:5]))) == [("4", "done")]
    assert [label for label, _ in shown(frame_of(source_of(batch[:3])))] == ["0", "1", "2"]
    assert [label for label, _ in shown(frame_of(source_of(batch[7:])))] == ["7", "8", "9"]


def test_a_single_run_shows_its_progress(app: Flowrra):
    go = threading.Event()

    def train() -> None:
        progress.update(3, 4, "epoch 3")
        go.wait(10)

    handle = app.task(train).submit()
    source = source_of(handle)
    wait_for(lambda: handle.progress is not None)
    frame = frame_of(source)
    (row,) = frame["rows"]
    assert (row["word"], row["fraction"], row["message"]) == ("running", 0.75, "epoch 3")
    assert frame["head"]["share"] == 0.75
    go.set()
    handle.wait(10)
    assert frame_of(source)["head"]["counts"] == {"done": 1}


def test_an_empty_batch_is_over(app: Flowrra):
    source = source_of(app.task(halve).map([]))
    frame = frame_of(source)
    assert (frame["head"]["total"], frame["head"]["live"], frame["rows"], source.done()) == (0, False, [], True)


def test_cancel_reaches_all_runs_that_are_not_done(app: Flowrra):
    go = threading.Event()
    batch = app.task(lambda _: go.wait(10), name="wait").map(range(5))
    assert source_of(batch).cancel_all() == 5
    batch.wait(10)
    go.set()
    assert batch.counts()[Status.CANCELLED] == 5


def test_the_app_shows_the_runs_of_all_its_tasks_by_the_name_of_the_notebook(app: Flowrra):
    app.task(halve).submit(3).wait(10)
    app.task(lambda x: x, name="same").submit(1).wait(10)
    source = source_of(app)
    frame = frame_of(source)
    assert frame["head"]["title"] == "study.ipynb"
    assert frame["head"]["several_tasks"]
    assert [(row["task"], row["word"]) for row in frame["rows"]] == [("halve", "failed"), ("same", "done")]
    assert frame["head"]["workers"] == 1
    assert source.lasting
    app.task(halve).submit(4).wait(10)
    assert frame_of(source)["head"]["total"] == 3


def test_an_app_that_is_paused_says_so_as_soon_as_it_is_asked(app: Flowrra):
    source = source_of(app)
    assert not source.head()["paused"]
    app.pause()
    source.look_again()
    wait_for(lambda: (source.look_again(), source.head()["paused"])[1])
    app.resume()


def test_cancelling_all_of_an_app_cancels_the_runs_of_maps_too(app: Flowrra):
    go = threading.Event()
    wait = app.task(lambda _: go.wait(10), name="wait")
    batch, single = wait.map(range(5)), wait.submit(1)
    assert cancel_all(app) == 6
    batch.wait(10)
    single.wait(10)
    go.set()


def test_lanes_show_what_workers_have_executed(app: Flowrra):
    task = app.task(cpu_bound=True)(halve)
    batch = task.map(range(5))
    batch.wait(20)
    frame = frame_of(source_of(batch))
    (lane,) = frame["lanes"]
    assert lane["name"].startswith("w")
    assert sum(runs for _, _, _, runs, *_ in lane["segments"]) == 5
    assert sum(failed for _, _, _, _, failed, *_ in lane["segments"]) == 1
    assert frame["head"]["speed_up"] is not None


def test_a_row_is_found_by_its_arguments_its_number_and_its_error(app: Flowrra):
    batch = app.task(halve).map(range(5))
    batch.wait(10)
    source = source_of(batch)
    for text, rows in (("x=4", [4]), ("division BY", [3]), ("2", [2])):
        arrangement = source.arranged(Query(text=text))
        arrangement.update([(0, 5)], time.monotonic, live=False, until=9)
        assert list(arrangement.window(0, 9)) == rows


async def test_the_runs_of_a_stopped_app_are_read_even_where_a_loop_is_running():
    app = Flowrra("study.ipynb")
    async with app:
        await app.task(halve).submit(4)
    assert [record.task_name for record in latest_runs(app)] == ["halve"]
    assert frame_of(source_of(app))["head"]["counts"] == {"done": 1}


def test_lanes_count_each_of_very_many_short_runs_once(app: Flowrra):
    source = source_of(app)
    app.task(cpu_bound=True)(halve).map(range(4, 5004)).wait(30)
    source.update()
    (lane,) = source.frame()["lanes"]
    assert sum(runs for _, _, _, runs, *_ in lane["segments"]) == 5000
    assert len(lane["segments"]) < 100

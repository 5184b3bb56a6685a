"""What a browser asks for is done on the thread it arrives on; what is shown of it is the publisher's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from flowrra import Flowrra, Status
from flowrra_jupyter.actions import receive
from flowrra_jupyter.sources import source_of
from flowrra_jupyter.views import View


@pytest.fixture
def app() -> Iterator[Flowrra]:
    with Flowrra("study.ipynb", io_threads=2, cpu_workers=2) as app:
        yield app


class Posts:
    """What is left to the publisher."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.came = threading.Event()

    def __call__(self, call, *args) -> None:
        self.calls.append((call.__name__, *args))
        self.came.set()


class Screen:
    def show(self, data, metadata) -> None:
        pass


def said(view: View, message: dict[str, Any], preview: Any = None) -> list[tuple[Any, ...]]:
    posts = Posts()
    receive(view, message, posts, preview)
    if message["type"] == "result":
        assert posts.came.wait(10)
    return posts.calls


def view_of(thing) -> View:
    return View(source_of(thing), Screen())


@pytest.fixture
def waiting(app: Flowrra) -> Iterator[Any]:
    go = threading.Event()
    yield app.task(lambda seed: go.wait(10) and seed, name="wait").map(range(4))
    go.set()


@pytest.mark.parametrize("kind", ["hello", "look", "hide"])
def test_what_concerns_the_view_is_the_publishers(waiting, kind):
    ((name, *_),) = said(view_of(waiting), {"type": kind})
    assert name == kind


def test_cancel_all(waiting):
    ((name, _, words),) = said(view_of(waiting), {"type": "cancel-all"})
    assert (name, words) == ("answer", "4 runs are being cancelled.")
    waiting.wait(10)
    assert waiting.counts()[Status.CANCELLED] == 4


def test_one_run_is_cancelled_by_its_row(waiting):
    said(view_of(waiting), {"type": "cancel", "key": 3})
    assert waiting[3].wait(10)
    assert [handle.cancelled() for handle in waiting] == [False, False, False, True]


@pytest.mark.parametrize("key", [None, "3", -1, 99])
def test_a_row_that_is_not_there_is_answered_with_words(waiting, key):
    ((name, _, words),) = said(view_of(waiting), {"type": "cancel", "key": key})
    assert name == "answer"
    assert str(key) in words


def test_pause_resume_and_workers_are_those_of_the_app(app, waiting):
    view = view_of(waiting)
    said(view, {"type": "pause"})
    said(view, {"type": "workers", "count": 3})
    assert app.blocking.runs(limit=0) == []  # what was asked of the engine before has been done
    assert app.stats().paused == ("*",)
    assert app.cpu_workers == 3
    ((_, _, words),) = said(view, {"type": "workers", "count": 0})
    assert "cpu_workers" in words
    said(view, {"type": "resume"})
    assert app.blocking.runs(limit=0) == []
    assert app.stats().paused == ()


def test_a_result_is_shown_on_a_thread_of_its_own(app):
    handle = app.task(lambda: 42, name="answer").submit()
    handle.wait(10)
    seen: list[str] = []

    def preview(value):
        seen.append(threading.current_thread().name)
        return {"text/plain": repr(value)}, [b"image"]

    ((name, _, bundle, images),) = said(view_of(handle), {"type": "result", "key": 0}, preview)
    assert (name, bundle, images) == ("bring", {"text/plain": "42"}, [b"image"])
    assert seen == ["flowrra-preview"]


def test_a_value_that_cannot_be_shown_is_told(app):
    handle = app.task(lambda: 42, name="answer").submit()
    handle.wait(10)
    ((_, _, bundle, _),) = said(view_of(handle), {"type": "result", "key": 0}, lambda _: 1 / 0)
    assert "ZeroDivisionError" in bundle["text/plain"]


def test_a_message_nobody_knows_is_ignored(waiting):
    assert said(view_of(waiting), {"type": "dance"}) == []

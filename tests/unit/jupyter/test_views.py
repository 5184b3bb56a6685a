from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flowrra import Batch, Flowrra
from flowrra_jupyter.bridge import Publisher
from flowrra_jupyter.sources import source_of
from flowrra_jupyter.views import HEARTBEAT, HTML_PERIOD, PATIENCE, WIDGET_PERIOD, View

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def app() -> Iterator[Flowrra]:
    with Flowrra("study.ipynb", io_threads=4) as app:
        yield app


class Gates:
    """Runs that end when a test says so."""

    def __init__(self, app: Flowrra, count: int) -> None:
        self._gates = [threading.Event() for _ in range(count)]
        self.batch: Batch[int] = app.task(self._wait, name="simulate").map(range(count))

    def _wait(self, seed: int) -> int:
        assert self._gates[seed].wait(20)
        return seed

    def end(self, *seeds: int) -> None:
        for seed in seeds or range(len(self._gates)):
            self._gates[seed].set()
        for seed in seeds or range(len(self._gates)):
            assert self.batch[seed].wait(20)


@pytest.fixture
def gates(app: Flowrra) -> Iterator[Gates]:
    gates = Gates(app, 3)
    give_up = time.monotonic() + 10
    while [handle.status for handle in gates.batch] != ["RUNNING"] * 3:
        assert time.monotonic() < give_up
        time.sleep(0.005)
    yield gates
    gates.end()


class Screen:
    """Keeps what it was told to show."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []
        self.news = threading.Condition()

    def show(self, data, metadata) -> None:
        with self.news:
            self.shown.append(data)
            self.news.notify_all()

    def wait_for(self, seen: Callable[[dict[str, Any]], bool], timeout: float = 10) -> dict[str, Any]:
        with self.news:
            assert self.news.wait_for(lambda: any(map(seen, self.shown)), timeout), self.shown
            return next(filter(seen, self.shown))


class Channel:
    """A widget's channel whose other end is this list."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.closed = False

    def send(self, content, buffers) -> None:
        self.sent.append((content["type"], {**content, **(json.loads(buffers[0]) or {} if buffers else {})}))

    def frames(self) -> list[dict[str, Any]]:
        return [body for kind, body in self.sent if kind == "frame"]

    def bundle(self):
        return {WIDGET: {"model_id": "m"}, "text/plain": "widget"}, {}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def channel() -> Channel:
    return Channel()


def opened(thing, screen: Screen, channel: Channel) -> View:
    view = View(source_of(thing), screen)
    view.open(lambda: channel)
    return view


def look(view: View, **wish: Any) -> None:
    view.look({"type": "look", "viewer": "a", "first": 0, "count": 20, "have": -1, **wish})


def test_the_first_display_is_plain_html_and_text(gates, screen, channel):
    opened(gates.batch, screen, channel)
    assert [set(bundle) for bundle in screen.shown] == [{"text/html", "text/plain"}]


def test_a_view_of_runs_that_are_done_never_opens_a_channel(gates, screen):
    gates.end()
    view = View(source_of(gates.batch), screen)
    view.open(lambda: pytest.fail("no widget is needed"))
    assert view.over


def test_after_hello_the_widget_is_shown_with_html_beside_it(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.hello()
    view.hello()
    assert [WIDGET in bundle for bundle in screen.shown] == [False, True]
    assert "text/html" in screen.shown[-1]


def test_changes_reach_a_viewer_numbered_and_without_gaps(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.hello()
    look(view)
    gates.end(0)
    view.refresh(time.monotonic())
    gates.end(2)
    view.refresh(time.monotonic())
    told = [(body["whole"], body["seq"], [row["key"] for row in body["rows"]]) for body in channel.frames()]
    assert told == [(True, 1, [0, 1, 2]), (False, 2, [0]), (False, 3, [2])]


def test_time_alone_sends_nothing(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.hello()
    look(view)
    sent = len(channel.sent)
    for _ in range(3):
        view.refresh(time.monotonic())
    assert len(channel.sent) == sent


def test_two_browsers_are_each_told_what_they_look_at(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.hello()
    look(view)
    look(view, viewer="b", first=2, count=1)
    assert [(body["viewer"], [row["key"] for row in body["rows"]]) for body in channel.frames()] == [
        ("a", [0, 1, 2]),
        ("b", [2]),
    ]


def test_who_has_missed_a_frame_is_told_everything(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.hello()
    look(view)
    look(view, have=1)
    look(view, have=7)
    assert [body["whole"] for body in channel.frames()] == [True, True]


def test_when_nobody_looks_nothing_is_sent_and_runs_are_hardly_asked(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.hello()
    look(view)
    sent = len(channel.sent)
    view.hide({"viewer": "a"})
    gates.end(0)
    now = time.monotonic()
    view.refresh(now)
    assert len(channel.sent) == sent
    assert view.due() == now + HEARTBEAT
    look(view, have=1)
    assert [row["word"] for row in channel.frames()[-1]["rows"]] == ["done"]


def test_a_view_without_widget_is_refreshed_twice_a_second_one_with_it_ten_times(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    now = time.monotonic()
    view.refresh(now)
    assert view.due() >= now + HTML_PERIOD
    view.hello()
    look(view)
    now = time.monotonic()
    view.refresh(now)
    assert now + WIDGET_PERIOD <= view.due() < now + HTML_PERIOD


def test_the_last_frame_is_plain_html_and_the_channel_is_closed(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.hello()
    look(view)
    gates.end()
    view.refresh(time.monotonic())
    assert set(screen.shown[-1]) == {"text/html", "text/plain"}
    assert "3 done" in screen.shown[-1]["text/plain"]
    assert channel.closed
    assert view.over


def test_the_end_comes_also_when_nobody_looks(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.hello()
    look(view)
    view.hide({"viewer": "a", "gone": True})
    gates.end()
    view.refresh(time.monotonic())
    assert view.over
    assert "3 done" in screen.shown[-1]["text/plain"]


def test_what_a_person_looks_around_in_does_not_vanish_under_their_hands(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.hello()
    look(view, open=1)
    gates.end()
    now = time.monotonic()
    view.refresh(now)
    assert not view.over
    assert channel.frames()[-1]["head"]["counts"] == {"done": 3}
    view.refresh(now + PATIENCE + 1)
    assert view.over


def test_what_was_looked_around_in_ends_once_it_is_left(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.hello()
    look(view, text="seed=1")
    assert [row["key"] for row in channel.frames()[-1]["rows"]] == [1]
    gates.end()
    view.refresh(time.monotonic())
    assert not view.over
    look(view)
    view.refresh(time.monotonic())
    assert view.over


def test_a_page_that_was_reloaded_keeps_the_widget_with_the_last_frame(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.hello()
    view.hello()
    look(view)
    gates.end()
    view.refresh(time.monotonic())
    look(view)
    assert not channel.closed
    assert [body["head"]["live"] for body in channel.frames()] == [True, False, False]


def test_a_late_message_of_the_browser_changes_nothing_in_a_finished_view(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.end()
    shown = len(screen.shown)
    view.hello()
    look(view)
    view.answer({"type": "cancel"}, "done")
    assert (len(screen.shown), channel.sent) == (shown, [])


def test_details_come_once_asked_for_and_again_when_they_change(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.hello()
    look(view, open=1)
    gates.end(1)
    view.refresh(time.monotonic() + 1)
    view.refresh(time.monotonic() + 2)
    told = [(body["key"], body["word"], body["args"]) for kind, body in channel.sent if kind == "details"]
    assert told == [(1, "running", "seed=1"), (1, "done", "seed=1")]


def test_that_rows_keep_their_places_is_told_though_no_row_has_changed(gates, screen, channel):
    view = opened(gates.batch, screen, channel)
    view.hello()
    look(view)
    look(view, open=1, have=1)
    assert [body["place"]["held"] for body in channel.frames()] == [False, True]


def test_the_board_of_an_app_lives_as_long_as_the_app(app, screen, channel):
    view = opened(app, screen, channel)
    view.hello()
    look(view)
    assert not view.over
    app.task(lambda x: x, name="same").map(range(4)).wait(10)
    view.refresh(time.monotonic())
    assert not view.over
    assert channel.frames()[-1]["head"]["total"] == 4
    view.refresh(time.monotonic())
    view.refresh(time.monotonic() + PATIENCE + 1)
    assert view.over


def test_the_board_of_an_app_that_has_stopped_is_plain(screen):
    with Flowrra("study.ipynb") as app:
        app.task(lambda x: x, name="same").submit(1).wait(10)
    view = View(source_of(app), screen)
    view.open(lambda: pytest.fail("no widget is needed"))
    assert view.over
    assert "1 done" in screen.shown[-1]["text/plain"]


def test_messages_stay_small_whatever_is_asked_for(app, screen, channel):
    batch = app.task(lambda x: x, name="same").map([f"{n}" * 1000 for n in range(5000)])
    view = opened(batch, screen, channel)
    view.hello()
    look(view, count=10**9)
    batch.wait(20)
    assert len(channel.frames()[-1]["rows"]) <= 120
    assert len(json.dumps(channel.frames()[-1])) < 100_000


@pytest.fixture
def publisher():
    publisher = Publisher()
    yield publisher
    publisher.close()


def listened(publisher: Publisher, thing, screen: Screen, channel: Channel) -> View:
    view = View(source_of(thing), screen)
    publisher.listen(view)
    view.open(lambda: channel)
    return view


def test_the_end_of_a_batch_is_shown_without_anyone_asking(publisher, gates, screen, channel):
    listened(publisher, gates.batch, screen, channel)
    gates.end()
    screen.wait_for(lambda bundle: "3 done" in bundle["text/plain"])


def test_flush_brings_out_the_last_frame_before_it_returns(publisher, gates, screen, channel):
    listened(publisher, gates.batch, screen, channel)
    gates.end()
    publisher.flush(10)
    assert "3 done" in screen.shown[-1]["text/plain"]


def test_a_view_that_cannot_be_drawn_takes_no_other_with_it(publisher, app, gates, screen, channel, caplog):
    other = Gates(app, 1)
    sound_screen = Screen()
    broken = listened(publisher, gates.batch, screen, channel)
    listened(publisher, other.batch, sound_screen, Channel())
    broken.source.update = lambda: 1 / 0  # type: ignore[method-assign]
    other.end()
    sound_screen.wait_for(lambda bundle: "1 done" in bundle["text/plain"])
    publisher.flush(5)
    assert "could not be drawn" in caplog.text


def test_closing_leaves_every_view_as_plain_html(publisher, gates, screen, channel):
    view = listened(publisher, gates.batch, screen, channel)
    publisher.post(view.hello)
    screen.wait_for(lambda bundle: WIDGET in bundle)
    publisher.close()
    assert set(screen.shown[-1]) == {"text/html", "text/plain"}
    assert channel.closed
    publisher.close()

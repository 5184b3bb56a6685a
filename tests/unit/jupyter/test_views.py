from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime

import pytest

from flowrra import RunEvent, Status
from flowrra_jupyter.bridge import Publisher
from flowrra_jupyter.view_models import Frame
from flowrra_jupyter.views import View, receive
from tests.unit.jupyter.builders import frame, row

WIDGET = "application/vnd.jupyter.widget-view+json"


class Source:
    """Runs that a test moves by hand."""

    period = 0.0

    def __init__(self, *statuses: Status) -> None:
        self.app = App()
        self.subscribe = self.app.subscribe
        self.statuses = list(statuses)
        self.looked = 0
        self.cancelled = 0

    def note(self, event: RunEvent) -> None:
        assert event.index is not None
        self.statuses[event.index] = event.status

    def frame(self, now: datetime, *, check: bool = False) -> Frame:
        self.looked += 1
        rows = [row(status, index) for index, status in enumerate(self.statuses)]
        return frame(rows, {status: self.statuses.count(status) for status in self.statuses})

    def cancel(self) -> int:
        self.cancelled += 1
        return 2


class App:
    """What a publisher needs of an app: it can be listened to."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[RunEvent], None]] = []

    def subscribe(self, listener: Callable[[RunEvent], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def say(self, index: int, status: Status) -> None:
        for listener in list(self.listeners):
            listener(RunEvent(f"run-{index}", "simulate", status, 1, "batch", index))


class Screen:
    """Keeps what it was told to show."""

    def __init__(self) -> None:
        self.shown: list[dict] = []
        self.news = threading.Condition()

    def show(self, data, metadata) -> None:
        with self.news:
            self.shown.append(data)
            self.news.notify_all()

    def wait_for(self, seen: Callable[[dict], bool], timeout: float = 10) -> dict:
        with self.news:
            assert self.news.wait_for(lambda: any(map(seen, self.shown)), timeout), self.shown
            return next(filter(seen, self.shown))


class Channel:
    """A widget's channel whose other end is this list."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict]] = []
        self.closed = False

    def send(self, content, buffers) -> None:
        self.sent.append((content["type"], json.loads(buffers[0]) if buffers else content))

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


def opened(source: Source, screen: Screen, channel: Channel) -> View:
    view = View(source, screen)
    view.open(lambda: channel)
    return view


def test_the_first_display_is_plain_html_and_text(screen, channel):
    opened(Source(Status.RUNNING), screen, channel)
    assert [set(bundle) for bundle in screen.shown] == [{"text/html", "text/plain"}]


def test_a_view_of_runs_that_are_done_never_opens_a_channel(screen):
    view = View(Source(Status.SUCCESS), screen)
    view.open(lambda: pytest.fail("no widget is needed"))
    assert view.over


def test_after_hello_the_widget_is_shown_with_html_beside_it(screen, channel):
    view = opened(Source(Status.RUNNING), screen, channel)
    view.hello()
    view.hello()
    assert [WIDGET in bundle for bundle in screen.shown] == [False, True]
    assert "text/html" in screen.shown[-1]


def test_changes_reach_the_widget_numbered_and_without_gaps(screen, channel):
    source = Source(Status.RUNNING, Status.PENDING)
    view = opened(source, screen, channel)
    view.hello()
    view.snapshot()
    source.statuses[0] = Status.SUCCESS
    view.changed()
    view.refresh(1.0)
    source.statuses[1] = Status.RUNNING
    view.changed()
    view.refresh(2.0)
    kinds = [(kind, body["seq"], [each["key"] for each in body["rows"]]) for kind, body in channel.sent]
    assert kinds == [("snapshot", 1, ["run-0", "run-1"]), ("delta", 2, ["run-0"]), ("delta", 3, ["run-1"])]


def test_time_alone_sends_nothing_to_the_widget(screen, channel):
    view = opened(Source(Status.RUNNING), screen, channel)
    view.hello()
    for second in range(3):
        view.refresh(float(second))
    assert channel.sent == []


def test_without_hello_the_html_is_refreshed_twice_a_second_at_most(screen, channel):
    source = Source(Status.RUNNING, Status.PENDING)
    view = opened(source, screen, channel)
    view.refresh(100.0)
    view.changed()
    assert view.due() == 100.5


def test_nothing_running_and_nothing_new_shows_nothing(screen, channel):
    view = opened(Source(Status.PENDING), screen, channel)
    view.refresh(1.0)
    assert len(screen.shown) == 1


def test_the_last_frame_is_plain_html_and_the_channel_is_closed(screen, channel):
    source = Source(Status.RUNNING)
    view = opened(source, screen, channel)
    view.hello()
    source.statuses[0] = Status.SUCCESS
    view.refresh(1.0)
    assert set(screen.shown[-1]) == {"text/html", "text/plain"}
    assert "1 done" in screen.shown[-1]["text/plain"]
    assert channel.closed
    assert view.over


def test_a_page_that_was_reloaded_keeps_the_widget_with_the_last_frame(screen, channel):
    source = Source(Status.RUNNING)
    view = opened(source, screen, channel)
    view.hello()
    view.hello()
    source.statuses[0] = Status.SUCCESS
    view.refresh(1.0)
    view.snapshot()
    assert not channel.closed
    assert [(kind, body["head"]["live"]) for kind, body in channel.sent] == [("snapshot", False)] * 2


def test_a_late_message_of_the_browser_changes_nothing_in_a_finished_view(screen, channel):
    view = opened(Source(Status.RUNNING), screen, channel)
    view.end()
    shown = len(screen.shown)
    view.hello()
    view.snapshot()
    view.answer(3)
    assert (len(screen.shown), channel.sent) == (shown, [])


def test_cancel_is_done_on_the_thread_it_arrives_on_and_answered_by_the_publisher(screen, channel):
    source = Source(Status.RUNNING)
    view = opened(source, screen, channel)
    posted = []
    receive(view, {"type": "cancel"}, lambda call, *args: posted.append((call, args)))
    assert source.cancelled == 1
    assert channel.sent == []
    ((call, args),) = posted
    call(*args)
    assert channel.sent == [("cancelled", {"type": "cancelled", "count": 2})]


def test_a_message_nobody_knows_is_ignored(screen, channel):
    receive(opened(Source(Status.RUNNING), screen, channel), {"type": "dance"}, lambda *_: pytest.fail("nothing to do"))


@pytest.fixture
def publisher():
    publisher = Publisher()
    yield publisher
    publisher.close()


def listened(publisher: Publisher, source: Source, screen: Screen, channel: Channel) -> View:
    view = View(source, screen)
    publisher.listen(view)
    view.open(lambda: channel)
    return view


def test_events_are_collected_and_end_in_the_last_frame(publisher, screen, channel):
    source = Source(*[Status.PENDING] * 50)
    listened(publisher, source, screen, channel)
    for index in range(50):
        source.app.say(index, Status.SUCCESS)
    screen.wait_for(lambda bundle: "50 done" in bundle["text/plain"])
    assert source.looked < 10


def test_runs_are_listened_to_only_while_a_view_of_them_lives(publisher, screen, channel):
    source = Source(Status.RUNNING)
    listened(publisher, source, screen, channel)
    assert len(source.app.listeners) == 1
    source.app.say(0, Status.SUCCESS)
    screen.wait_for(lambda bundle: "1 done" in bundle["text/plain"])
    publisher.flush(5)
    give_up = time.monotonic() + 5
    while source.app.listeners and time.monotonic() < give_up:
        time.sleep(0.01)
    assert source.app.listeners == []


def test_flush_brings_out_the_last_frame_before_it_returns_even_if_no_event_came(publisher, screen, channel):
    source = Source(Status.RUNNING)
    listened(publisher, source, screen, channel)
    source.statuses[0] = Status.SUCCESS
    publisher.flush(10)
    assert "1 done" in screen.shown[-1]["text/plain"]


def test_a_view_that_cannot_be_drawn_takes_no_other_with_it(publisher, channel, caplog):
    broken, sound = Source(Status.RUNNING), Source(Status.RUNNING)
    broken_screen, sound_screen = Screen(), Screen()
    listened(publisher, broken, broken_screen, channel)
    listened(publisher, sound, sound_screen, Channel())
    broken.frame = lambda *_, **__: 1 / 0
    broken.app.say(0, Status.SUCCESS)
    sound.app.say(0, Status.SUCCESS)
    sound_screen.wait_for(lambda bundle: "1 done" in bundle["text/plain"])
    publisher.flush(5)
    assert "could not be drawn" in caplog.text


def test_closing_leaves_every_view_as_plain_html(publisher, screen, channel):
    view = listened(publisher, Source(Status.RUNNING), screen, channel)
    publisher.post(view.hello)
    screen.wait_for(lambda bundle: WIDGET in bundle)
    publisher.close()
    assert set(screen.shown[-1]) == {"text/html", "text/plain"}
    assert channel.closed
    publisher.close()

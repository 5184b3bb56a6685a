from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from flowrra import Status
from flowrra.events import PENDING_EVENTS, Dispatcher, RunEvent


def event(number: int = 1) -> RunEvent:
    return RunEvent(f"1-{number}", "f", Status.RUNNING, 1, None, None)


@pytest.fixture
def dispatcher() -> Iterator[Dispatcher]:
    made = Dispatcher("test")
    yield made
    made.close()


def until_called(dispatcher: Dispatcher) -> None:
    """Wait until everything posted so far has been called."""
    reached = threading.Event()
    dispatcher.post(reached.set)
    assert reached.wait(5)


def test_subscribers_hear_events_in_order_on_one_thread_of_ours(dispatcher: Dispatcher) -> None:
    heard: list[tuple[str, str]] = []
    dispatcher.subscribe(lambda e: heard.append((e.run_id, threading.current_thread().name)))
    for number in range(100):
        dispatcher.publish(event(number))
    until_called(dispatcher)
    assert heard == [(f"1-{n}", "flowrra-callbacks-test") for n in range(100)]


def test_a_subscriber_that_has_left_hears_no_more(dispatcher: Dispatcher) -> None:
    heard: list[RunEvent] = []
    leave = dispatcher.subscribe(heard.append)
    assert dispatcher.watched
    dispatcher.publish(event(1))
    until_called(dispatcher)
    leave()
    leave()
    assert not dispatcher.watched
    dispatcher.publish(event(2))
    until_called(dispatcher)
    assert heard == [event(1)]


def test_subscribing_twice_is_heard_twice_and_left_once_each(dispatcher: Dispatcher) -> None:
    heard: list[RunEvent] = []
    leave = dispatcher.subscribe(heard.append)
    dispatcher.subscribe(heard.append)
    leave()
    leave()
    dispatcher.publish(event())
    until_called(dispatcher)
    assert heard == [event()]


def test_a_slow_subscriber_misses_events_which_are_counted_but_no_call_is_lost(dispatcher: Dispatcher) -> None:
    go_on, stuck = threading.Event(), threading.Event()
    heard: list[RunEvent] = []

    def slow(news: RunEvent) -> None:
        stuck.set()
        go_on.wait(5)
        heard.append(news)

    dispatcher.subscribe(slow)
    dispatcher.publish(event(0))
    assert stuck.wait(5)
    for number in range(PENDING_EVENTS + 500):
        dispatcher.publish(event(number))
    assert dispatcher.lost == 500
    called: list[int] = []
    for number in range(100):
        dispatcher.post(called.append, number)
    go_on.set()
    until_called(dispatcher)
    assert called == list(range(100))
    assert len(heard) == PENDING_EVENTS + 1
    assert dispatcher.lost == 500


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_callback_that_raises_is_logged_and_the_next_is_called(
    dispatcher: Dispatcher, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def wrong() -> None:
        raise error

    with caplog.at_level(logging.ERROR, "flowrra.events"):
        dispatcher.post(wrong)
        until_called(dispatcher)
    assert "a callback failed" in caplog.text


def test_the_thread_ends_when_closed_and_what_comes_later_starts_another() -> None:
    dispatcher = Dispatcher("ends")
    until_called(dispatcher)
    [before] = [thread for thread in threading.enumerate() if thread.name == "flowrra-callbacks-ends"]
    dispatcher.close()
    before.join(2)
    assert not before.is_alive()
    until_called(dispatcher)
    dispatcher.close()


def test_the_thread_ends_by_itself_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dispatcher, "IDLE_SECONDS", 0.01)
    dispatcher = Dispatcher("idle")
    for _ in range(20):
        until_called(dispatcher)
        for thread in [thread for thread in threading.enumerate() if thread.name == "flowrra-callbacks-idle"]:
            thread.join(2)
            assert not thread.is_alive()


def test_closing_waits_for_no_callback_but_makes_every_call() -> None:
    dispatcher = Dispatcher("busy")
    go_on = threading.Event()
    called: list[int] = []
    dispatcher.post(go_on.wait, 5)
    dispatcher.post(called.append, 1)
    dispatcher.close()
    assert called == []
    go_on.set()
    until_called(dispatcher)
    assert called == [1]
    dispatcher.close()


def test_a_subscriber_that_always_fails_is_shown_with_its_traceback_once(
    dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: RunEvent) -> None:
        raise ValueError("no")

    dispatcher.subscribe(fail)
    with caplog.at_level(logging.ERROR, logger="flowrra.events"):
        for number in range(5):
            dispatcher.publish(event(number))
        until_called(dispatcher)
    assert ["ValueError" in record.getMessage() for record in caplog.records] == [True] * 5
    assert [record.exc_info is not None for record in caplog.records] == [True, False, False, False, False]

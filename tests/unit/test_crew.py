from __future__ import annotations

import threading

import pytest

from flowrra.executors import crew as module
from flowrra.executors.crew import Crew


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("flowrra-thread")]


def test_work_is_done_on_daemon_threads() -> None:
    crew = Crew()
    done = threading.Event()
    crew.hand(done.set)
    assert done.wait(5)
    assert all(thread.daemon for thread in ours())
    crew.dismiss()


def test_all_that_is_handed_over_runs_at_the_same_time() -> None:
    crew = Crew()
    together = threading.Barrier(9)
    for _ in range(8):
        crew.hand(together.wait, 5)
    together.wait(5)
    crew.dismiss()


def test_an_idle_thread_is_used_again() -> None:
    crew = Crew()
    names: list[str] = []
    for _ in range(50):
        done = threading.Event()

        def work(done: threading.Event = done) -> None:
            names.append(threading.current_thread().name)
            done.set()

        crew.hand(work)
        assert done.wait(5)
    assert len(set(names)) < 50
    crew.dismiss()


def test_idle_threads_end_and_no_work_is_lost_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.001)
    crew = Crew()
    for _ in range(300):
        done = threading.Event()
        crew.hand(done.set)
        assert done.wait(5), "work that was handed to an ending thread was lost"
    for thread in ours():
        thread.join(5)
    assert ours() == []


def test_dismissing_ends_idle_threads_now_and_busy_ones_when_they_are_done() -> None:
    crew = Crew()
    go_on, begun = threading.Event(), threading.Event()
    done = threading.Event()
    crew.hand(done.set)
    assert done.wait(5)

    def busy() -> None:
        begun.set()
        go_on.wait(5)

    crew.hand(busy)
    assert begun.wait(5)
    crew.dismiss()
    assert len([thread for thread in ours() if thread.is_alive()]) >= 1
    go_on.set()
    for thread in ours():
        thread.join(5)
    assert ours() == []

from __future__ import annotations

import asyncio
import threading

import pytest

from flowrra.loops import LoopInbox


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often another thread woke it."""

    woken = 0

    def call_soon_threadsafe(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        self.woken += 1
        return super().call_soon_threadsafe(*args, **kwargs)


@pytest.fixture
def loop():  # type: ignore[no-untyped-def]
    made = CountingLoop()
    yield made
    made.close()


def turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_a_burst_wakes_the_loop_once_and_keeps_its_order(loop: CountingLoop) -> None:
    seen: list[int] = []
    inbox = LoopInbox(loop)
    for number in range(10_000):
        assert inbox.post(seen.append, number)
    turn(loop)
    assert seen == list(range(10_000))
    assert loop.woken == 1


def test_what_is_posted_while_calls_are_made_comes_after_them(loop: CountingLoop) -> None:
    seen: list[int] = []
    inbox = LoopInbox(loop)
    inbox.post(lambda: inbox.post(seen.append, 2))
    inbox.post(seen.append, 1)
    turn(loop)
    turn(loop)
    assert seen == [1, 2]


def test_many_threads_lose_nothing_and_keep_their_own_order(loop: CountingLoop) -> None:
    seen: list[tuple[int, int]] = []
    inbox = LoopInbox(loop)

    def post(thread: int) -> None:
        for number in range(2_000):
            inbox.post(seen.append, (thread, number))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        turn(loop)
    turn(loop)
    turn(loop)
    assert len(seen) == 8_000
    assert all([n for t, n in seen if t == thread] == list(range(2_000)) for thread in range(4))


def test_a_call_that_raises_is_reported_and_the_next_is_made(loop: CountingLoop) -> None:
    reported: list[dict[str, object]] = []
    seen: list[int] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    inbox = LoopInbox(loop)
    inbox.post(lambda: 1 / 0)
    inbox.post(seen.append, 1)
    turn(loop)
    assert seen == [1]
    assert isinstance(reported[0]["exception"], ZeroDivisionError)


def test_a_closed_loop_takes_nothing_and_keeps_nothing(loop: CountingLoop) -> None:
    inbox = LoopInbox(loop)
    loop.close()
    assert not inbox.post(print)
    assert not inbox.post(print)
    assert not inbox._calls  # noqa: SLF001 - what it would keep alive is what is tested


def test_an_interrupt_while_the_loop_is_woken_leaves_it_able_to_be_woken(loop: CountingLoop) -> None:
    seen: list[int] = []
    inbox = LoopInbox(loop)
    wake = loop.call_soon_threadsafe

    def interrupted(*args, **kwargs):  # type: ignore[no-untyped-def]
        raise KeyboardInterrupt

    loop.call_soon_threadsafe = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        inbox.post(seen.append, 1)
    loop.call_soon_threadsafe = wake  # type: ignore[method-assign]
    inbox.post(seen.append, 2)
    turn(loop)
    assert seen == [1, 2]


def test_a_loop_that_is_closed_before_it_delivered_says_so_to_the_next(loop: CountingLoop) -> None:
    inbox = LoopInbox(loop)
    assert inbox.post(print)
    loop.close()
    assert not inbox.post(print)

"""What a spawned worker writes: a thread for each of its pipes reads it, so that it never waits for the loop."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator

from flowrra.pool.process.output import RunsOutput, mark

_AT_ONCE = 1 << 16


class Output:
    """Both pipes, from their making to the end of the worker. Raises ``OSError``.

    This side keeps the pipes' other ends, too: to say in them that the worker has ended. Its output comes before that,
    and whatever a task has left behind somewhere can write on without holding anything up.
    """

    def __init__(self, token: bytes, news: Callable[[], object]) -> None:
        """*news* is called on a thread: there is something that was not there when this was asked last."""
        self._end = mark(token, 0)
        self._news = news
        self._runs = RunsOutput(token)
        self._lock = threading.Lock()
        self._announced = False
        self.finished: deque[tuple[int, list[tuple[int, bytes]]]] = deque()
        """(run, its remaining data by stream) of each run whose mark has been read from both pipes. Of the loop."""
        self._pipes = [os.pipe()]
        try:
            self._pipes.append(os.pipe())
        except OSError:
            self._close()
            raise
        self._threads: list[threading.Thread] = []

    @property
    def ends(self) -> tuple[int, int]:
        """For the worker's stdout and stderr."""
        return self._pipes[0][1], self._pipes[1][1]

    def start(self) -> None:
        for number, (fd, _) in enumerate(self._pipes, start=1):
            thread = threading.Thread(target=self._read, args=(number, fd), name="flowrra-output", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _read(self, number: int, fd: int) -> None:
        tail, at = b"", -1
        while at < 0:
            data = os.read(fd, _AT_ONCE)
            seen = tail + data
            at = seen.find(self._end)
            if at >= 0:
                data = data[: max(0, at - len(tail))]
            with self._lock:
                self._runs.feed(number, data)
                announced, self._announced = self._announced, True
            if not announced:
                self._news()
            tail = seen[1 - len(self._end) :]

    def finish(self) -> None:
        """The worker has ended: read what is left of its output and close everything. Blocks; not on the loop."""
        for (_, end), thread in zip(self._pipes, self._threads, strict=False):
            os.write(end, self._end)
            thread.join()
        self._close()

    def abandon(self) -> None:
        """There is no worker."""
        self._close()

    def _close(self) -> None:
        for fd in (fd for pipe in self._pipes for fd in pipe):
            os.close(fd)

    # On the loop.

    def look(self) -> None:
        """Take what there is; see ``finished``."""
        with self._lock:
            self._announced = False
            self.finished.extend(self._runs.finished())

    def fresh(self) -> list[tuple[int, bytes]]:
        """(stream, data) to show of the run that is under way."""
        with self._lock:
            return list(self._runs.fresh())

    def remains(self) -> Iterator[tuple[int, bytes]]:
        """After the end: (stream, data) that belongs to no run whose end was marked."""
        yield from self._runs.remains()

    def last_words(self) -> bytes:
        """After the end."""
        return self._runs.last_words()

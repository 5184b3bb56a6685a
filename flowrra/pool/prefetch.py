"""How many runs travel together, and how many are given to a worker ahead of time: judged by how long they take."""

from __future__ import annotations

PREFETCH_SECONDS = 0.5
LEAST_PREFETCH = 2
GROUP_SECONDS = 0.004
"""Of work that one system call hands over. A worker that finds it has taken much more gives the rest back."""
MOST_IN_GROUP = 4096
MOST_GROUPS = 128
"""Given to a worker ahead of time: what is formed later knows better how long its runs take."""
FLUSH_EVERY = 0.01
"""Seconds that an answer waits for others, unless the run behind it takes longer; then the engine fetches it."""
GROUP_SIZE = 64 * 1024
"""Bytes of arguments that travel together."""
_GUESS = PREFETCH_SECONDS / LEAST_PREFETCH
"""Seconds of a run of which nothing is known."""
_LEAST = 5e-7
_DOWN, _UP = 0.5, 0.25
"""Weight of the latest duration in the moving average, when it is shorter or longer than that."""


class Pace:
    """How long runs of one function take, overhead included."""

    __slots__ = ("_seen", "seconds")

    def __init__(self) -> None:
        self.seconds = _GUESS
        self._seen = 0

    def learn(self, count: int, seconds: float) -> None:
        """*count* runs took *seconds* together."""
        latest = max(seconds / count, _LEAST)
        weight = 1.0 if not self._seen else _DOWN if latest < self.seconds else _UP
        self.seconds += weight * (latest - self.seconds)
        self._seen += count

    def fitting(self) -> int:
        """How many of them may travel together: few while little is known, one if they are long."""
        return max(1, min(int(GROUP_SECONDS / self.seconds), 2 * self._seen, MOST_IN_GROUP))

"""The output of one run, bounded: of a flood the beginning and the end are kept."""

from __future__ import annotations

from collections import deque

HEAD_CHARACTERS = 100_000
TAIL_CHARACTERS = 100_000


class BoundedLog:
    """Appended to by the engine's thread, read by any. The beginning says what was done, the end how it went."""

    __slots__ = ("_dropped", "_head", "_head_length", "_tail", "_tail_length")

    def __init__(self) -> None:
        self._head: list[str] = []
        self._head_length = 0
        self._tail: deque[str] = deque()
        self._tail_length = 0
        self._dropped = 0

    def append(self, text: str) -> None:
        """Add *text*, which may be longer than everything that is kept."""
        room = HEAD_CHARACTERS - self._head_length
        if room > 0:
            self._head.append(text[:room])
            self._head_length += len(self._head[-1])
            text = text[room:]
        if text:
            self._dropped += max(0, len(text) - TAIL_CHARACTERS)
            self._tail.append(text[-TAIL_CHARACTERS:])
            self._tail_length += len(self._tail[-1])
        while self._tail_length > TAIL_CHARACTERS:
            self._shorten_tail(self._tail_length - TAIL_CHARACTERS)

    def text(self) -> str:
        """What is kept, with a line that says how much is missing."""
        gap = f"\n… {self._dropped} characters are not kept …\n" if self._dropped else ""
        return "".join((*list(self._head), gap, *list(self._tail)))

    def _shorten_tail(self, excess: int) -> None:
        oldest = self._tail.popleft()
        kept = oldest[excess:]
        if kept:
            self._tail.appendleft(kept)
        self._dropped += len(oldest) - len(kept)
        self._tail_length -= len(oldest) - len(kept)

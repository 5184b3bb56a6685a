"""A worker's way to the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from flowrra.pool.transport.messages import Message
from flowrra.pool.transport.segments import Segment


class Answers(Protocol):
    def send(self, message: Message, segment: Segment | None = None) -> None:
        """Send *message*, and *segment* if the message speaks of one. Raises ``BrokenPipeError``: nobody listens."""

    def segment(self, parts: Sequence[memoryview]) -> Segment:
        """Snapshot *parts*, to be sent. Raises ``OSError``."""

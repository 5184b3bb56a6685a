"""A link to a worker that was spawned: one connection; what is queued stays on this side until its turn comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Self

from flowrra.pool.data.depot import Depot
from flowrra.pool.data.slab import Slab
from flowrra.pool.link import Link
from flowrra.pool.portable.files import NamedSlab, SharedPage, open_last
from flowrra.pool.portable.folder import Folder
from flowrra.pool.portable.frames import Frame, Frames, framed
from flowrra.pool.transport.messages import Dismiss, Message, Report, RunGroup, SpanGroup, Stop
from flowrra.pool.transport.wire import Received


class PortableLink(Link):
    """Raises ``OSError`` if its page cannot be made.

    Until the worker has connected, everything waits here. The next group is sent when the worker reports that the one
    before is over, which costs it the way there and back, and keeps all others where they can be taken back.
    """

    def __init__(
        self,
        worker: int,
        depot: Depot,
        folder: Folder,
        start: Callable[[PortableLink], None],
        kill: Callable[[PortableLink], None],
        came_up: Callable[[PortableLink], None],
        heard: Callable[[PortableLink], None],
    ) -> None:
        """*came_up* is called when the worker has connected, *heard* when everything that was received was read."""
        self._folder, self._start, self._kill = folder, start, kill
        self._came_up, self._when_heard = came_up, heard
        self.page_name = SharedPage.create(folder)
        try:
            self.shared = SharedPage(folder.path_of(self.page_name))
        except BaseException:
            folder.remove(self.page_name)
            raise
        super().__init__(worker, depot, self.shared.page)
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        """Said before there was a connection."""
        self._queue: deque[tuple[int, bytes]] = deque()
        """Groups by number that wait for the one in the worker's hands to be over."""
        self._occupied = False
        """A group is in its hands, or on the way to them."""
        self._frames = Frames()
        self._heard: deque[Frame] = deque()
        self._on_answers: Callable[[], None] | None = None
        self._gone = False
        self._when_gone: Callable[[], None] | None = None

    # The connection, as the listener sees it.

    def connected(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.writelines(self._early)
        self._early.clear()
        self._hand_over()
        self._came_up(self)

    def received(self, data: bytes) -> None:
        """Raises whatever reading nonsense raises."""
        for frame in self._frames.feed(data):
            self._heard.append(frame)
            if isinstance(frame.message, Report) and frame.message.over:
                self._occupied = False
        self._hand_over()
        while self._heard and self._on_answers is not None:
            self._on_answers()
        self._when_heard(self)

    def hung_up(self) -> None:
        self._gone = True
        self._transport = None
        # Forgotten first: whoever refers to this from there would keep the page and its descriptor.
        when_gone, self._when_gone = self._when_gone, None
        if when_gone is not None:
            when_gone()

    def is_connected(self) -> bool:
        return self._transport is not None

    def when_gone(self, call: Callable[[], None]) -> None:
        """Call *call* when everything that the worker has said is here."""
        self._when_gone = call

    def _hand_over(self) -> None:
        if self._transport is not None and self._queue and not self._occupied:
            self._occupied = True
            self._transport.write(self._queue.popleft()[1])

    def _say(self, data: bytes) -> None:
        if self._gone:
            raise BrokenPipeError
        if self._transport is None:
            self._early.append(data)
        else:
            self._transport.write(data)

    # What the engine does with it.

    def start(self) -> None:
        self._start(self)

    def appeared(self, pid: int, pidfd: int | None) -> None:
        self.pid = pid

    def _tell(self, message: Message, slab: Slab | None = None) -> None:
        self._say(framed(message, slab.name if isinstance(slab, NamedSlab) else ""))

    def _pass_on(self, packet: RunGroup | SpanGroup, number: int) -> None:
        if self._gone:
            raise BrokenPipeError
        self._queue.append((number, framed(packet)))
        self._hand_over()

    def when_room(self, call: Callable[[], None]) -> None:
        """There always is: how much is given ahead of time is limited by the roster."""
        raise NotImplementedError

    def take_back(self, limit: int | None = None) -> list[int]:
        count = len(self._queue) if limit is None else min(limit, len(self._queue))
        return [self._queue.popleft()[0] for _ in range(count)]

    def listen(self, call: Callable[[Self], None]) -> None:
        self._on_answers = lambda: call(self)

    def mute(self) -> None:
        self._on_answers = None

    def read_answers(self) -> Iterator[Received]:
        while (received := self.read_answer()) is not None:
            yield received

    def read_answer(self) -> Received | None:
        if not self._heard:
            return None
        message, name = self._heard.popleft()
        return Received(message, self._opened(name) if name else [])

    def _opened(self, name: str) -> list[int]:
        try:
            return [open_last(self._folder.path_of(name))]
        except (OSError, ValueError):  # whoever needs it is told
            return []

    def has_hung_up(self) -> bool:
        return self._gone

    def interrupt(self, number: int) -> None:
        if not self._gone:
            self._say(framed(Stop(number)))

    def dismiss(self) -> None:
        if not self._gone:
            self._say(framed(Dismiss()))

    def kill(self) -> None:
        self._kill(self)

    def kill_group(self) -> None:
        self._kill(self)

    def close(self) -> None:
        self._when_gone = None
        if self._transport is not None:
            self._transport.abort()
        self._folder.remove(self.page_name)

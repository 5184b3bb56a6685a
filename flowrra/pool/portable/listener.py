"""Where spawned workers connect to: the loopback interface alone, and nobody else gets beyond the token."""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import suppress

from flowrra import log
from flowrra.pool.portable.link import PortableLink

_TOKEN = 32
"""Bytes."""
_RETRY = 0.2
_PATIENCE = 5.0
"""Seconds for whoever has connected to show a token."""


class Listener:
    """Listens from now on. Raises ``OSError``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._awaited: dict[bytes, PortableLink] = {}
        self._past: set[bytes] = set()
        """Tokens of workers that have ended before they could show them; their connections may still be on the way."""
        self._connections: set[Connection] = set()
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening.bind(("127.0.0.1", 0))
            listening.listen(socket.SOMAXCONN)
            listening.setblocking(False)
        except OSError:
            listening.close()
            raise
        self.port: int = listening.getsockname()[1]
        self._socket = listening
        self._accepting = loop.create_task(self._accept())

    async def _accept(self) -> None:
        while True:
            try:
                accepted, _ = await self._loop.sock_accept(self._socket)
            except OSError as error:  # too many open files: whoever has connected waits meanwhile
                log.pool.warning("a worker cannot connect for now (%s); this is tried again", error.strerror)
                await asyncio.sleep(_RETRY)
            else:
                await self._loop.connect_accepted_socket(lambda: Connection(self), accepted)

    def expect(self, link: PortableLink) -> str:
        """A token that admits the worker of *link*, once."""
        token = secrets.token_bytes(_TOKEN)
        self._awaited[token] = link
        return token.hex()

    def expect_no_more(self, link: PortableLink) -> None:
        for token in [token for token, awaited in self._awaited.items() if awaited is link]:
            del self._awaited[token]
            self._past.add(token)

    def admit(self, shown: bytes) -> PortableLink | None:
        """None: nobody is expected to show this."""
        found = [token for token in self._awaited if secrets.compare_digest(token, shown)]
        if not found and shown not in self._past:
            log.pool.warning("somebody who is no worker of ours has connected to the port of the pool, and was refused")
        return self._awaited.pop(found[0]) if found else None

    def opened(self, connection: Connection) -> asyncio.TimerHandle:
        self._connections.add(connection)
        return self._loop.call_later(_PATIENCE, connection.abort)

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)

    async def close(self) -> None:
        """End every connection, too."""
        self._accepting.cancel()
        with suppress(asyncio.CancelledError):
            await self._accepting
        self._socket.close()
        self._awaited.clear()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)  # for the transports to close their sockets


class Connection(asyncio.Protocol):
    """Somebody who has connected; a worker once it has shown its token. Nothing is read of anybody else's message."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._shown = b""
        self._link: PortableLink | None = None
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "that of a stream"
        self._transport = transport
        self._patience = self._listener.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._link is None:
            self._shown += data
            if len(self._shown) < _TOKEN:
                return
            shown, data = self._shown[:_TOKEN], self._shown[_TOKEN:]
            self._link = self._listener.admit(shown)
            if self._link is None or self._transport is None:
                self.abort()
                return
            self._hurry_no_more()
            self._link.connected(self._transport)
        try:
            self._link.received(data)
        except (EOFError, ValueError, TypeError, IndexError) as error:
            log.pool.error("worker %s says what makes no sense (%r); it is replaced", self._link.pid, error)
            self._link.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hurry_no_more()
        self._listener.closed(self)
        if self._link is not None:
            self._link.hung_up()

    def abort(self) -> None:
        self._hurry_no_more()
        if self._transport is not None:
            self._transport.abort()

    def _hurry_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

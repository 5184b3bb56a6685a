"""Messages over SOCK_SEQPACKET sockets, with descriptors beside them. Used on every side."""

from __future__ import annotations

import array
import errno
import itertools
import os
import socket
import time
from collections.abc import Sequence
from typing import Any

from flowrra.core.tuples import NamedTuple
from flowrra.pool.transport.messages import PACKET, Message, pack, unpack
from flowrra.pool.transport.segments import Segment

_SEND_BUFFER = 1024 * 1024
_AGAIN = 0.005
"""Seconds until descriptors are sent again of which there were too many under way."""
_INT = array.array("i").itemsize


class Received(NamedTuple):
    message: Message
    fds: list[int]
    """The receiver's to close."""

    @property
    def fd(self) -> int | None:
        return self.fds[0] if self.fds else None


class Receiver:
    """Receives from one socket into a buffer of its own: a fresh one per packet would cost more than the packet.

    Descriptors beyond *most_fds* that come with a packet are lost.
    Not for two threads, nor for a signal handler beside the code it interrupts.
    """

    def __init__(self, sock: socket.socket, size: int = PACKET, most_fds: int = 1) -> None:
        self.sock = sock
        self.closed = False
        """The other side was found to be gone, and to have left nothing."""
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)
        self._room = socket.CMSG_SPACE(most_fds * _INT) if most_fds else 0

    def receive(self, *, wait: bool = False) -> Received | None:
        """One message. None: nothing there, or the other side is gone. A non-blocking socket never waits."""
        flags = _WAIT if wait else _DONT_WAIT
        fds: list[int] = []
        try:
            if self._room:
                size, ancillary, _, _ = self.sock.recvmsg_into([self._buffer], self._room, flags)
                if ancillary:
                    fds = _descriptors(ancillary)
            else:
                # Takes half as long.
                size = self.sock.recv_into(self._buffer, 0, flags)
        except (BlockingIOError, ConnectionResetError):
            return None
        if not size:
            self.closed = True
            return None
        return Received(unpack(self._view[:size]), fds)

    def is_closed(self) -> bool:
        """The other side is gone and has left nothing."""
        try:
            return not self.sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True


# Plain numbers: combining the enum's members again for every packet would take as long as the system call.
# Not every system has them; where there are none, none of this is used.
_WAIT = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_DONT_WAIT = int(_WAIT | getattr(socket, "MSG_DONTWAIT", 0))


def pairs(count: int) -> list[tuple[socket.socket, socket.socket]]:
    """*count* pairs of connected ends, or none (``OSError``); the first end of a pair has room for many messages."""
    made: list[tuple[socket.socket, socket.socket]] = []
    try:
        for _ in range(count):
            made.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            made[-1][0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    except OSError:
        for end in itertools.chain(*made):
            end.close()
        raise
    return made


def send(sock: socket.socket, message: Message, segment: Segment | None = None) -> None:
    """Send *message*, and *segment* if the message speaks of one."""
    if segment is None:
        sock.send(pack(message))
        return
    fd = segment.descriptor()
    try:
        send_with(sock, message, [fd])
    finally:
        os.close(fd)


class SocketAnswers:
    """A worker's way to tell the engine something; see ``process.answers``."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, message: Message, segment: Segment | None = None) -> None:
        if segment is None:
            send(self._sock, message)
            return
        fd = segment.descriptor()
        try:
            send_in_the_end(self._sock, message, [fd])
        finally:
            os.close(fd)

    def segment(self, parts: Sequence[memoryview]) -> Segment:
        return Segment(parts)


def send_with(sock: socket.socket, message: Message, fds: Sequence[int]) -> None:
    """Send *message* and copies of *fds* in one packet."""
    sock.sendmsg([pack(message)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def is_overloaded(error: OSError) -> bool:
    """More descriptors of this user's are under way, unreceived, than one process may have: it passes."""
    return error.errno == errno.ETOOMANYREFS


def send_in_the_end(sock: socket.socket, message: Message, fds: Sequence[int]) -> None:
    """As :func:`send_with`, for whoever has nothing else to do: waits while too many descriptors are under way."""
    while True:
        try:
            send_with(sock, message, fds)
        except OSError as error:
            if not is_overloaded(error):
                raise
            time.sleep(_AGAIN)  # nothing tells when others have received theirs
        else:
            return


def _descriptors(ancillary: Sequence[tuple[int, int, Any]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)

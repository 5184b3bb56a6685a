"""Messages through a connection: lengths, the name of the file that the message speaks of, if any, and the message."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from flowrra.pool.transport.messages import Message, pack, unpack

_HEAD = struct.Struct("<IH")
"""Bytes of the message and of the name."""


class Frame(NamedTuple):
    message: Message
    name: str
    """Of a file, or empty."""


def framed(message: Message, name: str = "") -> bytes:
    data, name_data = pack(message), name.encode("ascii")
    return _HEAD.pack(len(data), len(name_data)) + name_data + data


class Frames:
    """Puts frames together again, however the bytes arrive. Only for bytes of whoever has shown the token."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._data += data
        start = 0
        view = memoryview(self._data)
        try:
            while len(view) - start >= _HEAD.size:
                size, name_size = _HEAD.unpack_from(view, start)
                name_at = start + _HEAD.size
                at = name_at + name_size
                if len(view) - at < size:
                    break
                yield Frame(unpack(view[at : at + size]), str(view[name_at:at], "ascii"))
                start = at + size
        finally:
            view.release()
            del self._data[:start]

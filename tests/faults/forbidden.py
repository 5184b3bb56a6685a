"""Takes away what spawned workers must do without, so that whoever uses it fails. Engine and workers call it first."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any

from flowrra.pool import native


class ForbiddenError(BaseException):
    """Nobody handles it by mistake."""


def forbid() -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ForbiddenError

    for module, names in {
        os: ("fork", "forkpty", "memfd_create", "pidfd_open"),
        signal: ("pidfd_send_signal",),
        native: ("_prctl", "WrittenPages"),
        socket: ("send_fds", "recv_fds"),
        # What passes descriptors; frames need none of them.
        socket.socket: ("sendmsg", "recvmsg", "recvmsg_into"),
    }.items():
        for name in names:
            setattr(module, name, refuse)
    sys.addaudithook(_on_event)


def _on_event(event: str, args: tuple[Any, ...]) -> None:
    if event in ("os.fork", "os.forkpty", "socket.sendmsg"):
        raise ForbiddenError(event)
    if event == "socket.__new__" and args[1] == socket.AF_UNIX and args[2] == socket.SOCK_SEQPACKET:
        raise ForbiddenError(event)
    if event in ("open", "os.listdir", "os.scandir") and str(args[0]).startswith(("/proc", "/sys")):
        raise FileNotFoundError(args[0])  # as on a system that has no such thing

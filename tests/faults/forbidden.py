"""Takes away what spawned workers must do without, so that whoever uses it fails. To be called before anything else."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any

LINUX_ONLY = {
    os: ("memfd_create", "pidfd_open", "posix_fallocate", "sched_getaffinity", "waitid", "MFD_CLOEXEC"),
    signal: ("pidfd_send_signal",),
    socket: ("MSG_CMSG_CLOEXEC", "SOCK_SEQPACKET", "send_fds", "recv_fds"),
}
"""Not there on macOS, or not with every Python."""
_SEQPACKET = socket.SOCK_SEQPACKET


class ForbiddenError(BaseException):
    """Nobody handles it by mistake."""


def forbid() -> None:
    for module, names in LINUX_ONLY.items():
        for name in names:
            delattr(module, name)
    for module, name in ((os, "fork"), (os, "forkpty"), (socket.socket, "sendmsg"), (socket.socket, "recvmsg_into")):
        setattr(module, name, _refuse)
    sys.addaudithook(_on_event)
    from flowrra.pool import native

    native._prctl = native.WrittenPages = _refuse  # type: ignore[assignment, misc]  # noqa: SLF001 - nobody may get there


def _refuse(*_: Any, **__: Any) -> Any:
    raise ForbiddenError


def _is_of_linux(path: str) -> bool:
    return path.startswith(("/proc", "/sys"))


def _on_event(event: str, args: tuple[Any, ...]) -> None:
    if event in ("os.fork", "os.forkpty", "socket.sendmsg"):
        raise ForbiddenError(event)
    if event == "socket.__new__" and args[2] == _SEQPACKET:
        raise ForbiddenError(event)
    # threadpoolctl finds libraries in its own way on each system; here it is this one.
    if event in ("open", "os.listdir", "os.scandir") and args[0] != "/proc/self/maps" and _is_of_linux(str(args[0])):
        raise FileNotFoundError(args[0])  # as on a system that has no such thing

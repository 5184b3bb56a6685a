"""The host that surrounds apps which start by themselves: a notebook's kernel registers itself here."""

from __future__ import annotations

from flowrra.interfaces import Host

_host: Host | None = None


def set_host(host: Host | None) -> None:
    """Register *host* for this process, or with None remove the one there is.

    With a host, submitting to an app that is not running starts it on a thread of its own, its coroutine tasks run in
    the host's loop, and blocking waits on those pump that loop.
    """
    global _host  # noqa: PLW0603 - there is one kernel in a process, and everything in it shares it
    _host = host


def current_host() -> Host | None:
    """The registered host, or None."""
    return _host

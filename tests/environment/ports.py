from __future__ import annotations

import socket


def free_port() -> int:
    """A loopback port nobody listens on now; whoever gets it should bind it soon."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

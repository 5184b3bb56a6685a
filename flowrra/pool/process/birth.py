"""What a process forked from the zygote does to become a worker. Nothing here runs anywhere else."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from flowrra.pool.native import adopt_orphans, die_with_parent
from flowrra.pool.process.counted_output import CountedOutputEnd, Tally
from flowrra.pool.process.draws import draws
from flowrra.pool.process.imports import watch_imports
from flowrra.pool.process.libraries import libraries
from flowrra.pool.process.worker import Worker
from flowrra.pool.transport.page import Page
from flowrra.pool.transport.wire import SocketAnswers

_OOM_SCORE = 500
"""Out of 1000: under memory pressure the kernel prefers a worker to the notebook that owns it."""


def become_worker(zygote: int, ends: Sequence[int], pipes: tuple[int, int], token: bytes, tally: Tally) -> NoReturn:
    """Serve until the engine closes the queue. Never returns and never raises into the zygote's own frames."""
    try:
        _settle_in(zygote, ends, pipes)
        queue, supplies, answers = (socket.socket(fileno=fd) for fd in ends[:3])
        page = Page(ends[3])
        os.close(ends[3])
        watch_imports(SocketAnswers(answers))
        Worker(queue, supplies, answers, page, CountedOutputEnd(token, tally)).serve()
    except BrokenPipeError:  # the engine has gone
        os._exit(0)
    except BaseException:  # noqa: BLE001 - shown on stderr, which the engine passes on
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    os._exit(70)


def _settle_in(zygote: int, ends: Sequence[int], pipes: tuple[int, int]) -> None:
    os.setpgid(0, 0)
    die_with_parent()
    if os.getppid() != zygote:  # it ended before the line above
        os._exit(0)
    adopt_orphans()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(pipes[0], 1)
    os.dup2(pipes[1], 2)
    _close_all_but({0, 1, 2, *ends})
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # the interpreter's own
    with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
        file.write(b"%d" % _OOM_SCORE)
    faulthandler.enable(file=2, all_threads=True)
    draws.install()
    libraries.install()
    gc.unfreeze()
    gc.enable()


def _close_all_but(kept: set[int]) -> None:
    """Other workers' pipes and sockets must not live on in this process."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in kept:
            with suppress(OSError):  # the descriptor of the listing itself
                os.close(fd)

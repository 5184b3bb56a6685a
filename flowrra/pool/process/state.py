"""What belongs to the whole process and a run may have changed: put back, so that the next run finds it as ever.

Folder, environment, import path and warning filters are not among it: these are the submission's (``surroundings``).
"""

from __future__ import annotations

# The functions of `signal` turn every answer into an enum, which takes ten times as long; typeshed does not know these.
import _signal  # type: ignore[import-not-found]
import builtins
import locale
import os
import signal
import sys
from contextlib import suppress

# As they are before notes are taken of their calls (process/notes.py).
_setitimer, _umask, _setlocale = signal.setitimer, os.umask, locale.setlocale
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_SIGNALS = tuple(sorted(int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))


class ProcessState:
    """The state at the time when this is made; to be made when everything is set up and no run has begun."""

    def __init__(self) -> None:
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._handlers = tuple(map(_signal.getsignal, _SIGNALS))
        self._blocked = _signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._locale = locale.setlocale(locale.LC_ALL)
        self._recursion = sys.getrecursionlimit()
        self._builtins = vars(builtins).copy()
        self._hooks = sys.excepthook, sys.displayhook, sys.stdin

    def restore(self) -> None:
        """Put back what has been changed. Takes microseconds, so that it can be done between any two runs."""
        self.restore_unseen()
        if tuple(map(_signal.getsignal, _SIGNALS)) != self._handlers:
            self._restore_handlers()
        if sys.getrecursionlimit() != self._recursion:
            sys.setrecursionlimit(self._recursion)
        if vars(builtins) != self._builtins:
            # What a module has added when a run imported it stays: the module stays, too, and relies on it.
            vars(builtins).update(self._builtins)
            self._builtins = vars(builtins).copy()
        if (sys.excepthook, sys.displayhook, sys.stdin) != self._hooks:
            sys.excepthook, sys.displayhook, sys.stdin = self._hooks

    def restore_unseen(self) -> None:
        """Put back what native code can change, of which no notes are taken."""
        for timer in _TIMERS:  # first: one that ran out later would end the process
            _setitimer(timer, 0)
        _signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)
        _umask(self._umask)
        if _setlocale(locale.LC_ALL) != self._locale:
            _setlocale(locale.LC_ALL, self._locale)

    def _restore_handlers(self) -> None:
        for number, handler in zip(_SIGNALS, self._handlers, strict=True):
            if _signal.getsignal(number) != handler:
                # None: set by native code before any run; there is no way back to it from here.
                with suppress(TypeError):
                    signal.signal(number, handler)

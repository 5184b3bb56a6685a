"""Output of a forked worker, of which both ends count the bytes: so a run that has written nothing costs no mark."""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import struct
import termios

from flowrra.pool.process.output import OutputEnd, RunsOutput


class Tally:
    """How many bytes the zygote has read from a worker's two pipes, in memory that the two processes share: a seqlock.

    The zygote writes, the worker reads. The turn is odd while the zygote reads from a pipe; a worker that finds it odd,
    or changed meanwhile, cannot rely on the total.
    """

    _LAYOUT = struct.Struct("<QQ")
    _RUN = struct.Struct("<QQ")
    _RUN_AT = 64

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._turn = 0
        self._total = 0

    def begin_read(self) -> None:
        self._turn += 1
        self._write()

    def end_read(self, size: int) -> None:
        self._turn += 1
        self._total += size
        self._write()

    def _write(self) -> None:
        self._page[: self._LAYOUT.size] = self._LAYOUT.pack(self._turn, self._total)

    def read(self) -> tuple[int, int]:
        """(turn, total); odd turn: a read is under way."""
        turn, total = self._LAYOUT.unpack_from(self._page)
        return turn, total

    def set_run(self, number: int, memory_limit: int) -> None:
        """The worker executes run *number*, 0: none. Written by the worker, read by the zygote."""
        self._RUN.pack_into(self._page, self._RUN_AT, number, memory_limit)

    def run(self) -> tuple[int, int]:
        """(number, memory limit) of the run that is executing; one may be that of the run before."""
        number, memory_limit = self._RUN.unpack_from(self._page, self._RUN_AT)
        return number, memory_limit

    def close(self) -> None:
        self._page.close()


class CountedOutputEnd(OutputEnd):
    """The worker's side: finds out whether a run has written anything, and marks the end of its output if so."""

    def __init__(self, token: bytes, tally: Tally) -> None:
        super().__init__(token)
        self._tally = tally
        self._waiting = array.array("i", [0])

    def begin_run(self, number: int, memory_limit: int) -> None:
        self._tally.set_run(number, memory_limit)

    def _count(self) -> int | None:
        """Those read by the zygote and those still inside."""
        before = self._tally.read()
        inside = sum(map(self._in_pipe, self._pipes))
        if self._tally.read() != before or before[0] % 2:
            return None
        return before[1] + inside

    def _in_pipe(self, fd: int) -> int:
        fcntl.ioctl(fd, termios.FIONREAD, self._waiting)
        return self._waiting[0]


class OutputReader(RunsOutput):
    """The zygote's side of one worker's two pipes."""

    def __init__(self, token: bytes, stdout: int, stderr: int, tally: Tally) -> None:
        super().__init__(token)
        self.fds = {stdout: 1, stderr: 2}
        self._tally = tally

    def read(self, fd: int) -> bool:
        """Read once from a pipe. False: nothing there, or nobody can write to it any more."""
        self._tally.begin_read()
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            data = b""
        self._tally.end_read(len(data))
        if data:
            self.feed(self.fds[fd], data)
        return bool(data)

    def run(self) -> tuple[int, int]:
        """(number, memory limit) of what the worker executes now; (0, 0): nothing."""
        return self._tally.run()

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self._tally.close()

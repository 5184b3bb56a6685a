"""Output of a forked worker, of which both ends count the bytes: so a run that has written nothing costs no mark."""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import termios

from flowrra.pool.process.output import OutputEnd, RunsOutput


class Tally:
    """How many bytes the zygote has read from a worker's two pipes, in memory that the two processes share: a seqlock.

    The zygote writes, the worker reads. The turn is odd while the zygote reads from a pipe; a worker that finds it odd,
    or changed meanwhile, cannot rely on the total.
    """

    _TURN, _TOTAL = 0, 1
    _RUN, _LIMIT = 8, 9
    """In another cache line: the two processes write at the same time."""
    _MEASURED, _PEAK = 2, 3

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._words = memoryview(self._page).cast("Q")

    def begin_read(self) -> None:
        self._words[self._TURN] += 1

    def end_read(self, size: int) -> None:
        self._words[self._TOTAL] += size
        self._words[self._TURN] += 1

    def read(self) -> tuple[int, int]:
        """(turn, total); odd turn: a read is under way."""
        return self._words[self._TURN], self._words[self._TOTAL]

    def set_run(self, number: int, memory_limit: int) -> None:
        """The worker executes run *number*, 0: none. Written by the worker, read by the zygote."""
        self._words[self._RUN], self._words[self._LIMIT] = number, memory_limit

    def run(self) -> tuple[int, int]:
        """(number, memory limit) of the run that is executing; one may be that of the run before."""
        return self._words[self._RUN], self._words[self._LIMIT]

    def set_peak(self, number: int, peak: int) -> None:
        """Run *number* was seen to use *peak* bytes. Written by the zygote, read by the worker."""
        self._words[self._MEASURED], self._words[self._PEAK] = number, peak

    def peak(self, number: int) -> int:
        """The most that run *number* was seen to use; 0: nobody looked."""
        measured, peak = self._words[self._MEASURED], self._words[self._PEAK]
        return peak if measured == number else 0

    def close(self) -> None:
        self._words.release()
        self._page.close()


class CountedOutputEnd(OutputEnd):
    """The worker's side: finds out whether a run has written anything, and marks the end of its output if so."""

    def __init__(self, token: bytes, tally: Tally) -> None:
        super().__init__(token)
        self._tally = tally
        self._waiting = array.array("i", [0])

    def begin_run(self, number: int, memory_limit: int) -> None:
        self._tally.set_run(number, memory_limit)

    def peak_of(self, number: int) -> int:
        return self._tally.peak(number)

    def _count(self) -> int | None:
        """Those read by the zygote and those still inside."""
        turn, total = self._tally.read()
        stdout, stderr = self._pipes
        inside = self._in_pipe(stdout) + self._in_pipe(stderr)
        if self._tally.read()[0] != turn or turn % 2:
            return None
        return total + inside

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

    def measured(self, number: int, peak: int) -> None:
        """Let the worker know how much private memory run *number* has used."""
        self._tally.set_peak(number, peak)

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self._tally.close()

"""What workers write to stdout and stderr: how a worker ends a run's output, and how the zygote keeps it bounded.

Both streams are pipes that the zygote reads at all times, so a worker never waits for the engine. A run that has
written something ends its output with a mark in both pipes; silent runs write nothing and cost nothing.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import TextIO

from flowrra.pool.native import flush_c_streams
from flowrra.pool.process.notes import Notes

HEAD = TAIL = 64 * 1024
"""Bytes kept of the beginning and of the end of a run's output, for each stream."""
LAST_WORDS = 16 * 1024
"""Bytes of stderr that a lost worker's error keeps; the stack that a crash leaves takes up to a hundred lines."""
_DIGITS = 16


def mark(token: bytes, number: int) -> bytes:
    """Ends run *number*'s output. Of these bytes only the first is a zero, which is how a split mark is recognised."""
    return b"\0" + token + b"%016x" % number


class OutputEnd:
    """The worker's side: marks the end of a run's output, unless it is known that there is none."""

    def __init__(self, token: bytes) -> None:
        self._token = token
        self._open: Callable[[int, str, str], TextIO] = _text_stream
        self._notes: Notes | None = None
        self._written: int | None = 0
        """Bytes written up to the last mark and including it; None: not known."""
        self._pipes = (os.dup(1), os.dup(2))
        """A run may close its own or put something else in their place."""
        self._streams = (sys.stdout, sys.stderr)
        self._inodes = (os.fstat(1).st_ino, os.fstat(2).st_ino)

    def begin_run(self, number: int, memory_limit: int) -> None:
        """Let it be known what executes from now on; 0: nothing."""
        raise NotImplementedError

    def peak_of(self, number: int) -> int:
        """Bytes of private memory that run *number* was seen to use at most; 0: it was too short to be measured."""
        raise NotImplementedError

    def watch(self, notes: Notes) -> None:
        """Have *notes* taken of what Python code writes."""
        self._open, self._notes = notes.stream, notes
        self._streams = (self._open(1, "<stdout>", "strict"), self._open(2, "<stderr>", "backslashreplace"))
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__ = self._streams  # type: ignore[misc,assignment]  # not final

    def close_run(self, number: int) -> bool:
        """Flush everything and, if run *number* wrote something or may have, mark the end of it; returns whether."""
        stdout, stderr = self._streams
        # Without a note nothing was written to them.
        untouched = self._notes is not None and not self._notes.fresh
        intact = untouched or (_flush(stdout) and _flush(stderr))
        if not intact or sys.stdout is not stdout or sys.stderr is not stderr:
            self._repair()
        flush_c_streams()
        written = self._count()
        if written is not None and written == self._written:
            return False
        for fd in self._pipes:
            os.write(fd, mark(self._token, number))
        self._written = None if written is None else written + 2 * len(mark(self._token, number))
        return True

    def put_back(self) -> None:
        """Have descriptors 1 and 2 be the pipes again, whatever the runs before have put in their places."""
        if not self._is_open():
            self._repair()

    def _is_open(self) -> bool:
        """Whether descriptors 1 and 2 are still the pipes: nothing to flush, nothing to notice otherwise."""
        try:
            return (os.fstat(1).st_ino, os.fstat(2).st_ino) == self._inodes
        except OSError:
            return False

    def _count(self) -> int | None:
        """Bytes ever written to both pipes; None: not known."""
        return None

    def _repair(self) -> None:
        """Undo what the run did to its stdout and stderr; the next one must find them as it did."""
        _flush(sys.stdout)
        _flush(sys.stderr)
        for fd, pipe in zip((1, 2), self._pipes, strict=True):
            os.dup2(pipe, fd)
        if not all(map(_flush, self._streams)):
            self._streams = (self._open(1, "<stdout>", "strict"), self._open(2, "<stderr>", "backslashreplace"))
        sys.stdout, sys.stderr = self._streams


def _flush(stream: TextIO) -> bool:
    """False: the run has closed it, or put something in its place that cannot be flushed."""
    try:
        stream.flush()
    except Exception:  # noqa: BLE001 - a stream of the user's own may raise anything; the answer is to replace it
        return False
    return True


def _text_stream(fd: int, name: str, errors: str) -> TextIO:
    raw = io.FileIO(fd, "w", closefd=False)
    raw.name = name  # as the interpreter does it for its own
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors=errors, line_buffering=True)


class RunOutput:
    """One stream of one run: the beginning goes out as it comes, of the rest the end is kept."""

    def __init__(self) -> None:
        self.number = 0
        """Set by the mark; 0 while the run may still write."""
        self.last_words = b""
        self._room = HEAD
        self._fresh = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        self.last_words = (self.last_words + data)[-LAST_WORDS:] if len(data) < LAST_WORDS else data[-LAST_WORDS:]
        self._fresh += data[: self._room]
        rest = data[self._room :]
        self._room -= len(data) - len(rest)
        self._tail += rest
        if len(self._tail) > TAIL:
            self._dropped += len(self._tail) - TAIL
            del self._tail[:-TAIL]

    def take(self) -> bytes:
        """What came since the last call, as far as it belongs to the beginning: the rest waits for the run's end."""
        fresh, self._fresh = bytes(self._fresh), bytearray()
        return fresh

    def finish(self) -> bytes:
        """Everything that is left, with a note of what is missing."""
        note = b"\n[... %d bytes left out ...]\n" % self._dropped if self._dropped else b""
        rest = self.take() + note + bytes(self._tail)
        self._tail.clear()
        self._dropped = 0
        return rest


class Stream:
    """Cuts one pipe of one worker into runs."""

    def __init__(self, token: bytes) -> None:
        self._size = len(mark(token, 0))
        self._mark = re.compile(re.escape(b"\0" + token) + rb"([0-9a-f]{%d})" % _DIGITS)
        beginning = "|".join(re.escape(token[:length].decode()) for length in range(len(token) + 1))
        self._part = re.compile(rb"\0(?:%b|%b[0-9a-f]*)" % (beginning.encode(), re.escape(token)))
        self._carry = b""
        self.runs: deque[RunOutput] = deque([RunOutput()])
        """Oldest first; the last one is still open."""

    def feed(self, data: bytes) -> None:
        data = self._carry + data
        done = 0
        for found in self._mark.finditer(data):
            self.runs[-1].add(data[done : found.start()])
            self.runs[-1].number = int(found[1], 16)
            self.runs.append(RunOutput())
            done = found.end()
        rest = self._begun(data, done)
        self._carry = data[rest:]
        self.runs[-1].add(data[done:rest])

    def _begun(self, data: bytes, start: int) -> int:
        """Where a mark begins of which only a part has arrived; the end of *data* if there is none."""
        at = data.rfind(b"\0", max(start, len(data) - self._size + 1))
        return at if at >= 0 and self._part.fullmatch(data, at) else len(data)


class RunsOutput:
    """What a worker writes to its two streams, cut into runs."""

    def __init__(self, token: bytes) -> None:
        self._streams = {1: Stream(token), 2: Stream(token)}

    def feed(self, stream: int, data: bytes) -> None:
        self._streams[stream].feed(data)

    def fresh(self) -> Iterator[tuple[int, bytes]]:
        """(stream, data) to show of the run that is under way."""
        for number, stream in self._streams.items():
            data = stream.runs[0].take()
            if data:
                yield number, data

    def finished(self) -> Iterator[tuple[int, list[tuple[int, bytes]]]]:
        """(run, its remaining data by stream) of each run whose mark has been read from both pipes."""
        out, err = self._streams[1].runs, self._streams[2].runs
        while out[0].number and err[0].number:
            rest = [(1, out[0].finish()), (2, err[0].finish())]
            yield max(out[0].number, err[0].number), [(stream, data) for stream, data in rest if data]
            out.popleft()
            err.popleft()

    def remains(self) -> list[tuple[int, bytes]]:
        """After the worker's end: (stream, data) of what it wrote and did not get to mark."""
        rest = ((number, run.finish()) for number, stream in self._streams.items() for run in stream.runs)
        return [(number, data) for number, data in rest if data]

    def last_words(self) -> bytes:
        return self._streams[2].runs[-1].last_words

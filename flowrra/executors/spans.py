"""Runs of a map that execute one by one inside this process: their calls, and what they return, told together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from typing import Any, overload

from flowrra.interfaces import Call, Span, SpanSink


class MapCalls(Sequence[tuple[Call, Context]]):
    """The calls of a map, each made when it is asked for; they share the context variables of their submission."""

    __slots__ = ("_call", "_context", "_rows")

    def __init__(self, call: Call, rows: Sequence[tuple[Any, ...]], context: Context) -> None:
        self._call, self._rows, self._context = call, rows, context

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> tuple[Call, Context]: ...
    @overload
    def __getitem__(self, index: slice) -> MapCalls: ...
    def __getitem__(self, index: int | slice) -> tuple[Call, Context] | MapCalls:
        if isinstance(index, slice):
            return MapCalls(self._call, self._rows[index], self._context)
        return self._call._replace(args=self._rows[index]), self._context


class _Neighbours:
    """Runs that returned one after the other, in their order."""

    __slots__ = ("end", "first", "span", "starts", "values", "worker")

    def __init__(self, span: Span, first: int, worker: str | None) -> None:
        self.span, self.first, self.worker = span, first, worker
        self.values: list[Any] = []
        self.starts: list[float] = []
        self.end = 0.0


class Returned:
    """Gathers what runs return in one turn of the engine's loop, and tells of neighbours together. Lives on that loop.

    Neighbours are told as having ended where the next one began, so those that overlapped are told one by one.
    """

    def __init__(self, sink: SpanSink, loop: asyncio.AbstractEventLoop) -> None:
        self.sink = sink
        self._loop = loop
        self._gathered: list[_Neighbours] = []

    def add(self, span: Span, position: int, value: object, began: float, ended: float, worker: str | None) -> None:
        """Tell soon that the run at *position* of its batch has returned *value*."""
        gathered = self._gathered
        if not gathered:
            self._loop.call_soon(self._tell)
        last = gathered[-1] if gathered else None
        if (
            last is None
            or last.span.batch_id != span.batch_id
            or last.first + len(last.values) != position
            or last.end > began
            or last.worker != worker
        ):
            last = _Neighbours(span, position, worker)
            gathered.append(last)
        last.values.append(value)
        last.starts.append(began)
        last.end = ended

    def _tell(self) -> None:
        gathered, self._gathered = self._gathered, []
        for each in gathered:
            self.sink.span_values(each.span, each.first, each.values, each.starts, each.end, each.worker)

"""What one executed cell has shown so far, assembled from the kernel's messages."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Display:
    """One ``display()``. With an id it can be updated; *history* keeps every bundle, the first one included."""

    data: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)

    def update(self, data: dict[str, Any]) -> None:
        self.data = data
        self.history.append(data)

    @property
    def text(self) -> str:
        return str(self.data.get("text/plain", ""))

    @property
    def html(self) -> str:
        return str(self.data.get("text/html", ""))


@dataclass(frozen=True)
class CellError:
    name: str
    value: str
    traceback: str
    """Without colours."""

    def __str__(self) -> str:
        return self.traceback or f"{self.name}: {self.value}"


@dataclass
class CellResult:
    """Everything a cell gave. ``duration`` is the time from sending it to its end, in seconds."""

    stdout: str = ""
    stderr: str = ""
    result: Display | None = None
    """The value of its last expression."""
    displays: list[Display] = field(default_factory=list)
    """In order; those with an id are also in ``by_id`` and change with every update."""
    by_id: dict[str, Display] = field(default_factory=dict)
    error: CellError | None = None
    status: str = ""
    duration: float = 0.0

    @property
    def text(self) -> str:
        return self.result.text if self.result is not None else ""

    @property
    def html(self) -> str:
        return self.result.html if self.result is not None else ""


class Cell:
    """An execution under way. Filled by the driver's thread; ``output`` may be read at any time."""

    def __init__(
        self,
        displays: dict[str, Display],
        news: threading.Condition,
        on_timeout: Callable[[float], Exception],
        *,
        has_reply: bool = True,
    ) -> None:
        self.output = CellResult()
        self.finished = threading.Event()
        self._displays = displays
        self._news = news
        self._on_timeout = on_timeout
        self._begun = time.monotonic()
        self._idle = False
        self._replied = not has_reply

    def wait(self, timeout: float = 30) -> CellResult:
        """Return the whole result, once the kernel has replied and reported idle."""
        if not self.finished.wait(timeout):
            raise self._on_timeout(timeout)
        return self.output

    def wait_for(self, seen: Callable[[CellResult], object], timeout: float = 30) -> CellResult:
        """Return as soon as *seen* holds for what the cell has shown so far, updates of its displays included."""
        with self._news:
            came = self._news.wait_for(lambda: seen(self.output), timeout)
        if not came:
            raise self._on_timeout(timeout)
        return self.output

    def take(self, kind: str, content: dict[str, Any]) -> None:
        """Add one iopub message. On the driver's thread."""
        self._add(kind, content)
        self._settle()

    def take_reply(self, content: dict[str, Any]) -> None:
        self.output.status = content.get("status", "")
        self._replied = True
        self._settle()

    def _add(self, kind: str, content: dict[str, Any]) -> None:
        match kind:
            case "stream" if content["name"] == "stdout":
                self.output.stdout += content["text"]
            case "stream":
                self.output.stderr += content["text"]
            case "execute_result":
                self.output.result = self._display(content)
            case "display_data":
                self.output.displays.append(self._display(content))
            case "error":
                traceback = ANSI.sub("", "\n".join(content["traceback"]))
                self.output.error = CellError(content["ename"], content["evalue"], traceback)
            case "status" if content["execution_state"] == "idle":
                self._idle = True

    def _display(self, content: dict[str, Any]) -> Display:
        data = content["data"]
        display = Display(data, [data])
        display_id = content.get("transient", {}).get("display_id")
        if display_id is not None:
            self.output.by_id[display_id] = self._displays[display_id] = display
        return display

    def _settle(self) -> None:
        if self._idle and self._replied and not self.finished.is_set():
            self.output.duration = time.monotonic() - self._begun
            self.finished.set()

"""What surrounds an app in a kernel: whose cell submits, where coroutine tasks run, how a cell waits for them."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from pathlib import Path
from typing import Any

from flowrra import NeedsAwait, Waits

KERNEL_NAME = "kernel"


class KernelHost:
    """The running kernel. Its loop is the one in which cells run, where clients and locks made in cells live.

    Made on the thread of that loop, from inside it. ``cell_began`` and ``cell_ended`` are told by the shell.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self.name = notebook_name()
        self.io_loop = asyncio.get_running_loop()
        self.cells = OpenCells()
        self._cell: asyncio.Task[Any] | None = None
        self._warned = False

    def owner(self) -> str | None:
        """Return the id of the request that this thread or coroutine works for: that of its cell's execution."""
        identity: str | None = self._kernel.get_parent().get("header", {}).get("msg_id")
        return identity

    def begin_wait(self, runs: Any) -> None:
        self.cells.note(self.owner(), runs)

    def cell_began(self) -> None:
        self.cells.open(self.owner())
        # A cell of a subshell runs on another thread, in a loop of its own; it cannot pump the kernel's.
        if threading.current_thread() is threading.main_thread():
            self._cell = asyncio.current_task()

    def cell_ended(self) -> Waits | None:
        """Return what the cell has begun to wait for; None if its begin was not seen."""
        if threading.current_thread() is threading.main_thread():
            self._cell = None
        return self.cells.close(self.owner())

    def pump(self, until: asyncio.Future[None]) -> None:
        """Run the kernel's loop from inside the cell that it is running, until *until* is done.

        Raises ``NeedsAwait`` if the loop cannot be entered again, or the caller is not a cell but something else in the
        loop, such as a coroutine task or a callback. KeyboardInterrupt ends the wait.
        """
        if threading.current_thread() is not threading.main_thread():
            raise NeedsAwait("a wait on another thread than the kernel's main one")
        if self._cell is None or asyncio.current_task() is not self._cell:
            raise NeedsAwait("a blocking wait inside a coroutine task or a callback of the kernel's loop")
        __tracebackhide__ = True
        self._patch()
        try:
            self.io_loop.run_until_complete(until)
        except KeyboardInterrupt:
            # Without the frames of the loop, which tell nobody anything and take long to be shown.
            raise KeyboardInterrupt from None
        except asyncio.CancelledError:
            if not until.cancelled():
                raise

    def _patch(self) -> None:
        if not isinstance(self.io_loop, asyncio.BaseEventLoop):
            # uvloop's, which cannot be patched. Asked first: nest_asyncio2 would refuse after it has patched asyncio.
            raise NeedsAwait(f"a blocking wait on a coroutine task under {type(self.io_loop).__module__}")
        import nest_asyncio2

        nest_asyncio2.apply(self.io_loop)
        if not self._warned:
            self._warned = True
            warnings.warn(
                "waiting in a plain cell for a coroutine task runs the kernel's loop inside itself; "
                "'await' it instead, which needs no such trick",
                stacklevel=4,
            )


class TerminalHost:
    """IPython in a terminal: between two inputs no loop runs, so coroutine tasks get one on a thread of its own."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self.name = notebook_name()
        self.io_loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self.cells = OpenCells()
        self._open: str | None = None
        threading.Thread(target=self.io_loop.run_forever, name="flowrra-io", daemon=True).start()

    def owner(self) -> str | None:
        return self._open

    def begin_wait(self, runs: Any) -> None:
        self.cells.note(self._open, runs)

    def cell_began(self) -> None:
        self._open = f"In[{self._shell.execution_count}]"
        self.cells.open(self._open)

    def cell_ended(self) -> Waits | None:
        """Return what the input has begun to wait for; None if its begin was not seen."""
        ended, self._open = self._open, None
        return self.cells.close(ended)

    def pump(self, until: asyncio.Future[None]) -> None:
        """Refuse: only code that runs in the loop's own thread asks for it, and it must not block that."""
        raise NeedsAwait("a blocking wait inside a coroutine task or a callback")


class OpenCells:
    """The cells that are executing, each with what it has begun to wait for."""

    def __init__(self) -> None:
        self._waits: dict[str, Waits] = {}

    def open(self, owner: str | None) -> None:
        if owner is not None:
            self._waits[owner] = Waits(owner)

    def note(self, owner: str | None, runs: Any) -> None:
        """Code of *owner* waits for *runs*; of one that is not open, nobody will ask."""
        waits = None if owner is None else self._waits.get(owner)
        if waits is not None:
            waits.note(runs)

    def close(self, owner: str | None) -> Waits | None:
        return None if owner is None else self._waits.pop(owner, None)


def notebook_name() -> str:
    """Return the notebook's path as the server tells it, relative to the user's home if inside; else ``kernel``."""
    session = os.environ.get("JPY_SESSION_NAME", "")
    if not session:
        return KERNEL_NAME
    path = Path(session)
    return str(path.relative_to(Path.home())) if path.is_relative_to(Path.home()) else session

"""A real kernel, driven through ``jupyter_client``: blocking calls outside, an event loop thread inside."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager

from flowrra.testing import leaks
from tests.environment.loop_thread import LoopThread
from tests.jupyter.cells import Cell, CellResult, Display
from tests.jupyter.launch import environment, kernel_manager


class KernelTimeout(AssertionError):
    """A cell or a reply did not come in time; the message carries the stacks of the kernel's threads."""


class Kernel:
    """One ipykernel process. Use it as a context manager; every wait has a timeout and fails with the kernel's stacks.

    The process runs *python* with the working directory *cwd* and this process's environment, changed by *env*.
    Profiles, start-up scripts and kernelspecs of the user are out of sight.
    """

    def __init__(
        self,
        python: str = sys.executable,
        *,
        cwd: str | Path | None = None,
        env: Mapping[str, str | None] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="flowrra-kernel-")
        self.home = Path(self._folder.name)
        self.cwd = Path(cwd) if cwd is not None else self.home
        self._stacks = self.home / "stacks.txt"
        self._log = self.home / "kernel.log"
        self._env = environment(self.home, env or {}, self._stacks)
        self._python = python
        self._readers: list[asyncio.Task[None]] = []
        self._requests: dict[str, Future[dict[str, Any]]] = {}
        self._cells: dict[str, Cell] = {}
        self._news = threading.Condition()
        self._manager: AsyncKernelManager
        self._client: AsyncKernelClient
        self.displays: dict[str, Display] = {}
        """Every display with an id that any cell has shown, as updates have left it."""
        self.answers: list[str] = []
        """What is answered, one after the other, to ``input()`` of cells that are started while there are some."""
        self.comm_messages: list[dict[str, Any]] = []
        """``comm_open``, ``comm_msg`` and ``comm_close`` from the kernel, oldest first, with their buffers."""

    # Life.

    def __enter__(self) -> Self:
        self._loop = LoopThread("kernel-driver")
        try:
            self._loop.run(self._open())
            self.wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def _open(self) -> None:
        self._manager = kernel_manager(self.home, self._python)
        await self._start_process()
        self._client = self._manager.client()
        self._client.start_channels(hb=False)
        self._readers = [
            asyncio.create_task(self._read_iopub()),
            asyncio.create_task(self._read_replies(self._client.shell_channel)),
            asyncio.create_task(self._read_replies(self._client.control_channel)),
            asyncio.create_task(self._read_questions()),
        ]

    async def _start_process(self) -> None:
        with self._log.open("ab") as log:
            await self._manager.start_kernel(
                cwd=str(self.cwd), env=self._env, stdout=log.fileno(), stderr=subprocess.STDOUT
            )

    def close(self) -> None:
        """Kill the kernel if it still runs and release everything; safe to call twice."""
        if self._loop.closed:
            return
        self._loop.run(self._release())
        self._loop.close()
        self._folder.cleanup()

    async def _release(self) -> None:
        if self._manager.has_kernel:
            await self._manager.shutdown_kernel(now=True)
        for reader in self._readers:
            reader.cancel()
        ends = await asyncio.gather(*self._readers, return_exceptions=True)
        if self._readers:
            self._client.stop_channels()
        await self._manager.cleanup_resources()
        self._manager.context.destroy(linger=0)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    def wait_until_ready(self, timeout: float = 60) -> None:
        """Return once the kernel answers and its iopub channel reaches us (a subscription takes effect late)."""
        give_up = time.monotonic() + timeout
        while time.monotonic() < give_up:
            if not self.is_alive():
                raise AssertionError(f"the kernel ended while it started:\n{self.log()}")
            probe = self._send_cell_like("kernel_info_request", {})
            if probe.finished.wait(0.5):
                return
        raise KernelTimeout(f"the kernel did not become ready within {timeout} s:\n{self.log()}\n{self.stacks()}")

    def restart(self) -> float:
        """Restart as the front end's Restart does; return the seconds until the new process was launched."""
        begun = time.monotonic()
        self._loop.run(self._restart())
        duration = time.monotonic() - begun
        self.wait_until_ready()
        return duration

    async def _restart(self) -> None:
        # The manager starts the new process with the arguments of the first one, whose log file is closed by now.
        await self._manager.shutdown_kernel(restart=True)
        await self._start_process()

    def shutdown(self) -> float:
        """Shut down as the front end does; return the seconds it took until the process was gone."""
        begun = time.monotonic()
        self._loop.run(self._manager.shutdown_kernel())
        return time.monotonic() - begun

    def kill(self) -> None:
        """SIGKILL the kernel's process (not its children) and reap it."""
        self._loop.run(self._kill())

    async def _kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        await self._manager.provisioner.wait()

    def interrupt(self) -> None:
        """Interrupt as the front end's Stop does: SIGINT."""
        self._loop.run(self._manager.interrupt_kernel())

    @property
    def pid(self) -> int:
        return self._manager.provisioner.pid

    def is_alive(self) -> bool:
        return self._loop.run(self._manager.is_alive())

    def descendants(self) -> list[leaks.Process]:
        """Every process below the kernel."""
        return leaks.descendants(self.pid)

    def log(self) -> str:
        """What the process wrote to its real stdout and stderr, outside any cell."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def stacks(self) -> str:
        """The stack of each of the kernel's threads, now."""
        if not self.is_alive():
            return "(the kernel is not alive)"
        size = self._stacks.stat().st_size if self._stacks.exists() else 0
        os.kill(self.pid, signal.SIGUSR1)
        give_up = time.monotonic() + 2
        while time.monotonic() < give_up and (not self._stacks.exists() or self._stacks.stat().st_size == size):
            time.sleep(0.05)
        return self._stacks.read_text()[size:] if self._stacks.exists() else "(no stacks)"

    # Cells.

    def run(self, code: str, timeout: float = 30, *, check: bool = True) -> CellResult:
        """Execute *code* as a cell and return all of it; an error in it fails the test unless *check* is false."""
        result = self.start_cell(code).wait(timeout)
        if check and result.error is not None:
            raise AssertionError(f"the cell failed:\n{result.error}\nstdout: {result.stdout}\nstderr: {result.stderr}")
        return result

    def start_cell(self, code: str, *, subshell: str | None = None) -> Cell:
        """Execute *code* and return at once; ``.wait()`` gives its result, ``.output`` what came so far."""
        content = {
            "code": code, "silent": False, "store_history": True, "user_expressions": {},
            "allow_stdin": bool(self.answers),
            "stop_on_error": False,
        }  # fmt: skip
        return self._send_cell_like("execute_request", content, subshell)

    def wait_for(self, seen: Callable[[], object], timeout: float = 30) -> None:
        """Return as soon as *seen* holds; it is asked again after every message from the kernel."""
        with self._news:
            came = self._news.wait_for(seen, timeout)
        if not came:
            raise self._hang(timeout)

    def _send_cell_like(self, kind: str, content: dict[str, Any], subshell: str | None = None) -> Cell:
        cell = Cell(self.displays, self._news, self._hang)
        self._loop.run(self._send(kind, content, subshell=subshell, cell=cell))
        return cell

    def _hang(self, waited: float) -> KernelTimeout:
        return KernelTimeout(f"not done within {waited} s; the kernel's threads:\n{self.stacks()}")

    # Messages.

    def request(
        self, kind: str, content: dict[str, Any], *, channel: str = "shell", subshell: str | None = None,
        timeout: float = 10,
    ) -> dict[str, Any]:  # fmt: skip
        """Send a request on ``shell`` or ``control`` and return its reply, such as ``create_subshell_request``."""
        reply: Future[dict[str, Any]] = Future()
        self._loop.run(self._send(kind, content, channel=channel, subshell=subshell, reply=reply))
        try:
            return reply.result(timeout)
        except TimeoutError:
            raise self._hang(timeout) from None

    def send_comm(
        self, comm_id: str, data: dict[str, Any], *, kind: str = "comm_msg", target_name: str | None = None,
        subshell: str | None = None, buffers: list[bytes] | None = None,
    ) -> Cell:  # fmt: skip
        """Send a comm message as a front end does; the returned cell finishes when the kernel has dealt with it.

        With ``kind="comm_open"`` and *target_name* it opens a comm.
        """
        content = {"comm_id": comm_id, "data": data}
        if target_name is not None:
            content["target_name"] = target_name
        cell = Cell(self.displays, self._news, self._hang, has_reply=False)
        self._loop.run(self._send(kind, content, subshell=subshell, cell=cell, buffers=buffers))
        return cell

    async def _send(
        self, kind: str, content: dict[str, Any], *, channel: str = "shell", subshell: str | None = None,
        cell: Cell | None = None, reply: Future[dict[str, Any]] | None = None, buffers: list[bytes] | None = None,
    ) -> None:  # fmt: skip
        message = self._client.session.msg(kind, content)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        identity = message["header"]["msg_id"]
        # Registered before sending: the answer may be read before this coroutine goes on.
        if cell is not None:
            self._cells[identity] = cell
        if reply is not None:
            self._requests[identity] = reply
        socket = self._client.shell_channel if channel == "shell" else self._client.control_channel
        self._client.session.send(socket.socket, message, buffers=buffers)

    async def _read_iopub(self) -> None:
        while True:
            message = await self._client.iopub_channel.get_msg(timeout=None)
            with self._news:
                self._take(message)
                self._news.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind.startswith("comm_"):
            self.comm_messages.append(message)
        cell = self._cells.get(message["parent_header"].get("msg_id", ""))
        if kind == "update_display_data":
            # Not bound to a cell: an update may come long after, from a thread whose parent is another cell.
            display = self.displays.get(content["transient"]["display_id"])
            if display is not None:
                display.update(content["data"])
        elif cell is not None:
            cell.take(kind, content)

    async def _read_questions(self) -> None:
        while True:
            message = await self._client.stdin_channel.get_msg(timeout=None)
            if message["msg_type"] == "input_request":
                # A cell that asks once more than expected gets an end.
                self._client.input(self.answers.pop(0) if self.answers else "q")

    async def _read_replies(self, channel: Any) -> None:
        while True:
            message = await channel.get_msg(timeout=None)
            identity = message["parent_header"].get("msg_id", "")
            if (cell := self._cells.get(identity)) is not None:
                cell.take_reply(message["content"])
            if (reply := self._requests.pop(identity, None)) is not None:
                reply.set_result(message["content"])

"""JupyterLab in a real Chromium: a server process, a browser, and pages with the gestures the tests need.

Outside everything blocks; inside, Playwright's asynchronous interface runs on a loop thread (its synchronous one would
leave a running loop in the main thread and break every asynchronous test after it).
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
from playwright.async_api import Browser, Page, async_playwright

from flowrra.testing import leaks
from tests.environment.loop_thread import LoopThread
from tests.environment.ports import free_port
from tests.environment.presence import require

SHOTS = Path(__file__).parent / "shots"
WIDGET_EXTENSIONS = ("anywidget", "@jupyter-widgets/jupyterlab-manager")

# Chromium's sandbox refuses root; without the rest it looks for updates and other services of its maker at every start.
CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip

# Cells outside the viewport would be taken out of the document, and a news request would go out to the world.
USER_SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


class LabServer:
    """A JupyterLab server in a folder of its own: settings, data, runtime files and the notebooks in ``root``.

    With *widgets* false the front-end parts of ipywidgets and anywidget are disabled, as where they are not installed.
    """

    def __init__(self, folder: Path, *, widgets: bool = True, env: Mapping[str, str] | None = None) -> None:
        self.folder, self.root = folder, folder / "notebooks"
        self.root.mkdir(parents=True)
        self._write_settings(widgets)
        self._port, self._token = free_port(), secrets.token_hex(16)
        self._log = folder / "server.log"
        with leaks.outliving(), self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self._folders(), **(env or {})},
            )  # fmt: skip
        self._wait_until_it_answers()

    def _write_settings(self, widgets: bool) -> None:
        for name, values in USER_SETTINGS.items():
            path = self.folder / "settings" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        if not widgets:
            page_config = self.folder / "config" / "labconfig" / "page_config.json"
            page_config.parent.mkdir(parents=True)
            page_config.write_text(json.dumps({"disabledExtensions": dict.fromkeys(WIDGET_EXTENSIONS, True)}))

    def _folders(self) -> dict[str, str]:
        return {
            "JUPYTER_CONFIG_DIR": str(self.folder / "config"),
            "JUPYTER_DATA_DIR": str(self.folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "JUPYTERLAB_SETTINGS_DIR": str(self.folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.folder / "workspaces"),
            "JUPYTER_PREFER_ENV_PATH": "1",
        }

    def _command(self) -> list[str]:
        return [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
            "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self._port}", "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self._token}", f"--ServerApp.root_dir={self.root}",
        ]  # fmt: skip

    def _wait_until_it_answers(self, timeout: float = 60) -> None:
        give_up = time.monotonic() + timeout
        while True:
            try:
                self.request("GET", "/api/status")
            except urllib.error.URLError as error:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    self.close()
                    raise AssertionError(f"JupyterLab did not start: {error}\n{self._log.read_text()}") from error
                time.sleep(0.1)
            else:
                return

    def request(self, method: str, path: str) -> Any:
        """Call the server's REST interface and return the decoded answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}", method=method, headers={"Authorization": f"token {self._token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            body = response.read()
        return json.loads(body) if body else None

    def address(self, notebook: str) -> str:
        # `reset` forgets which tabs an earlier page had open.
        return f"http://127.0.0.1:{self._port}/lab/tree/{notebook}?token={self._token}&reset"

    def shut_down_kernels(self) -> None:
        for session in self.request("GET", "/api/sessions"):
            self.request("DELETE", f"/api/sessions/{session['id']}")

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Chromium:
    """One headless browser; each page gets a fresh profile."""

    def __init__(self) -> None:
        executable = require("chromium")
        self.loop = LoopThread("playwright")
        with leaks.outliving():
            self.loop.run(self._launch(executable))

    async def _launch(self, executable: str) -> None:
        self._playwright = await async_playwright().start()
        self._browser: Browser = await self._playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)

    async def new_page(self) -> Page:
        context = await self._browser.new_context(viewport={"width": 1280, "height": 1000})
        return await context.new_page()

    def close(self) -> None:
        self.loop.run(self._close())
        self.loop.close()

    async def _close(self) -> None:
        await self._browser.close()
        await self._playwright.stop()


class LabPage:
    """A browser page on one notebook. Cells are counted from 0. Every wait ends with an error after its timeout."""

    def __init__(self, server: LabServer, browser: Chromium) -> None:
        self.server = server
        self.console: list[str] = []
        """What the page wrote to the browser's console, errors included."""
        self.do = browser.loop.run
        self.page: Page = self.do(self._new_page(browser))
        """Playwright's own page; call its coroutines through :meth:`do`."""
        self.notebook = ""

    async def _new_page(self, browser: Chromium) -> Page:
        page = await browser.new_page()
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))
        return page

    # The notebook.

    def open(self, *cells: str, name: str = "test.ipynb") -> None:
        """Write a notebook of these code *cells* (or leave the existing file when there are none) and open it."""
        if cells:
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
            nbformat.write(notebook, self.server.root / name)
        self.notebook = name
        self.do(self.page.goto(self.server.address(name)), 60)
        self._wait_until_open()

    def reload(self) -> None:
        """Reload the page; the kernel lives on."""
        self.do(self.page.reload(), 60)
        self._wait_until_open()

    def reopen_with_fresh_kernel(self) -> None:
        """Open the saved file as somebody would the next day."""
        self.do(self.page.goto("about:blank"))
        self.server.shut_down_kernels()
        self.open(name=self.notebook)

    def save(self) -> nbformat.NotebookNode:
        """Save, and return what is then in the file."""
        self.js("() => jupyterapp.commands.execute('docmanager:save')")
        return nbformat.read(self.server.root / self.notebook, as_version=4)

    def restart_kernel(self) -> None:
        self.js("() => PANEL.sessionContext.session.kernel.restart()")
        self.wait_for_js("() => PANEL.sessionContext.session?.kernel?.status === 'idle'")

    def interrupt_kernel(self) -> None:
        self.js("() => PANEL.sessionContext.session.kernel.interrupt()")

    def _wait_until_open(self) -> None:
        self.wait_for_js("() => window.jupyterapp?.shell?.currentWidget?.sessionContext !== undefined", 60)
        self.wait_for_js("() => PANEL.context.isReady && PANEL.sessionContext.session?.kernel?.status === 'idle'", 60)

    # Cells.

    def start_cell(self, index: int) -> None:
        """Run a cell and return at once."""
        self.js(
            "index => { PANEL.content.deselectAll(); PANEL.content.activeCellIndex = index;"
            " void jupyterapp.commands.execute('notebook:run-cell'); }",
            index,
        )

    def run_cell(self, index: int, timeout: float = 30) -> str:
        """Run a cell to its end and return the text of its output."""
        before = self.js(f"index => {EXECUTION_COUNT}", index)
        self.start_cell(index)
        self.wait_for_js(
            f"([index, before]) => {{ const now = {EXECUTION_COUNT};"
            " return now !== null && now !== before && !BUSY(index); }",
            timeout,
            [index, before],
        )
        return self.output_text(index)

    def run_all(self, timeout: float = 60) -> None:
        self.js("() => { void jupyterapp.commands.execute('notebook:run-all-cells'); }")
        last = self.js("() => PANEL.content.widgets.length - 1")
        self.wait_for_js(f"index => {EXECUTION_COUNT} !== null && !BUSY(index)", timeout, last)

    def busy(self, index: int) -> bool:
        """Whether the cell shows ``[*]``."""
        return bool(self.js("index => BUSY(index)", index))

    def output_text(self, index: int) -> str:
        """The output as a person reads it."""
        return str(self.js("index => OUTPUT(index).innerText", index))

    def output_html(self, index: int) -> str:
        return str(self.js("index => OUTPUT(index).innerHTML", index))

    def wait_for_output(self, index: int, seen: Callable[[str], object], timeout: float = 30) -> str:
        """Return the output's text once *seen* holds for it."""
        give_up = time.monotonic() + timeout
        while not seen(text := self.output_text(index)):
            if time.monotonic() > give_up:
                raise AssertionError(f"cell {index} did not show it within {timeout} s; it shows:\n{text}")
            time.sleep(0.05)
        return text

    def click(self, index: int, selector: str, timeout: float = 10) -> None:
        """Click what *selector* names inside the output of a cell, with the mouse."""
        output = self.page.locator(".jp-Notebook-cell").nth(index).locator(".jp-Cell-outputArea")
        self.do(output.locator(selector).first.click(timeout=1000 * timeout), timeout + 5)

    # Anything else.

    def js(self, function: str, argument: object = None) -> Any:
        """Evaluate a JavaScript function; ``PANEL``, ``OUTPUT(i)`` and ``BUSY(i)`` stand for parts of the notebook."""
        return self.do(self.page.evaluate(_expand(function), argument))

    def wait_for_js(self, function: str, timeout: float = 30, argument: object = None) -> None:
        """Wait until the JavaScript *function* returns something true."""
        waiting = self.page.wait_for_function(_expand(function), arg=argument, timeout=1000 * timeout, polling=50)
        try:
            self.do(waiting, timeout + 5)
        except Exception as error:
            error.add_note(f"console of the page: {self.console[-20:]}")
            raise

    def screenshot(self, name: str) -> Path:
        SHOTS.mkdir(exist_ok=True)
        path = SHOTS / f"{name}.png"
        path.write_bytes(self.do(self.page.screenshot()))
        return path

    def close(self) -> None:
        self.do(self.page.context.close())
        self.server.shut_down_kernels()


EXECUTION_COUNT = "PANEL.content.widgets[index].model.sharedModel.execution_count"

_SHORTHANDS = {
    "PANEL": "jupyterapp.shell.currentWidget",
    "OUTPUT": "(i => PANEL.content.widgets[i].node.querySelector('.jp-Cell-outputArea'))",
    "BUSY": "(i => PANEL.content.widgets[i].node.querySelector('.jp-InputPrompt').textContent.includes('*'))",
}


def _expand(function: str) -> str:
    for name in ("BUSY", "OUTPUT", "PANEL"):  # the first two contain the last
        function = function.replace(name, _SHORTHANDS[name])
    return function

"""``%flowrra doctor``: facts about this place, and what to do where one of them is in the way."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import flowrra
from flowrra import Flowrra

GB: Final = 1_000_000_000
NEEDED: Final = {"ipykernel": (7, 1), "ipywidgets": (8, 0), "anywidget": (0, 9), "nest-asyncio2": (1, 7, 3)}
WORKER_SECONDS: Final = 20.0


class Finding(NamedTuple):
    """One line of the report."""

    what: str
    said: str
    todo: str = ""
    """Empty if all is well."""

    def __str__(self) -> str:
        line = f"{'!' if self.todo else ' '} {self.what:<14} {self.said}"
        return f"{line}\n{'':>17}→ {self.todo}" if self.todo else line


class Machine(NamedTuple):
    """What was read from the machine."""

    cores: int
    usable_cores: int
    memory_free: int
    """Bytes: of the machine, or what is left of the control group's limit if that is less."""
    memory_limit: int | None
    spill_folder: str
    spill_free: int


def look(shell: Any, app: Flowrra | None) -> list[Finding]:
    """Read everything and try a worker; takes a moment."""
    installed = {name: _version(name) for name in NEEDED}
    kernel = getattr(shell, "kernel", None)
    return [
        Finding("flowrra", f"{flowrra.__version__} on Python {platform.python_version()}, {platform.platform()}"),
        *versions(installed),
        front_end(os.environ, colab="google.colab" in sys.modules, has_kernel=kernel is not None),
        subshells(bool(getattr(kernel, "_supports_kernel_subshells", False))),
        *resources(read_machine()),
        backend(app),
        worker(app),
    ]


def versions(installed: Mapping[str, str | None]) -> list[Finding]:
    """The packages that the notebook side needs."""
    found = []
    for name, least in NEEDED.items():
        version, wanted = installed[name], ".".join(map(str, least))
        if version is None:
            todo = "pip install 'flowrra[jupyter]', then restart the kernel"
            found.append(Finding(name, "is not installed", todo))
        elif _numbers(version) < least:
            found.append(Finding(name, version, f"needs {wanted} or later: pip install -U {name}"))
        else:
            found.append(Finding(name, version))
    return found


def front_end(environment: Mapping[str, str], *, colab: bool, has_kernel: bool) -> Finding:
    """Where cells are written and views shown."""
    if not has_kernel:
        return Finding("front end", "a terminal: views are text, and show one moment")
    if colab:
        return Finding("front end", "Google Colab: Cancel in a view works between cells; in one that waits, use await")
    if any(name.startswith("VSCODE_") for name in environment):
        said = "VS Code: Cancel in a view works between cells; in one that waits, use await"
        return Finding("front end", said)
    if "JPY_SESSION_NAME" in environment:
        return Finding("front end", f"a Jupyter server, notebook {environment['JPY_SESSION_NAME']}")
    return Finding("front end", "a kernel without a Jupyter server")


def subshells(are_there: bool) -> Finding:  # noqa: FBT001 - the one fact that it is about
    """Whether a view's Cancel reaches the kernel while a plain cell waits."""
    if are_there:
        return Finding(
            "subshells", "yes: Cancel in a view works while a cell waits (JupyterLab 4.4, Notebook 7.4 or later)"
        )
    return Finding(
        "subshells",
        "no",
        "Cancel in a view works between cells only; await in cells, or use Stop: pip install -U ipykernel",
    )


def resources(machine: Machine) -> list[Finding]:
    """Cores, memory and the folder for what does not fit."""
    cores = f"{machine.usable_cores} of {machine.cores} usable by this kernel"
    limit = "" if machine.memory_limit is None else f", limited to {machine.memory_limit / GB:.1f} GB for this kernel"
    memory = f"{machine.memory_free / GB:.1f} GB free{limit}"
    few = "large arguments go to files, and workers may be ended: free some, or have fewer workers: %flowrra workers 1"
    spill = f"{machine.spill_free / GB:.1f} GB free in {machine.spill_folder}, used when memory is scarce"
    return [
        Finding("cores", cores),
        Finding("memory", memory, few if machine.memory_free < GB else ""),
        Finding(
            "spill folder", spill, "set FLOWRRA_SPILL to a folder with more room" if machine.spill_free < GB else ""
        ),
        _shared_memory(hasattr(os, "memfd_create")),
    ]


def _shared_memory(has_memfd: bool) -> Finding:  # noqa: FBT001 - the one fact that it is about
    if has_memfd:
        return Finding("shared memory", "anonymous (memfd): limited by the memory above, not by the size of /dev/shm")
    return Finding("shared memory", "no memfd_create here", "use Linux for sharing large arrays without copies")


def backend(app: Flowrra | None) -> Finding:
    """Where results are kept."""
    if app is None:
        return Finding("app", "there is none yet", "make one: %flowrra start")
    state = "running" if app.running else "not running; it starts with the next submission"
    return Finding("app", f"{app.name} is {state}; results in {app.backend_url}, {app.cpu_workers} workers")


def worker(app: Flowrra | None) -> Finding:
    """Whether a worker process starts and answers. Of an app that does not run nothing is started."""
    if app is None or not app.running:
        return Finding("worker", "not tried, as no app is running")
    begun = time.monotonic()
    run = app.task(name="doctor", cpu_bound=True, priority=1_000_000)(os.getpid).submit()
    try:
        process = run.result(timeout=WORKER_SECONDS)
    except TimeoutError:
        run.cancel()
        todo = "workers are busy with long runs (%flowrra status), or hang: %flowrra cancel --all --now"
        return Finding("worker", f"no answer within {WORKER_SECONDS:.0f} s", todo)
    except Exception as error:  # noqa: BLE001 - whatever keeps a worker from answering is what was looked for
        return Finding(
            "worker", f"{type(error).__name__}: {error}", "see the kernel's log; then %flowrra stop and start"
        )
    return Finding("worker", f"process {process} has answered after {time.monotonic() - begun:.3f} s")


def read_machine() -> Machine:
    """Read the machine as this process may use it."""
    free = _read_number(Path("/proc/meminfo"), lambda text: 1024 * int(text.split("MemAvailable:")[1].split()[0]))
    limit = _read_number(Path("/sys/fs/cgroup/memory.max"), int)
    used = _read_number(Path("/sys/fs/cgroup/memory.current"), int)
    left = [size for size in (free, None if limit is None else limit - (used or 0)) if size is not None]
    spill = os.environ.get("FLOWRRA_SPILL") or tempfile.gettempdir()
    disk = os.statvfs(spill)
    usable = Flowrra(name="doctor").cpu_workers
    return Machine(
        os.cpu_count() or usable, usable, max(0, min(left, default=0)), limit, spill, disk.f_bavail * disk.f_frsize
    )


def _read_number(path: Path, parse: Callable[[str], int]) -> int | None:
    try:
        return parse(path.read_text())
    except (OSError, ValueError, IndexError):  # not there, or "max"
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)

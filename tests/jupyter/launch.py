"""How a kernel process is started for a test: nothing is installed for it, and nothing of the user's is seen by it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import zmq.asyncio
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

# SIGUSR1 makes the kernel write the stack of every thread, so that a cell that hangs tells where.
ON_SIGUSR1 = (
    "import faulthandler as _f, signal as _s, os as _o; "
    "_f.register(_s.SIGUSR1, file=open(_o.environ['KERNEL_STACKS'], 'w'), all_threads=True); del _f, _s, _o"
)


def kernel_manager(home: Path, python: str) -> AsyncKernelManager:
    """A manager whose only kernelspec is one for *python*, written into *home*."""
    folder = home / "kernels" / "driven"
    folder.mkdir(parents=True)
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}", f"--IPKernelApp.exec_lines={ON_SIGUSR1}"]
    spec = {"argv": argv, "display_name": "driven", "language": "python"}
    folder.joinpath("kernel.json").write_text(json.dumps(spec))
    return AsyncKernelManager(
        kernel_name="driven",
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(home / "kernels")], ensure_native_kernel=False),
        context=zmq.asyncio.Context(),
        connection_file=str(home / "connection.json"),
    )


def environment(home: Path, changes: Mapping[str, str | None], stacks: Path) -> dict[str, str]:
    """This process's environment with the user's IPython and Jupyter folders replaced; None in *changes* removes."""
    env = {
        **os.environ,
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "KERNEL_STACKS": str(stacks),
    }
    for name, value in changes.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    return env

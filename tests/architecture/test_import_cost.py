from __future__ import annotations

import subprocess
import sys

import pytest

FORBIDDEN = {
    *("IPython", "anywidget", "ipykernel", "ipywidgets", "traitlets", "zmq", "flowrra_jupyter"),
    *("sqlalchemy", "aiosqlite", "redis", "dask", "distributed"),
    *("numpy", "pandas", "click", "cloudpickle", "xxhash", "multiprocessing", "flowrra.testing"),
}

AT_A_START = {
    *("asyncio", "concurrent.futures", "dataclasses", "hashlib", "inspect", "logging", "pathlib", "shutil"),
    *("subprocess", "tempfile", "traceback", "flowrra.engine", "flowrra.pool.data.depot", "flowrra.pool.supervisor"),
}
"""What the first run of a pool would wait for without any use."""


def modules_after(code: str) -> set[str]:
    """The modules that *code* loads in a fresh interpreter, beyond those that an empty program loads."""
    script = f"""
import sys
before = set(sys.modules)
{code}
after = set(sys.modules)
print(*sorted(after - before))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_flowrra_loads_no_heavy_module() -> None:
    assert modules_after("import flowrra") & FORBIDDEN == set()


@pytest.mark.parametrize("name", ["Flowrra", "Task", "TaskHandle", "Batch", "Status", "FlowrraError", "as_completed"])
def test_taking_a_public_name_loads_no_notebook_or_array_module(name: str) -> None:
    assert modules_after(f"from flowrra import {name}") & (FORBIDDEN - {"cloudpickle", "xxhash"}) == set()


def test_the_process_that_forks_workers_loads_what_a_first_run_needs_and_no_more() -> None:
    assert modules_after("import flowrra.pool.process.zygote") & (FORBIDDEN | AT_A_START) == set()


def test_an_app_that_runs_nothing_on_processes_loads_nothing_for_them() -> None:
    code = """
from flowrra import Flowrra
with Flowrra() as app:
    assert app.task(lambda: 1, name="thread").submit().result() == 1
"""
    not_needed = {"cloudpickle", "xxhash", "flowrra.pool.supervisor", "flowrra.pool.data.depot"}
    assert modules_after(code) & not_needed == set()

from __future__ import annotations

import subprocess
import sys

import pytest

FORBIDDEN = {
    *("IPython", "anywidget", "ipykernel", "ipywidgets", "traitlets", "zmq", "flowrra_jupyter"),
    *("sqlalchemy", "aiosqlite", "redis", "dask", "distributed"),
    *("numpy", "pandas", "click", "cloudpickle", "xxhash", "multiprocessing", "flowrra.testing"),
}


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

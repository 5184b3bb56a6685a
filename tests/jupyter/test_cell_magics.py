"""``%%flowrra run``, ``%%flowrra map`` and ``%%flowrra task`` in a real kernel."""

from __future__ import annotations

import pytest

from tests.jupyter.driver import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]


@pytest.fixture
def notebook(kernel_with_extension: Kernel) -> Kernel:
    kernel_with_extension.run("%flowrra start --workers 2\nimport os, asyncio, time")
    return kernel_with_extension


def refusal(kernel: Kernel, cell: str) -> str:
    """What is said of a cell that is refused, without a traceback."""
    refused = kernel.run(cell, check=False)
    assert refused.status == "error"
    assert "Traceback" not in refused.stderr
    return refused.stderr


def until_bound(kernel: Kernel, name: str) -> str:
    """The value of a variable that is bound by and by."""
    kernel.run(f"for attempt in range(1000):\n    if {name!r} in globals(): break\n    time.sleep(0.01)")
    return kernel.run(name).text


def test_a_cell_runs_elsewhere_with_what_it_reads_and_binds_its_outputs_when_done(notebook: Kernel) -> None:
    notebook.run("here = os.getpid()\nfactor = 3\ndef helper(x): return x * factor")
    notebook.run("class Point:\n    def __init__(self, x): self.x = x")
    shown = notebook.run(
        "%%flowrra run -o y p square\n"
        "y = helper(2) + factor - 3\np = Point(y)\ndef square(v): return v * v\nos.getpid()"
    )
    assert "run_cell" in shown.displays[0].text
    notebook.run("handle = _")
    assert notebook.run("handle.result(20) not in (None, here)").text == "True"
    assert until_bound(notebook, "square") is not None
    assert (
        notebook.run("y, type(p) is Point, p.x, square(4), sorted(handle.outputs)").text
        == "(6, True, 6, 16, ['p', 'square', 'y'])"
    )
    assert notebook.run("await handle == handle.result()").text == "True"
    assert notebook.run("'here' in globals() and 'factor=3' in handle.info().args_preview").text == "True"


def test_variables_are_sent_as_they_are_at_that_moment_and_stay_as_they_are(notebook: Kernel) -> None:
    notebook.run("items = [1]\nn = 1")
    notebook.run("%%flowrra run\nimport time; time.sleep(0.3)\nitems.append(n); n = n + 1\nitems, n")
    notebook.run("sent = _; items.append(99)")
    assert notebook.run("sent.result(20), items, n").text == "(([1, 1], 2), [1, 99], 1)"


def test_an_array_that_a_cell_changes_is_the_cells_own_copy(notebook: Kernel) -> None:
    notebook.run("import numpy as np\na = np.zeros(100_000)")
    notebook.run("%%flowrra run -o b\na[0] = 7\nb = a * 2\nfloat(a.sum())")
    assert notebook.run("_.result(20)").text == "7.0"
    assert until_bound(notebook, "b") is not None
    assert notebook.run("float(a.sum()), float(b.sum())").text == "(0.0, 14.0)"


def test_an_output_that_was_assigned_meanwhile_is_left_alone_and_told(notebook: Kernel) -> None:
    notebook.run("y = 'before'")
    cell = notebook.start_cell("%%flowrra run -o y\nimport time; time.sleep(0.5)\ny = 'from the cell'")
    cell.wait()
    notebook.run("handle = _; y = 'mine'")
    notebook.run("handle.result(20)")
    cell.wait_for(lambda output: "'y' was assigned meanwhile and is left alone" in output.stdout)
    assert "handle.outputs" in cell.output.stdout
    assert notebook.run("y, handle.outputs").text == "('mine', {'y': 'from the cell'})"


def test_a_cell_that_is_run_again_binds_its_latest_outputs(notebook: Kernel) -> None:
    cell = "%%flowrra run -o y\nimport time; time.sleep({})\ny = {!r}"
    notebook.run(cell.format(0.4, "first"))
    notebook.run("first = _")
    notebook.run(cell.format(0, "second"))
    notebook.run("second = _; second.result(20); first.result(20); time.sleep(0.1)")
    assert notebook.run("y").text == "'second'"


def test_only_named_inputs_are_sent_if_any_is_named(notebook: Kernel) -> None:
    notebook.run("a = 1; b = 2")
    notebook.run("%%flowrra run -i a\na, 'b' in globals()")
    assert notebook.run("_.result(20)").text == "(1, False)"
    assert "the cell needs 'c'" in refusal(notebook, "%%flowrra run -i a c\na")


def test_a_failure_shows_the_line_of_the_cell_and_binds_nothing(notebook: Kernel) -> None:
    notebook.run("%%flowrra run -o y\ny = 1\nnumber = 0\ny / number  # the line to see")
    notebook.run("handle = _; handle.wait(20)")
    told = notebook.run("print(handle.info().error.traceback)").stdout
    assert "# the line to see" in told
    assert "ZeroDivisionError" in told
    assert "flowrra_jupyter" not in told
    assert notebook.run("'y' in globals()").text == "False"


def test_a_cell_with_await_runs_in_the_kernels_loop_with_the_variables_themselves(notebook: Kernel) -> None:
    notebook.run("loop = asyncio.get_running_loop()\nlock = asyncio.Lock()\nseen = []")
    notebook.run(
        "%%flowrra run -o here\n"
        "async with lock:\n    await asyncio.sleep(0.01)\n"
        "seen.append(1)\nhere = asyncio.get_running_loop() is loop\nawait asyncio.sleep(0, 'value')"
    )
    assert notebook.run("await _").text == "'value'"
    assert until_bound(notebook, "here") == "True"
    assert notebook.run("seen").text == "[1]"


def test_what_cannot_travel_is_refused_before_anything_is_queued(notebook: Kernel) -> None:
    for made, what, remedy in (
        ("v = open(os.devnull)", "an open file", "pass its path"),
        ("import sqlite3; v = sqlite3.connect(':memory:')", "sqlite3.Connection", "connect in the cell"),
        ("v = (i for i in range(3))", "generator", "pass a list of its items"),
        ("import threading; v = [threading.Lock()]", "lock", "create it in the cell"),
        ("import types; v = types.ModuleType('made_here')", "a module that a worker process cannot import", ".py"),
        ("v = app", "Flowrra", ""),
        ("v = [app.task(os.getpid).map([])]", "handle", "pass its value"),
    ):
        notebook.run(made)
        told = refusal(notebook, "%%flowrra run\nprint(v)")
        assert "'v'" in told
        assert what in told
        assert remedy in told
    assert notebook.run("len(app.blocking.runs())").text == "0"


def test_a_cell_that_cannot_be_what_was_asked_for_is_told_why(notebook: Kernel) -> None:
    for cell, words in (
        ("%%flowrra run\nunknwon + 1", "the cell needs 'unknwon'"),
        (
            "%%flowrra run -o modle\nmodel = 1",
            "-o modle: the cell assigns no variable of that name; did you mean 'model'",
        ),
        ("%%flowrra run\n!ls", "magics and shell commands"),
        ("%%flowrra run\nx = = 1", "the cell is not Python"),
        ("%%flowrra map\n1", "needs the values"),
        ("%%flowrra map x=[1] x=[2]\n1", "'x' is given twice"),
        ("%%flowrra map x=[1] -o a b\nx", "-o a: the cell assigns no variable"),
        ("%%flowrra task f -p x=1 -p y\nx", "parameters without a default come first"),
        ("%%flowrra task f\nglobal __builtins__\nfrom os import *", "cannot be the body of a function"),
        ("%%flowrra task f\nyield 1", "'yield' outside function"),
        ("%%flowrra rnu\n1", "did you mean '%%flowrra run'"),
    ):
        assert words in refusal(notebook, cell)


def test_a_map_runs_the_cell_once_per_value(notebook: Kernel) -> None:
    notebook.run("power = 2\npids = None")
    notebook.run("%%flowrra map x=range(20) -o squares\nx ** power")
    notebook.run("batch = _")
    assert notebook.run("batch.result(timeout=20) == [x * x for x in range(20)]").text == "True"
    assert until_bound(notebook, "squares") is not None
    assert notebook.run("squares == batch.result(), batch[3].info().args_preview").text == "(True, 'x=3, power=2')"
    notebook.run("%%flowrra map x=[1, 2] y=(10, 20) -o total both --name add\ntotal = x + y\nboth = x, y")
    assert notebook.run("_.result(timeout=20)").text == "[(11, (1, 10)), (22, (2, 20))]"
    assert until_bound(notebook, "both") == "[(1, 10), (2, 20)]"
    assert notebook.run("total, app.blocking.runs(limit=1)[0].task_name").text == "([11, 22], 'add')"


def test_a_map_of_a_cell_with_await_runs_in_the_kernel(notebook: Kernel) -> None:
    notebook.run("%%flowrra map s=[0.02, 0.01]\nawait asyncio.sleep(s)\nos.getpid()")
    assert notebook.run("await _ == [os.getpid()] * 2").text == "True"


def test_a_task_is_made_of_a_cell(notebook: Kernel) -> None:
    told = notebook.run("%%flowrra task simulate -p seed -p steps=2 --max-retries 1\nz = seed * steps\nz + offset")
    assert told.stdout == "flowrra: the task simulate(seed, steps=2) runs in worker processes\n"
    notebook.run("offset = 1")
    assert notebook.run("simulate.map([1, 2]).result(timeout=20), simulate.submit(1, steps=5).result(20)").text == (
        "([3, 5], 6)"
    )
    notebook.run("offset = 100")
    assert notebook.run("simulate(1), simulate.submit(1).result(20)").text == "(102, 102)"
    failed = notebook.run("%%flowrra task broken -p n\nlimit = 0\nn / limit  # the line to see")
    assert "broken(n)" in failed.stdout
    shown = notebook.run("h = broken.submit(1); h.wait(20); print(h.info().error.traceback)").stdout
    assert "# the line to see" in shown


def test_a_task_of_a_cell_with_await_runs_in_the_kernels_loop(notebook: Kernel) -> None:
    told = notebook.run("%%flowrra task nap -p seconds\nawait asyncio.sleep(seconds)\nos.getpid()")
    assert "in the kernel's event loop" in told.stdout
    assert notebook.run("await nap.submit(0.01) == os.getpid()").text == "True"


def test_a_cell_starts_the_app_by_itself(kernel_with_extension: Kernel) -> None:
    kernel_with_extension.run("%%flowrra run\n6 * 7")
    assert kernel_with_extension.run("_.result(20)").text == "42"

"""The magics, cells that are run again, and loading and unloading."""

from __future__ import annotations

import pytest

from tests.jupyter.driver import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

TASKS = """
import time
@app.task(cpu_bound=True)
def double(x):
    import os, time
    time.sleep(0.05)
    return 2 * x
@app.task(cpu_bound=True)
def worker():
    import os, time
    time.sleep(0.2)
    return os.getpid()
"""


@pytest.fixture
def notebook(kernel_with_extension: Kernel) -> Kernel:
    kernel_with_extension.run("%flowrra start --workers 2")
    kernel_with_extension.run(TASKS)
    return kernel_with_extension


def shown(result) -> str:
    """What the views of a cell say, as text."""
    return "\n".join(display.text for display in result.displays)


def test_start_binds_the_app_and_says_so_in_one_line(kernel_with_extension: Kernel) -> None:
    started = kernel_with_extension.run("%flowrra start --workers 2")
    assert started.stdout == "flowrra: app is running, with 2 processes for CPU-bound tasks\n"
    assert (started.result, started.stderr) == (None, "")
    assert kernel_with_extension.run("app.running, app.cpu_workers").text == "(True, 2)"


def test_start_again_reuses_the_app(notebook: Kernel) -> None:
    notebook.run("first = app")
    notebook.run("%flowrra start")
    notebook.run("%flowrra start --workers 2")
    assert notebook.run("app is first").text == "True"
    assert notebook.run("import flowrra_jupyter; flowrra_jupyter.app(workers=2) is first").text == "True"


def test_start_with_another_number_of_workers_moves_the_tasks_to_a_new_app(notebook: Kernel) -> None:
    notebook.run("double.submit(1).result(20)")
    again = notebook.run("%flowrra start --workers 1")
    assert again.stdout == ("flowrra: app is running, with 1 process for CPU-bound tasks instead of 2 processes\n")
    assert notebook.run("len({h.result(30) for h in [worker.submit() for _ in range(4)]})").text == "1"


def test_start_leaves_a_variable_alone_that_holds_something_else(kernel_with_extension: Kernel) -> None:
    kernel_with_extension.run("app = [1, 2]")
    refused = kernel_with_extension.run("%flowrra start", check=False)
    assert refused.status == "error"
    assert "UsageError: %flowrra: the variable 'app' holds a value of type list" in refused.stderr
    assert "--as NAME" in refused.stderr
    assert kernel_with_extension.run("app").text == "[1, 2]"
    assert "flowrra: jobs is running" in kernel_with_extension.run("%flowrra start --as jobs").stdout
    assert kernel_with_extension.run("jobs.running").text == "True"


def test_an_app_made_in_a_cell_starts_by_itself_and_is_what_the_magics_are_about(kernel_with_extension: Kernel) -> None:
    kernel = kernel_with_extension
    kernel.run("from flowrra import Flowrra\napp = Flowrra(cpu_workers=2)\nmine = app" + TASKS)
    assert kernel.run("double.submit(4).result(20)").text == "8"
    kernel.run("%flowrra start")
    assert kernel.run("app is mine").text == "True"
    assert "double(x=4)" in kernel.run("%flowrra runs").text


def test_a_cell_that_makes_an_app_can_be_run_again_without_a_second_pool(kernel_with_extension: Kernel) -> None:
    kernel = kernel_with_extension
    cell = "from flowrra import Flowrra\napp = Flowrra(cpu_workers=2)" + TASKS
    for _ in range(3):
        kernel.run(cell)
        kernel.run("pids = {h.result(30) for h in [worker.submit() for _ in range(4)]}")
    assert kernel.run("len(pids)").text == "2"
    workers = kernel.run("len(app.stats().executors['cpu']['pids'])").text
    assert workers in ("2", "3")
    assert len(kernel.descendants()) <= 4


def test_the_view_of_the_app_tells_what_all_its_tasks_are_doing(notebook: Kernel) -> None:
    notebook.run("double.map(range(3)).result(timeout=20); worker.submit().result(20)")
    view = shown(notebook.run("%flowrra"))
    assert "4 runs: 4 done" in view
    assert "double(x=2)" in view
    assert "worker()" in view
    assert shown(notebook.run("%flowrra show")).splitlines()[0] == view.splitlines()[0]


def test_status_runs_show_and_cancel(notebook: Kernel) -> None:
    notebook.run("from flowrra import Status\nh = double.submit(21); h.result(20)")
    assert "running; runs: 1 done" in notebook.run("%flowrra status").text
    assert notebook.run("s = %flowrra status\ns.counts[Status.SUCCESS]").text == "1"
    listed = notebook.run("%flowrra runs --status done --limit 5")
    assert "double(x=21)" in listed.text
    assert "double(x=21)" in listed.html
    assert notebook.run("%flowrra runs --status failed").text == "runs: 0 runs"
    assert notebook.run("r = %flowrra runs\nr[0].result").text == "42"
    assert "1 run: 1 done" in shown(notebook.run("get_ipython().run_line_magic('flowrra', f'show {h.id}')"))

    notebook.run(
        "@app.task(cpu_bound=True)\n"
        "def hang():\n"
        "    import time; time.sleep(60)\n"
        "hung = [hang.submit() for _ in range(3)]"
    )
    assert notebook.run("get_ipython().run_line_magic('flowrra', f'cancel {hung[0].id}')").text == "1"
    # Until its worker has ended it goes on, and would be asked again.
    assert notebook.run("hung[0].wait(10)").text == "True"
    assert notebook.run("%flowrra cancel --all").text == "2"
    assert (
        notebook.run("[h.wait(10) and str(h.status) for h in hung]").text == "['CANCELLED', 'CANCELLED', 'CANCELLED']"
    )
    assert notebook.run("double.submit(1).result(20)").text == "2"


def test_an_unknown_run_is_named(notebook: Kernel) -> None:
    unknown = notebook.run("%flowrra show nowhere", check=False)
    assert unknown.status == "error"
    assert "UsageError: %flowrra: no run 'nowhere' is known here" in unknown.stderr
    assert "Traceback" not in unknown.stderr


def test_stop_cancels_what_is_not_done_and_start_starts_again(notebook: Kernel) -> None:
    notebook.run(
        "import asyncio\n"
        "@app.task\n"
        "async def nap(s): await asyncio.sleep(s)\n"
        "left = nap.submit(60)\nawait asyncio.sleep(0.1)"
    )
    stopped = notebook.run("%flowrra stop")
    assert "1 unfinished run cancelled" in stopped.stdout
    assert notebook.run("app.running, str(left.status)").text == "(False, 'CANCELLED')"
    assert "is not running" in notebook.run("%flowrra stop").stdout
    assert "stopped" in notebook.run("%flowrra status").text
    assert "nap(s=60)" in notebook.run("%flowrra runs").text
    assert "1 run: 1 cancelled" in shown(notebook.run("%flowrra"))
    notebook.run("%flowrra start")
    assert notebook.run("double.submit(1).result(20)").text == "2"


def test_stop_with_drain_lets_accepted_runs_finish(notebook: Kernel) -> None:
    notebook.run("runs = double.map(range(10))")
    assert "is stopped" in notebook.run("%flowrra stop --drain").stdout
    assert notebook.run("runs.result()[-1]").text == "18"


def test_cancel_all_reaches_more_runs_than_a_view_shows(notebook: Kernel) -> None:
    notebook.run("many = double.map(range(1000))")
    assert int(notebook.run("%flowrra cancel --all").text) > 900
    assert notebook.run("many.wait(20)").text == "True"


@pytest.mark.parametrize(
    ("line", "words"), [("strat", "did you mean '%flowrra start'"), ("start --workers x", "must be 1 or more")]
)
def test_a_wrong_line_is_told_without_a_traceback(kernel_with_extension: Kernel, line: str, words: str) -> None:
    refused = kernel_with_extension.run(f"%flowrra {line}", check=False)
    told = refused.stderr + (str(refused.error) if refused.error is not None else "")
    assert words in told
    assert "Traceback" not in told


def test_the_magics_without_an_app_say_how_to_make_one(kernel_with_extension: Kernel) -> None:
    for line in ("", "status", "runs", "show", "cancel --all", "stop"):
        refused = kernel_with_extension.run(f"%flowrra {line}", check=False)
        assert refused.status == "error"
        assert "UsageError: %flowrra: there is no app" in refused.stderr
        assert "%flowrra start" in refused.stderr
    assert "%flowrra start" in kernel_with_extension.run("%flowrra --help").stdout
    assert "SYNOPSIS\n    %flowrra stop [--drain]" in kernel_with_extension.run("%flowrra help stop").stdout


def test_loading_again_changes_nothing_and_unloading_takes_everything_back(notebook: Kernel) -> None:
    assert "already loaded" in notebook.run("%load_ext flowrra_jupyter").stdout
    notebook.run("%reload_ext flowrra_jupyter")
    notebook.run("kept = app")
    notebook.run("%flowrra start")
    assert notebook.run("app is kept and double.submit(2).result(20)").text == "4"
    notebook.run("%unload_ext flowrra_jupyter")
    assert notebook.run("from flowrra import current_host\ncurrent_host()").result is None
    assert "Batch" in notebook.run("double.map([1])").text
    gone = notebook.run("%flowrra status", check=False)
    assert "not found" in gone.stderr + str(gone.error)


def test_without_the_notebook_packages_loading_names_the_extra(kernel: Kernel) -> None:
    refused = kernel.run("import sys; sys.modules['anywidget'] = None\n%load_ext flowrra_jupyter", check=False)
    assert refused.error is not None
    assert "pip install 'flowrra[jupyter]'" in refused.error.value

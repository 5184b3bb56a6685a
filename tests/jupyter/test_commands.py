"""Sub-commands of ``%flowrra`` that do something to runs, tasks and workers; their help and their completion."""

from __future__ import annotations

import pytest

from tests.jupyter.driver import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

TASKS = """
import time
from pathlib import Path
gate = Path('gate').absolute()

@app.task(cpu_bound=True)
def divide(a, b, gate):
    from pathlib import Path
    print('dividing', a)
    part = a * 2
    return part if Path(gate).exists() else part / b

@app.task
async def wait_for(seconds):
    import asyncio
    await asyncio.sleep(seconds)
    raise ValueError(seconds)
"""


@pytest.fixture
def notebook(kernel_with_extension: Kernel) -> Kernel:
    kernel_with_extension.run("%flowrra start --workers 2")
    kernel_with_extension.run(TASKS)
    return kernel_with_extension


def failed_run(kernel: Kernel) -> str:
    """The id of a run of ``divide`` that has failed; its handle is in ``failed``."""
    kernel.run("failed = divide.submit(7, 0, str(gate)); failed.wait(20)")
    return kernel.run("print(failed.id)").stdout.strip()


def refusal(kernel: Kernel, line: str) -> str:
    refused = kernel.run(line, check=False)
    assert refused.status == "error"
    assert "Traceback" not in refused.stderr
    return refused.stderr


def completions(kernel: Kernel, line: str) -> list[str]:
    reply = kernel.request("complete_request", {"code": line, "cursor_pos": len(line)})
    return list(reply["matches"])


def test_logs_shows_what_a_run_has_printed(notebook: Kernel) -> None:
    run = failed_run(notebook)
    assert notebook.run(f"%flowrra logs {run}").stdout == "dividing 7\n"
    notebook.run("del failed")
    assert notebook.run(f"%flowrra logs {run}").stdout == "dividing 7\n"
    notebook.run("gate.touch(); batch = divide.map([1, 2], b=0, gate=str(gate)); batch.wait(20)")
    assert notebook.run("get_ipython().run_line_magic('flowrra', f'logs {batch[1].id}')").stdout == "dividing 2\n"
    notebook.run("quiet = wait_for.submit(0)")
    notebook.run("try: await quiet\nexcept ValueError: pass")
    assert "has printed nothing" in notebook.run("get_ipython().run_line_magic('flowrra', f'logs {quiet.id}')").stdout
    assert "no run 'nowhere'" in refusal(notebook, "%flowrra logs nowhere")


def test_retry_submits_a_run_again_or_all_that_have_failed(notebook: Kernel) -> None:
    run = failed_run(notebook)
    notebook.run(f"%flowrra retry {run}")
    assert notebook.run("again = _; again.wait(20), str(again.status), again.info().retry_of == failed.id").text == (
        "(True, 'FAILED', True)"
    )
    notebook.run("batch = divide.map([1, 2, 3], b=0, gate=str(gate)); batch.wait(20); gate.touch()")
    assert "4 runs" in notebook.run("%flowrra retry --failed").text
    assert notebook.run("batch.result(timeout=20)").text == "[2, 4, 6]"
    assert "0 runs" in notebook.run("%flowrra retry --failed").text
    assert "only runs that failed or were cancelled" in refusal(
        notebook, "get_ipython().run_line_magic('flowrra', f'retry {batch[0].id}')"
    )


def test_pause_and_resume_hold_back_a_task_or_everything(notebook: Kernel) -> None:
    notebook.run("gate.touch()")
    for name in ("divide", ""):
        assert "paused" in notebook.run(f"%flowrra pause {name}").stdout
        notebook.run("held = divide.submit(1, 1, str(gate))")
        assert notebook.run("held.wait(0.3), str(held.status)").text == "(False, 'PENDING')"
        assert "goes on" in notebook.run(f"%flowrra resume {name}").stdout
        assert notebook.run("held.result(20)").text == "2"
    assert "did you mean 'divide'" in refusal(notebook, "%flowrra pause dividde")
    assert "there is no task 'xyz'" in refusal(notebook, "%flowrra resume xyz")


def test_workers_changes_their_number_while_they_work(notebook: Kernel) -> None:
    told = notebook.run("%flowrra workers 1").stdout
    assert told == "flowrra: 1 process for CPU-bound tasks instead of 2 processes\n"
    assert notebook.run("app.cpu_workers, divide.submit(1, 1, str(gate)).result(20)").text == "(1, 2.0)"


def test_debug_runs_the_call_again_here_and_opens_the_debugger_where_it_fails(notebook: Kernel) -> None:
    run = failed_run(notebook)
    notebook.answers[:] = ["p part", "p a + 100", "q"]
    told = notebook.run(f"%flowrra debug {run}", check=False)
    assert notebook.answers == []
    assert "ZeroDivisionError" in told.stderr + told.stdout + str(told.error)
    assert "14" in told.stdout
    assert "107" in told.stdout
    assert "session.py" not in str(told.error)
    notebook.run("gate.touch()")
    told = notebook.run(f"%flowrra debug {run}")
    assert "has not failed this time: it returned 14" in told.stdout
    assert "no run 'nowhere'" in refusal(notebook, "%flowrra debug nowhere")


def test_debug_takes_large_arguments_constants_and_coroutines_too(notebook: Kernel) -> None:
    notebook.run(
        "import numpy as np\n"
        "@app.task(cpu_bound=True)\n"
        "def total(scale, data):\n    data[0] = scale\n    raise ValueError(float(data.sum()))\n"
        "data = np.zeros(100_000)\n"
        "batch = total.map([1, 2, 3], data=data); batch.wait(20)\n"
        "late = wait_for.submit(0.01)"
    )
    notebook.run("try: await late\nexcept ValueError: pass")
    for handle, value in (("batch[1]", "2.0"), ("late", "0.01")):
        notebook.answers[:] = ["q"]
        told = notebook.run(f"get_ipython().run_line_magic('flowrra', f'debug {{{handle}.id}}')", check=False)
        assert f"ValueError: {value}" in told.stdout + told.stderr + str(told.error)
    assert notebook.run("float(data.sum())").text == "0.0"


def test_doctor_finds_a_healthy_place_and_says_what_to_do_about_others(notebook: Kernel) -> None:
    told = notebook.run("%flowrra doctor").stdout
    for word in (
        "flowrra",
        "ipykernel",
        "anywidget",
        "cores",
        "memory",
        "subshells",
        "memory://",
        "has answered after",
    ):
        assert word in told
    assert "! worker" not in told
    notebook.run("%flowrra stop")
    assert "not tried" in notebook.run("%flowrra doctor").stdout


def test_completion_knows_sub_commands_options_tasks_and_runs(notebook: Kernel) -> None:
    run = failed_run(notebook)
    assert completions(notebook, "%flowrra ca") == ["cancel"]
    assert completions(notebook, "%%flowrra m") == ["map"]
    assert completions(notebook, "%flowrra runs --status fa") == ["failed"]
    assert "--limit" in completions(notebook, "%flowrra runs ")
    assert completions(notebook, "%flowrra start --on") == ["--on-interrupt"]
    assert completions(notebook, "%flowrra start --on-interrupt ") == ["keep", "own", "all"]
    assert "divide" in completions(notebook, "%flowrra pause ")
    assert run in completions(notebook, "%flowrra logs ")
    assert completions(notebook, f"%flowrra logs {run[:-1]}") == [run]
    assert "doctor" in completions(notebook, "%flowrra help ")
    assert "gate" in completions(notebook, "%%flowrra run -i ga")
    assert "divide" in completions(notebook, "divi")


def test_help_is_a_page_for_each_sub_command(notebook: Kernel) -> None:
    assert "%%flowrra map" in notebook.run("%flowrra help").stdout
    for line in ("%flowrra help cancel", "%flowrra cancel --help"):
        assert "EXAMPLES\n    %flowrra cancel 4f2a-17" in notebook.run(line).stdout
    assert "did you mean '%flowrra cancel'" in refusal(notebook, "%flowrra help cancle")

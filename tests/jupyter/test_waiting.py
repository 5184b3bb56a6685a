"""Coroutine tasks share the kernel's loop with the cells; cells wait for runs in either way."""

from __future__ import annotations

import time

import pytest

from tests.jupyter.driver import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

TASKS = """
import asyncio, os, threading, time
kernel_loop = asyncio.get_running_loop()
made_in_a_cell = asyncio.Lock()

@app.task
async def where(delay=0.05):
    async with made_in_a_cell:
        await asyncio.sleep(delay)
    return asyncio.get_running_loop() is kernel_loop and threading.current_thread() is threading.main_thread()

@app.task
async def nap(seconds):
    await asyncio.sleep(seconds)

@app.task(cpu_bound=True)
def spin(seconds):
    import time
    time.sleep(seconds)
    return seconds

@app.task
def on_a_thread(seconds):
    time.sleep(seconds)
    return threading.current_thread() is not threading.main_thread()
"""


@pytest.fixture
def notebook(kernel_with_extension: Kernel) -> Kernel:
    kernel_with_extension.run("%flowrra start --workers 2")
    kernel_with_extension.run(TASKS)
    # The first traceback of a kernel takes long to be made; what is timed here is not that.
    kernel_with_extension.run("1 / 0", check=False)
    return kernel_with_extension


def is_patched(kernel: Kernel) -> bool:
    return kernel.run("hasattr(kernel_loop, '_nest_patched')").text == "True"


def test_a_coroutine_task_runs_in_the_kernels_loop_and_is_awaited(notebook: Kernel) -> None:
    assert notebook.run("await where.submit()").text == "True"
    assert notebook.run("await where.map([0.01] * 3)").text == "[True, True, True]"
    assert (
        notebook.run("[await handle async for handle in where.map([0.01] * 2).as_completed()]").text == "[True, True]"
    )
    assert not is_patched(notebook)


def test_a_plain_cell_waits_for_a_coroutine_task_and_is_told_once_of_await(notebook: Kernel) -> None:
    first = notebook.run("where.submit().result(20)")
    assert first.text == "True"
    assert "'await' it instead" in first.stderr
    second = notebook.run("where.map([0.01] * 3).result(timeout=20)")
    assert second.text == "[True, True, True]"
    assert second.stderr == ""


def test_waiting_for_processes_and_threads_patches_nothing(notebook: Kernel) -> None:
    waited = notebook.run(
        "spin.submit(0.1).result(20), on_a_thread.submit(0.1).result(20), app.blocking.runs(limit=1)[0].task_name"
    )
    assert waited.text == "(0.1, True, 'on_a_thread')"
    assert waited.stderr == ""
    assert not is_patched(notebook)


def test_a_wait_with_a_timeout_gives_up_and_the_run_goes_on(notebook: Kernel) -> None:
    gave_up = notebook.run("slow = where.submit(1.0)\nslow.result(timeout=0.2)", check=False)
    assert gave_up.error is not None
    assert gave_up.error.name == "WaitTimeout"
    assert gave_up.duration < 1.0
    assert notebook.run("await slow").text == "True"


def test_a_coroutine_task_that_blocks_for_another_one_is_refused_not_hung(notebook: Kernel) -> None:
    notebook.run(
        "@app.task\n"
        "async def stuck():\n"
        "    inner = where.submit()\n"
        "    try:\n"
        "        return inner.result()\n"
        "    except Exception as error:\n"
        "        return type(error).__name__"
    )
    assert notebook.run("await stuck.submit()").text == "'NeedsAwait'"


@pytest.mark.parametrize(
    "wait", ["spin.submit(30).result()", "nap.submit(30).result()", "await spin.submit(30)", "await nap.submit(30)"]
)
def test_interrupt_ends_a_wait_at_once(notebook: Kernel, wait: str) -> None:
    notebook.run("spin.submit(0).result(20)")
    cell = notebook.start_cell(f"print('waiting', flush=True)\n{wait}")
    cell.wait_for(lambda output: "waiting" in output.stdout)
    time.sleep(0.3)  # into the wait itself, wherever that is
    pressed = time.monotonic()
    notebook.interrupt()
    error = cell.wait(10).error
    assert error is not None
    assert error.name == "KeyboardInterrupt"
    assert "hidden" in error.traceback
    assert time.monotonic() - pressed < 3 * 0.3
    assert notebook.run("await where.submit()").text == "True"


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ("raise SystemExit(3)", "FAILED", "TaskExit"),
        ("raise KeyboardInterrupt", "FAILED", "TaskExit"),
        ("raise asyncio.CancelledError", "CANCELLED", "TaskCancelled"),
        ("time.sleep(2)", "SUCCESS", "NoneType"),
    ],
)
@pytest.mark.parametrize("kind", ["async def", "def"])
def test_a_misbehaving_task_leaves_engine_and_kernel_alive(
    notebook: Kernel, kind: str, body: str, status: str, error: str
) -> None:
    notebook.run(f"@app.task\n{kind} misbehave():\n    {body}")
    ended = notebook.run(
        "bad = misbehave.submit()\nawait asyncio.sleep(0)\nwhile not bad.done(): await asyncio.sleep(0.02)"
    )
    assert ended.error is None
    assert notebook.run("str(bad.status), type(bad.exception()).__name__").text == f"('{status}', '{error}')"
    assert notebook.run("await where.submit(), on_a_thread.submit(0).result(20), spin.submit(0).result(20)").text == (
        "(True, True, 0)"
    )


def test_a_coroutine_that_swallows_its_cancellation_loses_its_run_not_the_kernel(notebook: Kernel) -> None:
    notebook.run(
        "@app.task\n"
        "async def stubborn():\n"
        "    while True:\n"
        "        try:\n"
        "            await asyncio.sleep(3)\n"
        "            return 'late'\n"
        "        except asyncio.CancelledError:\n"
        "            pass\n"
        "h = stubborn.submit(); await asyncio.sleep(0.2)"
    )
    assert notebook.run("h.cancel()").text == "True"
    ended = notebook.run("while not h.done(): await asyncio.sleep(0.02)\nstr(h.status)")
    assert ended.text == "'CANCELLED'"
    assert ended.duration < 2
    assert notebook.run("await where.submit()").text == "True"

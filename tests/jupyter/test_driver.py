from __future__ import annotations

import os
import signal
import time

import pytest

from flowrra.testing import leaks
from tests.jupyter.driver import Kernel, KernelTimeout

pytestmark = pytest.mark.kernel


def test_a_cell_gives_its_streams_result_displays_and_error(kernel: Kernel) -> None:
    kernel.run("import sys; from IPython.display import HTML, display, update_display")
    result = kernel.run("print('out'); print('err', file=sys.stderr); display(HTML('<b>x</b>'), display_id='d'); 6 * 7")
    assert (result.stdout, result.stderr, result.text) == ("out\n", "err\n", "42")
    assert result.displays[0].html == "<b>x</b>"

    kernel.start_cell("update_display(HTML('<b>y</b>'), display_id='d')")
    kernel.wait_for(lambda: "y" in kernel.displays["d"].html)
    assert [bundle["text/html"] for bundle in result.by_id["d"].history] == ["<b>x</b>", "<b>y</b>"]

    failed = kernel.run("1 / 0", check=False)
    assert failed.error is not None
    assert (failed.error.name, failed.status) == ("ZeroDivisionError", "error")
    assert "1 / 0" in failed.error.traceback


def test_a_running_cell_is_watched_and_interrupted(kernel: Kernel) -> None:
    cell = kernel.start_cell("import time\nprint('go', flush=True)\ntime.sleep(60)")
    cell.wait_for(lambda output: "go" in output.stdout)
    kernel.interrupt()
    error = cell.wait(10).error
    assert error is not None
    assert error.name == "KeyboardInterrupt"


def test_a_cell_that_hangs_fails_with_the_stacks_of_the_kernel(kernel: Kernel) -> None:
    cell = kernel.start_cell("import time\ndef stuck(): time.sleep(60)\nstuck()")
    with pytest.raises(KernelTimeout, match="in stuck"):
        cell.wait(1)
    kernel.interrupt()
    cell.wait(10)


def test_comm_messages_reach_the_kernel_and_come_back(kernel: Kernel) -> None:
    kernel.run(
        "from IPython import get_ipython\n"
        "def opened(comm, message):\n"
        "    comm.on_msg(lambda message: comm.send({'twice': 2 * message['content']['data']['x']}))\n"
        "get_ipython().kernel.comm_manager.register_target('echo', opened)"
    )
    kernel.send_comm("c1", {}, kind="comm_open", target_name="echo").wait()
    kernel.send_comm("c1", {"x": 21}).wait()
    assert [message["content"]["data"] for message in kernel.comm_messages] == [{"twice": 42}]


def test_a_subshell_answers_while_a_cell_blocks(kernel: Kernel) -> None:
    subshell = kernel.request("create_subshell_request", {}, channel="control")["subshell_id"]
    cell = kernel.start_cell("import time; time.sleep(60)")
    assert kernel.start_cell("1 + 1", subshell=subshell).wait(10).text == "2"
    kernel.interrupt()
    cell.wait(10)


def test_restart_shutdown_and_kill_end_the_process(kernel: Kernel) -> None:
    first = kernel.pid
    kernel.run("x = 1")
    kernel.restart()
    assert kernel.pid != first
    assert not leaks.alive(first)
    assert kernel.run("'x' in dir()").text == "False"

    second = kernel.pid
    kernel.shutdown()
    assert not leaks.alive(second)


def test_a_killed_kernel_leaves_its_children_to_be_looked_at(kernel: Kernel) -> None:
    kernel.run("import subprocess; child = subprocess.Popen(['sleep', '60'], start_new_session=True)")
    (child,) = kernel.descendants()
    kernel.kill()
    assert not kernel.is_alive()
    assert leaks.alive(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    give_up = time.monotonic() + 2
    while leaks.alive(child.pid) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not leaks.alive(child.pid)

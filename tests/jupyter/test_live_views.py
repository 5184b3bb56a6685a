"""What a view sends: HTML first, the widget after hello, plain HTML and text at the end."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.jupyter.driver import Display, Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

WIDGET = "application/vnd.jupyter.widget-view+json"
TASKS = """
import time
@app.task(cpu_bound=True)
def work(x, seconds=0.05):
    import time
    time.sleep(seconds)
    if x == 3:
        raise ValueError(f'no {x}')
    return x
"""


@pytest.fixture
def notebook(kernel_with_extension: Kernel) -> Kernel:
    kernel_with_extension.run("%flowrra start --workers 2")
    kernel_with_extension.run(TASKS)
    kernel_with_extension.run("work.submit(0).result(20)")
    return kernel_with_extension


def wait_for(seen, timeout: float = 20) -> None:
    give_up = time.monotonic() + timeout
    while not seen():
        assert time.monotonic() < give_up, "it did not come"
        time.sleep(0.01)


def opened_comm(kernel: Kernel) -> str:
    """The id of the comm with which the latest view was offered."""
    opened = [m["content"] for m in kernel.comm_messages if m["msg_type"] == "comm_open"]
    return [content["comm_id"] for content in opened if "_esm" in content["data"]["state"]][-1]


def sent(kernel: Kernel, comm: str) -> list[tuple[str, Any]]:
    """What the kernel sent to the browser's end of *comm*: kinds and decoded bodies."""
    messages = []
    for message in list(kernel.comm_messages):
        content = message["content"]
        if content["comm_id"] == comm and content.get("data", {}).get("method") == "custom":
            buffers = message["buffers"]
            messages.append((content["data"]["content"]["type"], json.loads(bytes(buffers[0])) if buffers else None))
    return messages


def frames(kernel: Kernel, comm: str) -> list[Any]:
    return [body for kind, body in sent(kernel, comm) if kind == "frame"]


def look(kernel: Kernel, comm: str, subshell: str | None = None, **wish: object) -> None:
    say(kernel, comm, subshell, **{"type": "look", "viewer": "a", "first": 0, "count": 30, "have": -1, **wish})


def say(kernel: Kernel, comm: str, subshell: str | None = None, **message: object) -> None:
    kernel.send_comm(comm, {"method": "custom", "content": message}, subshell=subshell)


def the_display(result) -> Display:
    (display,) = result.displays
    return display


def test_without_widgets_the_html_moves_while_a_cell_blocks_and_ends_as_html_and_text(notebook: Kernel) -> None:
    display = the_display(notebook.run("runs = work.map(range(60), seconds=0.05); runs"))
    notebook.run("time.sleep(2.5)")
    wait_for(lambda: "59 done" in display.text)
    assert all(set(bundle) == {"text/html", "text/plain"} for bundle in display.history)
    seen = {bundle["text/plain"].splitlines()[0] for bundle in display.history}
    assert len(seen) >= 3, seen
    assert "ValueError: no 3" in display.text
    assert "Traceback" in display.html


def test_html_is_refreshed_twice_a_second_at_most(notebook: Kernel) -> None:
    display = the_display(notebook.run("work.map([0] * 40, seconds=0.1)"))
    time.sleep(2)
    assert 3 <= len(display.history) <= 8


def test_after_hello_the_widget_takes_over_and_at_the_end_plain_html(notebook: Kernel) -> None:
    display = the_display(notebook.run("runs = work.map(range(40), seconds=0.1); runs"))
    comm = opened_comm(notebook)
    say(notebook, comm, type="hello")
    wait_for(lambda: WIDGET in display.data)
    assert display.data[WIDGET]["model_id"] == comm
    assert {"text/html", "text/plain"} < set(display.data)
    look(notebook, comm)
    wait_for(lambda: len(frames(notebook, comm)) > 5)
    wait_for(lambda: set(display.data) == {"text/html", "text/plain"} and "39 done" in display.text)
    told = [(frame["seq"], frame["whole"]) for frame in frames(notebook, comm)]
    assert told == [(1, True), *((number, False) for number in range(2, len(told) + 1))]
    wait_for(
        lambda: any(m["msg_type"] == "comm_close" and m["content"]["comm_id"] == comm for m in notebook.comm_messages)
    )


def test_changes_reach_the_browser_ten_times_a_second_at_most(notebook: Kernel) -> None:
    notebook.run("@app.task\nasync def quick(x): return x")
    notebook.run("runs = work.map([0] * 30, seconds=0.1); runs")
    comm = opened_comm(notebook)
    say(notebook, comm, type="hello")
    look(notebook, comm)
    wait_for(lambda: sent(notebook, comm))
    before = len(sent(notebook, comm))
    time.sleep(1.0)
    assert 3 < len(sent(notebook, comm)) - before <= 12


def test_when_nobody_looks_nothing_is_sent(notebook: Kernel) -> None:
    display = the_display(notebook.run("runs = work.map([0] * 40, seconds=0.1); runs"))
    comm = opened_comm(notebook)
    say(notebook, comm, type="hello")
    look(notebook, comm)
    wait_for(lambda: len(frames(notebook, comm)) > 3)
    say(notebook, comm, type="hide", viewer="a")
    notebook.run("pass")
    before = len(notebook.comm_messages)
    time.sleep(0.7)
    assert len(notebook.comm_messages) == before
    wait_for(lambda: "40 done" in display.text)


def test_a_window_is_answered_while_a_cell_blocks(notebook: Kernel) -> None:
    notebook.run("@app.task\nasync def quick(x): return x")
    notebook.run("many = quick.map(range(20_000)); blocked = work.map([0] * 2, seconds=60)")
    notebook.run("app", timeout=60)
    comm = opened_comm(notebook)
    subshell = notebook.request("create_subshell_request", {}, channel="control")["subshell_id"]
    say(notebook, comm, subshell, type="hello")
    cell = notebook.start_cell("print('in', flush=True); time.sleep(8)")
    cell.wait_for(lambda output: "in" in output.stdout)
    look(notebook, comm, subshell, first=10_000, count=30, sort="#")
    wait_for(lambda: any(frame["place"]["first"] == 10_000 for frame in frames(notebook, comm)), timeout=4)
    look(notebook, comm, subshell, text="x=19999")
    wait_for(lambda: frames(notebook, comm)[-1]["place"]["matching"] == 1, timeout=6)
    assert [row["args"] for row in frames(notebook, comm)[-1]["rows"]] == ["x=19999"]
    assert not cell.finished.is_set()
    notebook.run("blocked.cancel(); many.cancel()", timeout=60)
    cell.wait()


def test_a_result_is_shown_richly_on_request(notebook: Kernel) -> None:
    notebook.run("@app.task\ndef table():\n    import pandas\n    return pandas.DataFrame({'height': [1, 2]})")
    notebook.run("done = table.submit(); done.wait(20); hold = work.submit(1, seconds=60)")
    notebook.run("app")
    comm = opened_comm(notebook)
    say(notebook, comm, type="hello")
    look(notebook, comm)
    wait_for(lambda: frames(notebook, comm))
    key = next(row["key"] for row in frames(notebook, comm)[0]["rows"] if row["task"] == "table")
    say(notebook, comm, type="result", viewer="a", key=key)
    wait_for(lambda: any(kind == "result" for kind, _ in sent(notebook, comm)))
    content = [m["content"]["data"]["content"] for m in notebook.comm_messages if "content" in m["content"]["data"]]
    (bundle,) = [each["bundle"] for each in content if each["type"] == "result"]
    assert "<th>height</th>" in bundle["text/html"]
    assert "height" in bundle["text/plain"]
    notebook.run("hold.cancel()")


def test_cancel_in_the_view_arrives_on_a_subshell_while_a_cell_blocks(notebook: Kernel) -> None:
    display = the_display(notebook.run("runs = work.map([0] * 10, seconds=30); runs"))
    comm = opened_comm(notebook)
    subshell = notebook.request("create_subshell_request", {}, channel="control")["subshell_id"]
    say(notebook, comm, subshell, type="hello")
    wait_for(lambda: WIDGET in display.data)
    cell = notebook.start_cell("print('in', flush=True); time.sleep(6)")
    cell.wait_for(lambda output: "in" in output.stdout)
    say(notebook, comm, subshell, type="cancel-all", viewer="a")
    wait_for(lambda: ("answer", None) in sent(notebook, comm), timeout=3)
    wait_for(lambda: "10 cancelled" in display.text, timeout=5)
    assert not cell.finished.is_set()
    cell.wait()


def test_the_last_frame_is_out_before_the_cell_that_waited_ends(notebook: Kernel) -> None:
    # Whoever executes a notebook headless takes no message that comes after the end of its last cell.
    result = notebook.run(
        "from IPython.display import display\nruns = work.map(range(8)); display(runs)\nruns.wait(20)"
    )
    assert "8 runs: 7 done, 1 failed" in the_display(result).text


def test_a_view_of_runs_that_are_done_is_static_at_once(notebook: Kernel) -> None:
    before = len(notebook.comm_messages)
    display = the_display(notebook.run("runs = work.map(range(3)); runs.wait(20); runs"))
    assert "3 runs: 3 done" in display.text
    assert len(display.history) == 1
    assert len(notebook.comm_messages) == before


def test_several_views_of_one_batch_all_reach_the_end(notebook: Kernel) -> None:
    notebook.run("runs = work.map([0] * 20)")
    displays = [the_display(notebook.run(line)) for line in ("runs", "runs[:10]", "runs[12]", "runs")]
    for display, total in zip(displays, (20, 10, 1, 20), strict=True):
        wait_for(lambda display=display, total=total: f"{total} done" in display.text)


def test_views_that_are_over_leave_no_thread_busy_and_nothing_behind(notebook: Kernel) -> None:
    notebook.run("for _ in range(3): display(work.map([0] * 4))")
    notebook.run("import gc, threading\nfrom flowrra_jupyter.views import View")
    alive = "gc.collect() and None\nsum(isinstance(o, View) for o in gc.get_objects())"
    # The callback thread holds on to its last event until it ends, after a few seconds without any.
    wait_for(lambda: notebook.run(alive).text == "0")
    assert notebook.run("sum(t.name == 'flowrra-views' for t in threading.enumerate())").text == "1"


def test_a_stopped_app_leaves_its_views_finished(notebook: Kernel) -> None:
    display = the_display(notebook.run("runs = work.map([0] * 10, seconds=30); runs"))
    notebook.run("%flowrra stop")
    wait_for(lambda: "10 cancelled" in display.text, timeout=5)


def test_a_hundred_thousand_runs_are_shown_as_a_few_rows(notebook: Kernel) -> None:
    notebook.run("@app.task\nasync def quick(x): return x")
    result = notebook.run("many = quick.map(range(100_000)); many", timeout=60)
    display = the_display(result)
    assert "100\u202f000 runs" in display.text
    assert len(display.html) < 200_000
    notebook.run("many.cancel()", timeout=60)

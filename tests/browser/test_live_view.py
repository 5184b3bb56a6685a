"""The view as a person sees it: JupyterLab in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from tests.browser.lab import LabPage

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

START = """%load_ext flowrra_jupyter
%flowrra start --workers 2
import time
@app.task(cpu_bound=True)
def simulate(seed, seconds=0.1):
    import time
    time.sleep(seconds)
    if seed == 7:
        raise ValueError(f"seed must not be {seed}")
    return seed / 2
simulate.submit(1).result(30)"""


def done(text: str) -> int:
    """How many runs a view says are done."""
    found = re.search(r"(\d+) done", text)
    return int(found[1]) if found else 0


def is_widget(page: LabPage, cell: int) -> bool:
    return bool(page.js("index => OUTPUT(index).querySelector('.fl-board') !== null", cell))


def wait_until_static(page: LabPage, cell: int, timeout: float = 20) -> str:
    """Return what is shown once the view has become plain HTML for good."""
    page.wait_for_js(
        "index => OUTPUT(index).querySelector('.flowrra') && !OUTPUT(index).querySelector('.fl-board')",
        timeout,
        cell,
    )
    return page.output_text(cell)


def test_the_view_moves_and_the_runs_finish_while_a_cell_sleeps(page: LabPage) -> None:
    page.open(START, "runs = simulate.map(range(100)); runs", "time.sleep(9)")
    page.run_cell(0)
    page.run_cell(1)
    page.start_cell(2)
    page.wait_for_js("() => BUSY(2)")
    page.wait_for_output(1, lambda text: "elapsed" in text)
    assert is_widget(page, 1)
    seen = set()
    # The widget is in the document a moment before its first frame.
    text = page.wait_for_output(1, lambda text: "pending" in text)
    while "pending" in text or "running" in text:
        seen.add(done(text))
        time.sleep(0.1)
        text = page.output_text(1)
    text = wait_until_static(page, 1)
    assert page.busy(2), "the runs were to finish while the cell sleeps"
    assert len(seen) >= 10, seen
    assert done(text) == 99
    assert "1 failed" in text
    assert "ValueError: seed must not be 7" in text


def test_cancel_pressed_while_a_cell_sleeps_arrives_at_once(page: LabPage) -> None:
    page.open(START, "runs = simulate.map(range(10, 70), seconds=0.5); runs", "time.sleep(6)", "runs.counts()")
    page.run_cell(0)
    page.run_cell(1)
    page.start_cell(2)
    page.wait_for_js("() => BUSY(2)")
    page.wait_for_output(1, lambda text: done(text) >= 2)
    page.click(1, ".fl-head .fl-cancel")
    page.wait_for_output(1, lambda text: "cancelled" in text and "pending" not in text, timeout=4)
    assert page.busy(2), "it was to arrive while the cell sleeps"
    page.wait_for_js("() => !BUSY(2)")
    assert "'CANCELLED'" in page.run_cell(3)


def test_the_button_answers_to_the_keyboard(page: LabPage) -> None:
    page.open(START, "runs = simulate.map(range(10, 30), seconds=5); runs")
    page.run_cell(0)
    page.run_cell(1)
    page.wait_for_output(1, lambda text: "Cancel all" in text)
    page.js("() => OUTPUT(1).querySelector('.fl-cancel').focus()")
    page.do(page.page.keyboard.press("Enter"))
    page.wait_for_output(1, lambda text: "20 cancelled" in text, timeout=5)


def test_opened_details_stay_open_and_rows_in_their_places_while_the_view_moves(page: LabPage) -> None:
    page.open(START, "runs = simulate.map(range(5, 50), seconds=0.3); runs")
    page.run_cell(0)
    page.run_cell(1)
    page.wait_for_output(1, lambda text: "1 failed" in text)
    page.click(1, "button:text-is('Failed 1')")
    page.click(1, ".fl-canvas .fl-tr")
    text = page.wait_for_output(1, lambda text: "in simulate" in text)
    assert "ValueError: seed must not be 7" in text
    assert "cell 1, line 9, in simulate" in text
    before = done(text)
    page.wait_for_output(1, lambda text: done(text) > before + 3)
    assert "in simulate" in page.output_text(1)
    page.click(1, ".fl-head .fl-cancel")
    page.wait_for_output(1, lambda text: "cancelled" in text and "pending" not in text)
    assert is_widget(page, 1), "it was to stay while somebody reads"
    page.click(1, "button[aria-label='Close details']")
    page.click(1, "button:text-is('All')")
    wait_until_static(page, 1)


def test_a_reloaded_page_finds_the_view_again(page: LabPage) -> None:
    page.open(START, "runs = simulate.map(range(10, 50), seconds=0.5); runs")
    page.run_cell(0)
    page.run_cell(1)
    page.wait_for_output(1, lambda text: done(text) >= 2)
    page.save()
    page.reload()
    before = done(page.wait_for_output(1, lambda text: done(text) >= 2))
    page.wait_for_output(1, lambda text: done(text) > before)
    page.click(1, ".fl-head .fl-cancel")
    text = page.wait_for_output(1, lambda text: "cancelled" in text and "pending" not in text, timeout=5)
    assert "Cancel all" not in text


def test_a_saved_notebook_shows_the_final_state_without_a_kernel(page: LabPage) -> None:
    page.open(START, "runs = simulate.map(range(20)); runs", "simulate.submit(7)", "runs.wait(30)")
    page.run_all()
    wait_until_static(page, 1)
    wait_until_static(page, 2)
    saved = page.save()
    for cell in saved.cells[1:3]:
        assert set(cell.outputs[0].data) == {"text/html", "text/plain"}

    page.reopen_with_fresh_kernel()
    assert "model not found" not in page.output_text(1).lower()
    assert done(page.output_text(1)) == 19
    assert "seed must not be 7" in page.output_text(2)

    exported = page.server.root / "exported.html"
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", "--output", exported, page.server.root / page.notebook],
        check=True,
        capture_output=True,
    )
    page.do(page.page.goto(exported.as_uri()))
    shown = str(page.js("() => document.body.innerText"))
    assert done(shown) == 19
    assert "seed must not be 7" in shown
    assert "model not found" not in shown.lower()


def test_a_view_whose_kernel_has_ended_says_so_and_stands_still(page: LabPage) -> None:
    page.open(START, "runs = simulate.map(range(10, 50), seconds=0.5); runs")
    page.run_cell(0)
    page.run_cell(1)
    page.wait_for_output(1, lambda text: done(text) >= 2)
    page.restart_kernel()
    before = page.wait_for_output(1, lambda text: "The kernel has ended" in text)
    assert "Cancel all" not in before
    page.wait_for_js("() => !OUTPUT(1).querySelector('.fl-board button.fl-cancel')")
    before = page.output_text(1)
    time.sleep(1.2)
    assert page.output_text(1) == before


def test_without_a_widget_manager_the_html_moves_and_stays(page_without_widgets: LabPage) -> None:
    page = page_without_widgets
    page.open(START, "runs = simulate.map(range(60)); runs", "time.sleep(6)")
    page.run_cell(0)
    page.run_cell(1)
    page.start_cell(2)
    page.wait_for_js("() => BUSY(2)")
    seen = set()
    text = page.output_text(1)
    while "pending" in text or "running" in text:
        seen.add(done(text))
        time.sleep(0.1)
        text = page.output_text(1)
    assert len(seen) >= 4, seen
    assert page.busy(2)
    assert done(text) == 59
    assert "seed must not be 7" in text
    assert set(page.save().cells[1].outputs[0].data) == {"text/html", "text/plain"}

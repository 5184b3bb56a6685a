"""The board as a person uses it: very many runs, details, results, buttons, the keyboard."""

from __future__ import annotations

import time

import pytest

from tests.browser.lab import LabPage

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]

START = """%load_ext flowrra_jupyter
%flowrra start --workers 2
@app.task(cpu_bound=True)
def noop(x): return x
class Report:
    def _repr_html_(self):
        steal = "parent.stolen = 1"
        return f"<table><tr><td>height 42</td></tr></table><script>{steal}</script><img src=x onerror='{steal}'>"
@app.task
def report(): return Report()
noop.submit(1).result(30)"""

WATCH_MAIN_THREAD = """() => {
  window.longest = 0;
  new PerformanceObserver(list => list.getEntries().forEach(task => { longest = Math.max(longest, task.duration); }))
    .observe({ type: 'longtask' });
}"""
STICKING_OUT = """() => {
  const board = OUTPUT(1).querySelector('.fl-board');
  const edge = board.getBoundingClientRect().right + 1;
  return [...board.querySelectorAll('button, input, .fl-chip, .fl-meta span')]
    .filter(node => node.offsetParent && node.getBoundingClientRect().right > edge).map(node => node.outerHTML);
}"""
FIRST_ROW = "OUTPUT(1).querySelector('.fl-canvas .fl-tr')"


def rows(page: LabPage) -> list[str]:
    """The arguments in the rows that are in the document, from top to bottom."""
    cells = "[...OUTPUT(1).querySelectorAll('.fl-canvas .fl-args')].map(cell => cell.textContent)"
    return list(page.js(f"() => {cells}"))


def wait_for_rows(page: LabPage, seen, timeout: float = 20) -> list[str]:
    give_up = time.monotonic() + timeout
    while not seen(shown := rows(page)):
        assert time.monotonic() < give_up, shown
        time.sleep(0.05)
    return shown


def press(page: LabPage, *keys: str) -> None:
    for key in keys:
        page.do(page.page.keyboard.press(key))


def test_a_hundred_thousand_runs_are_sorted_filtered_and_walked_through(page: LabPage) -> None:
    page.open(START, "app", "many = noop.map(range(100_000)); many.wait(60)")
    page.run_cell(0)
    page.run_cell(1)
    page.wait_for_output(1, lambda text: "1 done" in text)
    page.js(WATCH_MAIN_THREAD)
    page.run_cell(2, timeout=90)
    page.wait_for_output(1, lambda text: "100\u202f001 done" in text)
    assert page.js(f"() => {FIRST_ROW}.parentNode.children.length") < 60, "only what is in sight exists"

    page.do(page.page.locator(".fl-tools input").fill("x=99999"))
    assert wait_for_rows(page, lambda shown: len(shown) == 1) == ["x=99999"]
    page.do(page.page.locator(".fl-tools input").fill(""))
    page.click(1, "[data-sort='#']")
    wait_for_rows(page, lambda shown: shown[:3] == ["x=1", "x=0", "x=1"])

    page.js("() => OUTPUT(1).querySelector('.fl-grid').focus()")
    press(page, "End")
    wait_for_rows(page, lambda shown: shown[-1] == "x=99999")
    press(page, "ArrowUp", "Enter")
    page.wait_for_output(1, lambda text: "Arguments" in text and "order held while details are open" in text)
    active = "OUTPUT(1).querySelector('.fl-grid').getAttribute('aria-activedescendant')"
    assert "x=99998" in page.js(f"() => document.getElementById({active}).innerText")
    page.wait_for_output(1, lambda text: "99998" in text)
    press(page, "Escape")
    page.wait_for_js("() => !OUTPUT(1).querySelector('.fl-panel')")
    assert page.js("() => longest") <= 100, "milliseconds for which the page could not answer"


def test_a_result_is_shown_but_never_acts(page: LabPage) -> None:
    page.open(START, "app", "report.submit().wait(20)")
    page.run_all()
    page.wait_for_output(1, lambda text: "report()" in text)
    page.click(1, ".fl-canvas .fl-tr:has-text('report()')")
    page.wait_for_js(
        "() => OUTPUT(1).querySelector('iframe.fl-frame')?.contentDocument?.body?.innerText.includes('height 42')"
    )
    assert page.js("() => OUTPUT(1).querySelector('iframe').getAttribute('sandbox')") == "allow-same-origin"
    time.sleep(0.3)
    assert page.js("() => window.stolen") is None
    page.click(1, "[role=tab]:has-text('Arguments')")
    page.wait_for_output(1, lambda text: "random seed" in text)
    page.screenshot("result")


def test_buttons_pause_resume_and_change_the_number_of_workers(page: LabPage) -> None:
    page.open(START, "app", "app.cpu_workers, app.stats().paused")
    page.run_cell(0)
    page.run_cell(1)
    page.wait_for_output(1, lambda text: "Pause" in text)
    page.click(1, "button[aria-label='one worker more']")
    page.wait_for_js("() => OUTPUT(1).querySelector('.fl-workers output').value === '3'")
    page.click(1, ".fl-actions button:text-is('Pause')")
    page.wait_for_output(1, lambda text: "Resume" in text and "paused" in text)
    assert "(3, ('*',))" in page.run_cell(2)
    page.click(1, ".fl-actions button:text-is('Resume')")
    page.wait_for_output(1, lambda text: "Pause" in text)


UNSEEN = """
import gc, time
from flowrra_jupyter.viewers import Viewer
give_up = time.monotonic() + 20
while any(isinstance(each, Viewer) and each.visible for each in gc.get_objects()):
    assert time.monotonic() < give_up, "the page has not said that nobody looks"
    time.sleep(0.02)
"""


def test_what_nobody_sees_is_not_sent(page: LabPage) -> None:
    page.open(START, "app", UNSEEN + "many = noop.map(range(20_000)); many.wait(60)")
    page.run_cell(0)
    page.run_cell(1)
    facts = "() => OUTPUT(1).querySelector('.fl-totals').textContent"
    # The plain view says so, too: what has buttons is the live one.
    page.wait_for_js(f"() => OUTPUT(1).querySelector('.fl-actions button') && ({facts})().includes('1 done')")
    page.js("() => { OUTPUT(1).style.display = 'none' }")
    page.run_cell(2)
    time.sleep(0.5)
    assert "1 done" in page.js(facts)
    page.js("() => { OUTPUT(1).style.display = '' }")
    page.wait_for_output(1, lambda text: "20\u202f001 done" in text)


def test_in_a_narrow_cell_nothing_is_cut_off(page: LabPage) -> None:
    page.open(START, "app")
    page.run_cell(0)
    page.run_cell(1)
    page.wait_for_output(1, lambda text: "1 done" in text)
    for width in (900, 480, 320):
        page.js("width => { OUTPUT(1).style.width = `${width}px` }", width)
        time.sleep(0.2)
        assert page.js(STICKING_OUT) == [], width

from __future__ import annotations

import pytest

from tests.browser.lab import LabPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WIDGET = "import ipywidgets, time; bar = ipywidgets.IntProgress(value=3, max=10); bar"
BUTTON = (
    "clicked = ipywidgets.Label('not yet'); button = ipywidgets.Button(description='Press')\n"
    "button.on_click(lambda _: setattr(clicked, 'value', 'pressed'))\n"
    "ipywidgets.HBox([button, clicked])"
)


@pytest.mark.timeout(180)
def test_widgets_render_and_answer_clicks(page: LabPage) -> None:
    page.open(WIDGET, BUTTON, "time.sleep(60)", "print('x' * 3)")
    page.run_cell(0)
    assert "progress-bar" in page.output_html(0)
    page.run_cell(1)
    page.click(1, "button")
    page.wait_for_output(1, lambda text: "pressed" in text)
    page.start_cell(2)
    page.wait_for_js("() => BUSY(2)")
    page.interrupt_kernel()
    page.wait_for_output(2, lambda text: "KeyboardInterrupt" in text)
    assert not page.busy(2)
    assert page.run_cell(3).strip() == "xxx"
    assert page.screenshot("harness").stat().st_size > 10_000

    saved = page.save()
    assert saved.cells[3].outputs[0].text == "xxx\n"
    page.reload()
    assert "xxx" in page.output_text(3)
    assert page.run_cell(3).strip() == "xxx"
    page.reopen_with_fresh_kernel()
    assert "xxx" in page.output_text(3)
    page.restart_kernel()
    assert page.run_cell(3).strip() == "xxx"


@pytest.mark.timeout(180)
def test_without_the_widget_extensions_only_text_and_html_are_shown(page_without_widgets: LabPage) -> None:
    page = page_without_widgets
    page.open(WIDGET, "from IPython.display import HTML\nHTML('<b id=\"bold\">bold</b>')")
    page.run_all()
    assert "progress-bar" not in page.output_html(0)
    assert "IntProgress" in page.output_text(0)
    assert "bold" in page.output_text(1)

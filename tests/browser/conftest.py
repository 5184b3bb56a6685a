from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.lab import Chromium, LabPage, LabServer


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    browser = Chromium()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def lab(browser: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """A JupyterLab server for all browser tests."""
    server = LabServer(tmp_path_factory.mktemp("lab"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def lab_without_widgets(browser: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """A JupyterLab server whose pages know neither ipywidgets nor anywidget."""
    server = LabServer(tmp_path_factory.mktemp("lab-without-widgets"), widgets=False)
    yield server
    server.close()


@pytest.fixture
def page(lab: LabServer, browser: Chromium) -> Iterator[LabPage]:
    """A fresh page; ``page.open("cell 0", "cell 1")`` opens a notebook in it."""
    page = LabPage(lab, browser)
    yield page
    page.close()


@pytest.fixture
def page_without_widgets(lab_without_widgets: LabServer, browser: Chromium) -> Iterator[LabPage]:
    page = LabPage(lab_without_widgets, browser)
    yield page
    page.close()

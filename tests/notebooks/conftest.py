from __future__ import annotations

from tests.browser.conftest import browser, lab, page

__all__ = ["browser", "lab", "page"]

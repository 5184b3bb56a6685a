from __future__ import annotations

import re

from tests.architecture.sources import PRODUCT, ROOT

# A path of one machine, or a fixed name in the folder that everybody may write to.
PLACE = re.compile(r"(?<![\w.])/(root|tmp|home|work|Users)/|\.\./shared")
TEXT = {".py", ".js", ".css", ".md", ".toml", ".ipynb", ".yml", ".txt", ".sh", ""}


def test_the_product_names_no_place_of_one_machine() -> None:
    roots = [*PRODUCT, "docs", "notebooks", "binder", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml"]
    files = [
        path
        for root in roots
        for path in ([ROOT / root] if (ROOT / root).is_file() else (ROOT / root).rglob("*"))
        if path.is_file() and path.suffix in TEXT and not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)
    ]
    assert len(files) > 20
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if PLACE.search(line)
    ]
    assert found == []

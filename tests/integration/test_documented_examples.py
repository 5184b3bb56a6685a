"""Every example of the README and the docs is run as written."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration import documented
from tests.integration.documented import Page, read_page
from tests.jupyter.driver import Kernel

ROOT = Path(__file__).parents[2]
PAGES = [
    read_page(path)
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), Path(__file__).with_name("examples.md")]
]


def names(pages: list[Page]) -> list[str]:
    return [str(page.path.relative_to(ROOT)) for page in pages]


def test_the_readme_has_examples() -> None:
    assert PAGES[0].program, "README.md shows no program"
    assert PAGES[0].notebooks, "README.md shows no notebook"


PROGRAMS = [page for page in PAGES if page.program]


@pytest.mark.parametrize("page", PROGRAMS, ids=names(PROGRAMS))
def test_the_programs_of_a_page_run_as_written(page: Page, tmp_path: Path) -> None:
    parts = [{"name": str(block.page), "line": block.line, "code": block.code} for block in page.program]
    done = subprocess.run(
        [sys.executable, "-W", "error", documented.__file__],
        input=json.dumps(parts), capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr or done.stdout


NOTEBOOKS = [page for page in PAGES if page.notebooks]


@pytest.mark.kernel
@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_the_notebooks_of_a_page_run_as_written(page: Page) -> None:
    for cells in page.notebooks:
        with Kernel() as kernel:
            for block in cells:
                result = kernel.run(block.code, timeout=60, check=False)
                assert result.error is None, f"{block}: {result.error}"


def test_blocks_that_are_not_run_are_valid_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    for block in (block for page in PAGES for block in page.left_out):
        with capsys.disabled():
            print(f"\n{block} is not run: {block.left_out}")
        if not block.has_magic:
            compile(block.code, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


# The finder itself.


def test_blocks_are_found_with_their_lines_and_sections(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "# One\n```python\na = 1\n```\n```text\n# no\n```\n- item:\n  ```python\n  b = 2\n  ```\n"
        "## Two\n```python\n%load_ext x\n```\n~~~py\nc = 3\n~~~\n<!-- not run: no server -->\n\n```python\nd\n```\n"
    )
    page = read_page(path)
    assert [(block.line, block.code) for block in page.program] == [(3, "a = 1\n"), (10, "b = 2\n")]
    assert [[block.line for block in cells] for cells in page.notebooks] == [[14, 17]]
    assert [(block.line, block.left_out) for block in page.left_out] == [(22, "no server")]


@pytest.mark.parametrize(
    ("text", "words"), [("```python\na", "never closed"), ("<!-- not run: -->\n```python\n```", "reason")]
)
def test_a_page_that_hides_a_block_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_page(path)


def test_an_example_that_fails_is_told_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        documented.run_block("page.md", 7, "a = 1\n1 / 0\n", {})
    assert caught.traceback[-1].lineno + 1 == 8
    scope: dict[str, object] = {}
    documented.run_block("page.md", 1, "import asyncio\nx = await asyncio.sleep(0, 5)\n", scope)
    assert scope["x"] == 5

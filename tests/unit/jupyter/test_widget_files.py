"""The files of the widget, put together as the front end gets them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flowrra_jupyter import rich
from flowrra_jupyter.widgets import modules
from flowrra_jupyter.widgets.board import STATIC
from tests.unit.jupyter.builders import frame

NODE = shutil.which("node")


def test_several_files_become_one_module(tmp_path: Path):
    (tmp_path / "a.js").write_text('import { b } from "./b.js";\nimport { c } from "./c.js";\nexport default b + c;\n')
    (tmp_path / "b.js").write_text('import { c } from "./c.js";\nexport const b = c;\n')
    (tmp_path / "c.js").write_text("export const c = 1;\n")
    assert modules.compose(tmp_path, "a") == "const c = 1;\n\nconst b = c;\n\nexport default b + c;\n"


def test_the_board_is_one_module_without_imports():
    board = modules.compose(STATIC, "board")
    assert "import " not in re.sub(r'import\("[^"]*"\)', "", board)
    assert board.count("export ") == 1
    for file in STATIC.glob("*.js"):
        assert file.read_text().splitlines()[0] in board, "every file is used"


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_the_board_is_sound_javascript(tmp_path: Path):
    file = tmp_path / "board.mjs"
    file.write_text(modules.compose(STATIC, "board"))
    done = subprocess.run([str(NODE), "--check", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", [*STATIC.glob("*.js")], ids=lambda file: file.name)
def test_nothing_from_a_task_becomes_markup(file: Path):
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", file.read_text())


def test_what_is_saved_carries_the_look_but_not_the_style_of_the_live_board():
    saved = rich.html(frame([]))
    assert ".fl-lanes" in saved
    assert ".fl-board" not in saved

"""The public surface, checked by mypy as a user's program would be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def check(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "--no-error-summary", str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=HERE.parents[1], check=False, timeout=240)


def test_a_program_that_uses_everything_passes_the_strict_checker() -> None:
    checked = check(HERE / "api.py")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_checker_sees_mistakes(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from flowrra import Flowrra\n"
        "app = Flowrra()\n"
        "@app.task(max_retrys=3)\n"
        "def f(x: int) -> int: return x\n"
        "f.submit('one')\n"
    )
    checked = check(wrong)
    assert "wrong.py:3" in checked.stdout, "an unknown option is not seen"

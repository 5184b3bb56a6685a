from __future__ import annotations

import importlib.metadata
import subprocess
import sys


def run(*arguments: str) -> str:
    script = "import sys; sys.argv[0] = 'flowrra'; from flowrra.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_command_tells_its_version_and_its_help() -> None:
    assert run("--version") == f"flowrra, version {importlib.metadata.version('flowrra')}\n"
    assert run("--help").startswith("Usage: flowrra ")
    assert run() == run("--help")

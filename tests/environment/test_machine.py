from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import machine
from tests.environment.machine import Program
from tests.environment.presence import require

ABSENT = Program("absent", ("no-such-command",), "no-such-package", "every test of the absent")


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH without any command, apt-get included, and one program to look for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(machine.PROGRAMS, "absent", ABSENT)


def test_what_cannot_be_installed_is_named_with_the_tests_it_costs(
    bare_machine: None, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.main(["absent"])
    assert capsys.readouterr().out == (
        "absent is not installed (Debian's package: no-such-package); skipped: every test of the absent\n"
    )


def test_a_command_in_one_of_its_folders_is_found_the_newest_first(tmp_path: Path) -> None:
    for version in ("14", "15"):
        command = tmp_path / version / "bin" / "server"
        command.parent.mkdir(parents=True)
        command.touch(mode=0o755)
    program = Program("server", ("server",), "server", "", (f"{tmp_path}/*/bin",))
    assert program.find() == str(tmp_path / "15" / "bin" / "server")


def test_an_absent_program_skips_here_and_fails_in_ci(bare_machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="absent is not installed"):
        require("absent")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="absent is not installed"):
        require("absent")


def test_the_interpreter_behind_a_shim_that_does_not_run_is_found(tmp_path: Path) -> None:
    shim = tmp_path / "shims" / "python3.11"
    behind = tmp_path / "pyenv" / "versions" / "3.11.9" / "bin" / "python"
    for path, script in ((shim, "exit 127"), (behind, f'exec "{sys.executable}" "$@"')):
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def found(name: str) -> subprocess.CompletedProcess[str]:
        script = Path(machine.__file__).with_name("interpreter.sh")
        env = {"PATH": f"{shim.parent}:/bin:/usr/bin", "PYENV_ROOT": str(tmp_path / "pyenv")}
        return subprocess.run([script, name], env=env, capture_output=True, text=True, check=False)

    assert found("python3.11").stdout == f"{behind}\n"
    assert found("python3.10").returncode == 1

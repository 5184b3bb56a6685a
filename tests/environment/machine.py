"""Programs the tests need from the system: finds them, installs the missing ones where that is allowed, names the rest.

Runs before the virtual environment exists, so it uses the standard library alone: ``python machine.py [PROGRAM …]``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Program:
    """``commands`` are alternatives; ``folders`` (with wildcards) are looked through after ``PATH``."""

    name: str
    commands: tuple[str, ...]
    package: str
    tests: str
    """What is skipped without it."""
    folders: tuple[str, ...] = ()

    def find(self) -> str | None:
        on_path = (shutil.which(command) for command in self.commands)
        elsewhere = (
            str(folder / command)
            for pattern in self.folders
            # The newest version first: the folders end in a version number.
            for folder in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)
            for command in self.commands
            if os.access(folder / command, os.X_OK)
        )
        return next((found for found in (*elsewhere, *on_path) if found), None)


SBIN = ("/usr/sbin", "/usr/local/sbin")  # not on everybody's PATH

RABBITMQ = ("/usr/lib/rabbitmq/bin",)  # what is on PATH is a wrapper that changes the user

PROGRAMS = {
    program.name: program
    for program in (
        Program("chromium", ("chromium", "chromium-browser", "google-chrome"), "chromium", "tests/browser"),
        Program("redis", ("redis-server",), "redis-server", "every test with a Redis server"),
        Program(
            "postgresql", ("postgres",), "postgresql", "every test with PostgreSQL", ("/usr/lib/postgresql/*/bin",)
        ),
        Program("mariadb", ("mariadbd",), "mariadb-server", "every test with MariaDB", SBIN),
        Program("rabbitmq", ("rabbitmq-server",), "rabbitmq-server", "every test with RabbitMQ", RABBITMQ),
    )
}


def main(names: list[str]) -> None:
    wanted = [PROGRAMS[name] for name in names or PROGRAMS]
    missing = [program for program in wanted if program.find() is None]
    install([program.package for program in missing])
    for program in missing:
        if program.find() is None:
            print(f"{program.name} is not installed (Debian's package: {program.package}); skipped: {program.tests}")


def install(packages: list[str]) -> None:
    """Install Debian *packages* where that is allowed; elsewhere do nothing. apt-get itself says what went wrong."""
    apt = _apt_get() if packages else None
    if apt is None:
        return
    print(f"installing {', '.join(packages)} with apt-get", flush=True)
    # One call per package: a single unknown name would keep apt-get from installing any.
    for step in (["update"], *(["-y", "--no-install-recommends", "install", package] for package in packages)):
        subprocess.run([*apt, "-qq", *step], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)


def _apt_get() -> list[str] | None:
    """The words that begin an apt-get command, or None where we may not install."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    sudo = shutil.which("sudo")
    if sudo is None or subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode != 0:
        return None
    return [sudo, "-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]


if __name__ == "__main__":
    main(sys.argv[1:])

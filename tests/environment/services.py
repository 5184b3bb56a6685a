"""Real servers on private ports in temporary folders, so that a test may kill them; all about one is in its class."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import ClassVar

from flowrra.testing import leaks
from tests.environment.ports import free_port
from tests.environment.presence import require


class Server:
    """One server process and its data. ``start`` may be called again after ``kill``: the data are still there."""

    program: ClassVar[str]
    account: ClassVar[str | None] = None
    """Runs under this account when we are root, for servers that refuse root."""

    def __init__(self) -> None:
        self.executable = Path(require(self.program))
        self.port = free_port()
        # Not below pytest's own folder, which other accounts may not enter.
        self.folder = Path(tempfile.mkdtemp(prefix=f"flowrra-{self.program}-"))
        self._account = self.account if os.geteuid() == 0 else None
        if self._account is not None:
            shutil.chown(self.folder, self._account)
        self._process: subprocess.Popen[bytes] | None = None
        self.prepare()

    def prepare(self) -> None:
        """Make what the first start needs."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def answers(self) -> bool:
        """Whether the server takes part in the first exchange of its protocol."""
        raise NotImplementedError

    def start(self, timeout: float = 60) -> None:
        with leaks.outliving():
            self._process = self._popen(self.command())
        give_up = time.monotonic() + timeout
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError(f"{self.program} did not start:\n{self.log()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL the server and whatever it has started; safe to call twice."""
        if self._process is None:
            return
        pids = [self._process.pid, *(process.pid for process in leaks.descendants(self._process.pid))]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it ended with its parent
        self._process.wait()
        self._process = None
        # A process whose first thread has ended passes for ended, while other threads of it still hold the socket open.
        while any(leaks.alive(pid) for pid in pids) or self._listens():
            time.sleep(0.01)

    def restart(self) -> None:
        self.kill()
        self.start()

    def close(self) -> None:
        """Kill the server and delete its data."""
        self.kill()
        shutil.rmtree(self.folder)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def talk(self, message: bytes) -> bytes:
        """Open a connection, send *message* and return the first bytes of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(message)
            return connection.recv(4096)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except ConnectionRefusedError:
            return False
        except ConnectionResetError:  # closed between our arrival and its accepting us
            return True
        return True

    def _answers(self) -> bool:
        try:
            return self.answers()
        except OSError:
            return False

    def _run(self, command: list[str]) -> None:
        process = self._popen(command)
        if process.wait(120) != 0:
            raise AssertionError(f"{command[0]} failed:\n{self.log()}")

    def _popen(self, command: list[str]) -> subprocess.Popen[bytes]:
        account = None if self._account is None else pwd.getpwnam(self._account)
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "HOME": str(self.folder), **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=None if account is None else account.pw_uid,
                group=None if account is None else account.pw_gid,
                extra_groups=None if account is None else [],
                start_new_session=True,
            )


class Redis(Server):
    program = "redis"

    def command(self) -> list[str]:
        return [
            str(self.executable), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
            "--save", "", "--appendonly", "yes", "--appendfsync", "no",
        ]  # fmt: skip

    def answers(self) -> bool:
        return self.talk(b"PING\r\n") == b"+PONG\r\n"


class PostgreSQL(Server):
    program = "postgresql"
    account = "postgres"

    def prepare(self) -> None:
        initdb = self.executable.with_name("initdb")
        self._run(
            [str(initdb), "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        )

    def command(self) -> list[str]:
        return [
            str(self.executable), "-D", "data", "-p", str(self.port), "-k", str(self.folder),
            "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
            # In files of its folder: in /dev/shm they would outlive a SIGKILL.
            "-c", "dynamic_shared_memory_type=mmap",
        ]  # fmt: skip

    def answers(self) -> bool:
        # Protocol 3.0, user and database "postgres"; "R" begins the answer about authentication, "E" an error.
        body = (3 << 16).to_bytes(4, "big") + b"user\0postgres\0\0"
        return self.talk((len(body) + 4).to_bytes(4, "big") + body).startswith(b"R")


class MariaDB(Server):
    program = "mariadb"

    def prepare(self) -> None:
        install = shutil.which("mariadb-install-db")
        assert install is not None, "mariadb-install-db comes with mariadbd"
        self._run([install, *self._options(), "--auth-root-authentication-method=normal", "--skip-test-db"])

    def command(self) -> list[str]:
        return [
            str(self.executable), *self._options(), f"--port={self.port}", "--bind-address=127.0.0.1",
            f"--socket={self.folder / 'socket'}", f"--pid-file={self.folder / 'pid'}",
        ]  # fmt: skip

    def answers(self) -> bool:
        return b"MariaDB" in self.talk(b"")

    def _options(self) -> list[str]:
        # --no-defaults has to come first; without --user a server started by root refuses to run.
        root = ["--user=root"] if os.geteuid() == 0 else []
        return ["--no-defaults", f"--datadir={self.folder / 'data'}", *root]


class RabbitMQ(Server):
    program = "rabbitmq"

    def prepare(self) -> None:
        # Erlang would leave a name server running in the background; ours is in the foreground and ends with us.
        self._names_port = free_port()
        epmd = shutil.which("epmd")
        assert epmd is not None, "epmd comes with Erlang, which RabbitMQ needs"
        with leaks.outliving():
            self._names = self._popen([epmd])

    def command(self) -> list[str]:
        return [str(self.executable)]

    def environment(self) -> dict[str, str]:
        return {
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"flowrra-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "none"),
        }

    def answers(self) -> bool:
        return b"RabbitMQ" in self.talk(b"AMQP\x00\x00\x09\x01")

    def close(self) -> None:
        self.kill()
        self._names.kill()
        self._names.wait()
        super().close()

"""Whether the kernel has ended a worker for want of memory: read from the files of the control group."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from flowrra.pool.process import memory, zygote
from flowrra.pool.process.memory import oom_kills

NEW = "low 0\nhigh 0\nmax 7\noom 3\noom_kill {}\noom_group_kill 0\n"
OLD = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_MOUNTED", str(tmp_path))
    monkeypatch.setattr(memory, "_CGROUP", str(tmp_path / "cgroup"))
    return tmp_path


@pytest.mark.parametrize(
    ("own", "path", "text"),
    [
        ("0::/user/app\n", "user/app/memory.events", NEW),
        ("0::/not/visible/here\n", "memory.events", NEW),
        ("5:devices:/\n4:cpu,memory:/jobs/1\n1:cpu:/\n0::/\n", "memory/jobs/1/memory.oom_control", OLD),
    ],
    ids=["version 2", "in a container", "version 1"],
)
def test_the_counter_of_this_process_s_group_is_read(mounted: Path, own: str, path: str, text: str) -> None:
    (mounted / "cgroup").write_text(own)
    file = mounted / path
    file.parent.mkdir(parents=True, exist_ok=True)
    for count in (0, 12):
        file.write_text(text.format(count))
        assert oom_kills() == count


@pytest.mark.parametrize("own", ["", "0::/\n", "3:memory:/a\n"])
def test_where_nothing_can_be_read_nothing_is_known(mounted: Path, own: str) -> None:
    assert oom_kills() is None
    (mounted / "cgroup").write_text(own)
    assert oom_kills() is None


def test_only_a_kill_since_the_last_look_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([3, 3, 4, 4, None, 9, 10])
    monkeypatch.setattr(zygote, "oom_kills", lambda: next(counts))
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with mine, theirs:
        watching = zygote.Zygote(theirs, os.getpid())
        struck = [watching._oom_killer_has_struck() for _ in range(6)]  # noqa: SLF001 - all else of it is processes
        os.close(watching._engine)  # noqa: SLF001 - it never closes it: the process ends
    assert struck == [False, True, False, False, False, True]

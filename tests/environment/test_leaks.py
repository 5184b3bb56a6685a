from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from flowrra.testing import leaks


def test_nothing_new_is_nothing_left_behind() -> None:
    assert leaks.left_behind(leaks.resources(), grace=0) == []


def test_a_thread_is_named_until_it_ends() -> None:
    before, done = leaks.resources(), threading.Event()
    thread = threading.Thread(target=done.wait, name="forgotten")
    thread.start()
    assert leaks.left_behind(before, grace=0) == ["thread 'forgotten'"]
    done.set()
    assert leaks.left_behind(before) == []


def test_an_open_descriptor_is_found() -> None:
    before = leaks.resources()
    reader, writer = os.pipe()
    found = leaks.left_behind(before, grace=0)
    assert [text.partition("[")[0] for text in found] == ["file descriptor of pipe:"] * 2
    os.close(reader)
    os.close(writer)


def test_a_child_and_its_zombie_are_found() -> None:
    before = leaks.resources()
    child = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL)
    (found,) = leaks.left_behind(before, grace=0)
    assert f"process {child.pid} (state" in found
    child.kill()
    while leaks.alive(child.pid):
        signal.sigtimedwait([signal.SIGCHLD], 0.01)
    (found,) = leaks.left_behind(before, grace=0)
    assert "state Z" in found
    child.wait()


def test_a_process_whose_parent_has_died_is_found() -> None:
    before = leaks.resources()
    script = "import subprocess; print(subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=-3).pid)"
    orphan = int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout)
    (found,) = leaks.left_behind(before, grace=0)
    assert found.startswith(f"process {orphan} ")
    os.kill(orphan, signal.SIGKILL)
    assert leaks.left_behind(before) == []


@pytest.mark.may_leak("SharedMemory starts a resource tracker that lives as long as this process")
def test_named_shared_memory_is_found() -> None:
    SharedMemory(create=True, size=1).unlink()
    before = leaks.resources()
    # The digit of a process that every machine has is in the name, and still the memory is nobody's but ours.
    memory = SharedMemory("psm_1a2b3c", create=True, size=16)
    memory.close()
    assert leaks.left_behind(before, grace=0) == [f"shared memory /dev/shm/{memory.name}"]
    memory.unlink()


def test_a_name_with_the_pid_of_another_program_is_not_ours() -> None:
    before = leaks.resources()
    names = [Path("/dev/shm", f"flowrra-test-{pid}") for pid in (os.getppid(), os.getpid())]
    for name in names:
        name.touch()
    assert leaks.left_behind(before, grace=0) == [f"shared memory {names[1]}"]
    for name in names:
        name.unlink()


def test_a_server_that_outlives_a_test_is_not_counted_nor_is_what_it_starts() -> None:
    before = leaks.resources()
    script = "import subprocess, sys; subprocess.Popen(['sleep', '60']); sys.stdin.read()"
    with leaks.outliving():
        server = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, start_new_session=True)
    assert server.stdin is not None
    with server, server.stdin:
        assert [text for text in leaks.left_behind(before, grace=0.2) if text.startswith("process")] == []
        os.killpg(server.pid, signal.SIGKILL)

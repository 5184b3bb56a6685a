from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest
import uvloop

from flowrra import NeedsAwait
from flowrra_jupyter.host import KernelHost, notebook_name


def kernel(msg_id: str = "m1") -> SimpleNamespace:
    return SimpleNamespace(get_parent=lambda: {"header": {"msg_id": msg_id}})


async def test_the_owner_is_the_cell_that_is_executing():
    assert KernelHost(kernel("m7")).owner() == "m7"


async def test_only_a_cell_may_pump_the_loop_not_a_callback_in_it():
    host = KernelHost(kernel())
    until = host.io_loop.create_future()
    with pytest.raises(NeedsAwait):
        host.pump(until)
    host.cell_began()
    refused = asyncio.create_task(pumped(host, until))
    with pytest.raises(NeedsAwait):
        await refused


async def pumped(host: KernelHost, until: asyncio.Future[None]) -> None:
    host.pump(until)


async def test_another_thread_may_not_pump_the_loop():
    host = KernelHost(kernel())
    host.cell_began()
    told: list[BaseException] = []

    def ask() -> None:
        try:
            host.pump(host.io_loop.create_future())
        except NeedsAwait as error:
            told.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert len(told) == 1


@pytest.mark.may_leak("libuv keeps a pipe for signals as long as the process lives")
def test_a_loop_that_cannot_be_entered_again_asks_for_await():
    async def cell() -> None:
        host = KernelHost(kernel())
        host.cell_began()
        with pytest.raises(NeedsAwait, match="await"):
            host.pump(host.io_loop.create_future())

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(cell())
    finally:
        loop.close()


def test_the_name_is_the_notebooks_path_below_the_users_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "work" / "study.ipynb"))
    assert notebook_name() == "work/study.ipynb"
    monkeypatch.setenv("JPY_SESSION_NAME", "/elsewhere/study.ipynb")
    assert notebook_name() == "/elsewhere/study.ipynb"
    monkeypatch.delenv("JPY_SESSION_NAME")
    assert notebook_name() == "kernel"

from __future__ import annotations

import asyncio

import pytest

from flowrra import Flowrra, InvalidOption, UnknownOption
from flowrra.backends.memory import MemoryBackend
from flowrra.config import Settings, settings_from


def test_without_anything_the_defaults_hold() -> None:
    assert settings_from({}, {}) == Settings()


def test_what_is_not_given_comes_from_the_environment() -> None:
    environment = {
        "FLOWRRA_NAME": "nightly",
        "FLOWRRA_BACKEND": "memory://",
        "FLOWRRA_CPU_WORKERS": "3",
        "FLOWRRA_IO_CONCURRENCY": "17",
        "FLOWRRA_IO_THREADS": "5",
        "FLOWRRA_IO_LOOP": "own",
        "FLOWRRA_WORKERS_BY": "spawn",
    }
    expected = Settings(
        "nightly", "memory://", cpu_workers=3, workers_by="spawn", io_concurrency=17, io_threads=5, io_loop="own"
    )
    assert settings_from({}, environment) == expected


def test_what_is_given_wins_over_the_environment() -> None:
    assert settings_from({"cpu_workers": 2}, {"FLOWRRA_CPU_WORKERS": "9"}).cpu_workers == 2


def test_none_means_not_given() -> None:
    assert settings_from({"cpu_workers": None}, {"FLOWRRA_CPU_WORKERS": "9"}).cpu_workers == 9


def test_a_bad_value_that_is_overruled_does_not_matter() -> None:
    assert settings_from({"cpu_workers": 2}, {"FLOWRRA_CPU_WORKERS": "many"}).cpu_workers == 2


@pytest.mark.parametrize("name", ["CPU_WORKERS", "IO_CONCURRENCY", "IO_THREADS"])
@pytest.mark.parametrize("text", ["many", "", "1.5"])
def test_a_number_in_the_environment_that_is_none_names_its_variable(name: str, text: str) -> None:
    with pytest.raises(InvalidOption, match=f"FLOWRRA_{name}"):
        settings_from({}, {f"FLOWRRA_{name}": text})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""),
        ("name", 3),
        ("backend", "redsi://localhost"),
        ("backend", object()),
        ("workers_by", "threads"),
        ("cpu_workers", 0),
        ("cpu_workers", -1),
        ("cpu_workers", 1.5),
        ("cpu_workers", True),
        ("io_concurrency", 0),
        ("io_threads", 0),
        ("io_loop", "mine"),
        ("executors", ["a"]),
        ("executors", {1: object()}),
    ],
)
def test_a_bad_setting_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidOption, match=f"^{name}\\b"):
        settings_from({name: value}, {})


@pytest.mark.parametrize(("typo", "meant"), [("cpu_worker", "cpu_workers"), ("io_concurency", "io_concurrency")])
def test_an_unknown_setting_names_the_nearest_one(typo: str, meant: str) -> None:
    with pytest.raises(UnknownOption, match=f"did you mean '{meant}'"):
        Flowrra(**{typo: 2})


def test_a_loop_of_the_users_own_is_taken() -> None:
    loop = asyncio.new_event_loop()
    try:
        assert settings_from({"io_loop": loop}, {}).io_loop is loop
    finally:
        loop.close()


def test_a_backend_of_the_users_own_is_taken() -> None:
    backend = MemoryBackend()
    assert settings_from({"backend": backend}, {}).backend is backend


def test_the_constructor_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWRRA_CPU_WORKERS", "3")
    monkeypatch.setenv("FLOWRRA_NAME", "from outside")
    app = Flowrra()
    assert (app.cpu_workers, app.name) == (3, "from outside")


def test_from_urls_is_the_constructor() -> None:
    assert Flowrra.from_urls(backend="memory://", name="urls").name == "urls"
    with pytest.raises(InvalidOption, match="nosuch"):
        Flowrra.from_urls(backend="nosuch://")

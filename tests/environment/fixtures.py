"""Fixtures of the servers, for every ring: one server per session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.environment.services import MariaDB, PostgreSQL, RabbitMQ, Redis, Server


def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    yield from _running(Redis())


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    yield from _running(PostgreSQL())


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Server]:
    yield from _running(MariaDB())


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[Server]:
    yield from _running(RabbitMQ())

from __future__ import annotations

import pytest

from tests.environment.services import Server

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.mark.parametrize("name", ["redis", "postgresql", "mariadb", "rabbitmq"])
def test_a_server_answers_is_killed_and_answers_again(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{name}_server")
    assert server.answers()
    server.kill()
    with pytest.raises(ConnectionRefusedError):
        server.answers()
    server.start()
    assert server.answers()

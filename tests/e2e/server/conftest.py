"""One real server per module, with an agent that answers; a browser where Chromium is."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from tests.browser import Browser, open_browser
from tests.server_process import PlayedAgent, ServerProcess, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running_server() as process:
        yield process


@pytest.fixture
def agent(server: ServerProcess) -> Iterator[PlayedAgent]:
    with PlayedAgent(server.instance.link_socket) as played:
        yield played


@pytest.fixture
def visitor(server: ServerProcess) -> Iterator[httpx.Client]:
    """A client with a session."""
    with httpx.Client(base_url=server.url) as client:
        token = server.login_link().split("#")[1]
        answer = client.post("/api/v1/login", json={"token": token}, headers={"Origin": server.url})
        assert answer.status_code == 204, answer.text
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened

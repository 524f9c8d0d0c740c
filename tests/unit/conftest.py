"""What several modules of unit tests start and stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.unit.loopback import ALWAYS, Handler, Server
from tests.unit.pki import Pair, make


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], Server]]:
    servers: list[Server] = []

    def start(handler: Handler) -> Server:
        servers.append(Server(handler))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def authority() -> Pair:
    return make("Example Root", ca=True, **ALWAYS)

"""What a broken start of an SSH connection is called."""

from __future__ import annotations

import socket

import paramiko
import pytest

from app.clients.ssh_config import SshTarget
from app.clients.ssh_link import _trouble as trouble
from app.model.evidence import Outcome


@pytest.mark.parametrize(
    ("closes", "outcome", "words"),
    [(False, Outcome.TIMED_OUT, "no SSH answer"), (True, Outcome.UNREACHABLE, "no SSH connection")],
)
def test_a_server_that_says_nothing_is_late_and_one_that_closes_is_not_there(
    *, closes: bool, outcome: Outcome, words: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport = paramiko.Transport(socket.create_connection(server.getsockname()))
        transport.banner_timeout = 0.3
        peer, _ = server.accept()
        if closes:
            peer.close()
        with pytest.raises(paramiko.SSHException, match="banner") as caught:
            transport.start_client(timeout=20)
        peer.close()
    found, said = trouble(caught.value, SshTarget("n1", "127.0.0.1"))
    assert found is outcome
    assert words in said

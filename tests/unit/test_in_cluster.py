"""In a pod without a kubeconfig: the service account's files and the API server's address from the environment."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from kubernetes.config import incluster_config

from app.clients import kubeconfig
from app.clients.kube import Connection, LiveKube
from app.clients.kubeconfig import KubeOptions, configuration
from app.clients.threads import Threads
from app.errors import KubeconfigError
from app.model.evidence import Outcome
from tests.unit.loopback import ALWAYS, Handler, Server, answer, request_of, tls
from tests.unit.pki import Pair, make


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the service account's files, at the place where client and product look for them; no kubeconfig anywhere."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    monkeypatch.setattr(kubeconfig, "_ACCOUNT", folder / "token")
    monkeypatch.setattr(kubeconfig, "DEFAULT", str(tmp_path / "none" / "config"))
    # The official client bound its paths as defaults when it was loaded.
    load = incluster_config.InClusterConfigLoader

    def from_folder(client_configuration: object = None, **more: object) -> None:
        load(token_filename=str(folder / "token"), cert_filename=str(folder / "ca.crt")).load_and_set(
            client_configuration
        )

    monkeypatch.setattr(incluster_config, "load_incluster_config", from_folder)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return folder


def test_the_account_of_the_pod_asks_the_api_server(
    account: Path, serve: Callable[[Handler], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []

    def handler(connection: socket.socket) -> None:
        line, headers, _ = request_of(connection)
        seen.append((line, headers.get("authorization", "")))
        answer(
            connection,
            "200 OK",
            json.dumps({"kind": "NodeList", "items": []}).encode(),
            "Content-Type: application/json",
        )

    authority = make("Cluster CA", ca=True, **ALWAYS)
    leaf: Pair = make("kube-apiserver", authority, hosts=("localhost",), **ALWAYS)
    server = serve(tls(leaf, tmp_path, handler))
    (account / "token").write_text("pod-token-1")
    (account / "ca.crt").write_text(authority.pem)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "localhost")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    name, found = configuration(KubeOptions())
    assert name == "in-cluster"
    assert found.host == f"https://localhost:{server.port}"
    connection = Connection(KubeOptions())
    reply = connection.request("GET", "/api/v1/nodes", {"limit": "5"})
    assert (reply.outcome, reply.status) == (Outcome.OBSERVED, 200)
    assert LiveKube(connection, Threads()).context == "in-cluster"
    assert seen[0][0].startswith("GET /api/v1/nodes?limit=5")
    assert seen[0][1].lower() == "bearer pod-token-1"
    assert "pod-token-1" not in repr(reply)


def test_an_account_without_its_ca_says_what_to_do(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (account / "token").write_text("pod-token-1")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "localhost")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(KubeconfigError, match="service account") as raised:
        configuration(KubeOptions())
    assert "--kubeconfig" in str(raised.value.next_step)


def test_a_kubeconfig_goes_before_the_account(account: Path, tmp_path: Path) -> None:
    (account / "token").write_text("pod-token-1")
    with pytest.raises(KubeconfigError, match="no kubeconfig"):
        configuration(KubeOptions(str(tmp_path / "named")))

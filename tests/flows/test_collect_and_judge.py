"""From a failing pod to a bundle that a colleague judges: the same verdict live, from the folder and from the archive."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from tests.unit.test_kube_client import Api
from tests.unit.test_kubeconfig import write

IMAGE = "registry.corp.example/team/web:1"
TEXT = (
    f'Failed to pull image "{IMAGE}": failed to do request: Head "https://registry.corp.example/v2/team/web/manifests/1": tls: failed to '
    "verify certificate: x509: certificate has expired or is not yet valid: current time 2026-01-02T00:00:00Z is after 2026-01-01T00:00:00Z"
)
PASSWORD = "s3cret-of-the-robot"
LOGIN = base64.b64encode(f"robot$web:{PASSWORD}".encode()).decode()
CONFIG = base64.b64encode(json.dumps({"auths": {"registry.corp.example": {"auth": LOGIN}}}).encode()).decode()
POD = {
    "metadata": {"name": "web-1", "namespace": "shop", "uid": "u1", "creationTimestamp": "2026-01-02T00:00:00Z"},
    "spec": {
        "nodeName": "n1", "serviceAccountName": "default", "imagePullSecrets": [{"name": "registry"}],
        "containers": [{"name": "web", "image": IMAGE}],
    },
    "status": {
        "phase": "Pending",
        "containerStatuses": [
            {"name": "web", "image": IMAGE, "imageID": "", "ready": False, "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull", "message": TEXT}}}
        ],
    },
}  # fmt: skip
SECRET = {
    "kind": "Secret", "apiVersion": "v1", "metadata": {"name": "registry", "namespace": "shop"},
    "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": CONFIG},
}  # fmt: skip


def answers(method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any, dict[str, str]]:
    """A namespace with one pod that cannot pull, and its secret."""
    assert method == "GET", "a diagnosis only reads"
    listed: dict[str, list[Any]] = {"pods": [POD] if "Running" not in query.get("fieldSelector", [""])[0] else []}
    if path == "/api/v1/namespaces/shop/pods/web-1":
        return 200, {"kind": "Pod", "apiVersion": "v1", **POD}, {}
    if path == "/api/v1/namespaces/shop/secrets/registry":
        return 200, SECRET, {}
    if (
        path.rsplit("/", 1)[-1] in ("pods", "events", "nodes", "secrets", "services", "ingresses")
        and "labelSelector" not in query
    ):
        kind = path.rsplit("/", 1)[-1]
        return 200, {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": listed.get(kind, [])}, {}
    return 404, {"kind": "Status", "message": "not found", "code": 404}, {}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[str]]:
    """Flags for the API server of the test."""
    api = Api()
    api.answers = answers
    server = f"http://127.0.0.1:{api.server.server_address[1]}"
    yield [
        "--kubeconfig",
        write(tmp_path, clusters=[{"name": "c", "cluster": {"server": server}}]),
        "--no-ssh",
        "--no-http",
    ]
    api.server.shutdown()
    api.server.server_close()


def verdict(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str, str]:
    capsys.readouterr()
    code = main([*words, "--json"])
    (incident,) = json.loads(capsys.readouterr().out)["incidents"]
    best = incident["diagnoses"][0]
    return code, incident["image"], best["finding"], best["certainty"]


def test_live_folder_and_archive_give_one_verdict(
    cluster: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = verdict(capsys, "diagnose", *cluster)
    assert live[:3] == (3, IMAGE, "tls-cert-expired")
    for name in ("bundle", "bundle.tar.gz"):
        path = tmp_path / name
        assert main(["collect", str(path), *cluster]) == 0
        assert verdict(capsys, "diagnose", "--bundle", str(path)) == live


def test_no_password_is_in_the_bundle_nor_on_the_terminal(
    cluster: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bundle"
    assert main(["collect", str(path), *cluster, "--verbose"]) == 0
    main(["diagnose", *cluster])
    said = capsys.readouterr()
    texts = {file.relative_to(path).as_posix(): file.read_text() for file in path.rglob("*") if file.is_file()}
    assert any("registry" in name or "secret" in name for name in texts), sorted(texts)
    for word in (PASSWORD, LOGIN, CONFIG):
        assert [name for name, text in texts.items() if word in text] == []
        assert word not in said.out + said.err
    assert {file.stat().st_mode & 0o077 for file in path.rglob("*")} == {0}


def test_a_bundle_is_never_written_over_another(
    cluster: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bundle"
    path.mkdir()
    assert main(["collect", str(path), *cluster]) == 2
    assert "choose a new name" in capsys.readouterr().err

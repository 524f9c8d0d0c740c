"""Three nodes fail alike: each of them is accused, however many texts say so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.files import load_rulebook
from app.model.exchange import Exchange, TlsSeen
from app.model.material import Document, Material
from app.parsers.exchanges import encode_exchanges
from app.runner.assemble import Ask, judge_material

HOST = "registry.corp.example:8080"
IMAGE = f"{HOST}/shop/web:1"
TEXT = (
    f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": failed to do request: '
    f'Head "https://{HOST}/v2/shop/web/manifests/1": http: server gave HTTP response to HTTPS client'
)
SHORT = f'Head "https://{HOST}/v2/shop/web/manifests/1": http: server gave HTTP response to HTTPS client'
CONFIG = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/etc/containerd/certs.d"\n'
LISTED = ("/etc/containerd", "/etc/containerd/certs.d", "/etc/docker/certs.d")
BOOK, _ = load_rulebook()


def pod(number: int, text: str) -> dict[str, Any]:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": text}}
    return {
        "kind": "Pod",
        "metadata": {"name": f"web-{number}", "namespace": "apps"},
        "spec": {"nodeName": f"n{number}", "containers": [{"name": "c", "image": IMAGE}]},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "c", "image": IMAGE, "state": waiting}]},
    }


def material(texts: tuple[str, ...], asked: tuple[int, ...]) -> Material:
    """Three nodes that insist on HTTPS; `asked`: those from which the registry was seen to speak plain HTTP."""
    plain = Exchange(f"https://{HOST}/v2/", purpose="ping", tcp="open", tls=TlsSeen(state="plain-http"))
    pods = [pod(number, text) for number, text in enumerate(texts, 1)]
    documents = [
        Document("pods.json", json.dumps({"kind": "PodList", "items": pods})),
        Document("registry/exchanges.json", encode_exchanges([plain])),
    ]
    stat = json.dumps({path: {"directory": True, "listed": True, "complete": True} for path in LISTED})
    for number in (1, 2, 3):
        documents += [
            Document(f"nodes/n{number}/etc/containerd/config.toml", CONFIG),
            Document(
                f"nodes/n{number}/versions.txt",
                "containerd github.com/containerd/containerd v1.7.24 abc\nKubernetes v1.31.4\n",
            ),
            Document(f"nodes/n{number}/stat.json", stat),
        ]
        if number in asked:
            documents.append(Document(f"nodes/n{number}/exchanges.json", encode_exchanges([plain])))
    return Material(documents)


@pytest.mark.parametrize("asked", [(1, 2, 3), (1, 2), ()])
@pytest.mark.parametrize("texts", [(TEXT, TEXT, TEXT), (TEXT, TEXT, SHORT), (SHORT, TEXT, TEXT), (TEXT, SHORT, TEXT)])
def test_every_failing_node_is_accused(texts: tuple[str, ...], asked: tuple[int, ...]) -> None:
    (judged,) = judge_material(BOOK, material(texts, asked), Ask(vantage="operator", now=1_790_000_000.0))
    first = judged.step.standings[0]
    assert (first.finding, first.certainty.value) == ("plain-http-undeclared", "proven")
    assert [target.get("node") for target in first.targets] == ["n1", "n2", "n3"]

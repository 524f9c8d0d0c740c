"""A mirror in the node's settings is asked for the manifest as the node would ask, without a login; its answer is the mirror's."""

from __future__ import annotations

import json

from app.model.case import Incident
from app.model.evidence import Of
from app.model.material import Document, Material
from app.probes.base import Fetch, Scene
from app.probes.registry import PROBES
from tests.unit.pki import make

IMAGE = "hub.example.com/acme/app:1"
MIRROR = "https://mirror.corp/v2/cache"
URL = f"{MIRROR}/acme/app/manifests/1?ns=hub.example.com"
MANIFEST = next(probe for probe in PROBES if probe.id == "manifest.get")


def _scene() -> Scene:
    incident = Incident(image=IMAGE, registry="hub.example.com", action="pull", nodes=("n1", "n2"))
    return Scene(incident, now=0.0, vantage="desk")


def _material(hosts: str, *exchanges: dict[str, object]) -> Material:
    config = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/etc/containerd/certs.d"\n'
    folder = "nodes/n1/etc/containerd"
    return Material(
        [
            Document("nodes/n1/versions.txt", "containerd github.com/containerd/containerd v1.7.27\n"),
            Document(f"{folder}/config.toml", config),
            Document(f"{folder}/certs.d/hub.example.com/hosts.toml", hosts),
            Document("nodes/n1/etc/corp.crt", make("Corp Root", ca=True).pem),
            Document("nodes/n1/exchanges.json", json.dumps(exchanges)),
        ]
    )


WITH_MIRROR = f'[host."{MIRROR}"]\noverride_path = true\nca = "/etc/corp.crt"\n'


def _asked(material: Material, scene: Scene) -> list[tuple[str, str, str, bool]]:
    return [
        (one.request.method, one.request.url, one.request.vantage, "BEGIN CERTIFICATE" in (one.request.anchors_pem or ""))
        for one in MANIFEST.wants(material, scene)
        if isinstance(one, Fetch)
    ]  # fmt: skip


def test_the_mirror_is_asked_from_the_node_by_its_own_path_and_trust() -> None:
    assert _asked(_material(WITH_MIRROR), _scene()) == [("HEAD", URL, "node/n1", True)]
    assert not _asked(_material('server = "https://hub.example.com"\n[host]\n'), _scene())


def test_the_answer_is_of_the_mirror_and_asked_for_once() -> None:
    answer = {
        "url": URL,
        "method": "HEAD",
        "vantage": "node/n1",
        "purpose": "manifest-anon",
        "status": 401,
        "bearer": True,
    }
    material = _material(WITH_MIRROR, answer)
    found = [one for one in MANIFEST.read(material, _scene()) if "manifest.anon_status" in one.facts]
    assert [(one.of, one.facts["manifest.anon_status"], one.target.get("node")) for one in found] == [
        (Of.MIRROR, 401, "n1")
    ]
    assert not _asked(material, _scene())

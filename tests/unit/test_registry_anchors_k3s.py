"""A CA that registries.yaml names lies on the node, though the running containerd may not use it yet."""

from __future__ import annotations

import json

from app.model.material import Document, Material
from app.probes.registry_anchors import anchors_of
from app.probes.registry_scene import Place
from tests.unit.pki import make

FOLDER = "/var/lib/rancher/k3s/agent/etc/containerd"


def _material(ca: str, key: str = "configs") -> Material:
    yaml = f'{key}:\n  "harbor.example.com":\n    tls:\n      ca_file: /etc/corp/ca.crt\n'
    config = f"version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = \"{FOLDER}/certs.d\"\n"
    return Material(
        [
            Document("nodes/n1/etc/rancher/k3s/registries.yaml", yaml),
            Document("nodes/n1/etc/corp/ca.crt", ca),
            Document(f"nodes/n1{FOLDER}/config.toml", config),
            Document("nodes/n1/stat.json", json.dumps({FOLDER: {"directory": True, "listed": True}})),
        ]
    )


def test_a_ca_named_by_registries_yaml_is_seen_as_not_in_force() -> None:
    anchors = anchors_of(_material(make("Corp Root", ca=True).pem), "n1", Place("harbor.example.com"))
    assert [(kind, one.subject) for kind, many in anchors.unread for one in many] == [
        ("dir-not-read", anchors.unread[0][1][0].subject)
    ]
    assert "Corp Root" in anchors.unread[0][1][0].subject
    assert not anchors.configured


def test_a_file_without_a_certificate_counts_for_nothing() -> None:
    assert not anchors_of(_material("no certificate\n"), "n1", Place("harbor.example.com")).unread


def test_a_ca_below_a_misspelt_key_is_on_the_node_as_well() -> None:
    found = anchors_of(_material(make("Corp Root", ca=True).pem, "config"), "n1", Place("harbor.example.com"))
    assert [kind for kind, _ in found.unread] == ["dir-not-read"]
    nonsense = anchors_of(_material(make("Corp Root", ca=True).pem, "nonsense"), "n1", Place("harbor.example.com"))
    assert not nonsense.unread

"""Recorded nodes of every runtime: the decisive facts of each fault, and that look-alikes are not convicted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.model.case import Incident
from app.model.evidence import Evidence
from app.model.material import Document, Material
from app.probes import host, runtime
from app.probes.base import Scene

KUBEADM = ("containerd1.6", "containerd1.7", "containerd2")
RANCHER = ("k3s", "k3s-1.28", "k3s-1.30", "rke2")


def _load(folder: Path) -> Material:
    raw = folder / "raw"
    files = (path for path in raw.rglob("*") if path.is_file())
    return Material(Document(str(path.relative_to(raw)), path.read_text(errors="replace")) for path in files)


def _texts(material: Material) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in ("pod.json", "pods.json"):
        data = material.json(name)
        for pod in data.get("items", [data]) if data else []:
            for status in pod.get("status", {}).get("containerStatuses", []):
                message = status.get("state", {}).get("waiting", {}).get("message")
                if message:
                    found[message] = None
    for event in (material.json("events.json") or {}).get("items", []):
        if "ailed to" in event.get("message", ""):
            found[event["message"]] = None
    return tuple(found)


def _read(shared: Path, name: str) -> dict[str, list[Evidence]]:
    material = _load(shared / "lab" / "recordings" / name)
    image = json.loads(material.text("bundle.json") or "{}")["image"]
    first = image.partition("/")[0]
    registry = first if "." in first else "docker.io"
    incident = Incident(
        image=image, registry=registry, action="pull", texts=_texts(material), nodes=tuple(material.nodes())
    )
    scene = Scene(incident, now=0.0)
    found: dict[str, list[Evidence]] = {}
    for probe in (*runtime.PROBES, *host.PROBES):
        for evidence in probe.read(material, scene):
            for fact in evidence.facts:
                assert fact in probe.produces
                found.setdefault(fact, []).append(evidence)
    return found


def _one(found: dict[str, list[Evidence]], fact: str) -> object:
    return found[fact][0].facts[fact] if fact in found else "unknown"


@pytest.mark.parametrize(
    ("fault", "variants", "cured"),
    [
        ("certs-dir-name", KUBEADM, ("registry-key-not-image-host",)),
        ("plugin-id", KUBEADM, ("containerd-plugin-id-wrong",)),
        ("config-stale", KUBEADM[:2], ("config-not-restarted",)),
        ("http-vs-https", KUBEADM, ()),
        ("untrusted-ca", KUBEADM, ()),
        ("cert-chain", KUBEADM, ()),
        ("node-login-unused", KUBEADM, ()),
        ("dns-missing", KUBEADM, ()),
        ("proxy-dead", KUBEADM, ()),
        ("tag-missing-masked", KUBEADM[:2], ()),
        ("k3s-registries-not-loaded", RANCHER[:3], ("k3s-registries-not-loaded",)),
        ("k3s-template-overrides", RANCHER, ("k3s-template-overrides",)),
        ("k3s-key-mismatch", RANCHER, ("registry-key-not-image-host",)),
        ("k3s-key-scheme", RANCHER, ("registry-key-not-image-host",)),
        ("k3s-mirror-of-docker-io-other-name", RANCHER, ("registry-key-not-image-host",)),
        ("k3s-auth-wrong-key", RANCHER, ("k3s-configs-key-mismatch",)),
        ("k3s-ca-missing", RANCHER, ()),
        ("k3s-http-insecure-skip-verify", RANCHER[:3], ()),
    ],
)
def test_exactly_the_right_repair_helps(
    shared: Path, fault: str, variants: tuple[str, ...], cured: tuple[str, ...]
) -> None:
    for variant in variants:
        found = _read(shared, f"{fault}-{variant}")
        (evidence,) = found["plan.cured_by"]
        assert evidence.facts["plan.cured_by"] == cured, variant
        assert not evidence.partial, variant


@pytest.mark.parametrize(
    ("fault", "variants", "facts"),
    [
        ("plugin-id", KUBEADM, {"containerd.section_read": False, "containerd.certs_d_read": False}),
        ("config-stale", KUBEADM[:2], {"containerd.newer_than_process": True, "containerd.section_read": True}),
        (
            "config-path-and-mirrors",
            KUBEADM,
            {
                "containerd.plugin_error": "mirrors-clash",
                "containerd.inline_tables": ("mirrors",),
                "containerd.active": True,
            },
        ),
        (
            "config-path-and-tls",
            KUBEADM[:2],
            {"containerd.plugin_error": "mirrors-clash", "containerd.inline_tables": ("tls",)},
        ),
        (
            "hosts-toml-broken",
            KUBEADM,
            {"attempt.decode_error": "toml", "hosts_toml.dir_exact": True, "containerd.certs_d_read": True},
        ),
        ("certs-dir-name", KUBEADM, {"hosts_toml.dir_exact": False, "hosts_toml.near_miss": "port"}),
        ("http-vs-https", KUBEADM, {"hosts_toml.scheme": "https", "hosts_toml.near_miss": "none"}),
        ("untrusted-ca", KUBEADM, {"hosts_toml.dir_exact": False, "hosts_toml.near_miss": "none"}),
        ("mirror-path", KUBEADM, {"hosts_toml.path_ok": False, "attempt.all_404": True}),
        ("tag-missing", KUBEADM, {"hosts_toml.path_ok": True, "attempt.all_404": True}),
        (
            "tag-missing-masked",
            KUBEADM[:2],
            {"attempt.first_status": 404, "attempt.shown_is_first": False, "attempt.fallback_same_registry": True},
        ),
        (
            "node-login-unused",
            KUBEADM,
            {"kubelet.login_unread": "/root/.docker/config.json", "kubelet.login_file": "", "plan.credential": "none"},
        ),
        ("proxy-dead", KUBEADM, {"proxy.exempt": False, "proxy.answer": "unreachable"}),
        ("dns-missing", KUBEADM, {"dns.answer": "nxdomain"}),
        ("dns-servfail", KUBEADM, {"dns.answer": "servfail"}),
        (
            "healthy",
            KUBEADM,
            {
                "containerd.plugin_error": "",
                "containerd.certs_d_read": True,
                "hosts_toml.dir_exact": True,
                "plan.credential": "pull-secret",
            },
        ),
        (
            "k3s-registries-not-loaded",
            RANCHER[:3],
            {"k3s.file_ok": True, "k3s.newer_than_process": True, "k3s.generated_has_it": False},
        ),
        ("k3s-registries-yaml-broken", RANCHER, {"k3s.file_ok": False}),
        (
            "k3s-template-overrides",
            RANCHER,
            {"k3s.template": "full", "k3s.generated_has_it": False, "k3s.newer_than_process": False},
        ),
        (
            "k3s-key-mismatch",
            RANCHER,
            {"k3s.mirror_key_match": False, "k3s.near_key": "harbor.lab.test", "k3s.scheme": "https"},
        ),
        (
            "k3s-auth-wrong-key",
            RANCHER,
            {
                "k3s.configs_key_match": False,
                "k3s.near_key": "https://harbor.lab.test",
                "k3s.newer_than_process": "unknown",
            },
        ),
        ("k3s-rewrite-wrong", RANCHER, {"k3s.rewrite_applies": False}),
        (
            "k3s-http-insecure-skip-verify",
            RANCHER[:3],
            {"k3s.scheme": "https", "k3s.newer_than_process": "unknown", "k3s.generated_has_it": True},
        ),
    ],
)
def test_decisive_facts(shared: Path, fault: str, variants: tuple[str, ...], facts: dict[str, object]) -> None:
    for variant in variants:
        found = _read(shared, f"{fault}-{variant}")
        assert {fact: _one(found, fact) for fact in facts} == facts, variant


def test_no_repair_is_named_where_the_node_is_not_at_fault(shared: Path) -> None:
    """Faults of the registry, of secrets and of rights: no setting of the node may be convicted."""
    faults = (
        "robot-",
        "secret-",
        "user-",
        "wrong-password",
        "username-",
        "core-",
        "project-",
        "tag-",
        "registry-",
        "rate-",
        "policy-",
        "blob-",
        "token-",
        "no-right",
        "repository-",
    )
    names = sorted(path.name for path in (shared / "lab" / "recordings").iterdir() if path.name.startswith(faults))
    assert len(names) > 60
    for name in names:
        for evidence in _read(shared, name).get("plan.cured_by", []):
            assert evidence.facts["plan.cured_by"] == (), name


def test_no_password_is_in_an_excerpt(shared: Path) -> None:
    for name in ("k3s-auth-wrong-key-k3s", "node-login-unused-containerd2"):
        excerpts = "\n".join(evidence.excerpt for members in _read(shared, name).values() for evidence in members)
        assert "puller-secret" not in excerpts

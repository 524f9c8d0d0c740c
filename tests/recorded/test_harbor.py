"""Decisive facts of Harbor's own side, from recordings of real parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.model.case import Incident
from app.model.evidence import Evidence, Outcome
from app.model.material import Document, Material
from app.parsers.core_log import stamp_of
from app.probes.base import Scene
from app.probes.core import PROBES as CORE
from app.probes.harbor import PROBES as HARBOR

SIDES = ("harbor/", "registry/", "cluster/")


def read(raw: Path, account: str = "") -> list[Evidence]:
    """All evidence of the areas harbor and core from one bundle."""
    documents = [
        Document(str(path.relative_to(raw)), path.read_text(errors="replace"))
        for path in sorted(raw.rglob("*"))
        if path.is_file() and (str(path.relative_to(raw)).startswith(SIDES) or path.parent == raw)
    ]
    material = Material(documents)
    bundle = json.loads(material.text("bundle.json") or "{}")
    image = bundle.get("image")
    incident = Incident(
        image=image,
        registry=image.split("/")[0] if image else None,
        action=bundle.get("action"),
        texts=tuple(
            document.text for document in documents if document.path.endswith(".txt") and "/" not in document.path
        ),
        pods=("apps/web",) if material.text("pod.json") else (),
    )
    variables = {"account": account} if account else {}
    scene = Scene(incident, now=stamp_of(str(bundle.get("taken_at") or "")) or 0.0, variables=variables)
    return [evidence for probe in (*HARBOR, *CORE) for evidence in probe.read(material, scene)]


def values(found: list[Evidence], fact: str) -> list[Any]:
    return [evidence.facts[fact] for evidence in found if fact in evidence.facts]


def tags(found: list[Evidence], fact: str) -> set[str]:
    return {tag for value in values(found, fact) for tag in value}


def complete(found: list[Evidence], fact: str) -> bool:
    return bool(values(found, fact)) and not any(fact in evidence.partial for evidence in found)


FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("core-keys-unequal-crane", {"core.log": {"key-differs"}, "core.rolling": [False], "harbor.instances": [1]}),
    ("core-keys-unequal-skopeo", {"core.log": {"key-differs"}, "core.rolling": [False]}),
    ("core-clock-ahead-skopeo", {"core.log": {"not-yet-valid"}}),
    ("core-clock-behind-crane", {"core.log": {"not-yet-valid"}}),
    ("core-key-missing-containerd2", {"core.log": {"key-unreadable", "token-unmakable"}, "core.key_form": ["missing"]}),
    ("core-key-pkcs8-containerd1.7", {"core.log": {"token-unmakable", "token-unmakable-pkcs8"}, "core.key_form": ["pkcs8"]}),
    ("core-key-unknown-containerd1.6", {"registry.log": {"untrusted-key"}, "core.log": set()}),
    ("core-other-database-containerd2", {"project.exists": [True]}),
    ("database-down-containerd1.6", {"core.log": {"db"}, "harbor.component_down": [("database",)]}),
    ("registry-process-down-containerd2", {"harbor.component_down": [("registry",)], "core.log": {"registry-unreachable"}}),
    ("registry-login-mismatch-containerd1.7", {"registry.log": {"login-refused", "login-refused-internal"}, "harbor.component_down": [()]}),
    ("project-missing-containerd1.7", {"project.exists": [False]}),
    ("push-project-missing-crane", {"project.exists": [False]}),
    ("proxy-credential-rotated-containerd2", {"core.log": {"upstream-refused-login"}, "core.upstream_refused_on": ["all"], "endpoint.has_login": [True], "endpoint.status": ["healthy"]}),
    ("proxy-credential-none-containerd1.6", {"core.log": {"fallback-401"}, "endpoint.has_login": [False], "core.upstream_refused_on": []}),
    ("proxy-upstream-down-containerd1.7", {"core.log": {"fallback-network", "fallback-refused"}}),
    ("proxy-upstream-silent-containerd1.7", {"core.log": {"fallback-network"}}),
    ("proxy-endpoint-http-containerd1.7", {"endpoint.scheme": ["http"], "project.proxy_of": ["other"]}),
    ("policy-unscanned-containerd2", {"project.policy": [("vul",)]}),
    ("policy-unsigned-containerd2", {"project.policy": [("cosign",)]}),
    ("push-read-only-crane", {"harbor.read_only": [True]}),
    ("push-quota-skopeo", {"project.quota_left": [2000000.0]}),
    ("push-storage-full-skopeo", {"registry.log": {"enospc"}}),
    ("push-storage-mounted-ro-crane", {"registry.log": {"erofs"}}),
    ("push-forwarded-proto-skopeo", {"upload.redirect_seen": [True], "ingress.sends_proto": [False], "registry.relative_urls": [False]}),
    ("push-healthy-skopeo", {"upload.redirect_seen": [False], "ingress.sends_proto": [True], "registry.log": set()}),
    ("push-proxy-project-crane", {"project.proxy_of": ["other"]}),
    ("user-locked-containerd1.7", {"core.log": {"locking(ci-bot)", "user-refused(ci-bot)"}, "core.offender": ["10.213.77.4 old-ci-job/1.0"], "core.offender_is_client": [False]}),
    ("healthy-containerd2", {"harbor.component_down": [()], "harbor.read_only": [False], "project.exists": [True], "registry.log": set(), "artifact.deleted": [False]}),
    ("proxy-healthy-containerd1.6", {"registry.log": set(), "endpoint.status": ["healthy"]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), FAULTS, ids=[name for name, _ in FAULTS])
def test_recorded_faults(shared: Path, name: str, expected: dict[str, Any]) -> None:
    found = read(shared / "lab" / "recordings" / name / "raw")
    for fact, value in expected.items():
        assert (tags(found, fact) if isinstance(value, set) else values(found, fact)) == value, fact
        if isinstance(value, set):
            assert complete(found, fact), fact


ACCOUNTS = [
    ("robot-disabled-containerd1.7", "robot$team+build", {"core.log": "robot-disabled(robot$team+build)", "robot.disabled": True}),
    ("robot-expired-containerd2", "robot$team+build", {"core.log": "robot-expired(robot$team+build)", "robot.exists": True}),
    ("robot-secret-rotated-containerd1.6", "robot$team+build", {"core.log": "robot-refused(robot$team+build)", "robot.disabled": False}),
    ("wrong-password-containerd1.6", "robot$k8s-puller", {"core.log": "robot-refused(robot$k8s-puller)", "robot.exists": True}),
    ("secret-newline-containerd1.6", "robot$k8s-puller", {"core.log": "robot-refused(robot$k8s-puller)", "robot.disabled": False}),
    ("username-expanded-containerd2", "robot-puller", {"core.log": "cut-name(robot-puller)", "robot.exists": False}),
    ("push-wrong-password-skopeo", "robot$team+ci", {"core.log": "robot-refused(robot$team+ci)", "robot.exists": True}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "account", "expected"), ACCOUNTS, ids=[name for name, _, _ in ACCOUNTS])
def test_recorded_refusals_of_an_account(shared: Path, name: str, account: str, expected: dict[str, Any]) -> None:
    found = read(shared / "lab" / "recordings" / name / "raw", account)
    assert expected.pop("core.log") in tags(found, "core.log")
    for fact, value in expected.items():
        assert values(found, fact) == [value], fact


@pytest.mark.parametrize("name", ["push-no-right-crane", "robot-push-only-containerd2"])
def test_recorded_robots_without_the_right(shared: Path, name: str) -> None:
    raw = shared / "lab" / "recordings" / name / "raw"
    wanted = "push" if name.startswith("push") else "pull"
    for robot in json.loads((raw / "harbor/robots.json").read_text()):
        found = read(raw, robot["name"])
        allowed = {
            access["action"]
            for permission in robot["permissions"]
            for access in permission["access"]
            if access["resource"] == "repository"
        }
        if robot["level"] == "system" and wanted not in allowed:
            assert not any(item.endswith(f":{wanted}") for item in tags(found, "robot.allows"))
            return
    pytest.fail("no system robot without the right in the recording")


@pytest.mark.parametrize("runtime", ["containerd1.6", "containerd1.7", "containerd2"])
def test_a_name_cut_before_or_on_another_node_is_not_this_ones(shared: Path, runtime: str) -> None:
    raw = shared / "lab" / "recordings" / f"node-login-unused-{runtime}" / "raw"
    assert tags(read(raw), "core.log") == {"user-refused(robot-puller)"}


def test_unequal_keys_are_seen_on_both_pods_of_the_roster(shared: Path) -> None:
    found = read(shared / "lab" / "recordings" / "core-keys-unequal-crane" / "raw")
    hashes = {
        evidence.target.get("core-pod"): evidence.facts["core.key_hash"]
        for evidence in found
        if "core.key_hash" in evidence.facts
    }
    assert len(hashes) == len(set(hashes.values())) == 2
    assert {evidence.roster.get("core-pod") for evidence in found if "core.key_hash" in evidence.facts} == {
        tuple(sorted(hashes))
    }  # type: ignore[type-var]


OBSERVED: list[tuple[str, dict[str, Any]]] = [
    ("o002", {"core.log": {"key-differs"}, "core.rolling": [False]}),
    ("o006", {"core.log": set(), "project.exists": [True]}),
    ("o010", {"core.log": {"locking(ci-bot)", "user-refused(ci-bot)"}, "core.offender_is_client": [False]}),
    ("o012", {"core.log": {"not-yet-valid"}}),
    ("o014", {"registry.log": {"untrusted-key"}, "registry.relative_urls": [False]}),
    ("o016", {"core.log": {"upstream-refused-login"}, "core.upstream_refused_on": ["all"], "endpoint.has_login": [True]}),
    ("o018", {"core.log": set()}),
    ("o020", {"core.log": set()}),
    ("o028", {"upload.redirect_seen": [True], "ingress.sends_proto": [False], "core.log": set()}),
    ("o030", {"registry.log": {"disconnect"}, "upload.redirect_seen": [False]}),
    ("o034", {"registry.log": {"login-refused", "login-refused-internal"}, "core.log": set()}),
    ("o036", {"harbor.component_down": [("registry",)]}),
    ("o038", {"registry.log": {"enospc"}, "harbor.volume_free": [0.0]}),
    ("o040", {"project.policy": [("vul",)]}),
    ("o042", {"core.log": {"upstream-refused-login"}, "core.upstream_refused_on": []}),
    ("o044", {"registry.log": {"upload-secret"}}),
    ("o048", {"core.log": {"token-expired"}}),
    ("o054", {"harbor.read_only": [True], "core.log": set()}),
    ("o060", {"core.log": {"fallback-network", "fallback-refused"}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), OBSERVED, ids=[name for name, _ in OBSERVED])
def test_observed_on_a_live_harbor(shared: Path, name: str, expected: dict[str, Any]) -> None:
    found = read(shared / "corpus" / "observed" / name / "raw")
    for fact, value in expected.items():
        assert (tags(found, fact) if isinstance(value, set) else values(found, fact)) == value, fact


def test_every_recording_is_read_without_trouble(shared: Path) -> None:
    """No exception, no document that cannot be read, and never a named tag for nothing."""
    raws = [*sorted((shared / "lab" / "recordings").glob("*/raw")), *sorted((shared / "corpus").glob("*/*/raw"))]
    assert len(raws) > 300
    for raw in raws:
        for evidence in read(raw):
            assert evidence.outcome is Outcome.OBSERVED or (evidence.detail and not evidence.facts), raw
            assert not any(
                item.endswith("()") for value in evidence.facts.values() if isinstance(value, tuple) for item in value
            ), raw


def test_healthy_recordings_show_no_refusal(shared: Path) -> None:
    for name in (
        "healthy-containerd1.6",
        "healthy-containerd1.7",
        "healthy-containerd2",
        "push-healthy-crane",
        "proxy-healthy-containerd2",
    ):
        found = read(shared / "lab" / "recordings" / name / "raw")
        assert tags(found, "core.log") | tags(found, "registry.log") == set(), name

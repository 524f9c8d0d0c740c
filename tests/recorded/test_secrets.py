"""Pull secrets as real kubelets met them: the decisive facts of each recorded fault, on every runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.model.case import Incident
from app.model.evidence import Outcome
from app.model.masked import MASK
from app.parsers.dockerconfig import parse_dockerconfig
from app.probes import kube, secrets
from app.probes.base import Scene
from app.session.bundle import Bundle, read_bundle, write_bundle

RUNTIMES = ("containerd1.6", "containerd1.7", "containerd2")
DECISIVE: dict[str, dict[str, Any]] = {
    "secret-missing": {"secret.exists": False, "pod.retrieve_event": True, "secret.match_count": 0},
    "secret-newline": {"secret.edge_space": True, "secret.matches": True, "secret.match_count": 1, "secret.parse_error": ""},
    "secret-not-base64": {"secret.parse_error": "illegal base64 data at input byte 5", "pod.reason": "illegal base64 data at input byte 5"},
    "secret-not-referenced": {"pod.secret_names": (), "sa.secret_names": (), "secret.unused_match": True, "secret.match_count": 0, "pod.retrieve_event": False},
    "secret-opaque": {"secret.type": "other", "secret.exists": True, "secret.match_count": 0, "pod.retrieve_event": False},
    "secret-wrong-host": {"secret.near_miss": "other-host", "secret.type": "dockerconfigjson", "secret.layout": "auths", "secret.match_count": 0},
    "secret-wrong-type": {"secret.type": "dockercfg", "secret.layout": "auths", "secret.match_count": 0, "pod.retrieve_event": False},
    "robot-secret-rotated": {"secret.edge_space": False, "secret.auth_differs": False, "secret.match_count": 1, "secret.name_damaged": False},
    "healthy": {"secret.match_count": 1, "secret.has_login": True, "secret.name_damaged": False},
}  # fmt: skip


def facts_of(bundle: Bundle) -> dict[str, Any]:
    scene = Scene(Incident(image=bundle.image), 0.0)
    found: dict[str, Any] = {}
    for probe in (*kube.PROBES, *secrets.PROBES):
        for record in probe.read(bundle.material, scene):
            assert record.outcome is Outcome.OBSERVED, record.detail
            assert set(record.facts) <= set(probe.produces)
            found.update(record.facts)
    return found


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("fault", DECISIVE)
def test_decisive_facts(shared: Path, fault: str, runtime: str) -> None:
    seen = facts_of(read_bundle(shared / "lab" / "recordings" / f"{fault}-{runtime}" / "raw"))
    assert {key: seen.get(key) for key in DECISIVE[fault]} == DECISIVE[fault]


def test_every_recording_is_read_without_trouble(shared: Path) -> None:
    folders = sorted((shared / "lab" / "recordings").glob("*/raw"))
    assert len(folders) > 200
    for folder in folders:
        facts_of(read_bundle(folder))


def test_no_password_of_a_recording_survives_writing(shared: Path, tmp_path: Path) -> None:
    for number, folder in enumerate(sorted((shared / "lab" / "recordings").glob("*-containerd2/raw"))):
        bundle = read_bundle(folder)
        passwords = _passwords(bundle)
        write_bundle(bundle.material, (), tmp_path / str(number), image=bundle.image)
        for path in (tmp_path / str(number)).rglob("*"):
            if path.is_file():
                text = path.read_text()
                assert not [password for password in passwords if password in text], path
        again = read_bundle(tmp_path / str(number))
        assert {document.path for document in again.material} == {document.path for document in bundle.material}
        kept = facts_of(again)
        assert kept.get("pod.secret_names") == facts_of(bundle).get("pod.secret_names")
        assert MASK not in str(kept)


def _passwords(bundle: Bundle) -> set[str]:
    """Passwords and their encoded forms in the recorded secrets."""
    import base64

    from app.parsers.kube_objects import mapping, objects_of

    found: set[str] = set()
    for _, _, item in objects_of(bundle.material).all("Secret"):
        for value in mapping(item.get("data")).values():
            found.add(str(value))
            text = base64.b64decode(str(value))
            for entry in parse_dockerconfig(text, str(item.get("type"))).entries:
                if entry.password.strip():
                    found |= {
                        entry.password.strip(),
                        base64.b64encode(f"{entry.username}:{entry.password}".encode()).decode(),
                    }
    return found

"""Every recorded bundle: its texts are read without a crash, and a fault shows a symptom."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from app.model.case import Incident
from app.model.evidence import Evidence, Value
from app.model.material import Document, Material
from app.parsers.redact import redact
from app.probes import image, text
from app.probes.base import Scene
from app.probes.incidents import case_time, find_incidents, sightings_of

SHARED = Path(__file__).resolve().parents[3] / "shared"
CASES = SHARED / "corpus" / "cases"
OBSERVED = SHARED / "corpus" / "observed"
RECORDINGS = SHARED / "lab" / "recordings"


def load(folder: Path) -> Material:
    """A bundle's raw files as material."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Material(
        Document(path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8", errors="replace"))
        for path in files
    )


def bundles(root: Path) -> list[Path]:
    """Folders of a root that hold a bundle, by name."""
    return sorted(path for path in root.iterdir() if (path / "raw").is_dir()) if root.is_dir() else []


ALL = [*bundles(CASES), *bundles(OBSERVED), *bundles(RECORDINGS)]

# Nobody saw a failing text there, or only words of an operator: no marker can be in them.
WORDS_ONLY = {
    "d043": "a line of Harbor's log that is no error of a pull",
    "d049": "the text is cut off after the URL",
    "d052": "a pod without a message",
    "d058": "an operator's sentence",
    "d062": "a command without its output",
    "d078": "a pod without a message",
}
# The broken file stops the node's agent: no pull begins, so no text of one exists.
NO_PULL = ("k3s-registries-yaml-broken",)
# By the time of the recording every pod had been started in the end.
RECOVERED = {"core-other-database-containerd1.7"}


def judged(bundle: Path) -> tuple[Incident, dict[str, Value], list[Evidence], frozenset[str]]:
    material = load(bundle / "raw")
    found = find_incidents(material)
    assert found
    incident, variables = found[0]
    scene = Scene(incident, case_time(material), variables=variables)
    evidence = [record for probe in (*text.PROBES, *image.PROBES) for record in probe.read(material, scene)]
    tags = frozenset(tag for _, sighting in sightings_of(material, incident) for tag in sighting.reading.symptoms)
    return incident, variables, evidence, tags


def truth(bundle: Path) -> dict[str, object]:
    read = yaml.safe_load((bundle / "case.yaml").read_text(encoding="utf-8"))
    assert isinstance(read, dict)
    return read


def test_there_is_something_to_read(shared: Path) -> None:
    assert shared.is_dir()
    assert len(ALL) > 300


@pytest.mark.parametrize("bundle", ALL, ids=lambda path: path.name)
def test_symptom(bundle: Path) -> None:
    incident, variables, evidence, tags = judged(bundle)
    cause = str(truth(bundle).get("cause"))
    if cause == "none":
        assert incident.succeeded
        assert not incident.texts
        assert not tags
        return
    if bundle.name in RECOVERED:
        assert incident.succeeded
        return
    assert incident.texts
    assert not incident.succeeded
    assert all(text == redact(text).strip() for text in incident.texts)
    if bundle.name in WORDS_ONLY or bundle.name.startswith(NO_PULL):
        assert tags <= {"unclassified", "back-off-only"}
    else:
        assert tags - {"unclassified"}
    facts = {name for record in evidence for name in record.facts}
    assert "text.signature" in facts
    if incident.image:
        assert "image.normalised_host" in facts
    if incident.action:
        assert variables["action"] == incident.action


@pytest.mark.parametrize("bundle", [*bundles(OBSERVED), *bundles(RECORDINGS)], ids=lambda path: path.name)
def test_action_and_image_are_those_of_the_case(bundle: Path) -> None:
    incident, _, _, _ = judged(bundle)
    assert incident.action == truth(bundle)["action"]
    assert incident.image


SEEN_BY = {
    "black-hole": "timed-out",
    "blob-damaged": "digest-mismatch",
    "cert-expired": "x509-time",
    "cert-not-yet-valid": "x509-not-yet-valid",
    "core-key-missing": "token-broken",
    "dns-missing": "name-not-resolved",
    "dns-silent": "resolver-failing",
    "http-vs-https": "http-answer-to-https",
    "k3s-ca-file-absent": "hosts-file-error",
    "platform": "platform",
    "policy-unscanned": "policy-412",
    "proxy-credential-none": "not-found-in-proxy-project",
    "proxy-dead": "proxy-text",
    "push-no-right": "harbor-unauthorized-push",
    "push-quota": "harbor-says-why",
    "push-realm": "realm-dial-failure",
    "push-too-large": "too-large",
    "rate-limit": "rate",
    "realm-unresolvable": "realm-dial-failure",
    "registry-down": "refused",
    "registry-process-down": "http-5xx",
    "secret-missing": "secret-not-retrieved",
    "secret-not-base64": "secret-unparsable",
    "untrusted-ca": "x509-unknown-authority",
}


@pytest.mark.parametrize("fault", sorted(SEEN_BY))
def test_each_release_words_one_symptom(fault: str, shared: Path) -> None:
    del shared
    suffixes = (
        "containerd1.6",
        "containerd1.7",
        "containerd2",
        "k3s",
        "k3s-1.28",
        "k3s-1.30",
        "rke2",
        "crane",
        "skopeo",
    )
    found = [RECORDINGS / f"{fault}-{suffix}" for suffix in suffixes if (RECORDINGS / f"{fault}-{suffix}").is_dir()]
    assert len(found) > 1
    for bundle in found:
        assert SEEN_BY[fault] in judged(bundle)[3], bundle.name


def test_roles(shared: Path) -> None:
    del shared
    wanted = {
        "untrusted-ca-containerd2": "image",
        "realm-unresolvable-containerd1.7": "realm",
        "proxy-dead-containerd1.6": "proxy",
        "tag-missing-masked-containerd1.6": "fallback",
    }
    for name, role in wanted.items():
        evidence = judged(RECORDINGS / name)[2]
        assert {record.facts["text.host_role"] for record in evidence if "text.host_role" in record.facts} == {role}, (
            name
        )


def test_credential(shared: Path) -> None:
    del shared
    for release in ("containerd1.6", "containerd1.7", "containerd2"):
        for fault, sent in (("secret-not-referenced", "no"), ("secret-wrong-type", "no"), ("wrong-password", "yes")):
            evidence = judged(RECORDINGS / f"{fault}-{release}")[2]
            told = {record.facts["text.cred_sent"] for record in evidence if "text.cred_sent" in record.facts}
            assert told == {sent}, (fault, release)

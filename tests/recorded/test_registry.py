"""Registry, TLS, token and clock probes on recordings of real parts: the facts that decide each class of fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.model.case import Incident
from app.model.evidence import Evidence, Of, Value
from app.model.material import Document, Material
from app.parsers.clock import parse_time
from app.probes import clocks, registry
from app.probes.base import Scene

Facts = list[Evidence]


def read(shared: Path, name: str) -> Facts:
    """All evidence of this area for one recording."""
    raw = shared / "lab" / "recordings" / name / "raw"
    material = Material(
        Document(str(path.relative_to(raw)), path.read_text(errors="replace"))
        for path in sorted(raw.rglob("*"))
        if path.is_file()
    )
    bundle = json.loads((raw / "bundle.json").read_text())
    image = bundle["image"]
    first = image.partition("/")[0]
    incident = Incident(
        image=image,
        registry=first if "." in first else "docker.io",
        action=bundle["action"],
        nodes=tuple(material.nodes()),
    )
    scene = Scene(incident, now=parse_time(bundle["taken_at"]) or 0.0)
    found = []
    for probe in (*registry.PROBES, *clocks.PROBES):
        for one in probe.read(material, scene):
            assert set(one.facts) <= set(probe.produces)
            found.append(one)
    assert len({one.key for one in found}) == len(found)
    return found


def values(found: Facts, fact: str, of: Of = Of.THIS) -> list[Value]:
    return [one.facts[fact] for one in found if one.of is of and fact in one.facts]


def only(found: Facts, fact: str, of: Of = Of.THIS) -> Value:
    different = set(values(found, fact, of))
    assert len(different) == 1, (fact, different)
    return different.pop()


RUNTIMES = ("containerd1.6", "containerd1.7", "containerd2")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_healthy(shared: Path, runtime: str) -> None:
    found = read(shared, f"healthy-{runtime}")
    assert only(found, "trust.accepts_chain") is True
    assert only(found, "tls.chain_links") is True
    assert only(found, "tls.name_covered") is True
    assert only(found, "tls.valid_now") is True
    assert only(found, "ping.is_harbor") is True
    assert only(found, "realm.same_host") is True
    assert only(found, "realm.reachable") is True
    assert only(found, "token.login") == 200
    assert only(found, "manifest.status") == 200
    assert len(set(values(found, "token.kid"))) == 1
    assert values(found, "clock.core_spread") == []


@pytest.mark.parametrize("tool", ["crane", "skopeo"])
def test_two_token_keys(shared: Path, tool: str) -> None:
    found = read(shared, f"core-keys-unequal-{tool}")
    assert len(set(values(found, "token.kid"))) == 2
    assert set(values(found, "token.login")) == {200}
    assert values(found, "clock.core_spread") == []


@pytest.mark.parametrize(("name", "gap"), [("ahead", 600.0), ("behind", 600.0)])
@pytest.mark.parametrize("tool", ["crane", "skopeo"])
def test_core_clocks_apart(shared: Path, name: str, gap: float, tool: str) -> None:
    found = read(shared, f"core-clock-{name}-{tool}")
    (spread,) = [one for one in found if "clock.core_spread" in one.facts]
    leeway = only(found, "clock.leeway")
    seconds = spread.facts["clock.core_spread"]
    assert isinstance(seconds, float)
    assert isinstance(leeway, float)
    assert seconds == pytest.approx(gap, abs=2)
    assert seconds - spread.bounds["clock.core_spread"] > leeway
    assert len(set(values(found, "token.kid"))) == 1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_frozen_account_answers_at_once_and_a_wrong_password_late(shared: Path, runtime: str) -> None:
    frozen = read(shared, f"user-locked-{runtime}")
    assert 401 in values(frozen, "token.login")
    assert any(
        one.facts["token.login"] == 401 and one.facts["token.login_ms"] < 100
        for one in frozen
        if "token.login_ms" in one.facts
    )  # type: ignore[operator]
    wrong = read(shared, f"wrong-password-{runtime}")
    assert only(wrong, "token.login") == 401
    if runtime == "containerd2":  # the others were answered at once: several nodes tried the same name together
        assert all(isinstance(ms, float) and ms >= 1500 for ms in values(wrong, "token.login_ms"))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_one_core_with_another_database(shared: Path, runtime: str) -> None:
    assert set(values(read(shared, f"core-other-database-{runtime}"), "token.login")) == {200, 401}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("fault", ["robot-disabled", "robot-expired", "robot-secret-rotated", "username-expanded"])
def test_refused_robots(shared: Path, fault: str, runtime: str) -> None:
    found = read(shared, f"{fault}-{runtime}")
    assert only(found, "token.login") == 401
    assert only(found, "manifest.status") == 401


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("fault", ["no-right", "user-no-role"])
def test_good_login_without_right(shared: Path, fault: str, runtime: str) -> None:
    found = read(shared, f"{fault}-{runtime}")
    assert only(found, "token.login") == 200
    assert only(found, "manifest.status") == 401


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_token_service_without_usable_key(shared: Path, runtime: str) -> None:
    found = read(shared, f"core-key-pkcs8-{runtime}")
    assert 500 in values(found, "token.login")
    down = read(shared, f"token-service-down-{runtime}")
    assert only(down, "realm.answer") == "500"
    assert values(down, "ping.is_registry") == []


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_certificate_dates_and_names(shared: Path, runtime: str) -> None:
    expired = read(shared, f"cert-expired-{runtime}")
    assert only(expired, "tls.valid_now") is False
    assert only(expired, "trust.accepts_chain") is True, "the authority is trusted: only the date is wrong"
    early = read(shared, f"cert-not-yet-valid-{runtime}")
    assert only(early, "tls.valid_now") is False
    assert only(early, "tls.valid_at_node") is False
    named = read(shared, f"cert-name-{runtime}")
    assert only(named, "tls.name_covered") is False
    assert only(named, "trust.accepts_chain") is True


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_unsent_intermediate(shared: Path, runtime: str) -> None:
    found = read(shared, f"cert-chain-{runtime}")
    assert only(found, "tls.chain_links") is False
    assert only(found, "trust.anchor_subject") != only(found, "tls.issuer_subject")
    assert True not in values(found, "trust.accepts_chain")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_untrusted_ca_is_not_taken_for_an_unsent_intermediate(shared: Path, runtime: str) -> None:
    found = read(shared, f"untrusted-ca-{runtime}")
    assert False not in values(found, "tls.chain_links")
    assert True not in values(found, "trust.accepts_chain")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_plain_http_port(shared: Path, runtime: str) -> None:
    found = [
        one for one in read(shared, f"http-vs-https-{runtime}") if (one.target.get("registry") or "").endswith(":5080")
    ]
    assert only(found, "ping.plain_http") is True
    assert values(found, "tls.names") == []


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_where_the_connection_ends(shared: Path, runtime: str) -> None:
    assert only(read(shared, f"black-hole-{runtime}"), "tcp.state") == "timeout"
    refused = read(shared, f"registry-down-{runtime}")
    assert only(refused, "tcp.state") == "refused"
    assert values(read(shared, f"dns-missing-{runtime}"), "tcp.state") == []


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_realm_elsewhere(shared: Path, runtime: str) -> None:
    assert only(read(shared, f"realm-unresolvable-{runtime}"), "realm.same_host") is False


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_the_registry_says_of_the_image(shared: Path, runtime: str) -> None:
    missing = read(shared, f"tag-missing-{runtime}")
    assert only(missing, "manifest.status") == 404
    assert only(missing, "manifest.says") == ("no-artifact",)
    assert only(read(shared, f"repository-missing-{runtime}"), "manifest.says") == ("no-repository",)
    assert only(read(shared, f"policy-unscanned-{runtime}"), "manifest.says") == ("policy-vul",)
    assert only(read(shared, f"policy-unsigned-{runtime}"), "manifest.says") == ("policy-sign",)
    assert only(read(shared, f"rate-limit-{runtime}"), "manifest.status") == 429
    platform = read(shared, f"platform-{runtime}")
    assert only(platform, "manifest.kind") == "index"
    assert "amd64" not in values(platform, "manifest.platforms")[0]  # type: ignore[operator]


def test_a_certificate_of_a_mirror_is_not_the_registrys(shared: Path) -> None:
    found = read(shared, "k3s-mirror-of-docker-io-k3s")
    assert not [one for one in found if one.target.get("registry") == "docker.io" and "tls.names" in one.facts]


def test_every_recording_can_be_read(shared: Path) -> None:
    """Nothing raises, every record has its own key, and healthy ones never show a reason to doubt."""
    names = sorted(
        path.name for path in (shared / "lab" / "recordings").iterdir() if (path / "raw" / "bundle.json").is_file()
    )
    assert len(names) > 200
    for name in names:
        read(shared, name)

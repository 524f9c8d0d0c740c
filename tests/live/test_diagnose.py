"""`harborpilot diagnose` against each fault that the lab can make: the right cause first, nothing wrong proven, healthy afterwards.

The lab says what the cause is (`lab fault --list`); the table below says how sure we have to be, and with which rights.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.repair import command

ROOT = Path(__file__).resolve().parents[2]
ADMIN = ("--harbor-user", "admin", "--password-stdin")
TRY = ("--try-credentials", "once")
SURE = {
    "possible": ("possible", "likely", "proven"),
    "likely": ("likely", "proven"),
    "proven": ("proven",),
}


@dataclass(frozen=True)
class Expected:
    """How sure the right cause has to be, and what the operator allows or may do."""

    certainty: str = "proven"
    more: tuple[str, ...] = ()
    core_pods: bool = False
    """Harbor's cores run as pods of the cluster, so that their logs and files can be read; else they are outside of it."""
    tries: int = 2
    """Runs that chance may take: the front sends each request to a core of its own choice, and a pull may just begin anew."""


PROVEN, LIKELY = Expected(), Expected("likely")
IN_CLUSTER = Expected("likely", core_pods=True)
HARBOR, TRIED = Expected("proven", (*ADMIN, *TRY)), Expected("proven", TRY)
HARBOR_LIKELY = Expected("likely", (*ADMIN, *TRY))
EXPECTED: dict[str, Expected] = {
    # pull secrets and accounts
    "wrong-password": LIKELY,
    "robot-disabled": HARBOR,
    "robot-expired": HARBOR,
    "robot-secret-rotated": LIKELY,
    "robot-push-only": HARBOR,
    "user-no-role": HARBOR,
    "user-locked": Expected("possible", (*ADMIN, *TRY), tries=3),
    "no-right": HARBOR,
    "secret-missing": PROVEN,
    "secret-not-referenced": PROVEN,
    "secret-wrong-host": LIKELY,
    "secret-wrong-type": PROVEN,
    "secret-opaque": PROVEN,
    "secret-newline": TRIED,
    "secret-not-base64": PROVEN,
    "username-expanded": LIKELY,
    "node-login-unused": PROVEN,
    # names
    "tag-missing": HARBOR,
    "tag-missing-masked": LIKELY,
    "repository-missing": HARBOR,
    "project-missing": HARBOR,
    "platform": LIKELY,
    # TLS and network
    "untrusted-ca": PROVEN,
    "http-vs-https": PROVEN,
    "cert-expired": PROVEN,
    "cert-not-yet-valid": PROVEN,
    "cert-name": PROVEN,
    "cert-chain": LIKELY,
    "registry-down": LIKELY,
    "black-hole": LIKELY,
    "dns-missing": LIKELY,
    "dns-servfail": LIKELY,
    "dns-silent": LIKELY,
    "dns-refused": LIKELY,
    "proxy-dead": PROVEN,
    # settings of the runtime
    "plugin-id": PROVEN,
    "config-path-and-mirrors": PROVEN,
    "config-path-and-tls": PROVEN,
    "certs-dir-name": PROVEN,
    "config-stale": PROVEN,
    "mirror-path": LIKELY,
    "hosts-toml-broken": PROVEN,
    # Harbor
    "core-keys-unequal": Expected(core_pods=True),
    "core-clock-ahead": Expected(core_pods=True),
    "core-clock-behind": IN_CLUSTER,
    "core-key-missing": Expected("possible"),
    "core-key-pkcs8": Expected("possible"),
    "core-other-database": Expected("likely", tries=3),
    "registry-login-mismatch": Expected("possible", (*ADMIN, *TRY)),
    "database-down": LIKELY,
    "registry-process-down": LIKELY,
    "token-service-down": LIKELY,
    "realm-unresolvable": LIKELY,
    "rate-limit": LIKELY,
    "blob-damaged": LIKELY,
    "blob-missing": LIKELY,
    "policy-unscanned": LIKELY,
    "policy-unsigned": HARBOR_LIKELY,
    # proxy-cache project
    "proxy-no-right": HARBOR,
    "proxy-credential-rotated": HARBOR_LIKELY,
    "proxy-credential-none": HARBOR_LIKELY,
    "proxy-tag-missing": IN_CLUSTER,
    "proxy-library-missing": HARBOR_LIKELY,
    "proxy-rate-limit": LIKELY,
    "proxy-upstream-down": IN_CLUSTER,
    "proxy-upstream-silent": IN_CLUSTER,
    # pushes, told by their output
    "push-project-missing": HARBOR,
    "push-untrusted-ca": LIKELY,
    "push-too-large": LIKELY,
    "push-quota": PROVEN,
    "push-immutable": PROVEN,
    "push-proxy-project": LIKELY,
    "push-realm": LIKELY,
    "push-storage-full": LIKELY,
    "push-storage-mounted-ro": LIKELY,
    # k3s and RKE2
    "k3s-http-insecure-skip-verify": PROVEN,
    "rke2-http-insecure-skip-verify": PROVEN,
    "k3s-registries-not-loaded": PROVEN,
    "rke2-registries-not-loaded": PROVEN,
    "k3s-key-mismatch": PROVEN,
    "k3s-key-scheme": PROVEN,
    "k3s-registries-yaml-broken": LIKELY,
    "k3s-auth-wrong-key": PROVEN,
    "k3s-ca-missing": PROVEN,
    "k3s-ca-file-absent": PROVEN,
    "k3s-rewrite-wrong": LIKELY,
    "k3s-template-overrides": PROVEN,
    "k3s-mirror-of-docker-io": LIKELY,
    "k3s-mirror-of-docker-io-other-name": PROVEN,
}
HEALTHY = {
    "healthy",
    "proxy-healthy",
    "proxy-endpoint-http",
    "push-healthy",
    "k3s-healthy",
    "k3s-healthy-http",
    "k3s-healthy-auth",
    "k3s-mirror-of-docker-io-works",
}
BY_A_TRY = {"push-no-right", "push-wrong-password", "push-forwarded-proto", "push-read-only"}
"""Told by a try of the push (test_push.py): the output alone does not part them."""
OTHER_LAB = {"core-key-unknown"}
"""Takes a lab in the shape of Harbor 1.x (`lab up --harbor 1`)."""


def diagnose(lab: Mapping[str, str], *more: str) -> tuple[int, dict[str, Any]]:
    """Exit code and output of the command; nothing but the output may reach the terminal."""
    words = [sys.executable, "-m", "app", "diagnose", "--kubeconfig", lab["KUBECONFIG"]]
    words += ["-F", lab["LAB_SSH_CONFIG"], "--no-input", "-o", "json", *more]
    done = subprocess.run(
        words, input="Harbor12345\n" if set(ADMIN) <= set(more) else "",
        capture_output=True, text=True, timeout=180, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode in (0, 3, 4), done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


@pytest.fixture(scope="module")
def causes(lab: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Each fault of the lab with its accepted cause; nothing is wrong before and after."""
    command("mend")
    command("harbor-pods", "--off")
    rows = (line.lstrip("* ").split() for line in command("fault", "--list").splitlines() if line.strip())
    yield {row[0]: row[1] for row in rows}
    command("mend")
    command("harbor-pods", "--off")


def ranked(found: Mapping[str, Any]) -> list[list[tuple[str, str, str]]]:
    """(finding, cause, certainty) of each incident, best first."""
    return [
        [(one["finding"], one["cause"], one["certainty"]) for one in incident["diagnoses"]]
        for incident in found["incidents"]
    ]


def seen(lab: Mapping[str, str], name: str, folder: Path, expected: Expected) -> tuple[int, dict[str, Any]]:
    """Make a fault, diagnose and mend; a failing check leaves nothing behind."""
    more = expected.more
    if expected.core_pods:
        command("harbor-pods")
    try:
        text = command("fault", name)
        if name.startswith(("push-", "core-")):
            output = folder / "seen.txt"
            output.write_text(text)
            more = (*more, "--text", str(output))
        return diagnose(lab, *more)
    finally:
        command("mend")
        if expected.core_pods:
            command("harbor-pods", "--off")


def nothing_wrong_is_proven(cause: str, found: Mapping[str, Any]) -> None:
    assert not [one for row in ranked(found) for one in row if one[2] == "proven" and one[1] != cause], ranked(found)


def judged(name: str, cause: str, certainty: str, code: int, found: Mapping[str, Any]) -> None:
    rows = ranked(found)
    assert rows, found
    for row in rows:
        assert row, found
        assert row[0][1] == cause, rows
        assert row[0][2] in SURE[certainty], rows
    assert code == (3 if any(row[0][2] != "possible" for row in rows) else 4), name


def test_each_fault_of_the_lab_stands_in_a_table(causes: Mapping[str, str]) -> None:
    assert set(causes) == set(EXPECTED) | HEALTHY | BY_A_TRY | OTHER_LAB
    assert {name for name, cause in causes.items() if cause == "none"} == HEALTHY


@pytest.mark.parametrize("name", EXPECTED)
def test_the_right_cause_is_first(lab: Mapping[str, str], causes: Mapping[str, str], name: str, tmp_path: Path) -> None:
    expected = EXPECTED[name]
    for left in reversed(range(expected.tries)):
        code, found = seen(lab, name, tmp_path, expected)
        nothing_wrong_is_proven(causes[name], found)
        try:
            judged(name, causes[name], expected.certainty, code, found)
            break
        except AssertionError:
            if not left:
                raise


@pytest.mark.parametrize("name", sorted(HEALTHY))
def test_nothing_is_found_where_nothing_is_wrong(
    lab: Mapping[str, str], causes: Mapping[str, str], name: str, tmp_path: Path
) -> None:
    _, found = seen(lab, name, tmp_path, PROVEN)
    assert not [one for row in ranked(found) for one in row if one[2] in ("proven", "likely")], found


def test_healthy_after_mending(lab: Mapping[str, str], causes: Mapping[str, str]) -> None:
    code, found = diagnose(lab)
    assert (code, found["outcome"]) == (0, "healthy")

"""Every finding that the first problems need (P1) comes out on a case with recorded evidence, or on real parts.

The whole way of `diagnose --bundle`, in this process. The gate at the end fails when a new P1 finding is shown nowhere.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from app.files import load_rulebook
from app.rulebook.book import Rulebook
from app.runner.assemble import Ask, judge_material
from app.session.bundle import read_bundle
from tests.live.test_findings import LIVE

PROVEN = {
    "artifact-missing": "lab/recordings/tag-missing-containerd1.6",
    "body-too-large": "corpus/observed/o030",
    "ca-file-missing": "lab/recordings/k3s-ca-file-absent-k3s",
    "clock-skew-core": "corpus/observed/o012",
    "config-not-restarted": "lab/recordings/config-stale-containerd1.6",
    "config-path-with-mirrors": "lab/recordings/config-path-and-mirrors-containerd1.6",
    "containerd-plugin-id-wrong": "lab/recordings/plugin-id-containerd1.6",
    "core-token-key-mismatch": "lab/recordings/core-keys-unequal-crane",
    "fallback-error-shown": "lab/recordings/tag-missing-masked-containerd1.6",
    "harbor-component-down": "corpus/observed/o036",
    "hosts-toml-unparseable": "lab/recordings/hosts-toml-broken-containerd1.6",
    "k3s-registries-not-loaded": "lab/recordings/k3s-registries-not-loaded-k3s",
    "login-lock": "corpus/observed/o010",
    "mirror-path-wrong": "corpus/cases/d076",
    "net-refused": "corpus/cases/d007",
    "no-proxy-miss": "lab/recordings/proxy-dead-containerd1.6",
    "node-auth-key-mismatch": "lab/recordings/k3s-auth-wrong-key-k3s",
    "node-credentials-unread": "lab/recordings/node-login-unused-containerd1.6",
    "node-disk-full": "corpus/cases/d086",
    "plain-http-undeclared": "lab/recordings/http-vs-https-containerd1.6",
    "platform-missing": "lab/recordings/platform-containerd1.6",
    "project-missing": "lab/recordings/project-missing-containerd1.6",
    "proxy-upstream-auth": "corpus/observed/o016",
    "proxy-upstream-rate-limited": "corpus/observed/o020",
    "pull-secret-bad-base64": "lab/recordings/secret-not-base64-containerd1.6",
    "pull-secret-missing": "lab/recordings/secret-missing-containerd1.6",
    "pull-secret-not-referenced": "lab/recordings/secret-not-referenced-containerd1.6",
    "pull-secret-wrong-type": "lab/recordings/secret-opaque-containerd1.6",
    "quota-exceeded": "corpus/observed/o032",
    "rate-limited": "corpus/observed/o020",
    "read-only": "corpus/observed/o054",
    "realm-host-wrong": "corpus/observed/o026",
    "registry-key-not-image-host": "lab/recordings/certs-dir-name-containerd1.6",
    "registry-login-mismatch": "corpus/observed/o034",
    "robot-disabled": "lab/recordings/robot-disabled-containerd1.6",
    "robot-expired": "lab/recordings/robot-expired-containerd1.6",
    "robot-name-mangled": "corpus/observed/o008",
    "robot-secret-stale": "lab/recordings/push-wrong-password-skopeo",
    "storage-full": "corpus/observed/o038",
    "tag-immutable": "corpus/observed/o052",
    "tls-cert-expired": "lab/recordings/cert-expired-containerd1.6",
    "tls-name-not-covered": "lab/recordings/cert-name-containerd1.6",
    "upload-location-wrong": "corpus/observed/o028",
    "vulnerability-policy": "corpus/observed/o040",
}
LIKELY = {
    "client-login-wrong": "corpus/cases/d006",
    "core-replica-differs": "lab/recordings/core-other-database-containerd1.6",
    "credential-refused-unsorted": "lab/recordings/push-wrong-password-crane",
    "ctr-is-not-cri": "corpus/cases/d032",
    "dns-name-unknown": "lab/recordings/dns-missing-containerd1.6",
    "image-host-read-as-docker-hub": "corpus/cases/d048",
    "image-lacks-registry-port": "corpus/cases/d060",
    "k3s-configs-key-mismatch": "lab/recordings/k3s-auth-wrong-key-k3s",
    "k3s-registries-unparsable": "lab/recordings/k3s-registries-yaml-broken-k3s",
    "mirror-gets-upstream-credential": "corpus/observed/o024",
    "net-timeout": "lab/recordings/black-hole-containerd1.6",
    "node-clock-skew": "corpus/cases/d011",
    "project-role-missing": "lab/recordings/user-no-role-containerd1.6",
    "proxy-library-prefix": "corpus/observed/o022",
    "proxy-not-in-runtime": "corpus/cases/d053",
    "proxy-upstream-unhealthy": "lab/recordings/proxy-upstream-silent-containerd1.6",
    "pull-secret-edge-space": "lab/recordings/secret-newline-containerd1.6",
    "pull-secret-wrong-server": "lab/recordings/secret-wrong-host-containerd1.6",
    "repository-missing": "lab/recordings/repository-missing-containerd1.6",
    "robot-lacks-permission": "lab/recordings/no-right-containerd1.6",
    "tls-ca-not-trusted": "lab/recordings/k3s-ca-missing-k3s",
    "tls-chain-incomplete": "lab/recordings/cert-chain-containerd1.6",
    "token-expired-during-push": "corpus/observed/o048",
}
NOT_SHOWN = {
    "proxy-endpoint-plain-http": "its set wants Harbor before 2.11 with a public upstream, and no recording nor the test bed has one; "
    "Harbor 2.16 was seen to follow the redirect, so the rule says no more than possible, which its own cases hold",
}
"""P1 findings that neither a recorded case nor real parts show, and why."""


@pytest.fixture(scope="module")
def rulebook() -> Rulebook:
    book, problems = load_rulebook()
    assert not problems
    return book


@pytest.mark.parametrize(
    ("finding", "case", "certainty"),
    [
        (finding, case, certainty)
        for certainty, rows in (("proven", PROVEN), ("likely", LIKELY))
        for finding, case in rows.items()
    ],
)
def test_a_finding_comes_out(shared: Path, rulebook: Rulebook, finding: str, case: str, certainty: str) -> None:
    bundle = read_bundle(shared / case / "raw")
    judged = judge_material(rulebook, bundle.material, Ask(), given=bundle.evidence)
    found = {(one.finding, one.certainty.value) for item in judged for one in item.step.standings}
    assert (finding, certainty) in found


def test_every_p1_finding_is_shown_somewhere(rulebook: Rulebook) -> None:
    wanted = {name for name, finding in rulebook.findings.items() if finding.file.priority == "P1"}
    recorded = PROVEN.keys() | LIKELY.keys()
    live = {name.partition("/")[0] for name in LIVE}
    assert wanted - recorded - live - NOT_SHOWN.keys() == set(), (
        "show it on a recorded case or in tests/live/test_findings.py"
    )
    assert (recorded | live | NOT_SHOWN.keys()) - wanted == set(), "no P1 finding has this name"
    assert not (recorded | live) & NOT_SHOWN.keys(), "it is shown after all"

"""Probes of the core pods: rosters, windows, completeness, hashes, and what is asked for live."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from app.model.case import Incident
from app.model.evidence import Evidence, Outcome
from app.model.material import Document, Material
from app.probes.base import HarborPlace, KubeExec, KubeGet, Scene
from app.probes.core import PROBES
from app.probes.core_logs import read_logs
from app.probes.core_pods import read_exec, read_pods
from app.probes.harbor_secrets import kid_of_pem, libtrust_kid

A, B = "hub-harbor-core-6d8f9c7b5d-4kx2p", "hub-harbor-core-6d8f9c7b5d-w9hqn"
IMAGE = "harbor.corp.example/team/app:1.0"
TAKEN = {"schema": 1, "image": IMAGE, "taken_at": "2026-03-01T08:05:00Z"}


def material(**files: Any) -> Material:
    """Documents by path with `__` for `/` and `_DOT_json` left to the caller."""
    return Material(Document(path, text if isinstance(text, str) else json.dumps(text)) for path, text in files.items())


def scene(**more: Any) -> Scene:
    given: dict[str, Any] = {"image": IMAGE, "registry": "harbor.corp.example", "action": "pull"}
    return Scene(Incident(**{**given, **more}), now=1772352300.0)


def pod(
    name: str, *, ready: bool = True, hash_: str = "6d8f9c7b5d", component: str = "core", **metadata: Any
) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "hub",
            "labels": {"app": "harbor", "component": component, "pod-template-hash": hash_},
            **metadata,
        },
        "spec": {"containers": [{"name": component, "image": "goharbor/harbor-core:v2.14.0"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def by_pod(found: list[Evidence], fact: str) -> dict[str, Any]:
    return {evidence.target.get("core-pod") or "": evidence.facts[fact] for evidence in found if fact in evidence.facts}


def log(pod_name: str, text: str, time: str = "08:04:00") -> str:
    return f"[pod/{pod_name}/core] 2026-03-01T{time}Z [ERROR] [/x/y.go:1]: {text}\n"


KEY = "parse token error, token signature is invalid: crypto/rsa: verification error"


def test_log_by_pod_is_complete_with_a_silent_pod_of_the_roster() -> None:
    given = material(
        **{
            "bundle.json": TAKEN,
            "harbor/core.log": log(A, KEY),
            "harbor/core-pods.json": {"items": [pod(A), pod(B), pod("c-core-x", ready=False)]},
        }
    )
    found = list(read_logs(given, scene()))
    assert by_pod(found, "core.log") == {A: ("key-differs",), B: ()}
    assert all(not evidence.partial and evidence.roster == {"core-pod": (A, B)} for evidence in found)


def test_log_without_a_time_of_the_failure_is_partial() -> None:
    (found,) = read_logs(material(**{"harbor/core.log": "crypto/rsa: verification error"}), scene())
    assert found.facts["core.log"] == ("key-differs",)
    assert found.partial == {"core.log"}


def test_log_of_one_of_two_pods_is_partial() -> None:
    given = material(
        **{
            "bundle.json": TAKEN,
            "harbor/core.log": log(A, KEY).partition("] ")[2],
            "harbor/core-pods.json": {"items": [pod(A), pod(B)]},
        }
    )
    (found,) = read_logs(given, scene())
    assert found.partial == {"core.log"}


def test_old_lines_are_not_about_this_failure() -> None:
    old = log(A, "failed to authenticate robot account: robot$ci", "05:00:00")
    given = material(**{"bundle.json": TAKEN, "harbor/core.log": old + log(A, "something else")})
    assert by_pod(list(read_logs(given, scene())), "core.log") == {A: ()}
    alone = material(**{"bundle.json": TAKEN, "harbor/core.log": old.replace("2026-03-01", "2026-02-20")})
    (found,) = read_logs(alone, scene())
    assert found.facts["core.log"] == ()
    assert found.partial == {"core.log"}


def test_clock_lines_of_a_wrong_clock_stay() -> None:
    far = log(B, "parse token error, token has invalid claims: token is not valid yet", "10:30:00")
    given = material(**{"bundle.json": TAKEN, "harbor/core.log": log(A, "something") + far})
    assert by_pod(list(read_logs(given, scene())), "core.log")[B] == ("not-yet-valid",)


def test_empty_log_of_a_known_harbor_is_complete_and_alone_it_is_not() -> None:
    (found,) = read_logs(material(**{"bundle.json": TAKEN, "harbor/core.log": "", "harbor/proxy.log": "x"}), scene())
    assert (found.facts["core.log"], found.partial) == ((), frozenset())
    (alone,) = read_logs(material(**{"bundle.json": TAKEN, "harbor/core.log": ""}), scene())
    assert alone.partial == {"core.log"}
    assert list(read_logs(material(**{"bundle.json": TAKEN}), scene())) == []


def test_denied_log_says_what_it_costs() -> None:
    (found,) = read_logs(
        Material([Document("harbor/core.log", outcome=Outcome.DENIED, detail="pods/log is forbidden")]), scene()
    )
    assert (found.outcome, dict(found.facts)) == (Outcome.DENIED, {})
    assert "kubectl logs" in found.by_hand


def refused(name: str, address: str, agent: str) -> str:
    return f'[pod/{A}/core] 2026-03-01T08:04:00Z [ERROR] [/x/basic_auth.go:72][client IP="{address}" user agent="{agent}"]: failed to authenticate user:{name}, error:x\n'


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (refused("anna", "192.0.2.9", "old-job/1.0"), False),
        (refused("anna", "192.0.2.1", "containerd/1.7.24"), True),
        (refused("anna", "192.0.2.9", "containerd/1.7.24"), None),
        (refused("anna", "192.0.2.9", "old-job/1.0") + refused("anna", "192.0.2.1", "containerd/1.7.24"), None),
    ],
)
def test_offender(lines: str, client: bool | None) -> None:
    failing = {"metadata": {"name": "web"}, "spec": {"nodeName": "n1"}, "status": {"hostIP": "192.0.2.1"}}
    given = material(**{"bundle.json": TAKEN, "harbor/core.log": lines, "pod.json": failing})
    facts = {
        key: value
        for one in read_logs(given, scene(pods=("apps/web",), nodes=("n1",)))
        for key, value in one.facts.items()
    }
    assert facts["core.offender"] == " ".join(
        (lines.split('IP="')[1].split('"', maxsplit=1)[0], lines.split('agent="')[1].split('"', maxsplit=1)[0])
    )
    assert facts.get("core.offender_is_client") is client


def test_cut_name_of_another_node_is_not_ours() -> None:
    failing = {"metadata": {"name": "web"}, "spec": {"nodeName": "n1"}, "status": {"hostIP": "192.0.2.1"}}
    files = {"bundle.json": TAKEN, "pod.json": failing, "harbor/robots.json": [{"name": "robot$k8s-pull"}]}
    lock = log(A, "Login failed, locking robot-pull, and sleep for 1.5s")
    other = material(**files, **{"harbor/core.log": lock + refused("robot-pull", "192.0.2.2", "containerd/2.1")})
    assert "cut-name(robot-pull)" not in str(list(read_logs(other, scene(nodes=("n1",)))))
    ours = material(**files, **{"harbor/core.log": lock + refused("robot-pull", "192.0.2.1", "containerd/2.1")})
    assert "cut-name(robot-pull)" in by_pod(list(read_logs(ours, scene(nodes=("n1",)))), "core.log")[A]
    known = replace(scene(nodes=("n1",)), variables={"account": "robot-pull"})
    assert "cut-name(robot-pull)" in by_pod(list(read_logs(other, known)), "core.log")[A]


def test_the_end_of_an_older_request_is_no_cut_name() -> None:
    files = {"bundle.json": TAKEN, "harbor/robots.json": [{"name": "robot$k8s-pull"}]}
    given = material(**files, **{"harbor/core.log": refused("robot-pull", "192.0.2.1", "containerd/2.1")})
    assert by_pod(list(read_logs(given, scene())), "core.log")[A] == ("user-refused(robot-pull)",)


UPSTREAM = 'failed to proxy manifest, fallback to local, request uri: /v2/%s/manifests/1.0, error: http status code: 401, body: {"message": "Invalid Username or Password"}'


@pytest.mark.parametrize(
    ("lines", "pods", "expected"),
    [
        (log(A, UPSTREAM % "team/app") + log(B, UPSTREAM % "team/app"), [A, B], "all"),
        (log(A, UPSTREAM % "team/app") + log(B, UPSTREAM % "team/app"), [], "all"),
        (log(A, UPSTREAM % "team/app") * 4 + log(B, "x"), [A, B], "one-of-several"),
        (log(A, UPSTREAM % "team/app") + log(B, "x"), [A, B], None),
        (log(A, UPSTREAM % "team/app"), [], None),
        (log(A, UPSTREAM % "hub/other"), [A], None),
    ],
)
def test_upstream_refusals_by_pod(lines: str, pods: list[str], expected: str | None) -> None:
    files: dict[str, Any] = {"bundle.json": TAKEN, "harbor/core.log": lines}
    if pods:
        files["harbor/core-pods.json"] = {"items": [pod(name) for name in pods]}
    facts = {key: value for one in read_logs(material(**files), scene()) for key, value in one.facts.items()}
    assert facts.get("core.upstream_refused_on") == expected


def test_expired_robot_of_harbor_1_gets_its_name_from_the_list() -> None:
    line = "2019-07-11T10:30:43Z [ERROR] [/core/filter/security.go:200]: failed to decrypt robot token, token is expired by 1h0m0s"
    robots = [{"name": "robot$ci", "expires_at": 1562837443}, {"name": "robot$b", "expires_at": 1}]
    found = list(read_logs(material(**{"harbor/core.log": line, "harbor/robots.json": robots}), scene()))
    assert found[0].facts["core.log"] == ("robot-expired(robot$ci)",)


# --- pods and keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pods", "ready", "rolling"),
    [
        ([pod(A), pod(B)], 2, False),
        ([pod(A), pod("hub-harbor-core-7988f684c9-47bc6", hash_="7988f684c9")], 2, True),
        ([pod(A), pod(B, deletionTimestamp="2026-03-01T08:00:00Z")], 1, True),
        ([pod(A), pod(B, ready=False)], 1, False),
    ],
)
def test_pods(pods: list[dict[str, Any]], ready: int, rolling: bool) -> None:
    facts = {
        key: value
        for one in read_pods(material(**{"harbor/core-pods.json": {"items": pods}}), scene())
        for key, value in one.facts.items()
    }
    assert (facts["core.ready"], facts["core.rolling"]) == (ready, rolling)


def test_a_deployment_in_the_middle_is_rolling() -> None:
    deployment = {
        "metadata": {
            "name": "hub-harbor-core",
            "generation": 2,
            "labels": {"app": "harbor", "component": "core", "heritage": "Helm"},
        },
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1},
    }
    facts = {
        key: value
        for one in read_pods(material(**{"harbor/deployments.json": {"items": [deployment]}}), scene())
        for key, value in one.facts.items()
    }
    assert (facts["core.rolling"], facts["core.owner"]) == (True, "helm")


def test_key_hashes_of_one_replica_set_are_no_rollout() -> None:
    given = material(
        **{
            "harbor/core-keys.json": {A: "1" * 64, B: "2" * 64},
            "harbor/nginx.conf": "http { upstream core { server a; server b; } }",
        }
    )
    (pods,) = read_pods(given, scene())
    assert pods.facts["core.rolling"] is False
    found = list(read_exec(given, scene()))
    assert by_pod(found, "core.key_hash") == {A: "1" * 64, B: "2" * 64}
    assert found[0].roster == {"core-pod": (A, B)}


def test_key_hashes_of_unknown_pods_claim_no_roster() -> None:
    found = list(read_exec(material(**{"harbor/core-keys.json": {"core-0": "1" * 64, "core-1": "2" * 64}}), scene()))
    assert [evidence.roster for evidence in found] == [{}, {}]
    assert list(read_pods(material(**{"harbor/core-keys.json": {"core-0": "1" * 64}}), scene())) == []


def test_broken_key_list_is_unparsable() -> None:
    (found,) = read_exec(material(**{"harbor/core-keys.json": "[1, 2]"}), scene())
    assert found.outcome is Outcome.UNPARSABLE


def test_execs() -> None:
    given = material(**{
        f"harbor/exec/{A}-key.txt": "a" * 64 + "  /etc/core/private_key.pem\n",
        f"harbor/exec/{B}-key.txt": "sha256sum: /etc/core/private_key.pem: No such file or directory",
        f"harbor/exec/{A}-secretkey.txt": "b" * 64 + "  /etc/core/key\n",
        f"harbor/exec/{A}-secretkey-stat.txt": "  File: /etc/core/key\n  Size: 17\tBlocks: 8\n",
    })  # fmt: skip
    found = list(read_exec(given, scene()))
    assert by_pod(found, "core.key_hash") == {A: "a" * 64}
    assert by_pod(found, "core.key_form") == {B: "missing"}
    assert (by_pod(found, "core.secretkey_hash")[A], by_pod(found, "core.secretkey_len")[A]) == ("b" * 64, 17)


def test_secret_gives_kid_and_form_and_never_its_bytes() -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    kid = kid_of_pem(pem)
    assert kid == libtrust_kid(der)
    assert [len(part) for part in kid.split(":")] == [4] * 12
    assert kid_of_pem("‹masked›".encode()) == ""
    given = material(**{
        "harbor/secret-hub-harbor-core.json": {"kind": "Secret", "metadata": {"name": "hub-harbor-core"}, "data": {"tls.key": base64.b64encode(pem).decode()}},
        "harbor/core-keys.json": {A: hashlib.sha256(pem).hexdigest()},
    })  # fmt: skip
    (pods,) = read_pods(given, scene())
    assert pods.facts["core.secret_kid"] == kid
    found = list(read_exec(given, scene()))
    assert by_pod(found, "core.key_form") == {A: "pkcs1"}
    assert "PRIVATE" not in repr(found) + repr(pods)


def test_registry_login_is_checked_only_where_the_pods_hold_the_secrets_values() -> None:
    bcrypt = pytest.importorskip("bcrypt")
    password = b"s3cret-of-registry"
    htpasswd = b"harbor_registry_user:" + bcrypt.hashpw(password, bcrypt.gensalt(4))
    secret = {
        "kind": "Secret",
        "metadata": {"name": "s"},
        "data": {
            "REGISTRY_PASSWD": base64.b64encode(password).decode(),
            "REGISTRY_HTPASSWD": base64.b64encode(htpasswd).decode(),
        },
    }
    files = {
        "harbor/secret-s.json": secret,
        "harbor/core-keys.json": {A: "1" * 64, B: "1" * 64},
        "harbor/exec/r-1-passwd.txt": hashlib.sha256(htpasswd).hexdigest(),
        f"harbor/exec/{A}-registry-login.txt": hashlib.sha256(password).hexdigest(),
        f"harbor/exec/{B}-registry-login.txt": "0" * 64,
    }
    found = list(read_exec(material(**files), scene()))
    assert by_pod(found, "core.registry_login_ok") == {A: True}
    wrong = {**secret, "data": {**secret["data"], "REGISTRY_PASSWD": base64.b64encode(b"other").decode()}}
    files |= {
        "harbor/secret-s.json": wrong,
        f"harbor/exec/{A}-registry-login.txt": hashlib.sha256(b"other").hexdigest(),
    }
    assert by_pod(list(read_exec(material(**files), scene())), "core.registry_login_ok") == {A: False}


# --- wants --------------------------------------------------------------------------------------------------------


def test_wants_ask_for_pods_first_and_for_each_pod_then() -> None:
    live = replace(scene(), vantage="operator", harbor=HarborPlace(namespace="hub", kube=True))
    logs = next(probe for probe in PROBES if probe.id == "core.logs")
    execs = next(probe for probe in PROBES if probe.id == "core.exec")
    first = [want for want in logs.wants(Material(), live) if isinstance(want, KubeGet)]
    assert "harbor/pods.json" in {want.document for want in first}
    given = material(**{"harbor/pods.json": {"items": [pod(A), pod(B, ready=False), pod("r-1", component="registry")]}})
    (want,) = [want for want in logs.wants(given, live) if isinstance(want, KubeGet) and want.path.endswith("/log")]
    assert (want.path, want.document, want.cluster) == (
        f"/api/v1/namespaces/hub/pods/{A}/log",
        f"harbor/logs/{A}.log",
        "harbor",
    )
    assert want.query["container"] == "core"
    commands = {
        (one.pod, one.command, one.arguments[0]) for one in execs.wants(given, live) if isinstance(one, KubeExec)
    }
    assert (A, "sha256sum", "/etc/core/private_key.pem") in commands
    assert ("r-1", "printenv-sha256", "REGISTRY_HTTP_SECRET") in commands
    assert not [one for one in commands if one[0] == B]
    assert {one[1] for one in commands} <= {"sha256sum", "stat", "date", "printenv-sha256"}
    assert list(logs.wants(given, scene())) == []


def test_collected_pod_logs_are_read() -> None:
    given = material(
        **{
            "bundle.json": TAKEN,
            "harbor/pods.json": {"items": [pod(A), pod(B)]},
            f"harbor/logs/{A}.log": log(A, KEY).partition("] ")[2],
            f"harbor/logs/{B}.log": "",
        }
    )
    found = list(read_logs(given, scene()))
    assert by_pod(found, "core.log") == {A: ("key-differs",), B: ()}
    assert not any(evidence.partial for evidence in found)

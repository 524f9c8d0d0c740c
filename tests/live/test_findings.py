"""Findings that no recording shows, each made real in the lab: it comes out as sure as it can be, and nothing else is proven."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.repair import command
from tests.live.stage import POD, PULLER, SPACE, Stage, login

ROOT = Path(__file__).resolve().parents[2]
ADMIN = ("--harbor-user", "admin", "--password-stdin")
TRIED = "--try-credentials=once"
NOBODY = "10.213.77.9"
"""An address of the lab that no machine has."""
Made = tuple[str, ...]
"""What an operator gives to `diagnose` besides the cluster and the nodes."""


def said(stage: Stage, text: str) -> Made:
    """A text that somebody saw and hands over."""
    path = stage.folder / "seen.txt"
    path.write_text(text)
    return ("--text", str(path))


# --- states --------------------------------------------------------------------------------------------------------


def backoff_hides_cause(stage: Stage) -> Made:
    """The lab's kubelets are 1.34 and repeat the cause in the status; one before 1.32 leaves the bare words that are put there."""
    node = stage.need("2")
    image = f"{stage.host}/team/app:9.9"
    stage.pod(image, node)
    stage.run(node, "systemctl stop kubelet", "systemctl start kubelet")
    (status,) = stage.object("pod", POD)["status"]["containerStatuses"]
    waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
    patch = {"status": {"containerStatuses": [{**status, "state": {"waiting": waiting}}]}}
    stage.kubectl("-n", SPACE, "patch", "pod", POD, "--subresource=status", "--type=merge", "-p", json.dumps(patch))
    stage.kubectl("-n", SPACE, "delete", "events", f"--field-selector=involvedObject.name={POD}")
    return ()


def secrets_under_container(stage: Stage) -> Made:
    node = stage.need("2")
    spec = stage.spec(f"{stage.host}/team/app:1.0", node, ())
    spec["containers"][0]["imagePullSecrets"] = [{"name": "harbor-pull"}]
    item = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": spec}
    # As with an old client, or one told to go on: the API drops the field and the pod is made without it.
    stage.apply(item, "--validate=warn")
    stage.verdict()
    return ()


def secrets_under_container_refused(stage: Stage) -> Made:
    spec = stage.spec(f"{stage.host}/team/app:1.0", stage.need("2"), ())
    spec["containers"][0]["imagePullSecrets"] = [{"name": "harbor-pull"}]
    item = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": spec}
    return said(stage, stage.kubectl("-n", SPACE, "apply", "-f", "-", stdin=json.dumps(item), fails=True))


def pull_secret_without_login(stage: Stage) -> Made:
    stage.secret("from-laptop", {stage.host: {}}, credsStore="desktop")
    stage.pod(f"{stage.host}/team/app:1.0", stage.need("2"), ("from-laptop",))
    return ()


def several_secrets_one_bad(stage: Stage) -> Made:
    stage.secret("old-one", {stage.host: login((PULLER[0], "puller-secret-0"))})
    stage.secret("old-two", {stage.host: login(("robot$team+build", "build-secret-0"))})
    stage.pod(f"{stage.host}/team/app:1.0", stage.need("2"), ("old-one", "old-two"))
    return (TRIED,)


def mirror_needs_own_credential(stage: Stage) -> Made:
    """The node is sent to Harbor's proxy project for an upstream that it cannot reach; the secret for Harbor is not picked."""
    node, upstream = stage.need("2"), "quay.lab.test"
    folder = f"/etc/containerd/certs.d/{upstream}"
    stage.file(node, f"{folder}/ca.crt", stage.sh(node, f"cat {stage.certs}/ca.crt"))
    stage.file(
        node, f"{folder}/hosts.toml",
        f'server = "https://{upstream}"\n\n[host."https://{stage.host}/v2/quay"]\n  capabilities = ["pull", "resolve"]\n'
        f'  override_path = true\n  ca = "{folder}/ca.crt"\n',
    )  # fmt: skip
    hosts = stage.sh(node, "cat /etc/hosts")
    stage.run(node, f"echo '{NOBODY} {upstream}' >> /etc/hosts", f"cat > /etc/hosts <<'END'\n{hosts}END")
    stage.pod(f"{upstream}/org/app:1.0", node)
    return ()


def certs_d_not_enabled(stage: Stage) -> Made:
    node = stage.need("1.7")
    config = stage.sh(node, "cat /etc/containerd/config.toml")
    assert "config_path" in config
    without = [line if "config_path" not in line else '  config_path = ""' for line in config.splitlines()]
    stage.file(node, "/etc/containerd/config.toml", "\n".join(without) + "\n")
    stage.restart(node, "containerd")
    stage.pod(f"{stage.host}/team/app:1.0", node)
    return ()


def node_lacks_config(stage: Stage) -> Made:
    """A node that was added without the per-registry files; on the others the same image runs."""
    bare, *others = (stage.need(release) for release in ("2", "1.7", "1.6"))
    for name in ("hosts.toml", "ca.crt"):
        stage.file(bare, f"{stage.certs}/{name}", None)
    stage.run(bare, f"rmdir {stage.certs}", f"mkdir -p {stage.certs}")
    image = f"{stage.host}/team/app:1.0"
    for number, node in enumerate(others):
        stage.forget(node, image)
        stage.pod(image, node, name=f"fine-{number}", fails=False)
    stage.pod(image, bare)
    return ()


def hosts_toml_ca_unreadable(stage: Stage) -> Made:
    """What stands where the CA should is no certificate."""
    node = stage.need("2")
    stage.file(node, f"{stage.certs}/ca.crt", "not a certificate\n")
    stage.pod(f"{stage.host}/team/app:1.0", node)
    return ()


def k3s_key_dropped(stage: Stage) -> Made:
    node = stage.need("", "k3s")
    stage.file(
        node,
        "/etc/rancher/k3s/registries.yaml",
        f'config:\n  "{stage.host}":\n    tls:\n      ca_file: /etc/ssl/harbor/ca.crt\n',
    )
    stage.sh(node, "sleep 2")  # else the file could be as new as the process
    stage.restart(node, "k3s-agent")
    stage.pod(f"{stage.host}/team/app:1.0", node)
    return ()


def realm_scheme_mismatch(stage: Stage) -> Made:
    """Harbor behind plain HTTP whose external URL still says https."""
    port = stage.lab["LAB_REGISTRY_PLAIN"].rpartition(":")[2]
    front = stage.sh("harbor", "cat /etc/nginx/nginx.conf")
    before, _, plain = front.rpartition("proxy_pass http://127.0.0.1:5000;")
    assert f"listen {port}" in before
    headers, _, rest = plain.partition("proxy_set_header Authorization")
    stage.file(
        "harbor", "/etc/nginx/nginx.conf",
        before.replace(f"listen {port}", f"listen {port}; location /service/ {{ proxy_pass http://core; {headers} }} #")
        + "proxy_pass http://core;" + headers + rest.partition(";")[2],
    )  # fmt: skip
    stage.restart("harbor", "nginx")
    stage.pod(f"{stage.lab['LAB_REGISTRY_PLAIN']}/team/app:1.0", stage.need("2"))
    return ()


def tls_ca_replaced(stage: Stage) -> Made:
    """The CA was made anew under its old name, and signed the registry's new certificate."""
    folder = stage.folder
    subject = openssl("x509", "-in", stage.lab["LAB_REGISTRY_CA"], "-noout", "-subject", "-nameopt", "compat")
    subject = subject.strip().partition("subject=")[2].strip()
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30")
    openssl("req", "-x509", *curve, "-subj", subject, "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.crt")
    openssl(
        "req", "-x509", *curve, "-subj", f"/CN={stage.host}", "-addext", f"subjectAltName=DNS:{stage.host}",
        "-addext", "basicConstraints=critical,CA:FALSE", "-CA", f"{folder}/ca.crt", "-CAkey", f"{folder}/ca.key",
        "-keyout", f"{folder}/server.key", "-out", f"{folder}/server.crt",
    )  # fmt: skip
    for name in ("server.crt", "server.key"):
        stage.file("harbor", f"/etc/nginx/cert/{name}", (folder / name).read_text())
    stage.restart("harbor", "nginx")
    stage.pod(f"{stage.host}/team/app:1.0", stage.need("2"))
    return ()


def openssl(*words: str) -> str:
    return subprocess.run(["openssl", *words], capture_output=True, text=True, timeout=30, check=True).stdout


def quay_credential_format(stage: Stage) -> Made:
    stage.database("registries/quay/type", "quay")
    stage.file(
        "quay",
        "/etc/quay/upstream.json",
        changed(stage.sh("quay", "cat /etc/quay/upstream.json"), users={"acme+harbor": "upstream-secret-2"}),
    )
    ping = "curl -s -u admin:Harbor12345 -H 'Content-Type: application/json' -d '{\"id\": 1}' "
    answer = stage.sh("ops", f"{ping} https://{stage.host}/api/v2.0/registries/ping")
    return (*said(stage, answer), *ADMIN, f"{stage.host}/quay/org/app:1.0")


def proxy_quay_unsorted(stage: Stage) -> Made:
    """The endpoint leads to Quay itself, and a pull through its project is refused: the pod's login is an old one."""
    stage.database("registries/quay/url", "https://quay.io")
    stage.secret("old", {stage.host: login((PULLER[0], "puller-secret-0"))})
    stage.pod(f"{stage.host}/quay/org/app:1.0", stage.need("2"), ("old",))
    return ADMIN


def core_token_key_drift(stage: Stage) -> Made:
    """The chart was rendered again: the Secret has a new token key, and the running cores the old one."""
    command("harbor-pods")
    stage.after(lambda: command("harbor-pods", "--off"))
    key = openssl("genrsa", "-traditional", "2048")
    patch = {"data": {"tls.key": base64.b64encode(key.encode()).decode()}}
    stage.kubectl("-n", "harbor", "patch", "secret", "harbor-core", "-p", json.dumps(patch))
    stage.pod(f"{stage.host}/team/app:9.9", stage.need("2"))
    return ()


def changed(text: str, **what: object) -> str:
    return json.dumps({**json.loads(text), **what}, indent=1)


def storage_redirect_unreachable(stage: Stage) -> Made:
    config = stage.sh("harbor", "cat /etc/registry/config.yml")
    stage.file(
        "harbor", "/etc/registry/config.yml",
        config + 'middleware:\n  storage:\n    - name: redirect\n      options: {baseurl: "https://store.lab.test/"}\n',
    )  # fmt: skip
    stage.restart("harbor", "registry")
    node, image = stage.need("2"), f"{stage.host}/team/app:1.0"
    stage.forget(node, image, f"{stage.host}/other/app:1.0", f"{stage.host}/library/app:1.0")
    stage.pod(image, node)
    return (TRIED,)


@dataclass(frozen=True)
class Row:
    """What is made, and how the finding has to come out of it."""

    make: Callable[[Stage], Made]
    certainty: str = "proven"
    first: bool = True
    ground: str = ""
    """Where the rule allows no more than `possible`: its own set has to be true all the same."""
    noticed: bool = False
    """A risk: it explains nothing now, and stands in `also_noticed`."""


LIVE = {
    "backoff-hides-cause": Row(backoff_hides_cause, "likely"),
    "secrets-under-container": Row(secrets_under_container),
    "secrets-under-container/refused": Row(secrets_under_container_refused),
    "pull-secret-without-login": Row(pull_secret_without_login),
    "several-secrets-one-bad": Row(several_secrets_one_bad),
    "mirror-needs-own-credential": Row(mirror_needs_own_credential),
    "certs-d-not-enabled": Row(certs_d_not_enabled),
    "node-lacks-config": Row(node_lacks_config),
    "hosts-toml-ca-unreadable": Row(hosts_toml_ca_unreadable),
    "k3s-key-dropped": Row(k3s_key_dropped),
    "realm-scheme-mismatch": Row(realm_scheme_mismatch),
    "tls-ca-replaced": Row(tls_ca_replaced),
    "core-token-key-drift": Row(core_token_key_drift, noticed=True),
    "quay-credential-format": Row(quay_credential_format, "likely"),
    "proxy-quay-unsorted": Row(proxy_quay_unsorted, "possible", first=False, ground="likely 1"),
    "storage-redirect-unreachable": Row(storage_redirect_unreachable),
}
"""By finding, `/` and a word for a second way to it. `tests/recorded/test_findings.py` counts these too."""


@pytest.fixture
def stage(lab: Mapping[str, str], tmp_path: Path) -> Iterator[Stage]:
    made = Stage(lab, tmp_path)
    yield made
    made.close()


def diagnose(stage: Stage, *more: str) -> tuple[int, dict[str, Any]]:
    """Exit code and output of the command."""
    words = [sys.executable, "-m", "app", "diagnose", "--kubeconfig", stage.lab["KUBECONFIG"]]
    words += ["-F", stage.lab["LAB_SSH_CONFIG"], "--no-input", "-o", "json", *more]
    done = subprocess.run(
        words, input="Harbor12345\n", capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert done.returncode in (0, 3, 4), done.stderr
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("name", LIVE)
def test_a_finding_fires(stage: Stage, name: str) -> None:
    row, finding = LIVE[name], name.partition("/")[0]
    code, found = diagnose(stage, *row.make(stage))
    assert len(found["incidents"]) == 1, found
    (incident,) = found["incidents"]
    standings = [(one["finding"], one["certainty"]) for one in incident["diagnoses"]]
    assert {one for one, certainty in standings if certainty == "proven"} <= {finding}, standings
    if row.noticed:
        assert finding in [one["finding"] for one in incident["also_noticed"]], found
        return
    assert (finding, row.certainty) in standings, found
    if row.first:
        assert standings[0] == (finding, row.certainty), standings
    if row.ground:
        (mine,) = (one for one in incident["diagnoses"] if one["finding"] == finding)
        assert row.ground in [ground["role"] for ground in mine["because"] if ground["value"] == "true"], mine
    assert code == (4 if finding == "backoff-hides-cause" else 3)


def test_healthy_when_all_is_put_back(stage: Stage) -> None:
    code, found = diagnose(stage)
    assert (code, found["outcome"]) == (0, "healthy")

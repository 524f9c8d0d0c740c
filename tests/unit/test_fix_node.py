"""Every fix that changes files of a node: the plan shows a diff and writes nothing, the pull plan passes after it, planned again
it is empty, undo brings every byte, mode and owner back."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.fixes.base import Hidden
from app.fixes.node_ca import certificate_digest
from app.model.exchange import Exchange
from app.model.fix import FixPlan
from app.parsers.x509 import read_pem
from app.probes.base import Scene
from app.probes.runtime_files import files_of
from app.probes.runtime_inputs import plan_inputs
from app.probes.runtime_setup import node_setup
from app.pullplan.containerd import choose
from app.pullplan.outcome import passes
from app.pullplan.plan import plan_pull
from app.pullplan.repairs_k3s import k3s_choice
from app.pullplan.settings import effective
from tests.fakes.nodes import (
    HOST,
    HTTP_TEXT,
    IMAGE,
    READ,
    READ_2,
    FakeFile,
    FakeNode,
    FakeNodes,
    apply_plan,
    context,
    gateway_for,
    material,
    plan_of,
    served_by,
)
from tests.unit.pki import make

ROOT = make("Corp Root", ca=True)
OTHER = make("Old Root", ca=True)
MIDDLE = make("Corp Issuing", ROOT, ca=True)
LEAF = make("harbor", ROOT, hosts=(HOST,))
DEEP = make("harbor deep", MIDDLE, hosts=(HOST,))
FINGERPRINT = certificate_digest(read_pem(ROOT.pem)[0])
ENTRY = f"/etc/containerd/certs.d/{HOST}"
CONFIG = "/etc/containerd/config.toml"
K3S = "containerd github.com/k3s-io/containerd v2.1.5-k3s1\nk3s version v1.34.4+k3s1\nUbuntu 24.04"
NEW_2 = "containerd github.com/containerd/containerd/v2 v2.1.4 abc\nKubernetes v1.34.1\nRocky Linux 9.4"
PLAIN = f"{HOST}:8080"
PLAIN_IMAGE = f"{PLAIN}/shop/web:1.2"
PLAIN_TEXT = HTTP_TEXT.format(host=PLAIN)
SERVED = {"n1": [served_by(LEAF.pem)]}
TRUSTING = (
    f'server = "https://{HOST}" # corp\n\n[host."https://{HOST}"]\n  # all\n  capabilities = ["pull", "resolve"]\n'
)
CA_LINE = f'ca = "{ENTRY}/ca.crt"'
TRUSTED = TRUSTING.replace(" # corp", f" # corp\n{CA_LINE}") + f"  {CA_LINE}\n"
FAR = TRUSTED.replace(f"{ENTRY}/ca.crt", "/etc/ssl/corp.crt")
GRPC = 'plugins."io.containerd.grpc.v1.cri"'
REGISTRIES = "/etc/rancher/k3s/registries.yaml"


@dataclass
class Row:
    """A broken node, the fix, and what has to be in the files afterwards."""

    fix: str
    files: Mapping[str, str]
    says: Mapping[str, str] = field(default_factory=dict)
    """Path to a text that the file has to hold after the apply."""
    release: str = ""
    unit: str = "containerd"
    restart: bool = False
    passes: bool | None = True
    """What the pull plan says of the stage afterwards; None: it cannot judge this stage."""
    exchanges: Mapping[str, list[Exchange]] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    changed: Mapping[str, float] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


INLINE = f'version = 2\n# our mirror\n[{GRPC}.registry.mirrors."{HOST}:443"]\n  endpoint = ["https://{HOST}"]\n[{GRPC}.registry.configs."{HOST}".tls]\n  ca_file = "/etc/ssl/corp.crt" # corp\n[timeouts]\n  a = "1s"\n'
CONFIRMED = {"inputs": {"ca-fingerprint": FINGERPRINT}}
GIVEN = {"inputs": {"ca": ROOT.pem}}
HTTP = {"image": PLAIN_IMAGE, "texts": (PLAIN_TEXT,), "finding": "plain-http-undeclared"}
MISNAMED: Mapping[str, Any] = {"finding": "node-auth-key-mismatch", "texts": ("401 Unauthorized",)}
LOGIN = {
    "inputs": {"username": "robot$pull", "password": Hidden("CANARY-pass-1")},
    "texts": ("no basic auth credentials",),
}
POD = {
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "apps"},
    "spec": {"nodeName": "n1", "containers": [{"image": IMAGE}]},
}
NO_SECRETS = {"pod.json": json.dumps(POD)}


ROWS = {
    "ca with no entry": Row("add-ca-file", {CONFIG: READ}, {f"{ENTRY}/hosts.toml": '[host."https://harbor.example.com"]'}, exchanges=SERVED, more=GIVEN),
    "ca beside an old one": Row(
        "add-ca-file", {CONFIG: READ, f"{ENTRY}/hosts.toml": TRUSTED, f"{ENTRY}/ca.crt": OTHER.pem}, {f"{ENTRY}/hosts.toml": f'"{ENTRY}/ca.crt", "{ENTRY}/ca-'},
        exchanges=SERVED, more=GIVEN,
    ),
    "ca in a folder without hosts.toml": Row("add-ca-file", {CONFIG: READ, f"{ENTRY}/old.crt": OTHER.pem}, exchanges=SERVED, more=GIVEN),
    "ca that the registry serves": Row("add-ca-file", {CONFIG: READ_2}, release=NEW_2, exchanges={"n1": [served_by(LEAF.pem, ROOT.pem)]}, more=CONFIRMED),
    "ca and certs.d switched off": Row("add-ca-file", {CONFIG: 'version = 2\n[grpc]\n  gid = 0 # g\n'}, {CONFIG: "config_path"}, restart=True, exchanges=SERVED, more=GIVEN),
    "ca on k3s": Row(
        "add-ca-file", {REGISTRIES: f"# ours\nmirrors:\n  {HOST}:\n    endpoint:\n      - https://{HOST} # x\n"}, {REGISTRIES: "ca_file: /etc/rancher/k3s/ca-"},
        release=K3S, unit="k3s-agent", restart=True, exchanges=SERVED, more=GIVEN,
    ),
    "ca on k3s beside an old one": Row(
        "add-ca-file", {REGISTRIES: f"configs:\n  {HOST}:\n    tls:\n      ca_file: /etc/corp/old.crt # old\n", "/etc/corp/old.crt": OTHER.pem},
        release=K3S, unit="k3s", restart=True, exchanges=SERVED, more=GIVEN,
    ),
    "missing link": Row(
        "intermediate-in-ca-file", {CONFIG: READ, f"{ENTRY}/hosts.toml": TRUSTED, f"{ENTRY}/ca.crt": ROOT.pem}, exchanges={"n1": [served_by(DEEP.pem)]},
        more={"inputs": {"intermediate": MIDDLE.pem}, "kind": "first_aid"},
    ),
    "http without an entry": Row("http-host-entry", {CONFIG: READ}, {f"/etc/containerd/certs.d/{PLAIN}/hosts.toml": f'server = "http://{PLAIN}"'}, more=HTTP),
    "http with a skip_verify entry": Row(
        "http-host-entry",
        {CONFIG: READ_2, f"/etc/containerd/certs.d/{PLAIN}/hosts.toml": f'server = "https://{PLAIN}" # s\n# c\n[host."https://{PLAIN}"]\n  capabilities = ["pull", "resolve"]\n  skip_verify = true\n'},
        {f"/etc/containerd/certs.d/{PLAIN}/hosts.toml": f'# c\n[host."http://{PLAIN}"]\n'}, release=NEW_2, more=HTTP,
    ),
    "http with old tables": Row(
        "http-host-entry", {CONFIG: f'version = 2\n[{GRPC}.registry.mirrors."{PLAIN}"]\n  endpoint = ["https://{PLAIN}"] # e\n'}, {CONFIG: f'["http://{PLAIN}"] # e'}, restart=True, more=HTTP,
    ),
    "http on k3s": Row(
        "write-registries-yaml", {REGISTRIES: f"# keep\nconfigs:\n  {PLAIN}:\n    tls:\n      insecure_skip_verify: true # no\n"}, {REGISTRIES: f"- http://{PLAIN}"},
        release=K3S, unit="k3s-agent", restart=True, more=HTTP,
    ),
    "http entry to a TLS port": Row(
        "https-host-entry", {CONFIG: READ, f"{ENTRY}/hosts.toml": TRUSTED.replace("https://", "http://"), f"{ENTRY}/ca.crt": ROOT.pem}, {f"{ENTRY}/hosts.toml": f'[host."https://{HOST}"]'},
        exchanges=SERVED, passes=None, more={"texts": ("HEAD http://harbor.example.com/v2/: 400 Bad Request",)},
    ),
    "folder named with the port": Row("rename-registry-key", {CONFIG: READ, f"{ENTRY}:443/hosts.toml": TRUSTED.replace(f'"{ENTRY}/', '"'), f"{ENTRY}:443/ca.crt": ROOT.pem}, {f"{ENTRY}/hosts.toml": f'"{ENTRY}:443/ca.crt"'}, exchanges=SERVED),
    "file with another name": Row("rename-registry-key", {CONFIG: READ, f"{ENTRY}/host.toml": FAR, "/etc/ssl/x": "", f"{ENTRY}/ca.crt.old": "", "/etc/ssl/corp.crt": ROOT.pem}, exchanges=SERVED),
    "mirror named with the port": Row("rename-registry-key", {CONFIG: INLINE.replace(f"https://{HOST}", "http://mirror.example.com"), "/etc/ssl/corp.crt": ROOT.pem}, {CONFIG: f'mirrors."{HOST}"]'}, restart=True, exchanges=SERVED, passes=None),
    "mirror key on k3s": Row("rename-registry-key", {REGISTRIES: f"mirrors:\n  https://{HOST}: # x\n    endpoint:\n      - http://{HOST}:80\n"}, {REGISTRIES: f"\n  {HOST}:"}, release=K3S, unit="k3s-agent", restart=True, passes=None, exchanges=SERVED),
    "mirror of a near name on k3s": Row(
        "write-registries-yaml", {REGISTRIES: f"mirrors:\n  {HOST}:443:\n    endpoint:\n      - https://{HOST}\nconfigs:\n  {HOST}:\n    tls:\n      ca_file: /etc/corp.crt\n", "/etc/corp.crt": ROOT.pem},
        {REGISTRIES: f"\n  {HOST}:\n    endpoint:\n"}, release=K3S, unit="k3s-agent", restart=True, passes=None, exchanges=SERVED,
    ),
    "configs key of a mirror that is asked, too": Row(
        "write-registries-yaml", {REGISTRIES: f"mirrors:\n  {HOST}:\n    endpoint:\n      - https://{HOST}\n      - https://second.example.com\nconfigs:\n  {HOST}:\n    auth:\n      username: robot$x\n      password: CANARY\n  https://{HOST}:\n    tls:\n      ca_file: /etc/corp.crt\n", "/etc/corp.crt": ROOT.pem},
        {REGISTRIES: "    tls:\n      ca_file: /etc/corp.crt\n"}, release=K3S, unit="k3s-agent", restart=True, exchanges=SERVED,
    ),
    "configs key on k3s": Row("write-registries-yaml", {REGISTRIES: f"configs:\n  # corp\n  https://{HOST}:\n    tls:\n      ca_file: /etc/corp.crt\n", "/etc/corp.crt": ROOT.pem}, {REGISTRIES: f"  # corp\n  {HOST}:"}, release=K3S, unit="k3s-agent", restart=True, exchanges=SERVED),
    "misspelt on k3s": Row("write-registries-yaml", {REGISTRIES: f"config:\n  {HOST}:\n    tls:\n      ca: /etc/corp.crt # y\n", "/etc/corp.crt": ROOT.pem}, {REGISTRIES: "ca_file: /etc/corp.crt # y"}, release=K3S, unit="k3s-agent", restart=True, exchanges=SERVED),
    "misnamed file on k3s": Row("restart-k3s", {"/etc/rancher/k3s/registry.yaml": f"configs:\n  {HOST}:\n    tls:\n      ca_file: /etc/corp.crt\n", "/etc/corp.crt": ROOT.pem}, {REGISTRIES: "ca_file"}, release=K3S, unit="k3s-agent", restart=True, exchanges=SERVED),
    "a quote is missing": Row("write-hosts-toml", {CONFIG: READ, f"{ENTRY}/hosts.toml": FAR.replace('corp.crt"\n\n', "corp.crt\n\n"), "/etc/ssl/corp.crt": ROOT.pem}, exchanges=SERVED),
    "nothing but addresses is readable": Row("write-hosts-toml", {CONFIG: READ, f"{ENTRY}/hosts.toml": f'server == "https://{HOST}"\n[[host\nca = /etc/ssl/corp.crt\n', "/etc/ssl/corp.crt": ROOT.pem}, exchanges=SERVED),
    "no host table": Row("write-hosts-toml", {CONFIG: READ, f"{ENTRY}/hosts.toml": f'server = "https://{HOST}"\nca = "/etc/ssl/corp.crt" # x\n', "/etc/ssl/corp.crt": ROOT.pem}, {f"{ENTRY}/hosts.toml": "[host]"}, exchanges=SERVED),
    "dotted keys": Row(
        "write-hosts-toml", {CONFIG: READ_2, f"{ENTRY}/hosts.toml": f'# top\nserver = "https://elsewhere.example.com"\nhost."https://{HOST}".capabilities = ["pull", "resolve"]\nhost."https://{HOST}".ca = "/etc/ssl/corp.crt"\n', "/etc/ssl/corp.crt": ROOT.pem},
        {f"{ENTRY}/hosts.toml": f'# top\nserver = "https://elsewhere.example.com"\n\n[host."https://{HOST}"]'}, release=NEW_2, exchanges=SERVED,
    ),
    "no capability to resolve": Row(
        "write-hosts-toml", {CONFIG: READ, f"{ENTRY}/hosts.toml": TRUSTED.replace('["pull", "resolve"]', '["push"]  # odd').replace(CA_LINE + "\n\n", CA_LINE + '\ncapabilities = ["push"]\n\n'), f"{ENTRY}/ca.crt": ROOT.pem}, exchanges=SERVED, passes=None, more={"texts": ("no resolve hosts",)},
    ),
    "certs.d is not read": Row("set-config-path", {CONFIG: 'version = 2 # v\n\n[debug]\n  level = "info"\n', f"{ENTRY}/hosts.toml": TRUSTED, f"{ENTRY}/ca.crt": ROOT.pem}, {CONFIG: "config_path"}, restart=True, exchanges=SERVED),
    "no main file": Row("set-config-path", {f"{ENTRY}/hosts.toml": TRUSTED, f"{ENTRY}/ca.crt": ROOT.pem}, {CONFIG: "version = 2\n"}, release=NEW_2, restart=True, exchanges=SERVED),
    "2.x id in 1.7": Row("rewrite-registry-section", {CONFIG: READ_2.replace("3", "2").replace('.registry]', '.registry] # here'), f"{ENTRY}/hosts.toml": TRUSTED, f"{ENTRY}/ca.crt": ROOT.pem}, {CONFIG: f"[{GRPC}.registry] # here"}, restart=True, exchanges=SERVED),
    "1.x id in 2.1": Row("rewrite-registry-section", {CONFIG: READ.replace("= 2", "= 3"), f"{ENTRY}/hosts.toml": TRUSTED, f"{ENTRY}/ca.crt": ROOT.pem}, {CONFIG: "io.containerd.cri.v1.images"}, release=NEW_2, restart=True, exchanges=SERVED),
    "a host split at its dots": Row(
        "rewrite-registry-section", {CONFIG: f"version = 2\n[{GRPC}.registry.configs.{HOST}.tls]\n  ca_file = '/etc/ssl/corp.crt' # c\n", "/etc/ssl/corp.crt": ROOT.pem}, {CONFIG: f'[{GRPC}.registry.configs."{HOST}".tls]\n  ca_file = \'/etc/ssl/corp.crt\' # c'}, restart=True, exchanges=SERVED,
    ),
    "a quote is missing in config.toml": Row("fix-containerd-config", {CONFIG: READ.replace('certs.d"', "certs.d"), f"{ENTRY}/hosts.toml": TRUSTED, f"{ENTRY}/ca.crt": ROOT.pem}, restart=True, exchanges=SERVED),
    "version too new": Row("fix-containerd-config", {CONFIG: READ_2, f"{ENTRY}/hosts.toml": TRUSTED, f"{ENTRY}/ca.crt": ROOT.pem}, {CONFIG: "version = 2"}, restart=True, exchanges=SERVED),
    "CRI switched off": Row("fix-containerd-config", {CONFIG: 'disabled_plugins = ["cri"] # packaged\n' + READ, f"{ENTRY}/hosts.toml": TRUSTED, f"{ENTRY}/ca.crt": ROOT.pem}, {CONFIG: "disabled_plugins = [] # packaged"}, restart=True, exchanges=SERVED, passes=None, more={"texts": ("unknown service runtime.v1.ImageService",)}),
    "mirrors beside config_path": Row(
        "mirrors-to-hosts-toml", {CONFIG: READ + f'\n# mine\n[{GRPC}.registry.mirrors."{HOST}"]\n  endpoint = ["https://{HOST}"]\n\n# and this\n[{GRPC}.registry.configs."{HOST}".tls]\n  ca_file = "/etc/ssl/corp.crt"\n\n[debug]\n  level = "x"\n', "/etc/ssl/corp.crt": ROOT.pem},
        {f"{ENTRY}/hosts.toml": 'ca = ["/etc/ssl/corp.crt"]'}, restart=True, exchanges=SERVED,
    ),
    "tls table in 2.x": Row("mirrors-to-hosts-toml", {CONFIG: READ_2 + f'\n[plugins."io.containerd.cri.v1.images".registry.configs."{HOST}".tls]\n  ca_file = "/etc/ssl/corp.crt"\n', f"{ENTRY}/hosts.toml": TRUSTING, "/etc/ssl/corp.crt": ROOT.pem}, release=NEW_2, restart=True, exchanges=SERVED),
    "drop-in replaces the section": Row(
        "merge-dropin", {CONFIG: 'imports = ["/etc/containerd/conf.d/*.toml"]\n' + READ, "/etc/containerd/conf.d/gpu.toml": f"version = 2\n# gpu\n[{GRPC}.containerd]\n  default_runtime_name = 'nvidia'\n", f"{ENTRY}/hosts.toml": TRUSTED, f"{ENTRY}/ca.crt": ROOT.pem},
        {"/etc/containerd/conf.d/gpu.toml": "config_path"}, restart=True, exchanges=SERVED,
    ),
    "drop-in with a newer version": Row(
        "migrate-main-config", {CONFIG: 'imports = ["/etc/containerd/conf.d/*.toml"]\n' + READ, "/etc/containerd/conf.d/gpu.toml": "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd]\n  default_runtime_name = 'nvidia'\n", f"{ENTRY}/hosts.toml": TRUSTED, f"{ENTRY}/ca.crt": ROOT.pem},
        {CONFIG: "version = 3"}, release=NEW_2, restart=True, exchanges=SERVED,
    ),
    "mirror path before /v2": Row(
        "fix-mirror-path", {CONFIG: READ, "/etc/containerd/certs.d/docker.io/hosts.toml": f'[host."https://{HOST}/hub"] # proxy project\n  capabilities = ["pull", "resolve"]\n'}, {"/etc/containerd/certs.d/docker.io/hosts.toml": f'[host."https://{HOST}/v2/hub"] # proxy project\n  capabilities = ["pull", "resolve"]\n  override_path = true'},
        passes=None, more={"image": "docker.io/library/nginx:1", "texts": ("not found",)},
    ),
    "falls back to the upstream": Row(
        "server-to-mirror", {CONFIG: READ, "/etc/containerd/certs.d/docker.io/hosts.toml": f'[host."https://{HOST}/v2/hub"]\n  override_path = true\n  ca = "/x.crt"\n'}, {"/etc/containerd/certs.d/docker.io/hosts.toml": f'server = "https://{HOST}/v2/hub"\n'},
        passes=None, more={"image": "docker.io/library/nginx:1", "texts": ("not found",)},
    ),
    "client certificate": Row("client-cert-entry", {CONFIG: READ, f"{ENTRY}/hosts.toml": TRUSTED, f"{ENTRY}/ca.crt": ROOT.pem}, {f"{ENTRY}/hosts.toml": f'client = [["{ENTRY}/client.cert", "{ENTRY}/client.key"]]'}, exchanges=SERVED, passes=None, more={"inputs": {"client-cert": LEAF.pem, "client-key": Hidden(LEAF.key_pem)}}),
    "login in config.toml": Row("set-node-auth", {CONFIG: READ}, {CONFIG: f'[{GRPC}.registry.configs."{HOST}".auth]'}, restart=True, more=LOGIN),
    "login under the host with its port": Row("set-node-auth", {CONFIG: READ + f'[{GRPC}.registry.configs."{HOST}:443".auth]\n  auth = "Q0FOQVJZ"\n'}, {CONFIG: f'[{GRPC}.registry.configs."{HOST}".auth]\n  auth = "Q0FOQVJZ"'}, restart=True, more={**MISNAMED}),
    "login under a key with a scheme": Row("set-node-auth", {REGISTRIES: f"configs:\n  https://{HOST}:\n    auth:\n      username: robot$pull\n      password: CANARY\n"}, {REGISTRIES: f"\n  {HOST}:\n    auth:\n      username: robot$pull\n"}, release=K3S, unit="k3s", restart=True, more={**MISNAMED}),
    "login in registries.yaml": Row("set-node-auth", {REGISTRIES: "# r\n"}, {REGISTRIES: "username: robot$pull"}, release=K3S, unit="k3s", restart=True, more=LOGIN),
    "proxy": Row("set-runtime-proxy", {CONFIG: READ}, {"/etc/systemd/system/containerd.service.d/zz-harborpilot-proxy.conf": 'Environment="HTTPS_PROXY=http://proxy.corp.example:3128"'}, restart=True, passes=None, more={"inputs": {"proxy": "http://proxy.corp.example:3128"}}),
    "no_proxy": Row("extend-no-proxy", {CONFIG: READ}, {"/etc/systemd/system/containerd.service.d/zz-harborpilot-proxy.conf": f'Environment="NO_PROXY=10.0.0.0/8,{HOST}"'}, restart=True, passes=None, outputs={"environ-containerd.txt": "HTTPS_PROXY=http://p:3128\0NO_PROXY=10.0.0.0/8\0"}),
    "address": Row("hosts-line", {CONFIG: READ, "/etc/hosts": f"127.0.0.1 localhost\n10.0.0.9  {HOST} other # old\n"}, {"/etc/hosts": f"10.0.0.9 other # old\n10.0.0.7 {HOST}\n"}, passes=None, more={"inputs": {"address": "10.0.0.7"}, "kind": "first_aid"}),
}  # fmt: skip


def built(row: Row) -> FakeNodes:
    node = FakeNode(
        {path: FakeFile(text) for path, text in row.files.items()},
        unit=row.unit,
        changed=dict(row.changed),
        outputs=dict(row.outputs),
    )
    node.release = row.release or node.release
    return FakeNodes({"n1": node})


def planned(row: Row, nodes: FakeNodes) -> FixPlan:
    return plan_of(row.fix, material(nodes, exchanges=row.exchanges, more=NO_SECRETS), **row.more)


def verdict(row: Row, nodes: FakeNodes) -> bool | None:
    """What the pull plan says of the failing stage, from the files as they are now."""
    found = material(nodes, exchanges=row.exchanges, more=NO_SECRETS)
    made = context(row.fix, found, **row.more)
    inputs = plan_inputs(found, Scene(made.case.incident, 2000.0), "n1")
    assert inputs is not None
    hosts = plan_pull(inputs).choice.hosts
    setup = inputs.node.k3s
    if setup is not None and setup.registries is not None:
        hosts = k3s_choice(setup, setup.registries, made.case.incident.registry or "").hosts
    return passes(hosts, inputs.failure, inputs.views, credential_sent=False)


@pytest.mark.parametrize("name", ROWS)
async def test_the_four_tests_of_a_fix(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    nodes = built(row)
    start = nodes.image()
    assert row.passes is None or not verdict(row, nodes), "the fault is there"
    plan = planned(row, nodes)
    assert plan.changed, plan.checks
    assert not plan.blocked
    files = [change for change in plan.changes if change.kind == "node-file"]
    assert all(change.diff and change.command and change.expects for change in files)
    assert (nodes.image(), nodes.done) == (start, []), "planning writes nothing"
    assert "CANARY" not in repr(plan) + "".join(change.diff + change.command for change in plan.changes)
    gateway = gateway_for(nodes, tmp_path)
    report = await apply_plan(plan, gateway)
    assert report.verified, report
    for path, text in row.says.items():
        assert text in nodes.nodes["n1"].files[path].text, nodes.nodes["n1"].files[path].text
    for file_path, file in nodes.nodes["n1"].files.items():
        if file_path.endswith(".toml"):
            tomllib.loads(file.text)
        elif file_path.endswith(".yaml"):
            yaml.safe_load(file.text)
            assert "&id" not in file.text, "an entry that was copied is written out"
    assert any(" restart " in line for line in nodes.done) is row.restart
    if row.passes is not None:
        assert verdict(row, nodes) is row.passes
        assert any("gets past what failed" in check.text and check.state == "ok" for check in plan.checks)
    again = planned(row, nodes)
    assert not again.changed, [change.title + change.diff for change in again.changes]
    await gateway.undo(plan.id)
    assert nodes.image() == start
    assert not nodes.backups


def test_every_other_line_of_an_edited_file_stays_as_it_was() -> None:
    for row in ROWS.values():
        nodes = built(row)
        for change in planned(row, nodes).changes:
            path = change.payload.get("path")
            old = row.files.get(str(path))
            if old is None or "anew" in str(planned(row, nodes).checks):
                continue
            removed = [line for line in change.diff.splitlines() if line.startswith("-") and not line.startswith("---")]
            added = [line for line in change.diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
            comments = [
                line
                for line in old.splitlines()
                if line.strip().startswith("#") and "mine" not in line and "and this" not in line
            ]
            assert all(comment in str(change.payload["text"]) for comment in comments), change.title
            assert len(removed) <= 8, change.diff
            assert added or removed, change.title


def test_a_login_shows_as_a_fingerprint_and_is_written_in_clear() -> None:
    row = ROWS["login in config.toml"]
    plan = planned(row, built(row))
    change = plan.changes[0]
    assert 'password = "CANARY-pass-1"' in str(change.payload["text"])
    assert change.payload["check_runtime"] is True
    assert "~" in next(line for line in change.diff.splitlines() if "password" in line)


# --- several nodes, waves, refusals ---------------------------------------------------------------------------------


def several(
    *names: str, unit: str = "containerd", release: str = "", files: Mapping[str, str] | None = None
) -> FakeNodes:
    found = {}
    for name in names:
        node = FakeNode({path: FakeFile(text) for path, text in (files or {CONFIG: READ}).items()}, unit=unit)
        node.release = release or node.release
        found[name] = node
    return FakeNodes(found)


def test_one_canary_then_batches_of_four_and_a_change_set_for_each_state() -> None:
    names = tuple(f"n{number}" for number in range(1, 8))
    nodes = several(*names)
    nodes.nodes["n2"].files[f"{ENTRY}/hosts.toml"] = FakeFile(TRUSTING)
    nodes.nodes["n3"].files[CONFIG] = FakeFile("version = 2\n")
    plan = plan_of("add-ca-file", material(nodes, exchanges=SERVED), nodes=names, **GIVEN)
    assert [len(wave.targets) for wave in plan.waves] == [1, 4, 2]
    by_node = {
        name: [change.payload.get("path") for change in plan.changes if change.target.get("node") == name]
        for name in names
    }
    assert by_node["n1"][1] == by_node["n2"][1] == f"{ENTRY}/hosts.toml"
    assert by_node["n3"] == [CONFIG, by_node["n1"][0], f"{ENTRY}/hosts.toml", None]
    assert plan.restarts == "containerd on n3"


def test_servers_of_a_quorum_come_last_and_one_at_a_time() -> None:
    files = {REGISTRIES: f"mirrors:\n  {HOST}:\n    endpoint: [https://{HOST}]\n"}
    nodes = several("s1", "s2", unit="k3s", release=K3S, files=files)
    nodes.nodes |= several("a1", "a2", unit="k3s-agent", release=K3S, files=files).nodes
    plan = plan_of("add-ca-file", material(nodes, exchanges=SERVED), nodes=("s1", "s2", "a1", "a2"), **GIVEN)
    assert [[target.get("node") for target in wave.targets] for wave in plan.waves] == [["a1"], ["a2"], ["s1"], ["s2"]]
    assert {change.payload["unit"] for change in plan.changes if change.kind == "node-restart"} == {"k3s", "k3s-agent"}
    assert all("/var/lib/rancher" not in str(change.payload.get("path")) for change in plan.changes)


def test_an_owned_file_gives_a_hand_off_and_no_change() -> None:
    nodes = several("n1", "n2")
    nodes.nodes["n1"].files[f"{ENTRY}/hosts.toml"] = FakeFile("# Ansible managed\n" + TRUSTING)
    found = material(nodes, exchanges=SERVED)
    plan = plan_of("add-ca-file", found, **GIVEN)
    assert (plan.changed, plan.fix_class, plan.owner and plan.owner.kind) == (False, "hand_off", "ansible")
    assert '+  ca = ["' in plan.hand_off
    assert "Ansible" in plan.hand_off
    both = plan_of("add-ca-file", found, nodes=("n1", "n2"), **GIVEN)
    assert {change.target.get("node") for change in both.changes} == {"n2"}
    assert "n1" in both.hand_off
    direct = plan_of("add-ca-file", found, inputs={"ca": ROOT.pem, "direct": "yes"})
    assert direct.changed
    assert (direct.fix_class, "may put the old state back" in direct.risk) == ("first_aid", True)


def test_what_is_not_known_whole_is_refused() -> None:
    from app.model.evidence import Outcome
    from app.model.masked import MASK
    from app.model.material import Document

    nodes = several("n1", files={CONFIG: READ, f"{ENTRY}/hosts.toml": TRUSTING})
    whole = material(nodes, exchanges=SERVED)
    path = f"nodes/n1{ENTRY}/hosts.toml"
    for document, word in (
        (Document(path, TRUSTING + f'x = "{MASK}"\n'), "masked"),
        (Document(path, TRUSTING[:20], detail="cut: 20 of 90 bytes"), "in part"),
        (Document(path, TRUSTING + "# other\n"), "digest"),
        (Document(path, outcome=Outcome.DENIED, detail="permission denied"), "permission denied"),
    ):
        plan = plan_of("add-ca-file", whole.with_documents([document]), **GIVEN)
        assert not plan.changed
        assert word in plan.blocked, plan.checks


def test_a_node_that_cannot_be_changed_is_left_out_and_said_so() -> None:
    nodes = several("n1", "n2")
    nodes.nodes["n2"].files[f"{ENTRY}/hosts.toml"] = FakeFile("= broken\n")
    plan = plan_of("add-ca-file", material(nodes, exchanges=SERVED), nodes=("n1", "n2", "n3"), **GIVEN)
    assert {change.target.get("node") for change in plan.changes} == {"n1"}
    told = {check.text.partition(":")[0]: check for check in plan.checks if check.detail == "left out"}
    assert set(told) == {"n2", "n3"}
    assert "write-hosts-toml" in told["n2"].text


def test_a_ca_that_did_not_sign_the_chain_is_refused_and_a_seen_one_has_to_be_confirmed() -> None:
    nodes = several("n1", "n2", files={CONFIG: READ, f"{ENTRY}/hosts.toml": TRUSTING})
    wrong = plan_of("add-ca-file", material(nodes, exchanges=SERVED), inputs={"ca": OTHER.pem})
    assert "does not verify" in wrong.blocked
    from tests.fakes.nodes import BY_ID

    fix = BY_ID["add-ca-file"]
    assert [need.key for need in fix.needs(context("add-ca-file", material(nodes, exchanges=SERVED)))] == ["ca"]
    nodes.nodes["n2"].files["/etc/corp/ca.crt"] = FakeFile(ROOT.pem)
    found = material(nodes, exchanges=SERVED)
    (need,) = fix.needs(context("add-ca-file", found, healthy=("n2",)))
    assert need.key == "ca-fingerprint"
    assert FINGERPRINT in need.question
    unconfirmed = plan_of("add-ca-file", found, healthy=("n2",), inputs={"ca-fingerprint": "AA:BB"})
    assert "fingerprint" in unconfirmed.blocked
    good = plan_of("add-ca-file", found, healthy=("n2",), inputs={"ca-fingerprint": FINGERPRINT.lower()})
    assert good.changed


def test_a_ca_file_that_is_named_and_not_there_is_taken_out() -> None:
    nodes = several("n1", files={CONFIG: READ, f"{ENTRY}/hosts.toml": TRUSTED})
    from app.model.material import Document

    found = material(nodes, exchanges=SERVED).with_documents([Document(f"nodes/n1{ENTRY}/ca.crt", absent=True)])
    plan = plan_of("add-ca-file", found, **GIVEN)
    text = str(
        next(change.payload["text"] for change in plan.changes if str(change.payload["path"]).endswith("hosts.toml"))
    )
    assert f'"{ENTRY}/ca.crt"' not in text


async def test_the_system_store_gets_the_ca_and_undo_builds_it_without(tmp_path: Path) -> None:
    nodes = several("n1")
    found = material(nodes, exchanges=SERVED)
    plan = plan_of("os-trust-add", found, **GIVEN)
    assert [change.kind for change in plan.changes] == ["node-file", "node-trust-update", "node-restart"]
    assert str(plan.changes[0].payload["path"]).startswith("/usr/local/share/ca-certificates/")
    start = nodes.image()
    gateway = gateway_for(nodes, tmp_path)
    await apply_plan(plan, gateway)
    assert not plan_of("os-trust-add", material(nodes, exchanges=SERVED), **GIVEN).changed
    nodes.done.clear()
    await gateway.undo(plan.id)
    assert nodes.image() == start
    assert [line.split()[1] for line in nodes.done] == ["restore", "trust", "restart"]
    rocky = several("n1", release=NEW_2, files={CONFIG: READ_2})
    other = plan_of("os-trust-add", material(rocky, exchanges=SERVED), **GIVEN)
    assert str(other.changes[0].payload["path"]).startswith("/etc/pki/ca-trust/source/anchors/")


async def test_settings_of_a_healthy_node_are_copied(tmp_path: Path) -> None:
    nodes = several("n1", files={CONFIG: "version = 2\n"})
    nodes.nodes |= several(
        "n2", files={CONFIG: READ, f"{ENTRY}/hosts.toml": TRUSTED, f"{ENTRY}/ca.crt": ROOT.pem}
    ).nodes
    start = nodes.image()
    found = material(nodes, exchanges=SERVED)
    plan = plan_of("copy-config-from-healthy", found, healthy=("n2",))
    assert {change.payload.get("path") for change in plan.changes} == {
        CONFIG,
        f"{ENTRY}/hosts.toml",
        f"{ENTRY}/ca.crt",
        None,
    }
    gateway = gateway_for(nodes, tmp_path)
    await apply_plan(plan, gateway)
    after = material(nodes, exchanges=SERVED)
    one, two = (node_setup(files_of(after, name)) for name in ("n1", "n2"))
    assert choose(one, effective(one), HOST).hosts == choose(two, effective(two), HOST).hosts
    assert not plan_of("copy-config-from-healthy", after, healthy=("n2",)).changed
    await gateway.undo(plan.id)
    assert nodes.image() == start


# --- restarts and what only gives commands ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fix", "unit", "release", "path"),
    [("restart-runtime", "containerd", "", CONFIG), ("restart-k3s", "k3s", K3S, REGISTRIES)],
)
async def test_a_restart_is_planned_once(fix: str, unit: str, release: str, path: str, tmp_path: Path) -> None:
    nodes = several("n1", unit=unit, release=release, files={path: READ if path == CONFIG else "mirrors: {}\n"})
    assert not plan_of(fix, material(nodes)).changed
    nodes.nodes["n1"].changed[path] = 1500.0
    plan = plan_of(fix, material(nodes))
    assert [change.kind for change in plan.changes] == ["node-restart"]
    assert "no undo" in plan.undo
    await apply_plan(plan, gateway_for(nodes, tmp_path))
    assert not plan_of(fix, material(nodes)).changed


def test_a_login_is_asked_for_where_none_stands_under_a_close_name() -> None:
    from app.fixes import find

    def asked(config: str, finding: str = "node-auth-key-mismatch") -> list[str]:
        made = context("set-node-auth", material(several("n1", files={CONFIG: READ + config})), finding=finding)
        return [need.key for need in find("set-node-auth").needs(made)]

    near = f'[{GRPC}.registry.configs."{HOST}:443".auth]\n  username = "u"\n  password = "p"\n'
    assert asked(near) == []
    assert asked(near, "robot-name-mangled") == ["username", "password"]
    assert asked("") == ["username", "password"]
    assert asked(near.replace(HOST, "other.example.com")) == ["username", "password"]


def test_a_file_of_the_second_of_the_start_may_be_the_newer_one() -> None:
    nodes = several("n1")
    nodes.nodes["n1"].changed[CONFIG] = 1000.6
    plan = plan_of("restart-runtime", material(nodes))
    assert [change.kind for change in plan.changes] == ["node-restart"]
    assert any(check.state == "unknown" and "not known" in check.text for check in plan.checks)


def test_no_restart_into_a_broken_file() -> None:
    nodes = several("n1", files={CONFIG: "= no\n"})
    nodes.nodes["n1"].changed[CONFIG] = 1500.0
    assert "would not start" in plan_of("restart-runtime", material(nodes)).blocked
    nodes = several("n1", unit="k3s", release=K3S, files={REGISTRIES: "a: [\n"})
    assert "not YAML" in plan_of("restart-k3s", material(nodes)).blocked


async def test_tabs_that_indent_registries_yaml_become_spaces(tmp_path: Path) -> None:
    text = f'# ours\nconfigs:\n  "{HOST}":\n    tls:\n\tca_file: /etc/ssl/ours.crt  # a\ttab that may stay\n'
    nodes = several("n1", unit="k3s", release=K3S, files={REGISTRIES: text})
    start = nodes.image()
    plan = plan_of("write-registries-yaml", material(nodes), finding="k3s-registries-unparsable")
    assert [change.kind for change in plan.changes] == ["node-file", "node-restart"]
    assert any(check.state == "warn" and "tab" in check.text for check in plan.checks)
    assert plan.changes[0].payload["text"] == text.replace("\tca_file", "        ca_file")
    gateway = gateway_for(nodes, tmp_path)
    await apply_plan(plan, gateway)
    await gateway.undo(plan.id)
    assert nodes.image() == start
    # Where spaces alone do not make it readable nothing is guessed.
    nodes = several("n1", unit="k3s", release=K3S, files={REGISTRIES: text + "mirrors: [\n"})
    assert "not YAML" in plan_of("write-registries-yaml", material(nodes), finding="k3s-registries-unparsable").blocked


async def test_a_file_that_the_runtime_does_not_accept_is_put_back(tmp_path: Path) -> None:
    row = ROWS["certs.d is not read"]
    nodes = built(row)
    start = nodes.image()
    plan = planned(row, nodes)

    async def refuse(node: str) -> str:
        return f"{node}: no"

    nodes.check_runtime_config = refuse  # type: ignore[method-assign]
    report = await apply_plan(plan, gateway_for(nodes, tmp_path))
    assert not report.verified
    assert nodes.image() == start
    assert not any("restart" in line for line in nodes.done)


@pytest.mark.parametrize(
    "fix", ["repair-ntp", "free-node-disk", "purge-image-content", "import-image", "reduce-template"]
)
def test_some_fixes_only_give_commands(fix: str) -> None:
    nodes = several(
        "n1",
        unit="k3s-agent",
        release=K3S,
        files={REGISTRIES: "", "/var/lib/rancher/k3s/agent/etc/containerd/config.toml.tmpl": "version = 2\n"},
    )
    plan = plan_of(fix, material(nodes))
    assert not plan.changed
    assert "n1: " in plan.hand_off
    assert not plan.blocked
    assert fix != "repair-ntp" or "never steps" in plan.hand_off


def test_generated_files_are_never_edited() -> None:
    files = {"/var/lib/rancher/k3s/agent/etc/containerd/config.toml": READ_2, REGISTRIES: "{}\n"}
    for fix in (
        "set-config-path",
        "rewrite-registry-section",
        "write-hosts-toml",
        "mirrors-to-hosts-toml",
        "server-to-mirror",
    ):
        plan = plan_of(fix, material(several("n1", unit="k3s", release=K3S, files=files)))
        assert not plan.changed
        assert "registries.yaml" in plan.blocked


def test_a_proxy_in_an_environment_file_is_not_overridden_in_vain() -> None:
    nodes = several("n1", files={CONFIG: READ, "/etc/default/containerd": "HTTPS_PROXY=http://old:1\n"})
    assert (
        "/etc/default/containerd"
        in plan_of("set-runtime-proxy", material(nodes), inputs={"proxy": "http://p:1"}).blocked
    )


def test_a_wrong_address_is_refused() -> None:
    nodes = several("n1", files={CONFIG: READ, "/etc/hosts": "127.0.0.1 localhost\n"})
    assert "not an address" in plan_of("hosts-line", material(nodes), inputs={"address": "harbor"}).blocked

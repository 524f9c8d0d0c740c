"""Nodes in memory that a plan can be made for, applied to and undone on: files with mode and owner, units, a trust store."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.errors import RefusedError, VerifyFailedError
from app.fixes.base import Fix, FixContext, Hidden
from app.fixes.gateway import Gateway, Writers
from app.fixes.journal import UndoJournal
from app.fixes.node import FIXES
from app.model.case import Case, Incident
from app.model.exchange import Exchange, TlsSeen
from app.model.fix import ApplyReport, FixPlan
from app.model.material import Document, Material
from app.model.standing import Certainty, Kind, Standing
from app.model.target import Target
from app.parsers.exchanges import encode_exchanges

HOST = "harbor.example.com"
IMAGE = f"{HOST}/shop/web:1.2"
BY_ID: Mapping[str, Fix] = {fix.id: fix for fix in FIXES}
LISTED = ("/etc/containerd", "/etc/docker", "/etc/rancher", "/var/lib/rancher", "/usr/local/share/ca-certificates")
TRUST_TEXT = (
    f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": failed to do request: '
    f'Head "https://{HOST}/v2/shop/web/manifests/1.2": x509: certificate signed by unknown authority'
)
HTTP_TEXT = 'failed to do request: Head "https://{host}/v2/shop/web/manifests/1.2": http: server gave HTTP response to HTTPS client'
READ = 'version = 2\n\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n'
READ_2 = 'version = 3\n\n[plugins."io.containerd.cri.v1.images".registry]\n  config_path = "/etc/containerd/certs.d"\n'


@dataclass
class FakeFile:
    text: str
    mode: str = "0640"
    owner: str = "7:8"


@dataclass
class FakeNode:
    """One node. `since`: when its runtime was started; files get the time `changed`."""

    files: dict[str, FakeFile] = field(default_factory=dict)
    release: str = "containerd github.com/containerd/containerd v1.7.24 abc\nKubernetes v1.31.4\nDebian GNU/Linux 12"
    unit: str = "containerd"
    since: float = 1000.0
    changed: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeNodes:
    """`NodeWriter` over nodes in memory; `done` lists what was asked of it."""

    nodes: dict[str, FakeNode]
    done: list[str] = field(default_factory=list)
    now: float = 2000.0
    backups: dict[tuple[str, str], FakeFile] = field(default_factory=dict)
    broken_restart: str = ""

    def _digest(self, node: str, path: str) -> str | None:
        file = self.nodes[node].files.get(path)
        return hashlib.sha256(file.text.encode()).hexdigest() if file else None

    async def replace(
        self, node: str, path: str, text: str, *, expect_sha256: str | None, mode: str = "0644", backup: str
    ) -> str:
        if self._digest(node, path) != expect_sha256:
            raise RefusedError(f"{path} is not what was expected")
        old = self.nodes[node].files.get(path)
        if old is not None:
            assert backup, "an existing file is never replaced without a backup"
            self.backups[node, backup] = replace(old)
        self.nodes[node].files[path] = FakeFile(text, old.mode if old else mode, old.owner if old else "0:0")
        self.nodes[node].changed[path] = self.now
        self.done.append(f"{node} write {path}")
        return hashlib.sha256(text.encode()).hexdigest()

    async def restore(self, node: str, path: str, *, backup: str | None, expect_sha256: str) -> None:
        if self._digest(node, path) != expect_sha256:
            raise RefusedError(f"{path} is not what was written")
        if backup is None:
            del self.nodes[node].files[path]
        else:
            self.nodes[node].files[path] = self.backups.pop((node, backup))
        self.done.append(f"{node} restore {path}")

    async def restart(self, node: str, unit: str) -> None:
        if node == self.broken_restart:
            raise VerifyFailedError(f"{unit} did not come up")
        self.now += 10
        self.nodes[node].since = self.now
        self.done.append(f"{node} restart {unit}")

    async def run_trust_update(self, node: str) -> None:
        self.done.append(f"{node} trust")

    async def check_runtime_config(self, node: str) -> str:
        self.done.append(f"{node} check")
        for path, file in self.nodes[node].files.items():
            if path.startswith("/etc/containerd/") and path.endswith("config.toml"):
                try:
                    tomllib.loads(file.text)
                except tomllib.TOMLDecodeError as error:
                    return str(error)
        return ""

    def image(self) -> dict[tuple[str, str], tuple[str, str, str]]:
        """Every file with text, mode and owner."""
        return {
            (name, path): (file.text, file.mode, file.owner)
            for name, node in self.nodes.items()
            for path, file in node.files.items()
        }


def material(
    nodes: FakeNodes, *, exchanges: Mapping[str, list[Exchange]] | None = None, more: Mapping[str, str] | None = None
) -> Material:
    """The nodes as a collector reads them now."""
    documents = [Document(path, text) for path, text in (more or {}).items()]
    for name, node in nodes.nodes.items():
        stats: dict[str, Any] = {path: {"listed": True, "directory": True} for path in LISTED}
        for path, file in node.files.items():
            documents.append(Document(f"nodes/{name}{path}", file.text))
            digest = hashlib.sha256(file.text.encode()).hexdigest()
            stats[path] = {
                "mtime": node.changed.get(path, 500.0),
                "size": len(file.text),
                "mode": file.mode,
                "sha256": digest,
            }
        wanted = "/etc/rancher/k3s/registries.yaml" if "k3s" in node.release else "/etc/containerd/config.toml"
        if wanted not in node.files:
            documents.append(Document(f"nodes/{name}{wanted}", absent=True))
        unit = {"active": True, "since": node.since, "pid": 1, "cmdline": [node.unit], "need_reload": False}
        outputs = {
            "stat.json": json.dumps(stats),
            "versions.txt": node.release,
            "units.json": json.dumps({node.unit: unit}),
        }
        documents += [Document(f"nodes/{name}/{path}", text) for path, text in {**outputs, **node.outputs}.items()]
        if exchanges and name in exchanges:
            documents.append(Document(f"nodes/{name}/exchanges.json", encode_exchanges(exchanges[name])))
    return Material(documents)


def served_by(*chain: str, host: str = HOST, node: str = "n1") -> Exchange:
    """What a ping through a node shows of a registry that serves this chain."""
    return Exchange(
        f"https://{host}/v2/", vantage=f"node/{node}", purpose="ping", dns="ok", tcp="open",
        tls=TlsSeen("ok", tuple(chain), host, verified=False, verify_error="unknown authority", anchors="os-bundle"),
    )  # fmt: skip


def context(
    fix: str,
    found: Material,
    *,
    finding: str = "some-finding",
    nodes: tuple[str, ...] = ("n1",),
    healthy: tuple[str, ...] = (),
    image: str = IMAGE,
    texts: tuple[str, ...] = (TRUST_TEXT,),
    inputs: Mapping[str, str | Hidden] | None = None,
    kind: str = "cure",
    host: str | None = None,
) -> FixContext:
    """A finding about these nodes that offers this fix."""
    registry = image.partition("/")[0]
    incident = Incident("i", image, registry, "pull", texts, ("apps/web",), nodes, healthy)
    targets = tuple(Target.of(node=node, registry=registry, host=host) for node in nodes)
    standing = Standing(finding, Kind.FAULT, None, Certainty.PROVEN, targets, "title", fixes=((kind, fix),))
    return FixContext(
        standing, Case(incident, now=2000.0), found, "prod", "p1", 2000.0, None, inputs or {}, key=b"k", fix=fix
    )


def plan_of(fix: str, found: Material, **more: Any) -> FixPlan:
    return BY_ID[fix].plan(context(fix, found, **more))


def gateway_for(nodes: FakeNodes, folder: Path) -> Gateway:
    async def settle(seconds: float) -> None:
        del seconds

    made = Gateway("prod", Writers(nodes=nodes), UndoJournal(folder), settle)
    made.unlock("prod")
    return made


async def apply_plan(plan: FixPlan, gateway: Gateway) -> ApplyReport:
    async def works(_plan: FixPlan, _target: Target) -> tuple[bool, str]:
        return True, "seen"

    reports = [report async for report in gateway.apply(plan, confirmed=plan.confirm_name or plan.id, verify=works)]
    return reports[-1]

"""A small broken cluster, and one fix planned, applied and undone in it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.fixes.base import FixContext, Hidden
from app.fixes.gateway import Gateway, Writers
from app.fixes.journal import UndoJournal
from app.fixes.prepare import prepare
from app.model.case import Case, Incident
from app.model.evidence import Evidence
from app.model.fix import ApplyReport, FixPlan, Verified
from app.model.material import Material
from app.model.standing import Certainty, Kind, Standing
from app.model.target import Target
from app.probes.base import HarborPlace
from app.rulebook.schema import FixSpec
from tests.fakes.kube import FakeHarbor, FakeKube

HOST = "registry.corp.example"
IMAGE = f"{HOST}/shop/web:1.2"
CANARY = "Canary-pa55-9f3e"
NOW = 1_790_000_000.0
JSON_TYPE = "kubernetes.io/dockerconfigjson"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def auths(host: str = HOST, user: str = "robot$shop", password: str = CANARY, **more: Any) -> dict[str, Any]:
    return {"auths": {host: {"username": user, "password": password, "auth": b64(f"{user}:{password}"), **more}}}


def secret(
    name: str,
    document: Any,
    *,
    namespace: str = "apps",
    kind: str = JSON_TYPE,
    key: str = ".dockerconfigjson",
    **more: Any,
) -> dict[str, Any]:
    text = document if isinstance(document, str) else json.dumps(document)
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace, "labels": {"team": "shop"}, **more.pop("metadata", {})},
        "type": kind, "data": {key: b64(text)}, **more,
    }  # fmt: skip


def cluster(
    listed: tuple[str, ...] = ("pull",),
    *,
    template: tuple[str, ...] | None = None,
    account: tuple[str, ...] = (),
    owned: bool = True,
) -> FakeKube:
    """A Deployment with one pod that cannot pull, its service account; the secrets are put in by the test."""
    kube = FakeKube()
    names = lambda words: [{"name": word} for word in words]  # noqa: E731
    own = listed if template is None else template
    spec: dict[str, Any] = {"serviceAccountName": "runner", "containers": [{"name": "web", "image": IMAGE}]}
    kube.add(
        {
            "kind": "ServiceAccount",
            "metadata": {"name": "runner", "namespace": "apps"},
            **({"imagePullSecrets": names(account)} if account else {}),
        }
    )
    kube.add(
        {
            "kind": "Deployment", "metadata": {"name": "web", "namespace": "apps", "generation": 1},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}},
                     "template": {"metadata": {"labels": {"app": "web"}}, "spec": {**spec, **({"imagePullSecrets": names(own)} if own else {})}}},
            "status": {"observedGeneration": 1, "updatedReplicas": 1, "readyReplicas": 0, "replicas": 1},
        }
    )  # fmt: skip
    kube.add(
        {
            "kind": "ReplicaSet",
            "metadata": {
                "name": "web-5d",
                "namespace": "apps",
                "ownerReferences": [{"kind": "Deployment", "name": "web", "controller": True}],
            },
            "spec": {
                "template": json.loads(json.dumps(kube.objects["deployments", "apps", "web"]["spec"]["template"]))
            },
        }
    )
    kube.add(
        {
            "kind": "Pod",
            "metadata": {"name": "web-5d-x1", "namespace": "apps",
                         **({"ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d", "controller": True}]} if owned else {})},
            "spec": {**spec, "nodeName": "n1", **({"imagePullSecrets": names(listed)} if listed else {})},
            "status": {"phase": "Pending", "containerStatuses": [{"name": "web", "image": IMAGE, "state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
        }
    )  # fmt: skip
    return kube


def context(
    fix: str, *, finding: str = "pull-secret-missing", fix_class: str = "cure", inputs: Mapping[str, Any] | None = None,
    evidence: tuple[Evidence, ...] = (), variables: Mapping[str, Any] | None = None, targets: tuple[Target, ...] | None = None,
    plan_id: str = "plan1", action: str = "pull", spec: FixSpec | None = None,
) -> FixContext:  # fmt: skip
    given = {key: Hidden(value) if key == "password" else value for key, value in (inputs or {}).items()}
    standing = Standing(
        finding, Kind.FAULT, None, Certainty.PROVEN, targets if targets is not None else (Target.of(workload="apps/web-5d-x1"),), finding,
        fixes=((fix_class, fix),),
    )  # fmt: skip
    case = Case(
        Incident("incident", IMAGE, HOST, action, ("an error",), ("apps/web-5d-x1",), ("n1",)),
        evidence,
        dict(variables or {}),
        now=NOW,
    )
    specs = {fix: spec or FixSpec(title=f"title of {fix}", text="Text for <host> and <pod>.", risk="A risk.")}
    return FixContext(
        standing, case, Material(), "test", plan_id, NOW, HarborPlace("harbor", kube=True), given, specs=specs, key=b"k"
    )


async def plan(fix: str, kube: FakeKube, harbor: FakeHarbor | None = None, **more: Any) -> FixPlan:
    """A plan; fails when inputs are missing."""
    made, needs, _ = await prepare(
        context(fix, **more), fix, kube={"workload": kube}, harbor=harbor.get if harbor else None
    )
    assert made is not None, needs
    return made


async def nap(seconds: float) -> None:
    del seconds


def gateway(kube: FakeKube, folder: Path, harbor: FakeHarbor | None = None) -> Gateway:
    writers = Writers(kube, kube, harbor=harbor, harbor_reader=harbor.get if harbor else None)  # type: ignore[arg-type]
    found = Gateway("test", writers, UndoJournal(folder), nap)
    found.unlock("test")
    return found


async def works(made: FixPlan, target: Target) -> Verified:
    del made, target
    return Verified(works=True, note="it pulls", probe=True, event=True)


async def apply(made: FixPlan, gate: Gateway) -> ApplyReport:
    last = None
    async for report in gate.apply(made, confirmed=made.confirm_name or made.id, verify=works):
        last = report
    assert last is not None
    return last


def document(kube: FakeKube, name: str, namespace: str = "apps", key: str = ".dockerconfigjson") -> Any:
    item = kube.item("secrets", namespace, name)
    assert item is not None
    return json.loads(base64.b64decode(item["data"][key]))


def written(folder: Path) -> str:
    """Everything below a folder, as text: where a secret must not be."""
    return "".join(path.read_text(errors="replace") for path in sorted(folder.rglob("*")) if path.is_file())

"""What the practice world's runtime and clients say, beside what real ones said for the same fault and release."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from app.training.scenario import AppStep, FileStep, NameStep, RecreateStep, RobotStep, SecretStep, ServerStep, Step
from app.training.steps import Hands
from app.training.world.base import HOST, build
from app.training.world.clock import START
from app.training.world.http import WorldHarbor
from app.training.world.kube import WorldKube
from app.training.world.node_writer import WorldNodeWriter

SPACE, APP = "billing", "invoice"
BEGIN = Step(recreate=RecreateStep(namespace=SPACE, app=APP))
CA = f"/etc/containerd/certs.d/{HOST}"


def _secret(**more: str) -> Step:
    return Step(secret=SecretStep(namespace=SPACE, name="harbor-pull", account="robot$billing-pull", **more))


FAULTS: dict[str, list[Step]] = {
    "untrusted-ca": [Step(file=FileStep(nodes=["worker-1", "worker-3"], path=f"{CA}/ca.crt", text="${ca:public}"))],
    "cert-expired": [Step(server=ServerStep(host=HOST, port=443, chain="harbor-expired"))],
    "cert-name": [Step(server=ServerStep(host=HOST, port=443, chain="harbor-other-name"))],
    "registry-down": [Step(server=ServerStep(host=HOST, port=443, down=True))],
    "dns-missing": [Step(name=NameStep(name=HOST, address=None))],
    "http-vs-https": [
        Step(app=AppStep(namespace=SPACE, name=APP, image="${host}:5000/library/tools:3.2", secrets=["harbor-pull"]))
    ],
    "secret-missing": [Step(delete=f"/api/v1/namespaces/{SPACE}/secrets/harbor-pull")],
    "secret-newline": [_secret(edge="\n")],
    "secret-wrong-host": [_secret(server="registry.corp.example")],
    "robot-disabled": [Step(robot=RobotStep(name="robot$billing-pull", disabled=True))],
    "robot-expired": [Step(robot=RobotStep(name="robot$billing-pull", expired_hours=3))],
    "robot-secret-rotated": [Step(robot=RobotStep(name="robot$billing-pull", secret="another"))],
    "no-right": [Step(robot=RobotStep(name="robot$billing-pull", grants={"shop": ["pull"]}))],
    "tag-missing": [
        Step(app=AppStep(namespace=SPACE, name=APP, image="${host}/billing/invoice:9.9", secrets=["harbor-pull"]))
    ],
}  # fmt: skip
RELEASES = {
    "containerd1.6": ("worker-1", "1.6.20"),
    "containerd1.7": ("worker-1", "1.7.24"),
    "containerd2": ("worker-3", "2.1.9"),
}


def said(messages: Iterable[tuple[str, str]]) -> set[str]:
    """Failing texts with names, digests and times replaced."""
    found = set()
    for reason, message in messages:
        if reason not in ("Failed", "FailedToRetrieveImagePullSecret"):
            continue
        text = re.sub(r'"?[\w.-]+\.(?:test|example)(?::\d+)?(/[\w/.-]+)?(?::[\w.]+)?', "NAME", message)
        text = re.sub(r"https?:?/*NAME\S*", "URL", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
        text = re.sub(r"\d+\.\d+\.\d+\.\d+:\d+", "ADDRESS", text)
        text = re.sub(r"secrets \([\w-]+\)", "secrets (S)", text)
        text = re.sub(r"\[manifests [\w.]+\]", "[manifests TAG]", text)
        found.add(text)
    return found


def in_the_world(fault: str, release: str) -> set[str]:
    state, controllers = build("texts", "kubeadm")
    state.clock.seconds = START
    kube, harbor = WorldKube(state, controllers.settle), WorldHarbor(state, controllers.settle)
    hands = Hands(state, controllers, kube, WorldNodeWriter(state, controllers.settle), harbor)
    name, runtime = RELEASES[release]
    state.nodes[name].runtime = runtime
    asyncio.run(hands.do([*FAULTS[fault], BEGIN], given=True))
    controllers.wait(60)
    pods = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in state.cluster.all("pods", SPACE)}
    events = [
        event for event in state.cluster.all("events", SPACE) if pods.get(event["involvedObject"]["name"]) == name
    ]
    if not events:
        spec = {"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": name}}}}}
        path = f"/apis/apps/v1/namespaces/{SPACE}/deployments/{APP}"
        asyncio.run(kube.write("PATCH", path, spec, content_type="application/merge-patch+json"))
        controllers.wait(60)
        pods = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in state.cluster.all("pods", SPACE)}
        events = [one for one in state.cluster.all("events", SPACE) if pods.get(one["involvedObject"]["name"]) == name]
    return said((event["reason"], event["message"]) for event in events)


@pytest.mark.parametrize("release", sorted(RELEASES))
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_the_world_says_what_the_real_one_says(fault: str, release: str, shared: Path) -> None:
    folder = shared / "lab" / "recordings" / f"{fault}-{release}" / "raw"
    events = json.loads((folder / "events.json").read_text(encoding="utf-8"))["items"]
    real = said((str(event.get("reason")), str(event.get("message"))) for event in events)
    assert real
    world = in_the_world(fault, release)
    assert {text for text in real if "BackOff" not in text} == {text for text in world if "BackOff" not in text}

"""Verification: the evidence read afresh, then the pods."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.files import load_rulebook
from app.model.case import Incident
from app.model.material import Document, Material
from app.model.standing import Certainty, Kind, Standing
from app.model.target import Target
from app.runner.collect import World
from app.runner.verify import Verifier, pulled
from tests.fakes.fixing import HOST, IMAGE, NOW, auths, cluster, plan, secret
from tests.fakes.kube import FakeKube


class Clock:
    """Stands still."""

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0


BOOK, _ = load_rulebook()


def verifier(kube: FakeKube, finding: str = "pull-secret-missing", **more: Any) -> Verifier:
    pod = kube.item("pods", "apps", "web-5d-x1")
    assert pod is not None
    pod["metadata"]["labels"] = {"app": "web", "pod-template-hash": "5d"}
    material = Material([Document("pods.json", json.dumps({"kind": "PodList", "items": [pod]}))])
    standing = Standing(finding, Kind.FAULT, None, Certainty.PROVEN, (Target.of(workload="apps/web-5d-x1"),), finding)

    async def settle(seconds: float) -> None:
        del seconds
        steps.append(1)
        if len(steps) == 3:
            for step in more.get("later", ()):
                step(kube)

    steps: list[int] = []
    return Verifier(
        BOOK, World(Clock(), {"workload": kube}), standing, Incident("i", IMAGE, HOST, "pull", pods=("apps/web-5d-x1",)), settle, material, wait=20.0,
        retry=more.get("retry"),
    )  # fmt: skip


def runs(kube: FakeKube) -> None:
    kube.objects["pods", "apps", "web-5d-x1"]["status"] = {
        "phase": "Running",
        "containerStatuses": [{"name": "web", "imageID": "x", "state": {"running": {}}}],
    }


def replaced(kube: FakeKube) -> None:
    old = kube.objects.pop(("pods", "apps", "web-5d-x1"))
    kube.add(
        {
            **json.loads(json.dumps(old)),
            "metadata": {"name": "web-77-y", "namespace": "apps", "labels": {"app": "web", "pod-template-hash": "77"}},
        }
    )
    kube.objects["pods", "apps", "web-77-y"]["status"] = {
        "phase": "Running",
        "containerStatuses": [{"name": "web", "state": {"running": {}}}],
    }


async def made(kube: FakeKube) -> Any:
    kube.add(secret("pull", {"auths": {HOST: {"auth": "cm9ib3QkczpzCg=="}}}))
    return await plan("rewrite-secret", kube)


@pytest.mark.parametrize("step", [runs, replaced])
async def test_the_pod_starts_or_another_in_its_place(step: Any) -> None:
    kube = cluster()
    fixed = await made(kube)
    said = await verifier(kube, later=(step,))(fixed, fixed.targets[0])
    assert (said.works, said.event) == (True, True)


async def test_a_pod_that_stays_as_it_is_does_not_verify() -> None:
    kube = cluster()
    fixed = await made(kube)
    said = await verifier(kube)(fixed, fixed.targets[0])
    assert (said.works, said.event) == (False, False)
    assert "after 20 s" in said.note


async def test_pods_made_before_a_change_of_the_account_are_not_waited_for_unless_they_are_deleted() -> None:
    kube = cluster(listed=())
    kube.add(secret("fit", auths()))
    fixed = await plan("append-sa-secret", kube)
    said = await verifier(kube)(fixed, fixed.targets[0])
    assert said.event is None
    assert "made anew" in said.note

    deleted: list[str] = []

    async def retry(pods: tuple[str, ...]) -> str:
        deleted.extend(pods)
        replaced(kube)
        return "deleted"

    said = await verifier(kube, retry=retry)(fixed, fixed.targets[0])
    assert deleted == ["apps/web-5d-x1"]
    assert (said.works, said.event) == (True, True)


async def test_a_finding_that_still_stands_is_said_even_if_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    kube = cluster()
    fixed = await made(kube)
    checker = verifier(kube, later=(runs,))

    async def stands(plan: Any) -> tuple[bool, str]:
        del plan
        return False, "it is still proven"

    monkeypatch.setattr(Verifier, "probe", lambda self, plan: stands(plan))
    said = await checker(fixed, fixed.targets[0])
    assert (said.works, said.probe, said.event) == (False, False, True)
    assert "still proven" in said.note


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, False),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]}, False),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, False),
        ({"containerStatuses": [{"imageID": "sha256:1", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}, True),
        (
            {
                "initContainerStatuses": [{"state": {"terminated": {}}}],
                "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}],
            },
            False,
        ),
        ({"containerStatuses": [{"state": {"running": {}}}]}, True),
    ],
)
def test_what_counts_as_pulled(status: dict[str, Any], expected: bool) -> None:
    assert pulled({"status": status}) is expected


async def test_evidence_that_cannot_be_read_again_is_no_good_end() -> None:
    from dataclasses import replace

    from app.model.evidence import Evidence
    from app.model.standing import Ground

    kube = cluster()
    fixed = await made(kube)
    checker = verifier(kube, finding="core-token-key-mismatch")
    spoke = Ground("token.kid: 2 values", "true", evidence=Evidence("token.anon"), role="proof A")
    checker.standing = replace(checker.standing, grounds=(spoke,))
    assert await checker.probe(fixed) == (
        False,
        "what had spoken for core-token-key-mismatch could not be read again: token.anon",
    )

"""Verification: the evidence read afresh, then the pods."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from app.files import load_rulebook
from app.model.case import Incident
from app.model.evidence import Evidence
from app.model.fix import Change, FixPlan, Wave
from app.model.material import Document, Material
from app.model.standing import Certainty, Ground, Kind, Standing
from app.model.target import Target
from app.runner.collect import World
from app.runner.verify import Verifier, pulled
from app.runner.verify_scope import accused_at, only_at, pods_at
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

    async def stands() -> tuple[bool, str]:
        return False, "it is still proven"

    monkeypatch.setattr(Verifier, "probe", lambda self, plan, target, **more: stands())
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


def proof(text: str, probe: str) -> Ground:
    return Ground(text, "true", evidence=Evidence(probe), role="proof A")


async def with_grounds(finding: str, *grounds: Ground) -> tuple[FixPlan, Verifier]:
    """A plan, and a verifier of a finding that rested on these."""
    kube = cluster()
    fixed = await made(kube)
    checker = verifier(kube, finding=finding)
    checker.standing = replace(checker.standing, grounds=grounds)
    return fixed, checker


async def test_evidence_that_cannot_be_read_again_is_no_good_end() -> None:
    fixed, checker = await with_grounds("core-token-key-mismatch", proof("token.kid: 2 values", "token.anon"))
    assert await checker.probe(fixed, fixed.targets[0]) == (
        False,
        "what had spoken for core-token-key-mismatch could not be read again: token.anon",
    )


async def test_pods_that_started_by_themselves_leave_nobody_to_ask_about() -> None:
    fixed, checker = await with_grounds("core-token-key-mismatch", proof("token.kid: 2 values", "token.anon"))
    assert isinstance(checker.world.kube["workload"], FakeKube)
    runs(checker.world.kube["workload"])
    said = await checker(fixed, fixed.targets[0])
    assert (said.works, said.probe, said.event) == (True, True, True)


async def test_a_spent_try_of_a_credential_does_not_outweigh_pods_that_pulled() -> None:
    tried = proof("login.refused", "token.login")
    fixed, checker = await with_grounds("robot-disabled", tried)
    target = fixed.targets[0]
    # Without consent nothing was tried, and without a pull nothing shows that it works.
    assert (await checker.probe(fixed, target, pulled=True))[0] is False
    checker.try_credentials = True
    assert (await checker.probe(fixed, target))[0] is False
    assert await checker.probe(fixed, target, pulled=True) == (True, "robot-disabled stands no more")
    checker.standing = replace(checker.standing, grounds=(tried, proof("robot.disabled", "robot.api")))
    assert (await checker.probe(fixed, target, pulled=True)) == (
        False,
        "what had spoken for robot-disabled could not be read again: robot.api",
    )


def on_nodes() -> tuple[FakeKube, Material, Incident]:
    """Two replicas of one Deployment, on n1 and n2; both cannot pull."""
    kube = cluster()
    first = kube.objects["pods", "apps", "web-5d-x1"]
    first["metadata"]["labels"] = {"app": "web", "pod-template-hash": "5d"}
    second = json.loads(json.dumps(first))
    second["metadata"]["name"] = "web-5d-x2"
    second["spec"]["nodeName"] = "n2"
    kube.add(second)
    material = Material([Document("pods.json", json.dumps({"kind": "PodList", "items": [first, second]}))])
    pods = ("apps/web-5d-x1", "apps/web-5d-x2")
    return kube, material, Incident("i", IMAGE, HOST, "pull", pods=pods, nodes=("n1", "n2"))


N1, N2 = Target.of(node="n1", registry=HOST), Target.of(node="n2", registry=HOST)


def node_plan() -> FixPlan:
    changes = tuple(
        Change(target, "node-file", "write", payload={"node": target.get("node"), "path": "/x"}) for target in (N1, N2)
    )
    waves = (Wave("canary", (N1,)), Wave("batch 1", (N2,)))
    return FixPlan("p", "f", "tls-ca-replaced", "t", "cure", "", "", "", (N1, N2), changes, waves, (), "")


async def test_a_canary_is_verified_by_the_pods_on_its_node_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    kube, material, incident = on_nodes()
    runs(kube)
    checker = replace(verifier(kube), material=material, incident=incident)

    async def gone() -> tuple[bool, str]:
        return True, ""

    monkeypatch.setattr(Verifier, "probe", lambda self, plan, target, **more: gone())
    said = await checker(node_plan(), N1)
    assert (said.works, said.event, said.note) == (True, True, "apps/web-5d-x1 started")
    said = await checker(node_plan(), N2)
    assert (said.works, said.event) == (False, False)


async def test_a_pod_made_again_on_another_node_tells_nothing_of_the_mended_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kube, material, incident = on_nodes()
    checker = replace(verifier(kube), material=material, incident=incident)

    async def elsewhere(pods: tuple[str, ...]) -> str:
        assert pods == ("apps/web-5d-x1",)
        old = kube.objects.pop(("pods", "apps", "web-5d-x1"))
        old["metadata"]["name"] = "web-5d-x3"
        old["spec"]["nodeName"] = "n2"
        kube.add(old)
        return "deleted"

    async def gone() -> tuple[bool, str]:
        return True, ""

    monkeypatch.setattr(Verifier, "probe", lambda self, plan, target, **more: gone())
    checker.retry = elsewhere
    said = await checker(node_plan(), N1)
    assert (said.works, said.event) == (True, None)
    assert "made again on other nodes" in said.note


def test_what_a_finding_says_of_other_nodes_does_not_count_for_a_target_on_one() -> None:
    _, material, incident = on_nodes()
    standing = Standing("tls-ca-replaced", Kind.FAULT, None, Certainty.PROVEN, (N1, N2), "")
    assert accused_at(node_plan(), N1, standing, material) == (N1,)
    by_pod = replace(
        standing, targets=(Target.of(workload="apps/web-5d-x1"), Target.of(workload="apps/web-5d-x2", node="n2"))
    )
    assert accused_at(node_plan(), N2, by_pod, material) == (by_pod.targets[1],)
    whole = Target.of(registry=HOST)
    assert accused_at(node_plan(), whole, standing, material) == (N1, N2)
    narrowed = only_at(incident, "n1", material)
    assert narrowed is not None
    assert (narrowed.nodes, narrowed.pods) == (("n1",), ("apps/web-5d-x1",))
    assert only_at(incident, "n3", material) is None
    started = only_at(replace(incident, nodes=(), pods=(), succeeded=True), "n1", material)
    assert started is not None
    assert started.nodes == ("n1",)


def test_a_change_for_the_whole_registry_is_verified_by_all_pods() -> None:
    _, material, incident = on_nodes()
    assert pods_at(node_plan(), Target.of(registry=HOST), incident, material) == (incident.pods, False)
    assert pods_at(node_plan(), N2, incident, material) == (("apps/web-5d-x2",), False)

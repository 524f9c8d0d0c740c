"""Fixes of Harbor's core and through its API: shown, applied, empty again, undone; prechecks and hand-offs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.errors import RefusedError
from tests.fakes.fixing import CANARY, HOST, NOW, apply, auths, cluster, document, gateway, plan, secret, written
from tests.fakes.kube import FakeHarbor, FakeKube

LABELS = {"app": "harbor", "component": "core"}


def harbor_cluster(
    replicas: int = 2,
    *,
    helm: bool = False,
    image: str = "goharbor/harbor-core:v2.11.0",
    changed: str = "2026-01-01T00:00:00Z",
) -> FakeKube:
    kube = cluster()
    owner = {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "hub"} if helm else {}
    kube.add(
        {
            "kind": "Deployment", "metadata": {"name": "hub-core", "namespace": "harbor", "generation": 1, "labels": {**LABELS, **owner}},
            "spec": {"replicas": replicas, "selector": {"matchLabels": LABELS},
                     "template": {"metadata": {"labels": LABELS}, "spec": {
                         "containers": [{"name": "core", "image": image}],
                         "volumes": [{"name": "token-service-private-key", "secret": {"secretName": "hub-core"}}]}}},
            "status": {"observedGeneration": 1, "updatedReplicas": replicas, "readyReplicas": replicas, "replicas": replicas},
        }
    )  # fmt: skip
    kube.add(
        {
            "kind": "Secret",
            "type": "Opaque",
            "data": {},
            "metadata": {"name": "hub-core", "namespace": "harbor", "creationTimestamp": changed},
        }
    )
    for node in ("n1", "n2"):
        kube.add(
            {"kind": "Node", "metadata": {"name": node}, "status": {"images": [{"names": [f"docker.io/{image}"]}]}}
        )
    return kube


def robot(**more: Any) -> dict[str, Any]:
    return {
        "id": 7, "name": "robot$shop", "level": "system", "duration": 30, "disable": False, "editable": True, "expires_at": int(NOW) + 99999,
        "creation_time": "2026-06-01T00:00:00Z",
        "permissions": [{"kind": "project", "namespace": "shop", "access": [{"resource": "repository", "action": "pull"}]}], **more,
    }  # fmt: skip


@dataclass
class Row:
    """Harbor as it is, the fix, and what is to be true afterwards."""

    fix: str
    tables: dict[str, Any]
    check: Callable[[FakeHarbor], bool]
    shown: str
    more: dict[str, Any] = field(default_factory=dict)


ACCOUNT: dict[str, Any] = {"variables": {"account": "robot$shop"}}
PERSON: dict[str, Any] = {"variables": {"account": "dana", "project.action": "shop:pull"}}
PROJECTS = [{"project_id": 3, "name": "shop", "registry_id": 5}]
ROWS = {
    "enable": Row("robot-enable", {"robots": [robot(disable=True)]}, lambda h: h.tables["robots"][0]["disable"] is False, "+disable: false", ACCOUNT),
    "extend": Row("robot-extend", {"robots": [robot(expires_at=int(NOW) - 5)]}, lambda h: h.tables["robots"][0]["duration"] > 90 + 30, "-duration: 30", {**ACCOUNT, "inputs": {"days": "90"}}),
    "extend-project": Row(
        "robot-extend", {"projects": PROJECTS, "robots": [robot(name="robot$shop+ci", level="project", _project=3)]}, lambda h: h.tables["robots"][0]["duration"] == -1, "+duration: -1",
        {"variables": {"account": "robot$shop+ci"}, "inputs": {"days": "-1"}},
    ),
    "grant": Row(
        "robot-grant", {"robots": [robot()]}, lambda h: [a["action"] for a in h.tables["robots"][0]["permissions"][0]["access"]] == ["pull", "push"], "+    action: push",
        {"variables": {"account": "robot$shop", "project.action": "shop:push"}, "action": "push"},
    ),
    "grant-other-project": Row(
        "robot-grant", {"robots": [robot(permissions=[{"kind": "project", "namespace": "x", "access": []}])]},
        lambda h: h.tables["robots"][0]["permissions"][1] == {"kind": "project", "namespace": "shop", "access": [{"resource": "repository", "action": "pull"}]}, "+  namespace: shop", ACCOUNT,
    ),
    "member": Row("project-add-member", {"projects": PROJECTS}, lambda h: [(m["entity_name"], m["role_id"]) for m in h.tables["members"]] == [("dana", 5)], "+member: dana", PERSON),
    "member-raised": Row(
        "project-add-member", {"projects": PROJECTS, "members": [{"id": 9, "entity_name": "dana", "role_id": 5}]}, lambda h: h.tables["members"][0]["role_id"] == 2, "-role_id: 5",
        {**PERSON, "action": "push"},
    ),
    "read-only": Row("read-only-off", {"configurations": {"read_only": {"value": True, "editable": True}}}, lambda h: h.tables["configurations"]["read_only"]["value"] is False, "-read_only: true"),
    "prefix": Row("restore-robot-prefix", {"configurations": {"robot_name_prefix": {"value": "bot-", "editable": True}}}, lambda h: h.tables["configurations"]["robot_name_prefix"]["value"] == "robot$", "+robot_name_prefix: robot$", ACCOUNT),
    "quota": Row(
        "raise-quota", {"projects": PROJECTS, "quotas": [{"id": 4, "ref": {"id": 3}, "hard": {"storage": 1000}, "used": {"storage": 990}}]},
        lambda h: h.tables["quotas"][0]["hard"]["storage"] == 1500, "storage",
    ),
    "url": Row("endpoint-url", {"projects": PROJECTS, "registries": [{"id": 5, "name": "up", "url": "http://up.example/v2/"}]}, lambda h: h.tables["registries"][0]["url"] == "https://up.example", "-url: http://up.example/v2/"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
async def test_shown_applied_empty_again_and_undone(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    harbor, kube = FakeHarbor(**copy.deepcopy(row.tables)), cluster()
    harbor.tables.setdefault("members", [])
    before = copy.deepcopy(harbor.tables)
    made = await plan(row.fix, kube, harbor, **row.more)
    assert row.shown in made.changes[0].diff
    assert (harbor.tables, harbor.writes) == (before, [])

    await apply(made, gate := gateway(kube, tmp_path, harbor))
    assert row.check(harbor)
    if row.fix == "raise-quota":
        harbor.tables["quotas"][0]["used"]["storage"] = 990
    if "extend" in name:
        harbor.tables["robots"][0]["expires_at"] = -1 if row.more["inputs"]["days"] == "-1" else int(NOW) + 1
        row.more["inputs"] = dict(row.more["inputs"])
    assert not (await plan(row.fix, kube, harbor, plan_id="p2", **row.more)).changed

    await gate.undo(made.id)
    if "extend" in name:
        harbor.tables["robots"][0]["expires_at"] = before["robots"][0]["expires_at"]
    assert harbor.tables == before


async def test_a_new_robot_secret_goes_straight_into_the_pull_secret(tmp_path: Path) -> None:
    kube, harbor = cluster(), FakeHarbor(robots=[robot()])
    kube.add(secret("pull", auths()))
    made = await plan("robot-new-secret", kube, harbor, **ACCOUNT)
    assert made.confirm_name == "robot$shop"
    assert harbor.writes == []
    await apply(made, gate := gateway(kube, tmp_path, harbor))
    assert document(kube, "pull") == auths(password=harbor.made_secret)
    journal = written(tmp_path)
    for word in (harbor.made_secret, CANARY):
        assert word not in journal + repr(made) + repr(gate)
    lines = await gate.undo(made.id)
    assert document(kube, "pull") == auths()
    assert any("cannot be undone" in line for line in lines)


async def test_an_endpoint_login_is_written_and_never_shown(tmp_path: Path) -> None:
    harbor = FakeHarbor(
        projects=PROJECTS,
        registries=[{"id": 5, "name": "up", "url": "https://up.example", "credential": {"access_key": "old"}}],
    )
    made = await plan("endpoint-credential", cluster(), harbor, inputs={"username": "u", "password": CANARY})
    await apply(made, gateway(cluster(), tmp_path, harbor))
    assert harbor.writes[0][2] == {"credential_type": "basic", "access_key": "u", "access_secret": CANARY}
    assert CANARY not in written(tmp_path) + repr(made) + made.changes[0].diff


async def test_a_quay_login_is_written_as_json_and_never_shown(tmp_path: Path) -> None:
    harbor = FakeHarbor(
        projects=PROJECTS,
        registries=[
            {"id": 5, "name": "up", "type": "quay", "url": "https://up.example", "credential": {"access_key": "u"}}
        ],
    )
    made = await plan("quay-json-credential", cluster(), harbor, inputs={"username": "u", "password": CANARY})
    await apply(made, gateway(cluster(), tmp_path, harbor))
    body = harbor.writes[0][2]
    assert (body["credential_type"], body["access_key"]) == ("basic", "json_file")
    assert json.loads(body["access_secret"]) == {"account_name": "u", "docker_cli_password": CANARY}
    assert CANARY not in written(tmp_path) + repr(made) + made.changes[0].diff


async def test_a_robot_that_moved_since_is_not_overwritten(tmp_path: Path) -> None:
    harbor = FakeHarbor(robots=[robot(disable=True)])
    made = await plan("robot-enable", cluster(), harbor, **ACCOUNT)
    harbor.tables["robots"][0]["disable"] = False
    with pytest.raises(RefusedError, match="has changed"):
        await apply(made, gateway(cluster(), tmp_path, harbor))
    assert harbor.writes == []


async def test_without_a_login_for_harbor_it_says_so() -> None:
    with pytest.raises(RefusedError, match="no login for Harbor's API"):
        await plan("robot-enable", cluster(), **ACCOUNT)


# --- core ---------------------------------------------------------------------------------------------------------


async def test_core_is_restarted_once_the_prechecks_hold(tmp_path: Path) -> None:
    kube = harbor_cluster()
    before = kube.state()
    made = await plan("restart-core", kube, finding="core-token-key-mismatch", fix_class="first_aid")
    assert not made.blocked
    assert made.confirm_name == "hub-core"
    assert {check.state for check in made.checks} == {"ok"}
    assert kube.state() == before
    await apply(made, gate := gateway(kube, tmp_path))
    assert "restartedAt" in json.dumps(kube.item("deployments", "harbor", "hub-core"))
    assert "cannot be undone (a restart)" in (await gate.undo(made.id))[0]


@pytest.mark.parametrize(
    ("change", "state", "word"),
    [
        (
            lambda kube: kube.objects["deployments", "harbor", "hub-core"]["status"].update(updatedReplicas=1),
            "fail",
            "roll-out",
        ),
        (
            lambda kube: kube.objects["deployments", "harbor", "hub-core"]["spec"].update(replicas=1),
            "warn",
            "1 replica",
        ),
        (lambda kube: kube.forbidden.add(("patch", "deployments")), "fail", "patch deployments"),
        (lambda kube: kube.denied.add("/api/v1/namespaces/harbor/secrets/hub-core"), "unknown", "cannot be read"),
    ],
)
async def test_prechecks_of_a_restart(change: Callable[[FakeKube], Any], state: str, word: str) -> None:
    kube = harbor_cluster()
    change(kube)
    made = await plan("restart-core", kube, finding="core-token-key-mismatch", fix_class="first_aid")
    assert any(check.state == state and word in check.text for check in made.checks)


async def test_a_core_whose_image_lies_in_itself_and_on_no_node_is_not_restarted() -> None:
    kube = harbor_cluster(image=f"{HOST}/infra/harbor-core:v2.11.0")
    for node in ("n1", "n2"):
        kube.objects["nodes", "", node]["status"]["images"] = []
    made = await plan("restart-core", kube, finding="core-token-key-mismatch", fix_class="first_aid")
    assert "comes from this Harbor" in made.blocked


async def test_a_secret_changed_a_moment_ago_is_warned_of() -> None:
    from datetime import UTC, datetime

    kube = harbor_cluster(changed=datetime.fromtimestamp(NOW - 20, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    made = await plan("restart-core", kube, finding="core-token-key-mismatch", fix_class="first_aid")
    assert any(check.state == "warn" and "20 s ago" in check.text for check in made.checks)


async def test_one_replica_and_back(tmp_path: Path) -> None:
    kube = harbor_cluster(replicas=3)
    before = kube.state()
    made = await plan("one-core-replica", kube, finding="clock-skew-core", fix_class="first_aid")
    assert kube.state() == before
    await apply(made, gate := gateway(kube, tmp_path))
    assert kube.objects["deployments", "harbor", "hub-core"]["spec"]["replicas"] == 1
    assert not (
        await plan("one-core-replica", kube, finding="clock-skew-core", fix_class="first_aid", plan_id="p2")
    ).changed
    await gate.undo(made.id)
    assert kube.state() == before


async def test_helm_gets_the_values_to_pin_and_first_aid_stays_possible() -> None:
    kube = harbor_cluster(helm=True)
    made = await plan("pin-token-key", kube, finding="core-token-key-mismatch")
    assert not made.changed
    assert "secretName: harbor-token-key" in made.hand_off
    assert "helm upgrade hub" in made.hand_off
    aid = await plan("restart-core", kube, finding="core-token-key-mismatch", fix_class="first_aid")
    assert aid.changed
    assert "the cause stays" in aid.risk
    told = await plan("source-of-truth", kube, finding="core-token-key-mismatch", fix_class="hand_off")
    assert told.owner is not None
    assert "harbor-token-key" in told.hand_off


async def test_nobody_renders_it_so_all_pods_only_load_the_key_again() -> None:
    made = await plan("pin-token-key", harbor_cluster(), finding="core-token-key-mismatch")
    assert [change.kind for change in made.changes] == ["kube-restart"]

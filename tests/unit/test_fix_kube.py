"""Every fix of a Kubernetes object: the plan shows and changes nothing, apply gives the state, planned again it is empty, undo brings all back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from app.errors import RefusedError
from app.fixes.prepare import prepare
from app.model.evidence import Evidence
from app.model.target import Target
from tests.fakes.fixing import (
    CANARY,
    HOST,
    JSON_TYPE,
    apply,
    auths,
    b64,
    cluster,
    context,
    document,
    gateway,
    plan,
    secret,
    written,
)
from tests.fakes.kube import FakeKube


@dataclass
class Row:
    """A broken cluster, the fix, and what is to be true afterwards."""

    fix: str
    build: Callable[[], FakeKube]
    check: Callable[[FakeKube], bool]
    shown: str
    more: dict[str, Any] = field(default_factory=dict)


def with_secret(item: dict[str, Any], *others: dict[str, Any], **more: Any) -> Callable[[], FakeKube]:
    def build() -> FakeKube:
        kube = cluster(**more)
        for one in (item, *others):
            kube.add(json.loads(json.dumps(one)))
        return kube

    return build


LOGIN = {"inputs": {"username": "robot$shop", "password": CANARY}}
CLEAN = auths()
NEWLINE = {"auths": {HOST: {"auth": b64(f"robot$shop:{CANARY}\n")}}}


def clean(kube: FakeKube) -> bool:
    item = kube.item("secrets", "apps", "pull")
    return item is not None and item["type"] == JSON_TYPE and document(kube, "pull") == CLEAN


def in_template(kube: FakeKube, *names: str) -> bool:
    template = kube.objects["deployments", "apps", "web"]["spec"]["template"]["spec"]
    return [entry["name"] for entry in template.get("imagePullSecrets", [])] == list(names)


def in_account(kube: FakeKube, *names: str) -> bool:
    return [
        entry["name"] for entry in kube.objects["serviceaccounts", "apps", "runner"].get("imagePullSecrets", [])
    ] == list(names)


def images(kube: FakeKube) -> list[str]:
    template = kube.objects["deployments", "apps", "web"]["spec"]["template"]["spec"]
    return [container["image"] for container in template["containers"]]


REFUSED = Evidence("token.login", Target.of(secret="apps/old"), facts={"token.login": 401})
ROWS = {
    "create": Row("create-secret", cluster, clean, "+", LOGIN),
    "copy": Row("copy-secret", with_secret(secret("pull", CLEAN, namespace="other")), clean, "+"),
    "newline": Row("rewrite-secret", with_secret(secret("pull", NEWLINE)), clean, "with white space at its edge"),
    "in-clear": Row("rewrite-secret", with_secret(secret("pull", {"auths": {HOST: {"auth": f"robot$shop:{CANARY}"}}})), clean, "cannot be decoded"),
    "bad-base64-with-fields": Row(
        "rewrite-secret", with_secret(secret("pull", {"auths": {HOST: {"username": "robot$shop", "password": CANARY, "auth": "%%%"}}})), clean, "cannot be decoded"
    ),
    "auth-differs": Row("rewrite-secret", with_secret(secret("pull", {"auths": {HOST: {"username": "robot$shop", "password": CANARY, "auth": b64("robot$shop:old")}}})), clean, "auth says something else"),
    "wrong-port": Row("rewrite-secret", with_secret(secret("pull", auths(f"{HOST}:8443"))), clean, f"-    - server: {HOST}:8443"),
    "base64-twice": Row("rewrite-secret", with_secret(secret("pull", b64(json.dumps(CLEAN)))), clean, "base64-twice"),
    "not-json": Row("rewrite-secret", with_secret(secret("pull", "{oops")), clean, "not JSON", LOGIN),
    "robot": Row("use-robot", with_secret(secret("pull", auths(user="dana", password="hers"))), clean, "+      username: robot$shop", {**LOGIN, "finding": "login-lock"}),
    "refused": Row("rewrite-secret", with_secret(secret("pull", auths(password="old"))), clean, "*** (after)", {**LOGIN, "finding": "robot-secret-stale"}),
    "immutable": Row("rewrite-secret", with_secret(secret("pull", NEWLINE, immutable=True)), clean, "*** (after)"),
    "opaque": Row("recreate-secret-typed", with_secret(secret("pull", CLEAN, kind="Opaque")), clean, "-type: Opaque"),
    "cfg-type": Row("recreate-secret-typed", with_secret(secret("pull", CLEAN, kind="kubernetes.io/dockercfg", key=".dockercfg")), clean, "-type: kubernetes.io/dockercfg"),
    "bare": Row("recreate-secret-typed", with_secret(secret("pull", CLEAN["auths"])), clean, "-    layout: bare"),
    "account": Row("append-sa-secret", with_secret(secret("fit", CLEAN), listed=(), account=("other",)), lambda kube: in_account(kube, "other", "fit"), "+- name: fit"),
    "account-without-list": Row("append-sa-secret", with_secret(secret("fit", CLEAN), listed=()), lambda kube: in_account(kube, "fit"), "+- name: fit"),
    "template": Row("add-secret-to-template", with_secret(secret("fit", CLEAN), listed=("old",), template=("old",)), lambda kube: in_template(kube, "old", "fit"), "+- name: fit"),
    "template-hides-account": Row(
        "add-secret-to-template", with_secret(secret("fit", CLEAN), listed=("acc",), template=(), account=("acc",)), lambda kube: in_template(kube, "acc", "fit"), "+- name: acc"
    ),
    "image": Row(
        "fix-image-ref", cluster, lambda kube: images(kube) == [f"{HOST}/shop/web:1.3"], f"+web: {HOST}/shop/web:1.3", {"inputs": {"new-image": f"{HOST}/shop/web:1.3"}}
    ),
    "drop": Row(
        "drop-secret-from-list", with_secret(secret("old", auths(password="x")), secret("pull", CLEAN), listed=("old", "pull")), lambda kube: in_template(kube, "pull"), "-- name: old",
        {"evidence": (REFUSED,)},
    ),
    "drop-undecodable": Row(
        "drop-secret-from-list", with_secret(secret("old", {"auths": {"x.example": {"auth": "%%"}}}), secret("pull", CLEAN), listed=("pull", "old")),
        lambda kube: in_template(kube, "pull"), "-- name: old",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
async def test_shown_applied_empty_again_and_undone(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    kube = row.build()
    before = kube.state()

    made = await plan(row.fix, kube, **row.more)
    assert made.changed
    assert not made.blocked
    assert row.shown in "\n".join(change.diff for change in made.changes)
    assert kube.state() == before
    assert kube.writes == []

    report = await apply(made, gate := gateway(kube, tmp_path))
    assert report.verified
    assert row.check(kube)

    again = await plan(row.fix, kube, **row.more, plan_id="plan2")
    assert not again.changed

    await gate.undo(made.id)
    assert kube.state() == before


@pytest.mark.parametrize("name", ROWS)
async def test_no_secret_is_shown_or_stored(name: str, tmp_path: Path) -> None:
    from app.fixes.saved import to_saved

    row = ROWS[name]
    kube = row.build()
    made = await plan(row.fix, kube, **row.more)
    await apply(made, gateway(kube, tmp_path))
    canaries = (
        CANARY,
        b64(CANARY),
        b64(f"robot$shop:{CANARY}"),
        b64(json.dumps(CLEAN)),
        b64(json.dumps(CLEAN, separators=(",", ":"))),
    )
    stored = written(tmp_path)
    shown = repr(made) + "".join(change.diff + change.command + change.title for change in made.changes) + made.hand_off
    for canary in canaries:
        assert canary not in stored
        assert canary not in shown
        assert canary not in repr(to_saved(made, {}, {}))
        assert canary not in "".join(
            repr(change.payload)
            for change in made.changes
            if change.kind != "kube-patch" or "imagePullSecrets" not in repr(change.payload)
        )


@pytest.mark.parametrize("name", ["create", "newline", "opaque", "account", "template", "image"])
async def test_a_missing_right_stops_the_plan(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    kube = row.build()
    kube.forbidden = {
        (verb, kind) for verb in ("create", "patch", "delete") for kind in ("secrets", "serviceaccounts", "deployments")
    }
    made = await plan(row.fix, kube, **row.more)
    assert made.blocked
    with pytest.raises(RefusedError):
        await apply(made, gateway(kube, tmp_path))
    assert kube.writes == []


async def test_inputs_are_asked_for() -> None:
    made, needs, _ = await prepare(context("create-secret"), "create-secret", kube={"workload": cluster()})
    assert made is None
    assert [(need.key, need.secret) for need in needs] == [("username", False), ("password", True)]


async def test_where_no_pod_pulls_the_robot_is_told_in_words() -> None:
    asked = context("use-robot", finding="client-login-wrong", fix_class="advice", action="push", targets=())
    asked = replace(asked, case=replace(asked.case, incident=replace(asked.case.incident, pods=())))
    made, needs, _ = await prepare(asked, "use-robot", kube={"workload": cluster()})
    assert needs == ()
    assert made is not None
    assert not made.changed
    assert made.hand_off


async def test_an_image_name_is_asked_for_and_checked() -> None:
    made, needs, _ = await prepare(context("fix-image-ref"), "fix-image-ref", kube={"workload": cluster()})
    assert made is None
    assert [(need.key, need.secret) for need in needs] == [("new-image", False)]
    for wrong, word in (("Not An Image", "no image name"), (f"{HOST}/shop/web:1.2", "the very image")):
        with pytest.raises(RefusedError, match=word):
            await plan("fix-image-ref", cluster(), inputs={"new-image": wrong})


async def test_only_the_containers_with_the_failing_image_are_changed(tmp_path: Path) -> None:
    kube = cluster()
    spec = kube.objects["deployments", "apps", "web"]["spec"]["template"]["spec"]
    spec["containers"].append({"name": "side", "image": f"{HOST}/shop/side:1"})
    spec["initContainers"] = [{"name": "first", "image": f"{HOST}/shop/web:1.2"}]
    made = await plan("fix-image-ref", kube, inputs={"new-image": f"{HOST}/shop/web:1.3"})
    await apply(made, gateway(kube, tmp_path))
    assert images(kube) == [f"{HOST}/shop/web:1.3", f"{HOST}/shop/side:1"]
    template = kube.objects["deployments", "apps", "web"]["spec"]["template"]["spec"]
    assert template["initContainers"][0]["image"] == f"{HOST}/shop/web:1.3"


async def test_a_pod_without_a_template_keeps_its_image() -> None:
    with pytest.raises(RefusedError, match="no template"):
        await plan("fix-image-ref", cluster(owned=False), inputs={"new-image": f"{HOST}/shop/web:1.3"})


async def test_other_logins_of_a_secret_are_kept(tmp_path: Path) -> None:
    both = {"auths": {"mirror.example": {"auth": b64("a:b")}, **NEWLINE["auths"]}}
    kube = with_secret(secret("pull", both))()
    await apply(await plan("rewrite-secret", kube), gateway(kube, tmp_path))
    assert document(kube, "pull")["auths"]["mirror.example"] == {"auth": b64("a:b")}


async def test_a_login_for_another_registry_is_never_renamed() -> None:
    kube = with_secret(secret("pull", auths("other.example")))()
    made, needs, _ = await prepare(context("rewrite-secret"), "rewrite-secret", kube={"workload": kube})
    assert made is None
    assert [need.key for need in needs] == ["username", "password"]


async def test_copies_that_differ_are_not_chosen_between() -> None:
    kube = with_secret(secret("pull", CLEAN, namespace="a"), secret("pull", auths(password="x"), namespace="b"))()
    with pytest.raises(RefusedError, match="differ"):
        await plan("copy-secret", kube)
    assert (await plan("copy-secret", kube, inputs={"from": "b"})).changed


@pytest.mark.parametrize(
    ("metadata", "kind", "word"),
    [
        ({"ownerReferences": [{"kind": "ExternalSecret", "name": "pull"}]}, "external-secrets", "ExternalSecret"),
        ({"ownerReferences": [{"kind": "SealedSecret", "name": "pull"}]}, "sealed-secrets", "kubeseal"),
        (
            {"labels": {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "shop"}},
            "helm",
            "helm upgrade shop",
        ),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "shop:/Secret:apps/pull"}}, "argo", "argocd app sync shop"),
    ],
)
async def test_an_owned_secret_gets_a_hand_off(metadata: dict[str, Any], kind: str, word: str) -> None:
    kube = with_secret(secret("pull", NEWLINE, metadata=metadata))()
    made = await plan("rewrite-secret", kube)
    assert not made.changed
    assert made.fix_class == "hand_off"
    assert made.owner is not None
    assert made.owner.kind == kind
    assert word in made.hand_off
    assert CANARY not in made.hand_off
    by_hand = await plan("rewrite-secret", kube, inputs={"direct": "yes"})
    assert by_hand.changed
    assert by_hand.fix_class == "first_aid"
    assert "put the old state back" in by_hand.risk


async def test_a_bare_pod_is_never_deleted() -> None:
    kube = cluster(owned=False)
    with pytest.raises(RefusedError, match="nothing makes it again"):
        await plan("delete-pod", kube)
    kube.add(secret("fit", CLEAN))
    made = await plan("add-secret-to-template", kube)
    assert not made.changed
    assert "name: fit" in made.hand_off


async def test_a_pod_is_deleted_once_and_has_no_undo(tmp_path: Path) -> None:
    kube = cluster()
    made = await plan("delete-pod", kube)
    gate = gateway(kube, tmp_path)
    await apply(made, gate)
    assert kube.item("pods", "apps", "web-5d-x1") is None
    assert not (await plan("delete-pod", kube, plan_id="p2")).changed
    assert "cannot be undone" in (await gate.undo(made.id))[0]


async def test_a_workload_is_restarted_by_its_template(tmp_path: Path) -> None:
    kube = cluster()
    await apply(await plan("restart-workload", kube), gateway(kube, tmp_path))
    template = kube.objects["deployments", "apps", "web"]["spec"]["template"]["metadata"]
    assert template["annotations"]["kubectl.kubernetes.io/restartedAt"]
    assert template["labels"] == {"app": "web"}
    kube.objects["pods", "apps", "web-5d-x1"]["status"] = {"phase": "Running"}
    assert not (await plan("restart-workload", kube, plan_id="p2")).changed


async def test_every_fix_of_the_rulebook_can_be_opened() -> None:
    from app.files import load_rulebook

    book, _ = load_rulebook()
    assert len(book.fixes) > 100
    from app.fixes import BY_ID

    for fix, spec in book.fixes.items():
        if fix not in BY_ID:
            made = await plan(fix, cluster(), spec=spec, fix_class="hand_off")
            assert not made.changed
            assert made.hand_off
            assert "<host>" not in made.hand_off
    offered = {fix for finding in book.findings.values() for _, fix in finding.fixes}
    assert offered <= set(book.fixes)
    assert set(BY_ID) <= set(book.fixes)

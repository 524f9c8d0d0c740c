"""Pull secrets as the kubelet takes them; what is masked or refused stays unknown."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from app.model.case import Incident
from app.model.evidence import Evidence, Outcome
from app.model.masked import MASK
from app.model.material import Document, Material
from app.probes.base import KubeGet, Scene
from app.probes.secret_facts import manager_of, name_damaged
from app.probes.secrets import PROBES
from app.probes.workloads import secret_document

BY_ID = {probe.id: probe for probe in PROBES}
IMAGE = "harbor.example.com/team/web:1.0"
SCENE = Scene(Incident(image=IMAGE, pods=("apps/web-1",)), 0.0)
CANARY = "cAnary-7Zq9xV"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def auths(
    server: str = "harbor.example.com", user: str = "robot$ci", password: str = CANARY, **entry: str
) -> dict[str, Any]:
    return {"auths": {server: entry or {"auth": b64(f"{user}:{password}")}}}


def secret(
    document: Any,
    name: str = "pull",
    kind: str = "kubernetes.io/dockerconfigjson",
    namespace: str = "apps",
    **meta: Any,
) -> dict[str, Any]:
    key = ".dockercfg" if kind.endswith("dockercfg") else ".dockerconfigjson"
    text = document if isinstance(document, str) else json.dumps(document)
    return {
        "kind": "Secret",
        "type": kind,
        "metadata": {"name": name, "namespace": namespace, **meta},
        "data": {key: b64(text)},
    }


def pod(*names: str) -> dict[str, Any]:
    return {
        "kind": "Pod", "metadata": {"name": "web-1", "namespace": "apps", "creationTimestamp": "2026-01-01T10:00:00Z"},
        "spec": {"containers": [{"name": "app", "image": IMAGE}], "imagePullSecrets": [{"name": name} for name in names]},
    }  # fmt: skip


def given(
    pull: dict[str, Any], *secrets: dict[str, Any], whole: bool = False, more: tuple[Document, ...] = ()
) -> Material:
    documents = [Document("pod.json", json.dumps(pull)), *more]
    if whole:
        documents.append(Document("secrets.json", json.dumps({"kind": "List", "items": list(secrets)})))
    else:
        documents += [Document(f"secret-{number}.json", json.dumps(item)) for number, item in enumerate(secrets)]
    return Material(documents)


def read(probe: str, material: Material, scene: Scene = SCENE) -> list[Evidence]:
    found = list(BY_ID[probe].read(material, scene))
    for record in found:
        assert set(record.facts) <= set(BY_ID[probe].produces)
        assert CANARY not in repr(record)
        assert b64(f"robot$ci:{CANARY}") not in repr(record)
    return found


def all_facts(material: Material, scene: Scene = SCENE) -> dict[str, Any]:
    """Facts of a pod with one secret, all probes together."""
    return {
        key: value for probe in BY_ID for record in read(probe, material, scene) for key, value in record.facts.items()
    }


def test_a_good_secret() -> None:
    seen = all_facts(given(pod("pull"), secret(auths())))
    assert seen == {
        "secret.exists": True, "secret.type": "dockerconfigjson", "secret.layout": "auths", "secret.matches": True,
        "secret.match_count": 1, "secret.near_miss": "none", "secret.server_keys": ("harbor.example.com",),
        "secret.parse_error": "", "secret.has_login": True, "secret.username": "robot$ci", "secret.name_damaged": False,
        "secret.edge_space": False, "secret.auth_differs": False, "secret.manager": "none",
    }  # fmt: skip
    targets = [str(record.target) for record in read("secret.read", given(pod("pull"), secret(auths())))]
    assert targets == ["workload/apps/web-1 secret/apps/pull", "workload/apps/web-1"]
    assert read("secret.read", given(pod("pull"), secret(auths())))[1].roster == {"secret": ("apps/pull",)}


@pytest.mark.parametrize(
    ("document", "kind", "wanted"),
    [
        (auths(), "Opaque", {"secret.type": "other", "secret.layout": "auths", "secret.matches": False}),
        (auths(), "kubernetes.io/dockercfg", {"secret.type": "dockercfg", "secret.layout": "auths", "secret.matches": False}),
        (auths()["auths"], "kubernetes.io/dockercfg", {"secret.layout": "bare", "secret.matches": True}),
        (auths()["auths"], "kubernetes.io/dockerconfigjson", {"secret.layout": "bare", "secret.matches": False}),
        ({"auths": json.dumps(auths()["auths"])}, "kubernetes.io/dockerconfigjson", {"secret.layout": "string"}),
        ({"value": json.dumps(auths())}, "kubernetes.io/dockerconfigjson", {"secret.layout": "wrapped"}),
        (b64(json.dumps(auths())), "kubernetes.io/dockerconfigjson", {"secret.layout": "base64-twice"}),
        ("{not json", "kubernetes.io/dockerconfigjson", {"secret.layout": "not-json"}),
        (auths("harbor.example.com:443"), "kubernetes.io/dockerconfigjson", {"secret.near_miss": "port", "secret.matches": False}),
        (auths("HARBOR.example.com"), "kubernetes.io/dockerconfigjson", {"secret.near_miss": "case", "secret.matches": False}),
        (auths("harbor.example.com/other"), "kubernetes.io/dockerconfigjson", {"secret.near_miss": "path", "secret.matches": False}),
        (auths("registry.example.net"), "kubernetes.io/dockerconfigjson", {"secret.near_miss": "other-host", "secret.matches": False}),
        (auths("https://harbor.example.com/v2/"), "kubernetes.io/dockerconfigjson", {"secret.near_miss": "none", "secret.matches": True}),
        (auths(password="x\n"), "kubernetes.io/dockerconfigjson", {"secret.edge_space": True}),
        (auths(user=" robot$ci"), "kubernetes.io/dockerconfigjson", {"secret.edge_space": True, "secret.username": "robot$ci"}),
        ({"auths": {"harbor.example.com": {"auth": b64("robot$ci:old"), "username": "robot$ci", "password": "new"}}}, "kubernetes.io/dockerconfigjson", {"secret.auth_differs": True}),
        (auths(auth="robot$ci:plain"), "kubernetes.io/dockerconfigjson", {"secret.parse_error": "illegal base64 data at input byte 5", "secret.match_count": 0}),
        ({"auths": {"harbor.example.com": {}}, "credsStore": "desktop"}, "kubernetes.io/dockerconfigjson", {"secret.has_login": False, "secret.matches": True, "secret.match_count": 1}),
        (auths(user="robot", password="x"), "kubernetes.io/dockerconfigjson", {"secret.name_damaged": True}),
    ],
)  # fmt: skip
def test_shapes(document: Any, kind: str, wanted: dict[str, Any]) -> None:
    seen = all_facts(given(pod("pull"), secret(document, kind=kind)))
    assert {key: seen.get(key) for key in wanted} == wanted
    assert seen["secret.match_count"] == int(seen["secret.matches"])


def test_absent_is_known_only_from_a_whole_list_a_404_or_the_kubelet() -> None:
    assert all_facts(given(pod("pull"))) == {}
    other = secret(auths(), "other")
    seen = all_facts(given(pod("pull"), other, whole=True))
    assert (seen["secret.exists"], seen["secret.match_count"], seen["secret.unused_match"]) == (False, 0, True)
    seen = all_facts(given(pod("pull"), whole=True))
    assert (seen["secret.exists"], seen["secret.unused_match"]) == (False, False)
    cut = Document("secrets.json", json.dumps({"kind": "SecretList", "metadata": {"continue": "x"}, "items": []}))
    assert all_facts(given(pod("pull"), more=(cut,))) == {}
    elsewhere = given(pod("pull"), secret(auths(), namespace="other"), whole=True)
    assert "secret.exists" not in all_facts(elsewhere)
    missing = Document(secret_document("apps", "web-1", "pull"), absent=True)
    assert all_facts(given(pod("pull"), more=(missing,)))["secret.exists"] is False
    log = 'x "Unable to retrieve pull secret, the image pull may not succeed." pod="apps/web-1" secret="" err="secret \\"pull\\" not found"'
    assert all_facts(given(pod("pull"), more=(Document("nodes/n1/kubelet.log", log),)))["secret.exists"] is False


def test_no_list_matches_nothing() -> None:
    seen = all_facts(given(pod(), secret(auths())))
    assert (seen["secret.match_count"], seen["secret.unused_match"]) == (0, True)
    (record,) = read("secret.read", given(pod()))
    assert record.roster == {"secret": ()}


def test_counts_are_of_different_logins_and_unknown_while_one_is() -> None:
    two = given(pod("a", "b"), secret(auths(), "a"), secret(auths(password="other"), "b"))
    assert read("secret.read", two)[-1].facts["secret.match_count"] == 2
    same = given(pod("a", "b"), secret(auths(), "a"), secret(auths("https://harbor.example.com"), "b"))
    assert read("secret.read", same)[-1].facts["secret.match_count"] == 1
    half = given(pod("a", "b"), secret(auths(), "a"))
    assert all("secret.match_count" not in record.facts for record in read("secret.read", half))


@pytest.mark.parametrize("mask", [MASK, "***", "<redacted>", "REDACTED", "xxxxx"])
def test_masked_data_stay_unknown(mask: str) -> None:
    whole = secret(auths())
    whole["data"] = {".dockerconfigjson": mask}
    assert all_facts(given(pod("pull"), whole)) == {
        "secret.exists": True,
        "secret.type": "dockerconfigjson",
        "secret.manager": "none",
    }
    opaque = {**whole, "type": "Opaque"}
    assert all_facts(given(pod("pull"), opaque))["secret.match_count"] == 0
    inner = secret(auths(auth=mask, username="robot$ci"))
    seen = all_facts(given(pod("pull"), inner))
    assert (seen["secret.matches"], seen["secret.match_count"], seen["secret.username"]) == (True, 1, "robot$ci")
    for unknown in ("secret.parse_error", "secret.has_login", "secret.edge_space", "secret.auth_differs"):
        assert unknown not in seen


def test_data_that_are_not_base64_or_of_another_sort() -> None:
    broken = secret(auths())
    broken["data"] = {".dockerconfigjson": "!!!"}
    found = read("secret.read", given(pod("pull"), broken))
    assert [record.detail for record in found] == ["data of .dockerconfigjson are not base64"]
    assert found[0].facts == {"secret.exists": True, "secret.type": "dockerconfigjson"}
    plain = secret(auths())
    plain["data"] = {".dockerconfigjson": json.dumps(auths())}
    assert all_facts(given(pod("pull"), plain))["secret.matches"] is True
    strings = {**secret(auths()), "data": {}, "stringData": {".dockerconfigjson": json.dumps(auths())}}
    assert all_facts(given(pod("pull"), strings))["secret.matches"] is True
    tls = {
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "pull", "namespace": "apps"},
        "data": {"tls.crt": "x"},
    }
    seen = all_facts(given(pod("pull"), tls))
    assert (seen["secret.type"], seen["secret.match_count"]) == ("other", 0)
    assert "secret.layout" not in seen


def test_a_secret_of_the_right_type_without_its_key_holds_nothing_for_the_kubelet() -> None:
    other = {**secret(auths()), "data": {"config": b64(json.dumps(auths()))}}
    seen = all_facts(given(pod("pull"), other))
    assert (seen["secret.layout"], seen["secret.matches"], seen["secret.match_count"]) == ("no-key", False, 0)
    cut = {**secret(auths()), "data": {}}  # taken out before we saw it
    assert not {"secret.layout", "secret.matches", "secret.match_count"} & all_facts(given(pod("pull"), cut)).keys()


def test_around() -> None:
    fields = [{"manager": "kubectl", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:data": {}}}]
    seen = all_facts(
        given(pod("pull"), secret(auths(), managedFields=fields), secret(auths(), namespace="ops"), whole=True)
    )
    assert (seen["secret.changed"], seen["secret.elsewhere"]) == (1767312000.0, True)
    seen = all_facts(given(pod("pull"), secret(auths()), secret(auths(), "x", namespace="ops"), whole=True))
    assert seen["secret.elsewhere"] is False
    assert "secret.changed" not in seen
    pulled = {
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "apps"},
        "reason": "Pulling",
        "lastTimestamp": "2026-01-01T10:00:05Z",
        "involvedObject": {"kind": "Pod", "name": "web-1", "namespace": "apps"},
    }
    later = given(
        pod("pull"),
        secret(auths(), creationTimestamp="2026-01-01T11:00:00Z"),
        more=(Document("events.json", json.dumps({"kind": "List", "items": [pulled]})),),
    )
    assert all_facts(later)["secret.changed"] == 1767265200.0


@pytest.mark.parametrize(
    ("meta", "manager"),
    [
        ({}, "none"),
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, "helm"),
        ({"annotations": {"meta.helm.sh/release-name": "x"}}, "helm"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "x"}, "labels": {"app.kubernetes.io/managed-by": "Helm"}}, "argo"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}}, "flux"),
        ({"ownerReferences": [{"kind": "ExternalSecret", "name": "x"}], "labels": {"argocd.argoproj.io/instance": "x"}}, "eso"),
        ({"ownerReferences": [{"kind": "SealedSecret", "name": "x"}]}, "sealed"),
        ({"ownerReferences": [{"kind": "Imagepullsecret", "name": "x"}]}, "operator"),
        ({"annotations": {"reflector.v1.k8s.emberstack.com/reflects": "a/b"}}, "operator"),
        ({"managedFields": [{"manager": "argocd-controller"}]}, "argo"),
        ({"managedFields": [{"manager": "kubectl-create"}]}, "none"),
    ],
)  # fmt: skip
def test_managers(meta: dict[str, Any], manager: str) -> None:
    assert manager_of({"metadata": meta}) == manager


@pytest.mark.parametrize(
    ("username", "prefix", "robots", "damaged"),
    [
        ("robot$ci", None, (), False),
        ("alice", None, (), False),
        ("robot", None, (), True),
        ("robot$", None, (), True),
        ("robot\\$ci", None, (), True),
        ("robot$$ci", None, (), True),
        ("robot%24ci", None, (), True),
        ("'robot$ci'", None, (), True),
        ("robot-ci", None, (), None),
        ("robot-ci", "robot$", (), True),
        ("robot-ci", "robot-", (), False),
        ("robot$ci", "bot_", (), True),
        ("robot$ci", "robot$", ("robot$team+ci",), True),
        ("robot$ci", "robot$", ("robot$ci", "robot$team+ci"), False),
    ],
)
def test_damaged_names(username: str, prefix: str | None, robots: tuple[str, ...], damaged: bool | None) -> None:
    assert name_damaged(username, prefix, robots) is damaged


def test_a_secret_without_a_pod_is_still_read() -> None:
    alone = Material([Document("secret.json", json.dumps(secret(auths())))])
    scene = Scene(Incident(image=IMAGE), 0.0)
    (record,) = read("secret.read", alone, scene)
    assert str(record.target) == "secret/apps/pull"
    assert record.facts["secret.matches"] is True
    assert "secret.match_count" not in all_facts(alone, scene)


def test_refused_secrets_name_the_smallest_grant() -> None:
    denied = Document(secret_document("apps", "web-1", "pull"), outcome=Outcome.DENIED, detail="forbidden")
    (record,) = read("secret.read", given(pod("pull"), more=(denied,)))
    assert record.outcome is Outcome.DENIED
    assert "resourceNames [pull]" in record.detail
    assert record.by_hand == "kubectl get secret pull -n apps -o json > secret.json"
    around = Document("workloads/apps/web-1/secrets-dockercfg.json", outcome=Outcome.DENIED, detail="forbidden")
    (record,) = read("secret.around", given(pod("pull"), more=(around,)))
    assert (record.outcome, str(record.target)) == (Outcome.DENIED, "workload/apps/web-1")


def test_wants_go_from_one_name_to_lists_only_where_needed() -> None:
    def wants(probe: str, material: Material) -> list[tuple[str, str]]:
        return [
            (want.path, want.query.get("fieldSelector", ""))
            for want in BY_ID[probe].wants(material, SCENE)
            if isinstance(want, KubeGet)
        ]

    assert wants("secret.read", given(pod("pull"))) == [("/api/v1/namespaces/apps/secrets/pull", "")]
    good = given(pod("pull"), secret(auths()))
    assert wants("secret.read", good) == []
    assert wants("secret.around", good) == []
    gone = given(pod("pull"), more=(Document(secret_document("apps", "web-1", "pull"), absent=True),))
    assert wants("secret.around", gone) == [
        ("/api/v1/namespaces/apps/secrets", "type=kubernetes.io/dockerconfigjson"),
        ("/api/v1/namespaces/apps/secrets", "type=kubernetes.io/dockercfg"),
        ("/api/v1/secrets", "metadata.name=pull"),
    ]
    empty = json.dumps({"kind": "SecretList", "metadata": {}, "items": []})
    answered = gone.with_documents(
        Document(f"workloads/apps/web-1/{name}.json", empty)
        for name in ("secrets-dockerconfigjson", "secrets-dockercfg", "secrets-named-pull")
    )
    assert wants("secret.around", answered) == []
    seen = all_facts(answered)
    assert (seen["secret.exists"], seen["secret.unused_match"], seen["secret.elsewhere"]) == (False, False, False)


def test_odd_input_never_raises() -> None:
    for value in ([], 3, {"kind": "Secret"}, {"kind": "Secret", "metadata": {"name": "pull"}, "data": 3, "type": []},
                  {"kind": "Secret", "metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": 7}},
                  secret({"auths": {"a": 3, "b": {"auth": 4}, "c": None}}), secret("[" * 50_000), secret('"x"'), secret("null")):  # fmt: skip
        material = Material(
            [
                Document("pod.json", json.dumps(pod("pull"))),
                Document("secret.json", json.dumps(value)),
                Document("harbor/robots.json", "{"),
            ]
        )
        for probe in PROBES:
            list(probe.read(material, SCENE))
            list(probe.wants(material, SCENE))


def test_a_cut_name_is_told_by_the_robots_that_harbor_lists_when_asked() -> None:
    rows = [
        {
            "url": "https://harbor.example.com/api/v2.0/robots?page_size=100",
            "status": 200,
            "body": '[{"id": 3, "name": "robot$ci-pull", "level": "system"}]',
        }
    ]
    asked = Document("registry/exchanges.json", json.dumps(rows))
    cut, other = secret(auths(user="robot-pull")), secret(auths(user="robot-push"))
    said = [
        read("secret.login", given(pod("pull"), one, more=more))[0].facts.get("secret.name_damaged")
        for one, more in ((cut, (asked,)), (cut, ()), (other, (asked,)))
    ]
    assert said == [True, None, None]

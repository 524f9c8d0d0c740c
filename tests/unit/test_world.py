"""The practice world's parts: API server, kubelets, nodes, tokens, the k3s generator."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from app.errors import RefusedError, VerifyFailedError
from app.model.evidence import Outcome
from app.parsers.k3s_registries import parse_registries
from app.ports import Command, Credential, File, HttpRequest, Journal, Tree
from app.training.world.base import HOST, build, dockerconfig
from app.training.world.controllers import Controllers
from app.training.world.http import WorldHarbor, WorldHttp
from app.training.world.k3s import hosts_toml
from app.training.world.kube import WorldKube
from app.training.world.node_writer import WorldNodeWriter
from app.training.world.nodes import WorldNodes
from app.training.world.patches import PatchError, json_patch, merge_patch, strategic_patch
from app.training.world.pki import token_key
from app.training.world.pull import pull
from app.training.world.registry import ready_cores
from app.training.world.state import NodeFile, State

T = TypeVar("T")
Built = tuple[State, Controllers]


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def world() -> Built:
    return build("unit", "kubeadm")


def kube_of(world: Built) -> WorldKube:
    return WorldKube(world[0], world[1].settle)


# --- API server -----------------------------------------------------------------------------------------------------


def test_lists_obey_field_and_label_selectors(world: Built) -> None:
    kube = kube_of(world)
    running = json.loads(run(kube.get("/api/v1/namespaces/shop/pods", {"fieldSelector": "status.phase=Running"})).body)
    assert {pod["metadata"]["labels"]["app"] for pod in running["items"]} == {"web", "cart"}
    cores = json.loads(run(kube.get("/api/v1/pods", {"labelSelector": "component=core,app=harbor"})).body)
    assert len(cores["items"]) == 2
    none = json.loads(run(kube.get("/api/v1/pods", {"fieldSelector": "status.phase!=Running"})).body)
    assert none["items"] == []


def test_missing_refused_and_unknown_paths(world: Built) -> None:
    kube = kube_of(world)
    gone = run(kube.get("/api/v1/namespaces/shop/secrets/none"))
    assert (gone.outcome, gone.status) == (Outcome.OBSERVED, 404)
    world[0].refused.add(("get", "secrets"))
    refused = run(kube.get("/api/v1/namespaces/shop/secrets/harbor-pull"))
    assert (refused.outcome, refused.status) == (Outcome.DENIED, 403)
    assert run(kube.allowed("get", "secrets")) is False
    assert run(kube.get("/apis/example.org/v1/things")).status == 404


def test_writes_meet_conflicts_and_immutable_fields(world: Built) -> None:
    kube = kube_of(world)
    path = "/api/v1/namespaces/shop/secrets"
    body = {"metadata": {"name": "harbor-pull"}, "type": "Opaque"}
    assert run(kube.write("POST", path, body)).status == 409
    kind = run(
        kube.write("PATCH", f"{path}/harbor-pull", {"type": "Opaque"}, content_type="application/merge-patch+json")
    )
    assert kind.status == 422
    stale = {"metadata": {"resourceVersion": "1"}}
    assert (
        run(kube.write("PATCH", f"{path}/harbor-pull", stale, content_type="application/merge-patch+json")).status
        == 409
    )
    assert run(kube.write("DELETE", f"{path}/harbor-pull", dry_run=True)).status == 200
    assert world[0].cluster.find("secrets", "shop", "harbor-pull") is not None
    assert run(kube.write("DELETE", f"{path}/harbor-pull")).status == 200
    assert run(kube.write("DELETE", f"{path}/harbor-pull")).status == 404


def test_patches() -> None:
    document = {"a": {"b": 1}, "list": [{"name": "x", "v": 1}, {"name": "y", "v": 2}]}
    assert json_patch(document, [{"op": "add", "path": "/list/-", "value": 3}])["list"][-1] == 3
    assert json_patch(document, [{"op": "remove", "path": "/a/b"}])["a"] == {}
    with pytest.raises(PatchError):
        json_patch(document, [{"op": "test", "path": "/a/b", "value": 2}])
    with pytest.raises(PatchError):
        json_patch(document, [{"op": "replace", "path": "/a/none", "value": 2}])
    assert merge_patch(document, {"a": None, "list": []}) == {"list": []}
    named = strategic_patch(document, {"list": [{"name": "y", "v": 9}, {"name": "x", "$patch": "delete"}]})
    assert named["list"] == [{"name": "y", "v": 9}]
    assert document["list"] == [{"name": "x", "v": 1}, {"name": "y", "v": 2}]


# --- controllers and kubelets ---------------------------------------------------------------------------------------


def test_a_deleted_pod_comes_back_and_pulls_again(world: Built) -> None:
    state, kube = world[0], kube_of(world)
    before = {pod["metadata"]["name"] for pod in state.cluster.all("pods", "billing")}
    gone = min(before)
    run(kube.write("DELETE", f"/api/v1/namespaces/billing/pods/{gone}"))
    after = {pod["metadata"]["name"]: pod["status"]["phase"] for pod in state.cluster.all("pods", "billing")}
    assert gone not in after
    assert len(after) == 2
    assert set(after.values()) == {"Running"}


def test_back_off_doubles_and_ends_when_the_cause_is_gone(world: Built) -> None:
    state, controllers = world
    kube = kube_of(world)
    run(kube.write("DELETE", "/api/v1/namespaces/billing/secrets/harbor-pull"))
    for pod in state.cluster.all("pods", "billing"):
        run(kube.write("DELETE", f"/api/v1/namespaces/billing/pods/{pod['metadata']['name']}"))
    controllers.wait(70)
    messages = [f"{event['reason']}: {event['message']}" for event in state.cluster.all("events", "billing")]
    assert any("no basic auth credentials" in text for text in messages)
    assert any(text.startswith("FailedToRetrieve") and "(harbor-pull)" in text for text in messages)
    body = {"metadata": {"name": "harbor-pull"}, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": dockerconfig(state, "robot$billing-pull")}}  # fmt: skip
    run(kube.write("POST", "/api/v1/namespaces/billing/secrets", body))
    assert any(pod["status"]["phase"] == "Pending" for pod in state.cluster.all("pods", "billing"))
    controllers.wait(300)
    assert all(pod["status"]["phase"] == "Running" for pod in state.cluster.all("pods", "billing"))


def test_a_pod_of_a_service_account_gets_its_secrets_when_it_is_made(world: Built) -> None:
    state, kube = world[0], kube_of(world)
    account = {"imagePullSecrets": [{"name": "harbor-pull"}]}
    run(
        kube.write(
            "PATCH",
            "/api/v1/namespaces/shop/serviceaccounts/default",
            account,
            content_type="application/merge-patch+json",
        )
    )
    spec = {"spec": {"template": {"spec": {"imagePullSecrets": None}}}}
    run(
        kube.write(
            "PATCH", "/apis/apps/v1/namespaces/shop/deployments/cart", spec, content_type="application/merge-patch+json"
        )
    )
    pods = [pod for pod in state.cluster.all("pods", "shop") if pod["metadata"]["labels"]["app"] == "cart"]
    assert [pod["spec"]["imagePullSecrets"] for pod in pods] == [[{"name": "harbor-pull"}]] * 2


def test_core_pods_take_the_key_of_the_secret_when_they_start(world: Built) -> None:
    state, kube = world[0], kube_of(world)
    first, second = ready_cores(state)
    state.harbor.cores[second].key = token_key("another")
    command = ("harbor", second, "core", "sha256sum", "/etc/core/private_key.pem")
    assert run(kube.exec(*command)).body != run(kube.exec("harbor", first, *command[2:])).body
    patch = {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}}
    run(kube.write("PATCH", "/apis/apps/v1/namespaces/harbor/deployments/harbor-core", patch, content_type="application/strategic-merge-patch+json"))  # fmt: skip
    assert {first, second}.isdisjoint(ready_cores(state))
    assert len({core.key for core in state.harbor.cores.values()}) == 1


# --- nodes ----------------------------------------------------------------------------------------------------------


def test_a_node_answers_items_with_the_documents_of_the_live_reader(world: Built) -> None:
    nodes = WorldNodes(world[0], world[1].settle)
    items = [File(f"/etc/containerd/certs.d/{HOST}/hosts.toml"), File("/none"), Tree("/etc/containerd/certs.d"), Command("versions"), Command("unit"), Command("getent", (HOST,)), Command("os-ca"), Journal("containerd")]  # fmt: skip
    answer = run(nodes.read("worker-1", items))
    documents = {document.path.removeprefix("nodes/worker-1/"): document for document in answer.documents}
    assert 'server = "https://' in documents[f"etc/containerd/certs.d/{HOST}/hosts.toml"].text
    assert documents["none"].absent
    assert json.loads(documents["units.json"].text)["containerd"]["active"] is True
    assert "1.7.27" in documents["versions.txt"].text
    assert "10.20.1.10" in documents["getent.txt"].text
    assert json.loads(documents["os-ca.json"].text)["path"].endswith("ca-certificates.crt")
    assert "PullImage" in documents["containerd.log"].text
    assert json.loads(documents["stat.json"].text)["/etc/containerd/certs.d"]["listed"] is True
    assert abs(json.loads(documents["time.json"].text)["error_bound_s"]) < 0.01


def test_without_sudo_what_only_root_may_read_is_refused() -> None:
    state, controllers = build("unit", "k3s")
    state.nodes["edge-1"].sudo = False
    state.nodes["edge-1"].files["/etc/rancher/k3s/registries.yaml"].mode = "0600"
    answer = run(WorldNodes(state, controllers.settle).read("edge-1", [File("/etc/rancher/k3s/registries.yaml")]))
    assert answer.documents[0].outcome is Outcome.DENIED
    with pytest.raises(RefusedError):
        run(WorldNodeWriter(state, controllers.settle).restart("edge-1", "k3s-agent"))


def test_files_are_replaced_only_when_they_are_what_was_expected_and_come_back_whole(world: Built) -> None:
    state, path = world[0], "/etc/hosts"
    writer = WorldNodeWriter(state, world[1].settle)
    old = state.nodes["worker-1"].files[path]
    old.mode, old.owner = "0600", "ops:ops"
    digest = hashlib.sha256(old.text.encode()).hexdigest()
    with pytest.raises(RefusedError):
        run(writer.replace("worker-1", path, "x", expect_sha256="0" * 64, backup="/etc/hosts.bak"))
    with pytest.raises(RefusedError):
        run(writer.replace("worker-1", path, "x", expect_sha256=None, backup=""))
    made = run(writer.replace("worker-1", path, "x", expect_sha256=digest, backup="/etc/hosts.bak"))
    assert state.nodes["worker-1"].files[path].mode == "0600"
    with pytest.raises(RefusedError):
        run(writer.restore("worker-1", path, backup="/etc/hosts.bak", expect_sha256=digest))
    run(writer.restore("worker-1", path, backup="/etc/hosts.bak", expect_sha256=made))
    back = state.nodes["worker-1"].files[path]
    assert (back.text, back.mode, back.owner, back.mtime) == (old.text, "0600", "ops:ops", old.mtime)
    assert "/etc/hosts.bak" not in state.nodes["worker-1"].files


def test_config_is_read_at_the_start_and_hosts_files_at_each_pull(world: Built) -> None:
    state = world[0]
    node, image = state.nodes["worker-1"], f"{HOST}/library/tools:3.2"
    assert not pull(state, node, image, None).error
    node.files["/etc/containerd/config.toml"] = NodeFile("version = 2\n", state.now())
    assert not pull(state, node, image, None).error
    run(WorldNodeWriter(state, world[1].settle).restart("worker-1", "containerd"))
    assert "unknown authority" in pull(state, node, image, None).error


def test_the_trust_store_counts_from_the_next_start(world: Built) -> None:
    state = world[0]
    writer, node, image = WorldNodeWriter(state, world[1].settle), state.nodes["worker-1"], f"{HOST}/library/tools:3.2"
    node.files[f"/etc/containerd/certs.d/{HOST}/ca.crt"].text = state.certificates["public"]
    run(
        writer.replace(
            "worker-1",
            "/usr/local/share/ca-certificates/corp.crt",
            state.certificates["corp"],
            expect_sha256=None,
            backup="",
        )
    )
    run(writer.run_trust_update("worker-1"))
    assert "unknown authority" in pull(state, node, image, None).error
    run(writer.restart("worker-1", "containerd"))
    assert not pull(state, node, image, None).error


def test_a_broken_registries_yaml_keeps_the_agent_from_starting() -> None:
    state, controllers = build("unit", "k3s")
    node = state.nodes["edge-1"]
    node.files["/etc/rancher/k3s/registries.yaml"] = NodeFile("mirrors: [\n", state.now())
    with pytest.raises(VerifyFailedError):
        run(WorldNodeWriter(state, controllers.settle).restart("edge-1", "k3s-agent"))
    assert not node.units["k3s-agent"].active


def test_what_k3s_generates() -> None:
    text = 'mirrors:\n  "h:5000":\n    endpoint: ["http://h:5000"]\nconfigs:\n  "h":\n    tls: {ca_file: /ca}\n'
    registries = parse_registries(text)
    assert '[host."http://h:5000/v2"]' in hosts_toml(registries, "h:5000", "v1.34.4+k3s1")
    assert 'ca = ["/ca"]' in hosts_toml(registries, "h", "v1.34.4+k3s1")
    assert hosts_toml(registries, "other", "v1.34.4+k3s1") == ""


# --- HTTP -----------------------------------------------------------------------------------------------------------


def ask(world: Built, url: str, **more: Any) -> Any:
    return run(WorldHttp(world[0], world[1].settle).exchange(HttpRequest(url, **more)))


def test_ping_token_and_manifest(world: Built) -> None:
    ping = ask(world, f"https://{HOST}/v2/", purpose="ping")
    assert ping.status == 401
    assert 'service="harbor-registry"' in ping.headers["www-authenticate"]
    assert ping.tls.verified
    url = f"https://{HOST}/service/token?service=harbor-registry"
    assert ask(world, url, purpose="token").status == 401
    token = ask(world, f"{url}&scope=repository:shop/web:pull", purpose="token")
    assert token.token["claims"]["access"][0]["actions"] == []
    assert "eyJ" not in token.body
    anonymous = ask(world, f"https://{HOST}/v2/library/tools/manifests/3.2", method="HEAD", purpose="manifest-anon")
    assert anonymous.status == 200
    refused = ask(world, f"https://{HOST}/v2/shop/web/manifests/2.4", purpose="manifest-anon")
    assert refused.status == 401
    assert "unauthorized to access repository: shop/web, action: pull" in refused.body


def test_a_refused_login_locks_a_user_and_not_a_robot(world: Built) -> None:
    state = world[0]
    url = f"https://{HOST}/service/token?service=harbor-registry"
    state.harbor.cores.pop(ready_cores(state)[1])
    for name, served in (("dana", 401), ("robot$ci-push", 200)):
        right = state.harbor.users[name].password if name == "dana" else state.harbor.robots[name].secret
        assert ask(world, url, credential=Credential(name, "wrong")).status == 401
        core = next(iter(state.harbor.cores.values()))
        core.locks[name] = state.now() + 1.4
        assert ask(world, url, credential=Credential(name, right)).status == served


def test_layers_that_fail_are_told_apart(world: Built) -> None:
    state = world[0]
    assert ask(world, "https://nowhere.corp.example/v2/").dns == "nxdomain"
    assert ask(world, f"https://{HOST}:8443/v2/").tcp == "refused"
    assert ask(world, f"https://{HOST}:5000/v2/").tls.state == "plain-http"
    assert ask(world, f"http://{HOST}:443/v2/").status == 400
    untrusted = ask(world, f"https://{HOST}/v2/", anchors_pem=state.certificates["public"], anchors_name="test")
    assert (untrusted.tls.verified, untrusted.status) == (False, None)


def test_harbor_changes_only_what_it_is_asked_to(world: Built) -> None:
    state = world[0]
    harbor = WorldHarbor(state, world[1].settle)
    robot = state.harbor.robots["robot$billing-pull"]
    assert run(harbor.write("PUT", f"/robots/{robot.id}", {"name": "robot$other"}))[0] == 400
    status, body = run(harbor.write("PATCH", f"/robots/{robot.id}", {"secret": ""}))
    assert status == 200
    assert json.loads(body)["secret"] == robot.secret
    assert run(harbor.write("DELETE", "/projects/nothing"))[0] == 404
    status, shown = run(harbor.read(f"robots/{robot.id}"))
    assert status == 200
    assert robot.secret not in shown
    assert [one.place for one in state.writes] == [f"harbor /robots/{robot.id}"]

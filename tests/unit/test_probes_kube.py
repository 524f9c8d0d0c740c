"""Pod, service account, manifest and node: facts from native objects, unknown where nothing was seen."""

from __future__ import annotations

import json
from typing import Any

import yaml

from app.model.case import Incident
from app.model.evidence import Evidence, Outcome
from app.model.material import Document, Material
from app.probes.base import KubeGet, Scene
from app.probes.kube import PROBES
from app.probes.workloads import MOST_WORKLOADS, workload_documents, workloads

BY_ID = {probe.id: probe for probe in PROBES}
IMAGE = "harbor.example.com/team/web:1.0"


def pod(name: str = "web-1", **changes: Any) -> dict[str, Any]:
    spec = {
        "nodeName": "n1",
        "serviceAccountName": "runner",
        "containers": [{"name": "app", "image": IMAGE, "imagePullPolicy": "Always"}],
        **changes.pop("spec", {}),
    }
    status = {
        "phase": "Pending",
        "containerStatuses": [
            {"name": "app", "image": IMAGE, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}}
        ],
        **changes.pop("status", {}),
    }
    meta = {
        "name": name,
        "namespace": "apps",
        "uid": f"uid-{name}",
        "creationTimestamp": "2026-01-01T10:00:00Z",
        **changes.pop("metadata", {}),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}


def event(
    reason: str, message: str, at: str = "2026-01-01T10:05:00Z", name: str = "web-1", uid: str = "uid-web-1"
) -> dict[str, Any]:
    return {
        "kind": "Event", "metadata": {"name": f"{name}.{reason}.{at}", "namespace": "apps"}, "reason": reason, "message": message,
        "lastTimestamp": at, "involvedObject": {"kind": "Pod", "name": name, "namespace": "apps", "uid": uid},
    }  # fmt: skip


def listed(*items: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"kind": "List", "apiVersion": "v1", "metadata": meta, "items": list(items)}


def material(**documents: Any) -> Material:
    return Material(
        Document(f"{name}.json", value if isinstance(value, str) else json.dumps(value))
        for name, value in documents.items()
    )


def read(probe: str, given: Material, **incident: Any) -> list[Evidence]:
    return list(BY_ID[probe].read(given, Scene(Incident(image=IMAGE, **incident), 0.0)))


def facts(probe: str, given: Material, **incident: Any) -> dict[str, Any]:
    (record,) = read(probe, given, **incident)
    assert record.outcome is Outcome.OBSERVED
    assert set(record.facts) <= set(BY_ID[probe].produces)
    return dict(record.facts)


def test_pod_facts() -> None:
    given = material(
        pod=pod(spec={"imagePullSecrets": [{"name": "pull"}, {}]}),
        events=listed(
            event("Pulling", f'Pulling image "{IMAGE}"'),
            event("Failed", f'Failed to pull image "{IMAGE}": 401', "2026-01-01T10:05:02Z"),
            event("BackOff", "Back-off pulling image", "2026-01-01T10:09:00Z"),
            event("FailedToRetrieveImagePullSecret", "Unable", "2026-01-01T10:05:00Z"),
            event("Pulling", "of another pod of that name", "2026-01-01T11:00:00Z", uid="gone"),
        ),
    )
    seen = facts("pod.read", given)
    assert seen == {
        "pod.reason": "ImagePullBackOff",
        "pod.pull_policy": "Always",
        "pod.secret_names": ("pull",),
        "pod.created": 1767261600.0,
        "pod.last_attempt": 1767261902.0,
        "pod.has_sandbox": True,
        "pod.proxy_env": False,
        "pod.retrieve_event": True,
        "pod.events_expired": False,
    }
    (record,) = read("pod.read", given)
    assert str(record.target) == "workload/apps/web-1 node/n1"


def test_an_empty_list_is_empty_and_no_events_are_unknown() -> None:
    seen = facts("pod.read", material(pod=pod()))
    assert seen["pod.secret_names"] == ()
    for unknown in ("pod.retrieve_event", "pod.last_attempt", "pod.events_expired", "pod.image_on_node"):
        assert unknown not in seen


def test_expired_events_and_a_cut_list() -> None:
    assert facts("pod.read", material(pod=pod(), events=listed()))["pod.events_expired"] is True
    seen = facts("pod.read", material(pod=pod(), events=listed(**{"continue": "more"})))
    assert "pod.events_expired" not in seen
    assert "pod.retrieve_event" not in seen


def test_raw_error_as_reason_sandbox_and_proxy() -> None:
    waiting = {"name": "app", "state": {"waiting": {"reason": "illegal base64 data at input byte 5"}}}
    assert (
        facts("pod.read", material(pod=pod(status={"containerStatuses": [waiting]})))["pod.reason"]
        == "illegal base64 data at input byte 5"
    )
    creating = {"containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "ContainerCreating"}}}]}
    box = material(
        pod=pod(status=creating), events=listed(event("FailedCreatePodSandBox", "failed to get sandbox image"))
    )
    assert facts("pod.read", box)["pod.has_sandbox"] is False
    assert "pod.has_sandbox" not in facts("pod.read", material(pod=pod(status=creating)))
    env = {"name": "app", "image": IMAGE, "env": [{"name": "https_proxy", "value": "http://p"}]}
    assert facts("pod.read", material(pod=pod(spec={"containers": [env]})))["pod.proxy_env"] is True
    hidden = {"name": "app", "image": IMAGE, "envFrom": [{"configMapRef": {"name": "x"}}]}
    assert "pod.proxy_env" not in facts("pod.read", material(pod=pod(spec={"containers": [hidden]})))


def test_the_failing_container_is_found_among_others() -> None:
    spec = {
        "initContainers": [{"name": "init", "image": "example.com/other:1"}],
        "containers": [
            {"name": "side", "image": "example.com/side:2", "imagePullPolicy": "Never"},
            {"name": "app", "image": IMAGE, "imagePullPolicy": "IfNotPresent"},
        ],
    }
    status = {
        "initContainerStatuses": [{"name": "init", "state": {"terminated": {}}}],
        "containerStatuses": [
            {"name": "side", "state": {"waiting": {"reason": "PodInitializing"}}},
            {"name": "app", "state": {"waiting": {"reason": "ErrImagePull"}}},
        ],
    }
    seen = facts("pod.read", material(pod=pod(spec=spec, status=status)))
    assert (seen["pod.reason"], seen["pod.pull_policy"]) == ("ErrImagePull", "IfNotPresent")


def test_kubelet_log_and_texts_tell_of_a_missed_secret() -> None:
    log = 'kubelet[1]: "Unable to retrieve pull secret, the image pull may not succeed." pod="apps/web-1" secret="" err="secret \\"pull\\" not found"'
    given = material(pod=pod()).with_documents([Document("nodes/n1/kubelet.log", log)])
    assert facts("pod.read", given)["pod.retrieve_event"] is True
    alone = Material(
        [Document("describe.txt", "Warning  FailedToRetrieveImagePullSecret  kubelet  Unable to retrieve some")]
    )
    assert facts("pod.read", alone) == {"pod.retrieve_event": True}
    assert read("pod.read", Material([Document("a.txt", "x")])) == []


def test_image_on_node() -> None:
    node = {"kind": "Node", "metadata": {"name": "n1"}, "status": {"images": [{"names": [IMAGE]}]}}
    assert facts("pod.read", material(pod=pod(), nodes=listed(node)))["pod.image_on_node"] is True
    node["status"] = {"images": [{"names": ["example.com/x:1"]}]}
    assert facts("pod.read", material(pod=pod(), nodes=listed(node)))["pod.image_on_node"] is False
    node["status"] = {"images": [{"names": [f"example.com/x:{number}"]} for number in range(50)]}
    assert "pod.image_on_node" not in facts("pod.read", material(pod=pod(), nodes=listed(node)))
    crictl = Document("nodes/n1/images.json", json.dumps({"images": [{"repoTags": [IMAGE], "repoDigests": []}]}))
    assert facts("pod.read", material(pod=pod()).with_documents([crictl]))["pod.image_on_node"] is True


def account(*names: str, **meta: Any) -> dict[str, Any]:
    return {
        "kind": "ServiceAccount",
        "metadata": {"name": "runner", "namespace": "apps", **meta},
        "imagePullSecrets": [{"name": name} for name in names],
    }


def test_service_account() -> None:
    assert facts("sa.read", material(pod=pod(), serviceaccount=account())) == {"sa.secret_names": (), "sa.match": False}
    managed = [
        {"manager": "kubectl-patch", "time": "2026-01-01T12:00:00Z", "fieldsV1": {"f:imagePullSecrets": {}}},
        {"manager": "other", "time": "2026-02-01T12:00:00Z", "fieldsV1": {"f:metadata": {}}},
    ]
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(account("old", "new"))}
    seen = facts(
        "sa.read", material(pod=pod(), serviceaccount=account("new", managedFields=managed, annotations=applied))
    )
    assert seen == {"sa.secret_names": ("new",), "sa.changed": 1767268800.0, "sa.list_shrank": True}
    other = account("x")
    other["metadata"]["name"] = "another"
    assert read("sa.read", material(pod=pod(), serviceaccount=other)) == []


def test_manifest_shows_what_the_live_object_cannot() -> None:
    wrong = {
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "apps"},
        "spec": {
            "template": {
                "spec": {"containers": [{"name": "app", "image": IMAGE, "imagePullSecrets": [{"name": "pull"}]}]}
            }
        },
    }
    right = json.loads(json.dumps(wrong))
    del right["spec"]["template"]["spec"]["containers"][0]["imagePullSecrets"]
    live = json.loads(json.dumps(right))
    live["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(wrong)}
    fact = "source.secrets_under_container"
    assert facts("source.read", material(pod=pod(), deployment=live)) == {fact: True}
    live["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(right)}
    assert facts("source.read", material(pod=pod(), deployment=live)) == {fact: False}
    assert read("source.read", material(pod=pod())) == []
    manifest = Document("deploy.yaml", yaml.safe_dump(wrong))
    assert facts("source.read", material(pod=pod()).with_documents([manifest])) == {fact: True}


def test_node_object() -> None:
    info = {
        "containerRuntimeVersion": "containerd://1.7.11-k3s2",
        "kubeletVersion": "v1.28.4+k3s1",
        "architecture": "arm64",
        "osImage": "Debian",
    }
    node = {
        "kind": "Node",
        "metadata": {"name": "n1"},
        "status": {"nodeInfo": info, "conditions": [{"type": "DiskPressure", "status": "True"}]},
    }
    assert facts("node.object", material(nodes=listed(node))) == {
        "node.runtime": "containerd", "node.runtime_version": "1.7.11-k3s2", "node.kubelet_version": "v1.28.4+k3s1",
        "node.arch": "arm64", "node.disk_pressure": True, "node.distro": "k3s",
    }  # fmt: skip
    node["status"] = {
        "nodeInfo": {
            "containerRuntimeVersion": "cri-o://1.30.1",
            "kubeletVersion": "v1.30.1",
            "osImage": "Talos (v1.7)",
        },
        "conditions": [{"type": "DiskPressure", "status": "Unknown"}],
    }
    seen = facts("node.object", material(nodes=listed(node)))
    assert (seen["node.runtime"], seen["node.distro"]) == ("cri-o", "talos")
    assert "node.disk_pressure" not in seen
    files = Material(
        [
            Document("nodes/n2/versions.txt", "containerd github.com/containerd/containerd 1.7.24~ds1 x"),
            Document("nodes/n2/arch.txt", "x86_64\n"),
        ]
    )
    assert facts("node.object", files) == {
        "node.runtime": "containerd",
        "node.runtime_version": "1.7.24~ds1",
        "node.arch": "amd64",
    }


def test_refused_rights_say_what_they_cost_and_the_grant() -> None:
    denied = Material(
        [
            Document(name, outcome=Outcome.DENIED, detail='pods is forbidden: User "x"')
            for name in ("pods.json", "nodes.json")
        ]
    )
    for probe in ("pod.read", "node.object"):
        (record,) = read(probe, denied)
        assert record.outcome is Outcome.DENIED
        assert record.facts == {}
        assert "Without it" in record.detail
        assert "Smallest grant" in record.detail
        assert record.by_hand.startswith("kubectl get")
    refused = Document(workload_documents("apps", "web-1")["serviceaccount"], outcome=Outcome.DENIED, detail="no")
    (record,) = read("sa.read", material(pod=pod()).with_documents([refused]))
    assert record.outcome is Outcome.DENIED


def test_broken_documents_are_unparsable_and_say_where() -> None:
    for text in ('{"kind": "Pod",', "[" * 100_000, "{" * 5000):
        (record,) = read("pod.read", material(pod=text))
        assert record.outcome is Outcome.UNPARSABLE
        assert "pod.json" in record.detail
    odd: list[Any] = [[], 3, None, {"kind": "Pod"}, {"kind": "Pod", "metadata": [], "spec": 4}, {"kind": "List", "items": [1, None, {"kind": 3}]},
           {"kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": "no", "imagePullSecrets": {"a": 1}}, "status": {"containerStatuses": [{"state": 1}]}},
           {"kind": "Pod", "metadata": {"name": {"a": 1}}, "spec": None, "status": None}]  # fmt: skip
    for value in odd:
        for probe in PROBES:
            list(
                probe.read(
                    material(pod=value, events=value, serviceaccount=value, nodes=value, deployment=value),
                    Scene(Incident(), 0.0),
                )
            )


def test_yaml_streams_and_lists_without_kinds_are_taken() -> None:
    given = Material([Document("pod.json", yaml.safe_dump(pod()))])
    assert facts("pod.read", given)["pod.reason"] == "ImagePullBackOff"
    stream = Material([Document("pod.json", json.dumps(pod("web-1")) + "\n" + json.dumps(pod("web-2")))])
    assert len(read("pod.read", stream)) == 2
    bare = pod()
    del bare["kind"]
    assert facts("pod.read", material(pods={"kind": "PodList", "items": [bare]}))["pod.reason"] == "ImagePullBackOff"


def test_several_workloads_below_their_own_folders() -> None:
    documents = [
        Document(workload_documents("apps", f"web-{n}")["pod"], json.dumps(pod(f"web-{n}"))) for n in range(1, 4)
    ]
    found = read("pod.read", Material(documents), pods=("apps/web-1", "apps/web-3"))
    assert [record.target.get("workload") for record in found] == ["apps/web-1", "apps/web-3"]
    many = material(pods=listed(*(pod(f"web-{n}", spec={"nodeName": f"n{n % 3}"}) for n in range(500))))
    chosen = workloads(many, Scene(Incident(image=IMAGE), 0.0))
    assert len(chosen) == MOST_WORKLOADS
    assert {item.node for item in chosen} == {"n0", "n1", "n2"}


def test_wants_ask_for_what_is_not_there_and_only_once() -> None:
    scene = Scene(Incident(image=IMAGE, pods=("apps/web-1",), nodes=("n1",)), 0.0)

    def paths(probe: str, given: Material) -> list[str]:
        return [want.path for want in BY_ID[probe].wants(given, scene) if isinstance(want, KubeGet)]

    assert paths("pod.read", Material()) == ["/api/v1/namespaces/apps/pods/web-1", "/api/v1/namespaces/apps/events"]
    assert paths("node.object", Material()) == ["/api/v1/nodes/n1"]
    known = material(pods=listed(pod("web-1"), pod("web-2")), events=listed(), nodes=listed())
    assert paths("pod.read", known) == []
    assert paths("sa.read", known) == ["/api/v1/namespaces/apps/serviceaccounts/runner"]
    owned = material(pods=listed(pod(metadata={"ownerReferences": [{"kind": "ReplicaSet", "name": "web-abc"}]})))
    assert paths("source.read", owned) == ["/apis/apps/v1/namespaces/apps/replicasets/web-abc"]
    replica = {
        "kind": "ReplicaSet",
        "metadata": {
            "name": "web-abc",
            "namespace": "apps",
            "ownerReferences": [{"kind": "Deployment", "name": "web"}],
        },
    }
    further = owned.with_documents([Document("workloads/apps/web-1/replicaset-web-abc.json", json.dumps(replica))])
    assert paths("source.read", further) == ["/apis/apps/v1/namespaces/apps/deployments/web"]

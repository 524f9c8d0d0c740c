"""The node object: runtime, releases, architecture, disk pressure, kind of distribution (MODES.md 2, `node.object`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from app.model.evidence import Evidence, Outcome, Value
from app.model.material import Material
from app.model.target import INCIDENT, Target
from app.parsers.dockerconfig import normalise_repository
from app.parsers.kube_objects import Object, Objects, items, mapping, objects_of
from app.parsers.versions import distro_of, parse_versions, runtime_of
from app.ports import Command
from app.probes.base import KubeGet, NodeItem, Probe, Scene, Want
from app.probes.workloads import unseen, workloads

_LISTED_IMAGES: Final = 50
"""The kubelet reports at most so many images (`nodeStatusMaxImages`); of a longer list the absence says nothing."""
_ARCH: Final = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
}
_RUNTIMES: Final = frozenset({"containerd", "cri-o", "docker"})


def _wants(material: Material, scene: Scene) -> Iterable[Want]:
    objects = objects_of(material)
    for node in scene.incident.nodes:
        if objects.get("Node", "", node) is None and material.get("nodes.json") is None:
            yield KubeGet(f"/api/v1/nodes/{node}", f"nodes/{node}/node.json")
    for workload in workloads(material, scene):
        if workload.node and workload.container.get("imagePullPolicy") == "Never":
            yield NodeItem(workload.node, Command("images"))


def _read(material: Material, scene: Scene) -> Iterable[Evidence]:
    objects = objects_of(material)
    seen = set()
    for _, name, node in objects.all("Node"):
        seen.add(name)
        facts = {**_from_files(material, name), **_facts(node)}
        document = material.get(objects.path_of("Node", "", name))
        yield Evidence(
            "node.object",
            Target.of(node=name),
            scene.vantage,
            facts=facts,
            excerpt="; ".join(f"{key.partition('.')[2]}: {value}" for key, value in facts.items()),
            taken_at=document.taken_at if document else None,
            command=(document.source if document else "") or f"kubectl get node {name} -o json",
        )
    for name in material.nodes():
        if name in seen:
            continue
        facts = _from_files(material, name)
        if facts:
            yield Evidence(
                "node.object",
                Target.of(node=name),
                scene.vantage,
                facts=facts,
                excerpt="; ".join(f"{key.partition('.')[2]}: {value}" for key, value in facts.items()),
                command="containerd --version; kubelet --version; uname -m",
            )
    for document in material:
        if document.outcome is not Outcome.OBSERVED and (
            document.path == "nodes.json" or document.path.endswith("/node.json")
        ):
            name = document.path.split("/")[1] if "/" in document.path else ""
            yield unseen(
                "node.object", Target.of(node=name) if name else INCIDENT, document, scene,
                cost="Without it the runtime's release and the node's platform come from the node itself, if it can be reached.",
                grant="a ClusterRole with verbs get,list on nodes.",
                by_hand="kubectl get nodes -o json > nodes.json",
            )  # fmt: skip


def _facts(node: Object) -> dict[str, Value]:
    facts: dict[str, Value] = {}
    status = mapping(node.get("status"))
    info = mapping(status.get("nodeInfo"))
    runtime, release = runtime_of(str(info.get("containerRuntimeVersion") or ""))
    if runtime in _RUNTIMES:
        facts["node.runtime"] = runtime
        if release[:1].isdigit():  # the kubelet reports `Unknown` while the runtime's image service is missing
            facts["node.runtime_version"] = release
    kubelet = str(info.get("kubeletVersion") or "")
    if kubelet:
        facts["node.kubelet_version"] = kubelet
    if info.get("architecture"):
        facts["node.arch"] = str(info["architecture"])
    for condition in items(status.get("conditions")):
        if condition.get("type") == "DiskPressure" and condition.get("status") in ("True", "False"):
            facts["node.disk_pressure"] = condition["status"] == "True"
    distro = _distro(node, kubelet, str(info.get("osImage") or ""))
    if distro:
        facts["node.distro"] = distro
    return facts


def _distro(node: Object, kubelet: str, os_image: str) -> str:
    if os_image.lower().startswith("talos"):
        return "talos"
    if any(mark in kubelet for mark in ("-eks", "-gke", "-aks", "+vmware", "-tke", "-aliyun")):
        return "other"
    annotations = mapping(mapping(node.get("metadata")).get("annotations"))
    if any(key.startswith("kubeadm.alpha.kubernetes.io/") for key in annotations):
        return "kubeadm"
    return distro_of(kubelet)


def _from_files(material: Material, node: str) -> dict[str, Value]:
    facts: dict[str, Value] = {}
    text = material.text(f"nodes/{node}/versions.txt")
    if text:
        versions = parse_versions(text)
        if versions.runtime in _RUNTIMES:
            facts["node.runtime"] = versions.runtime
            if versions.runtime_version:
                facts["node.runtime_version"] = versions.runtime_version
        if versions.kubelet:
            facts["node.kubelet_version"] = versions.kubelet
        if versions.distro:
            facts["node.distro"] = versions.distro
    arch = (material.text(f"nodes/{node}/arch.txt") or "").strip().split("\n")[0].strip()
    if arch:
        facts["node.arch"] = _ARCH.get(arch, arch)
    return facts


def image_on_node(material: Material, objects: Objects, node: str, image: str) -> bool | None:
    """Whether the node has the image, by its status or by `crictl images`; None where neither list is whole."""
    if not node or not image:
        return None
    listed = items(mapping((objects.get("Node", "", node) or {}).get("status")).get("images"))
    names = {_normal(str(name)) for item in listed for name in item.get("names") or ()}
    if _normal(image) in names:
        return True
    text = material.text(f"nodes/{node}/images.json")
    if text is not None:
        try:
            found: Any = json.loads(text)
        except ValueError:
            return None
        tags = {
            _normal(str(tag))
            for item in items(mapping(found).get("images"))
            for key in ("repoTags", "repoDigests")
            for tag in item.get(key) or ()
        }
        return _normal(image) in tags
    return False if listed and len(listed) < _LISTED_IMAGES else None


def _normal(image: str) -> str:
    repository = normalise_repository(image)
    digest = image.partition("@")[2]
    if digest:
        return f"{repository}@{digest}"
    tail = image.rsplit("/", 1)[-1]
    return f"{repository}:{tail.partition(':')[2] or 'latest'}"


PROBE: Final = Probe(
    "node.object",
    ("node.runtime", "node.runtime_version", "node.kubelet_version", "node.arch", "node.disk_pressure", "node.distro"),
    _read,
    _wants,
)

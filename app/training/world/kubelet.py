"""The kubelet of each node: starts pods, pulls with every fitting login, backs off, writes statuses and events."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

from app.parsers.dockerconfig import LoginEntry, ordered_matches, parse_dockerconfig
from app.training.world.clock import iso, nano, stamp
from app.training.world.cluster import Object
from app.training.world.pki import word
from app.training.world.pull import Pulled, pull
from app.training.world.state import Node, State

FIRST_WAIT: Final = 10.0
LAST_WAIT: Final = 300.0
_TYPES: Final = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}


def sync(state: State, memory: dict[str, dict[str, float]]) -> None:
    """Every pod that is bound to a node and does not run: a try when its back-off has ended. `memory` is by the pod's uid."""
    for pod in state.cluster.all("pods"):
        node = state.nodes.get(pod.get("spec", {}).get("nodeName", ""))
        phase = (pod.get("status") or {}).get("phase", "Pending")
        if node is None or phase != "Pending" or not runtime_up(node):
            continue
        mine = memory.setdefault(pod["metadata"]["uid"], {"next": 0.0, "wait": FIRST_WAIT})
        if state.now() >= mine["next"]:
            _start(state, node, pod, mine)


def runtime_up(node: Node) -> bool:
    """The runtime's service and its containerd run."""
    unit = node.units.get(node.service)
    return unit is not None and unit.active


def _start(state: State, node: Node, pod: Object, mine: dict[str, float]) -> None:
    containers = pod["spec"]["containers"]
    waiting: list[tuple[str, str, str]] = []
    for container in containers:
        problem = _image(state, node, pod, container, mine)
        if problem is not None:
            waiting.append((container["name"], *problem))
    if not waiting:
        _running(state, node, pod)
        return
    failed = {name: (reason, message) for name, reason, message in waiting}
    statuses = []
    for container in containers:
        reason, message = failed.get(container["name"], ("PodInitializing", ""))
        statuses.append(
            {
                "name": container["name"], "image": container["image"], "imageID": "", "ready": False, "restartCount": 0, "started": False,
                "state": {"waiting": {"reason": reason, "message": message}}, "lastState": {},
            }
        )  # fmt: skip
    pod["status"] = _status(state, node, pod, "Pending", statuses, ready=False)
    state.cluster.touch(pod)
    mine["next"] = state.now() + mine["wait"]
    mine["wait"] = min(mine["wait"] * 2, LAST_WAIT)


def _image(
    state: State, node: Node, pod: Object, container: dict[str, Any], mine: dict[str, float]
) -> tuple[str, str] | None:
    """None when the image is there; else reason and message of the waiting container."""
    image = container["image"]
    policy = container.get("imagePullPolicy") or ("Always" if image.endswith(":latest") else "IfNotPresent")
    if policy != "Always" and image in node.images:
        event(
            state, pod, "Normal", "Pulled", f'Container image "{image}" already present on machine', container["name"]
        )
        return None
    entries, missing, broken = keyring(state, pod)
    if missing:
        event(state, pod, "Warning", "FailedToRetrieveImagePullSecret", f"Unable to retrieve some image pull secrets ({', '.join(missing)}); attempting to pull the image may not succeed.")  # fmt: skip
        for name in missing:
            node.kubelet_log.append(f'{nano(state.now())} kubelet: "Unable to retrieve pull secret, the image pull may not succeed." pod="{_id(pod)}" secret="" err="secret \\"{name}\\" not found"')  # fmt: skip
    if broken:
        # The text itself is the reason (observed-nodes.md).
        event(state, pod, "Warning", "Failed", f"Error: {broken}", container["name"])
        return broken, broken
    again = mine["wait"] > FIRST_WAIT
    event(state, pod, "Normal", "Pulling", f'Pulling image "{image}"', container["name"])
    result = _all_logins(state, node, image, entries)
    if not result.error:
        node.images.add(image)
        event(state, pod, "Normal", "Pulled", f'Successfully pulled image "{image}" in {result.seconds * 1000:.0f}ms ({result.seconds * 1000:.0f}ms including waiting). Image size: 3402812 bytes.', container["name"])  # fmt: skip
        return None
    event(state, pod, "Warning", "Failed", f'Failed to pull image "{image}": {result.error}', container["name"])
    event(state, pod, "Warning", "Failed", "Error: ErrImagePull", container["name"])
    if again:
        event(state, pod, "Normal", "BackOff", f'Back-off pulling image "{image}"', container["name"])
        event(state, pod, "Warning", "Failed", "Error: ImagePullBackOff", container["name"])
        return "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {result.error}'
    return "ErrImagePull", result.error


def _all_logins(state: State, node: Node, image: str, entries: tuple[LoginEntry, ...]) -> Pulled:
    """Each fitting login in order; without one an anonymous pull (harbor-and-kubernetes.md F.1)."""
    if not entries:
        return pull(state, node, image, None)
    errors: list[str] = []
    for entry in entries:
        result = pull(state, node, image, (entry.username, entry.password) if entry.has_login else None)
        if not result.error:
            return result
        if result.error not in errors:
            errors.append(result.error)
    return Pulled(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")


def keyring(state: State, pod: Object) -> tuple[tuple[LoginEntry, ...], list[str], str]:
    """Fitting logins in their order, names of secrets that are not there, and the text of one that cannot be decoded."""
    namespace = pod["metadata"]["namespace"]
    entries: list[LoginEntry] = []
    missing: list[str] = []
    for reference in pod["spec"].get("imagePullSecrets") or ():
        secret = state.cluster.find("secrets", namespace, str(reference.get("name") or ""))
        if secret is None:
            missing.append(str(reference.get("name") or ""))
            continue
        kind = str(secret.get("type") or "")
        data = (secret.get("data") or {}).get(_TYPES.get(kind, ""))
        if data is None:
            continue
        config = parse_dockerconfig(base64.b64decode(data), kind)
        if config.parse_error:
            return (), missing, config.parse_error
        if config.read_by_kubelet:
            entries += config.entries
    image = pod["spec"]["containers"][0]["image"]
    return ordered_matches(entries, image), missing, ""


def _running(state: State, node: Node, pod: Object) -> None:
    statuses = []
    for container in pod["spec"]["containers"]:
        digest = hashlib.sha256(container["image"].encode()).hexdigest()
        identity = hashlib.sha256(f"{pod['metadata']['uid']}/{container['name']}".encode()).hexdigest()
        event(state, pod, "Normal", "Created", f"Created container: {container['name']}", container["name"])
        event(state, pod, "Normal", "Started", f"Started container {container['name']}", container["name"])
        statuses.append(
            {
                "name": container["name"], "image": container["image"], "imageID": f"{container['image'].rpartition(':')[0]}@sha256:{digest}",
                "containerID": f"containerd://{identity}", "ready": True, "restartCount": 0, "started": True,
                "state": {"running": {"startedAt": iso(state.now())}}, "lastState": {},
            }
        )  # fmt: skip
    pod["status"] = _status(state, node, pod, "Running", statuses, ready=True)
    state.cluster.touch(pod)


def _status(
    state: State, node: Node, pod: Object, phase: str, statuses: list[dict[str, Any]], *, ready: bool
) -> dict[str, Any]:
    old = {item["type"]: item for item in (pod.get("status") or {}).get("conditions") or ()}
    conditions = []
    for kind, true in (("PodReadyToStartContainers", True), ("Initialized", True), ("Ready", ready), ("ContainersReady", ready), ("PodScheduled", True)):  # fmt: skip
        value = "True" if true else "False"
        since = old[kind]["lastTransitionTime"] if kind in old and old[kind]["status"] == value else iso(state.now())
        conditions.append({"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": since})
    return {
        "phase": phase, "conditions": conditions, "hostIP": node.address, "podIP": f"10.42.{len(node.name)}.{3 + len(pod['metadata']['name']) % 200}",
        "startTime": (pod.get("status") or {}).get("startTime") or iso(state.now()), "containerStatuses": statuses, "qosClass": "BestEffort",
    }  # fmt: skip


def _id(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def event(state: State, pod: Object, kind: str, reason: str, message: str, container: str = "") -> None:
    """One event; a repeated one is counted and gets a new time, as the event correlator does it."""
    metadata = pod["metadata"]
    for item in state.cluster.all("events", metadata["namespace"]):
        if (item["involvedObject"]["uid"], item["reason"], item["message"]) == (metadata["uid"], reason, message):
            item["count"] += 1
            item["lastTimestamp"] = iso(state.now())
            state.cluster.touch(item)
            return
    involved = {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"], "apiVersion": "v1"}  # fmt: skip
    if container:
        involved["fieldPath"] = f"spec.containers{{{container}}}"
    node = str(pod["spec"].get("nodeName") or "")
    name = f"{metadata['name']}.{word(f'{state.seed}/event/{state.next_id()}', 16, '0123456789abcdef')}"
    state.cluster.put(
        "events",
        {
            "metadata": {"name": name, "namespace": metadata["namespace"]}, "involvedObject": involved, "reason": reason, "message": message,
            "source": {"component": "kubelet", "host": node}, "firstTimestamp": iso(state.now()), "lastTimestamp": iso(state.now()), "count": 1,
            "type": kind, "eventTime": None, "reportingComponent": "kubelet", "reportingInstance": node,
        },
    )  # fmt: skip


def expire(state: State) -> None:
    """Events live for an hour."""
    for item in state.cluster.all("events"):
        if stamp(item["lastTimestamp"]) < state.now() - 3600:
            metadata = item["metadata"]
            state.cluster.objects.pop(("events", metadata["namespace"], metadata["name"]), None)

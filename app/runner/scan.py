"""The first look at a cluster: which pods fail to pull, what the events say, where Harbor is. Paged, raw JSON, bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from app.model.evidence import Outcome
from app.model.material import Document, Material
from app.ports import KubeApi
from app.probes.base import KubeGet
from app.runner.collect import World, read_object

_PULL_REASONS: Final = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "ImageInspectError",
    "SignatureValidationFailed",
}
_OTHER_REASONS: Final = {
    "", "PodInitializing", "CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
    "PreStartHookError", "PostStartHookError", "PreCreateHookError",
}  # fmt: skip
_CORE_SELECTORS: Final = (
    "component=core,app=harbor",
    "app.kubernetes.io/component=core,app.kubernetes.io/name=harbor",
    "component=core",
)
_COMPARED: Final = 200


@dataclass(frozen=True, slots=True)
class Selection:
    """Which pods are looked at."""

    namespace: str = ""
    selector: str = ""


def fails_to_pull(pod: dict[str, Any]) -> bool:
    """A container (init or ephemeral too) waits for an image. The kubelet puts any text into `reason`, so unknown ones count."""
    status = pod.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for container in status.get(key) or ():
            waiting = (container.get("state") or {}).get("waiting")
            if not waiting:
                continue
            reason = str(waiting.get("reason") or "")
            if reason in _PULL_REASONS or (reason not in _OTHER_REASONS and reason != "ContainerCreating"):
                return True
    return False


def starts_late(pod: dict[str, Any]) -> bool:
    """Scheduled, not started, and no reason given yet: the events tell whether its sandbox fails."""
    status = pod.get("status") or {}
    return status.get("phase") == "Pending" and bool((pod.get("spec") or {}).get("nodeName")) and not fails_to_pull(pod)


async def scan(world: World, selection: Selection, *, harbor_namespace: str = "") -> Material:
    """Base material: `pods.json`, `events.json`, `nodes.json`, `harbor/core-pods.json`, `cluster/{services,ingresses}.json`."""
    kube = world.kube.get("workload")
    if kube is None:
        return Material()
    now = world.clock.now()
    scope = f"/namespaces/{selection.namespace}" if selection.namespace else ""
    chosen = {"labelSelector": selection.selector} if selection.selector else {}
    pods, events, nodes = await asyncio.gather(
        read_object(
            kube, KubeGet(f"/api/v1{scope}/pods", "pods.json", {"fieldSelector": "status.phase=Pending", **chosen}), now
        ),
        read_object(
            kube, KubeGet(f"/api/v1{scope}/events", "events.json", {"fieldSelector": "involvedObject.kind=Pod"}), now
        ),
        read_object(kube, KubeGet("/api/v1/nodes", "nodes.json"), now),
    )
    material = Material([events, nodes])
    material = material.with_documents(await _compared(kube, pods, scope, chosen, now))
    return material.with_documents(await _harbor(world, now, harbor_namespace))


async def _compared(kube: KubeApi, pending: Document, scope: str, chosen: dict[str, str], now: float) -> list[Document]:
    """The failing pods with some that run: those show which nodes are healthy."""
    if pending.outcome is not Outcome.OBSERVED or pending.absent:
        return [pending]
    items = _items(pending)
    failing = [pod for pod in items if fails_to_pull(pod) or starts_late(pod)]
    namespaces = sorted({pod["metadata"]["namespace"] for pod in failing})[:5]
    documents = []
    running: list[dict[str, Any]] = []
    complete = not _remaining(pending)
    if failing:
        for namespace in namespaces:
            document = await read_object(
                kube,
                KubeGet(
                    f"/api/v1/namespaces/{namespace}/pods",
                    "running",
                    {"fieldSelector": "status.phase=Running", **chosen},
                ),
                now,
            )
            running.extend(_items(document))
        hosts = {_host(image) for pod in failing for image in _images(pod)}
        running = [pod for pod in running if any(_host(image) in hosts for image in _images(pod))]
    else:
        document = await read_object(
            kube, KubeGet(f"/api/v1{scope}/pods", "running", {"limit": str(_COMPARED), **chosen}), now
        )
        running = [pod for pod in _items(document) if (pod.get("status") or {}).get("phase") != "Pending"]
    merged = {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"pullFailuresComplete": complete},
        "items": [*failing, *running[:_COMPARED]],
    }
    documents.append(Document("pods.json", json.dumps(merged), taken_at=now, source=pending.source))
    return documents


async def _harbor(world: World, now: float, namespace: str) -> list[Document]:
    kube = world.kube.get("harbor") or world.kube.get("workload")
    if kube is None:
        return []
    scope = f"/namespaces/{namespace}" if namespace else ""
    cores: Document | None = None
    for selector in _CORE_SELECTORS:
        cores = await read_object(
            kube, KubeGet(f"/api/v1{scope}/pods", "harbor/core-pods.json", {"labelSelector": selector}), now
        )
        if cores.outcome is not Outcome.OBSERVED or _items(cores):
            break
    found = [cores] if cores is not None else []
    if cores is not None and _items(cores):
        services, ingresses = await asyncio.gather(
            read_object(kube, KubeGet(f"/api/v1{scope}/services", "cluster/services.json"), now),
            read_object(kube, KubeGet(f"/apis/networking.k8s.io/v1{scope}/ingresses", "cluster/ingresses.json"), now),
        )
        found += [services, ingresses]
    return found


def _items(document: Document) -> list[dict[str, Any]]:
    if document.outcome is not Outcome.OBSERVED or not document.text:
        return []
    try:
        data = json.loads(document.text)
    except ValueError:
        return []
    items = data.get("items") if isinstance(data, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _remaining(document: Document) -> bool:
    try:
        metadata = json.loads(document.text).get("metadata") or {}
    except (ValueError, AttributeError):
        return True
    return bool(metadata.get("remainingItemCount") or metadata.get("continue"))


def _images(pod: dict[str, Any]) -> Iterable[str]:
    spec = pod.get("spec") or {}
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(key) or ():
            if container.get("image"):
                yield str(container["image"])


def _host(image: str) -> str:
    first = image.partition("/")[0]
    return first if "/" in image and ("." in first or ":" in first or first == "localhost") else "docker.io"

"""The workloads of an incident, and where their documents lie.

With one failing pod the plain layout (`pod.json`, `secret.json`, …) is enough. Several workloads lie side by side below
`workloads/<namespace>/<pod>/`; what belongs to a whole namespace lies with the first pod that needed it, since objects
are found by kind and name wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from app.model.evidence import Evidence, Outcome
from app.model.material import Document, Material
from app.model.target import INCIDENT, Target
from app.parsers.dockerconfig import normalise_repository
from app.parsers.kube_objects import (
    Object,
    Objects,
    containers,
    created,
    items,
    mapping,
    name_of,
    namespace_of,
    objects_of,
    pod_spec,
    pull_secret_names,
    statuses,
)
from app.parsers.redact import redact
from app.probes.base import KubeGet, Scene

MOST_WORKLOADS: Final = 60
"""Read one by one; of a larger incident each different set of secrets, account and node comes first."""
_OWNERS: Final = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob")
_APIS: Final = {
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets/{}",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments/{}",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets/{}",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets/{}",
    "Job": "/apis/batch/v1/namespaces/{}/jobs/{}",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs/{}",
}


@dataclass(frozen=True, slots=True)
class Workload:
    """One pod (or, where only that is at hand, the template that makes pods)."""

    namespace: str
    name: str
    item: Object = field(repr=False)
    spec: Object = field(repr=False)
    is_pod: bool = True
    image: str = ""
    """The image that fails, as the spec writes it."""
    container: Object = field(default_factory=dict, repr=False)
    waiting: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def target(self) -> Target:
        return Target.of(workload=self.id)

    @property
    def placed(self) -> Target:
        """With its node, for what is true of this pod there only."""
        return Target.of(workload=self.id, node=self.node)

    @property
    def node(self) -> str:
        return str(self.spec.get("nodeName") or "")

    @property
    def account(self) -> str:
        return str(self.spec.get("serviceAccountName") or self.spec.get("serviceAccount") or "default")

    @property
    def listed(self) -> tuple[str, ...] | None:
        """Names of its pull secrets. The API has merged the service account's into a pod; a bare template may gain those."""
        names = pull_secret_names(self.spec.get("imagePullSecrets"))
        return names if self.is_pod or names else None

    @property
    def uid(self) -> str:
        return str(mapping(self.item.get("metadata")).get("uid") or "")

    @property
    def created(self) -> float | None:
        return created(self.item)


def folder(namespace: str, pod: str) -> str:
    """Where the documents of one workload lie."""
    return f"workloads/{namespace}/{pod}"


def workload_documents(namespace: str, pod: str) -> Mapping[str, str]:
    """Kind of document to its path, for one workload of several."""
    base = folder(namespace, pod)
    return {name: f"{base}/{name}.json" for name in ("pod", "serviceaccount", "secrets", "events")}


def secret_document(namespace: str, pod: str, secret: str) -> str:
    """Path of one secret that was asked for by name; its absence is told there too."""
    return f"{folder(namespace, pod)}/secret/{secret}.json"


def workloads(material: Material, scene: Scene) -> list[Workload]:
    """The incident's pods as far as their objects are at hand."""
    objects = objects_of(material)
    incident = scene.incident
    found: list[Workload] = []
    for pod_id in incident.pods:
        namespace, _, name = pod_id.rpartition("/")
        pod = objects.get("Pod", namespace, name) or objects.get("Pod", "", name)
        if pod is not None:
            found.append(_workload(namespace, name, pod, incident.image))
    if not incident.pods:
        pods = [
            _workload(namespace or "default", name, pod, incident.image) for namespace, name, pod in objects.all("Pod")
        ]
        fitting = [pod for pod in pods if incident.image is None or _same(pod.image, incident.image)]
        found = fitting or (pods if len(pods) == 1 and incident.image is None else [])
    if not found:
        found = _templates(objects, incident.image)
    return _chosen(found)


def _chosen(found: list[Workload]) -> list[Workload]:
    if len(found) <= MOST_WORKLOADS:
        return found
    first: dict[object, Workload] = {}
    for workload in found:
        first.setdefault((workload.namespace, workload.listed, workload.account, workload.node), workload)
    kept = list(first.values())[:MOST_WORKLOADS]
    ids = {workload.id for workload in kept}
    return kept + [workload for workload in found if workload.id not in ids][: MOST_WORKLOADS - len(kept)]


def _templates(objects: Objects, image: str | None) -> list[Workload]:
    found = []
    for kind in _OWNERS:
        for namespace, name, item in objects.all(kind):
            spec = pod_spec(item)
            if spec is None:
                continue
            workload = _workload(namespace or "default", name, item, image, spec=spec, is_pod=False)
            if image is None or _same(workload.image, image):
                found.append(workload)
        if found:
            break
    return found


def _workload(
    namespace: str, name: str, item: Object, image: str | None, *, spec: Object | None = None, is_pod: bool = True
) -> Workload:
    body = spec if spec is not None else mapping(item.get("spec"))
    container, waiting = _failing(item, body, image)
    return Workload(
        namespace or "default", name, item, body, is_pod, str(container.get("image") or image or ""), container, waiting
    )


def _failing(item: Object, spec: Object, image: str | None) -> tuple[Object, Object]:
    """The container whose image fails: the incident's image first, then one that waits for an image, then the first."""
    of_spec = containers(spec)
    by_name = {str(container.get("name") or ""): container for container in of_spec}
    waiting = {
        str(status.get("name") or ""): mapping(mapping(status.get("state")).get("waiting"))
        for status in statuses(item)
        if mapping(mapping(status.get("state")).get("waiting"))
    }
    named = {str(status.get("name") or ""): str(status.get("image") or "") for status in statuses(item)}

    def rank(name: str) -> tuple[bool, bool, bool]:
        candidate = str(by_name[name].get("image") or named.get(name) or "")
        reason = str(waiting.get(name, {}).get("reason") or "")
        return (
            not (image and _same(candidate, image)),
            reason in ("", "PodInitializing", "ContainerCreating", "CrashLoopBackOff"),
            name not in waiting,
        )

    if not by_name:
        return {}, next(iter(waiting.values()), {})
    best = min(by_name, key=rank)
    return by_name[best], waiting.get(best, {})


def _same(one: str, other: str) -> bool:
    """One repository, whatever the tag: an incident is about an image, a roll-out changes the tag."""
    return one == other or normalise_repository(one) == normalise_repository(other)


def find_secret(objects: Objects, namespace: str, name: str) -> Object | None:
    """By namespace and name; a copy by hand often has no namespace."""
    return objects.get("Secret", namespace, name) or objects.get("Secret", "", name)


def owner_of(objects: Objects, item: Object) -> list[Object]:
    """What made an object, then what made that, as far as they are at hand."""
    chain: list[Object] = []
    current = item
    for _ in range(4):
        reference = next(iter(items(mapping(current.get("metadata")).get("ownerReferences"))), None)
        if reference is None:
            break
        kind, name = str(reference.get("kind") or ""), str(reference.get("name") or "")
        owner = objects.get(kind, namespace_of(item), name)
        if owner is None:
            break
        chain.append(owner)
        current = owner
    return chain


def owner_want(objects: Objects, workload: Workload) -> KubeGet | None:
    """The next object up the chain of owners that is not at hand."""
    current = workload.item
    for owner in owner_of(objects, workload.item):
        current = owner
    reference = next(iter(items(mapping(current.get("metadata")).get("ownerReferences"))), None)
    if reference is None:
        return None
    kind, name = str(reference.get("kind") or ""), str(reference.get("name") or "")
    if kind not in _APIS or not name:
        return None
    document = f"{folder(workload.namespace, workload.name)}/{kind.lower()}-{name}.json"
    return KubeGet(_APIS[kind].format(workload.namespace, name), document)


def about(document: Document | None, fallback: str = "") -> str:
    """The read-only command or call behind a document."""
    return (document.source if document is not None else "") or fallback


def unseen(
    probe: str, target: Target, document: Document, scene: Scene, *, cost: str, grant: str, by_hand: str
) -> Evidence:
    """A document that was asked for and not got: what it costs, and the smallest grant that gives it."""
    why = redact(document.detail) or document.outcome.value
    fix = f" Smallest grant: {grant}" if document.outcome is Outcome.DENIED and grant else ""
    return Evidence(
        probe,
        target or INCIDENT,
        scene.vantage,
        document.outcome,
        detail=f"{why}. {cost}{fix}",
        taken_at=document.taken_at,
        command=document.source,
        by_hand=by_hand,
    )


def failed(material: Material, paths: Iterable[str]) -> Document | None:
    """The first of these documents that was asked for and not observed."""
    for path in paths:
        document = material.get(path)
        if document is not None and document.outcome is not Outcome.OBSERVED:
            return document
    return None


__all__ = [
    "MOST_WORKLOADS", "Workload", "about", "failed", "find_secret", "folder", "name_of", "owner_of", "owner_want",
    "secret_document", "unseen", "workload_documents", "workloads",
]  # fmt: skip

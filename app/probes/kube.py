"""Probes on the pod, its service account, its manifest and its node (MODES.md 2; harbor-and-kubernetes.md F and G)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from app.model.evidence import Evidence, Outcome, Value
from app.model.material import Document, Material
from app.model.target import INCIDENT, Target
from app.parsers.kube_objects import (
    Object,
    Objects,
    containers,
    event_time,
    events_for,
    items,
    last_applied,
    mapping,
    objects_of,
    owned_field,
    parse_documents,
    pod_spec,
    pull_secret_names,
    statuses,
)
from app.parsers.redact import redact
from app.probes import kube_node
from app.probes.base import KubeGet, Probe, Scene, Want
from app.probes.kube_events import is_try
from app.probes.secret_facts import sa_match
from app.probes.workloads import (
    Workload,
    failed,
    owner_of,
    owner_want,
    unseen,
    workload_documents,
    workloads,
)

__all__ = ["PROBES", "workload_documents"]

_PROXY_NAMES: Final = frozenset({"http_proxy", "https_proxy", "no_proxy", "all_proxy"})
_RETRIEVE: Final = "FailedToRetrieveImagePullSecret"
_RETRIEVE_LOG: Final = re.compile(r'Unable to retrieve pull secret.*?pod="?(?P<pod>[\w.-]+/[\w.-]+)')
_POLICIES: Final = frozenset({"Always", "IfNotPresent", "Never"})


# --- wants --------------------------------------------------------------------------------------------------------


def _pod_wants(material: Material, scene: Scene) -> Iterable[Want]:
    objects = objects_of(material)
    for pod_id in scene.incident.pods:
        namespace, _, name = pod_id.rpartition("/")
        paths = workload_documents(namespace, name)
        if objects.get("Pod", namespace, name) is None and failed(material, ("pods.json", paths["pod"])) is None:
            yield KubeGet(f"/api/v1/namespaces/{namespace}/pods/{name}", paths["pod"])
        if not any(item.kind == "Event" for item in objects.lists) and material.get("events.json") is None:
            yield KubeGet(
                f"/api/v1/namespaces/{namespace}/events",
                paths["events"],
                {"fieldSelector": f"involvedObject.kind=Pod,involvedObject.name={name}"},
            )


def _account_wants(material: Material, scene: Scene) -> Iterable[Want]:
    objects = objects_of(material)
    seen: set[tuple[str, str]] = set()
    for workload in workloads(material, scene):
        place = (workload.namespace, workload.account)
        if place in seen or objects.get("ServiceAccount", *place) is not None:
            continue
        seen.add(place)
        yield KubeGet(
            f"/api/v1/namespaces/{workload.namespace}/serviceaccounts/{workload.account}",
            workload_documents(workload.namespace, workload.name)["serviceaccount"],
        )


def _source_wants(material: Material, scene: Scene) -> Iterable[Want]:
    """Only a pod without a list of its own can have lost one on the way from its manifest."""
    objects = objects_of(material)
    seen: set[str] = set()
    for workload in workloads(material, scene):
        if workload.listed:
            continue
        want = owner_want(objects, workload)
        if want is not None and want.path not in seen and material.get(want.document) is None:
            seen.add(want.path)
            yield want


# --- pod.read -----------------------------------------------------------------------------------------------------


def _pod_read(material: Material, scene: Scene) -> Iterable[Evidence]:
    objects = objects_of(material)
    yield from _broken(objects, "pod.read", ("Pod", "pod"), scene)
    found = [workload for workload in workloads(material, scene) if workload.is_pod]
    logged = set(_retrieve_log(material))
    for workload in found:
        facts = _pod_facts(material, objects, workload)
        if workload.id in logged:
            facts["pod.retrieve_event"] = True
        path = objects.path_of("Pod", workload.namespace, workload.name) or objects.path_of("Pod", "", workload.name)
        document = material.get(path)
        yield Evidence(
            "pod.read",
            workload.placed,
            scene.vantage,
            facts=facts,
            excerpt=_pod_excerpt(workload, facts),
            taken_at=document.taken_at if document else None,
            command=(document.source if document else "")
            or f"kubectl get pod {workload.name} -n {workload.namespace} -o json",
        )
    if found:
        return
    for pod_id in sorted(logged):
        yield Evidence(
            "pod.read",
            Target.of(workload=pod_id),
            scene.vantage,
            facts={"pod.retrieve_event": True},
            excerpt="the kubelet's log: Unable to retrieve pull secret, the image pull may not succeed.",
            command="journalctl -u kubelet",
        )
    if not logged and any(
        _RETRIEVE in document.text for document in material.glob("*.txt") if "/" not in document.path
    ):
        yield Evidence(
            "pod.read",
            INCIDENT,
            scene.vantage,
            facts={"pod.retrieve_event": True},
            excerpt=f"event {_RETRIEVE} in a text",
            command="kubectl describe pod",
        )
    for document in _refused(material, ("pods.json", "pod.json"), "/pod.json"):
        yield unseen(
            "pod.read", INCIDENT, document, scene,
            cost="Without it the pod's pull secrets, its pull policy and the age of the failure are not known.",
            grant="verbs get,list on pods and events in the namespace.",
            by_hand="kubectl get pod <pod> -n <namespace> -o json > pod.json; kubectl get events -n <namespace> -o json > events.json",
        )  # fmt: skip


def _refused(material: Material, plain: Iterable[str], ending: str) -> Iterator[Document]:
    names = set(plain)
    for document in material:
        if document.outcome is not Outcome.OBSERVED and (
            document.path in names or (document.path.startswith("workloads/") and document.path.endswith(ending))
        ):
            yield document


def _broken(objects: Objects, probe: str, stems: tuple[str, ...], scene: Scene) -> Iterator[Evidence]:
    """Documents of this kind that cannot be read."""
    for broken in objects.broken:
        if any(stem.lower() in broken.path.rsplit("/", 1)[-1].lower() for stem in stems):
            yield Evidence(
                probe,
                INCIDENT,
                f"{scene.vantage}",
                Outcome.UNPARSABLE,
                detail=f"{broken.path}: {broken.where}",
            )


def _pod_facts(material: Material, objects: Objects, workload: Workload) -> dict[str, Value]:
    facts: dict[str, Value] = {}
    pod, spec = workload.item, workload.spec
    shown = statuses(pod)
    if workload.waiting or shown:
        facts["pod.reason"] = redact(str(workload.waiting.get("reason") or ""))
    policy = workload.container.get("imagePullPolicy")
    if policy in _POLICIES:
        facts["pod.pull_policy"] = str(policy)
    if spec:
        facts["pod.secret_names"] = workload.listed or ()
    if workload.created is not None:
        facts["pod.created"] = workload.created
    proxy = _proxy_env(spec)
    if proxy is not None:
        facts["pod.proxy_env"] = proxy
    events = events_for(objects, workload.namespace, workload.name, workload.uid)
    tries = [event for event in events if is_try(event)]
    times = [time for time in map(event_time, tries) if time is not None]
    if times:
        facts["pod.last_attempt"] = max(times)
    if any(event.get("reason") == _RETRIEVE for event in events):
        facts["pod.retrieve_event"] = True
    elif tries:
        # The warning comes with each sync of the pod; while its tries are still listed, its absence counts.
        facts["pod.retrieve_event"] = False
    sandbox = _sandbox(pod, workload, events)
    if sandbox is not None:
        facts["pod.has_sandbox"] = sandbox
    if str(workload.waiting.get("reason") or "") in ("ImagePullBackOff", "ErrImagePull") and _events_whole(objects):
        facts["pod.events_expired"] = not tries
    on_node = kube_node.image_on_node(material, objects, workload.node, workload.image)
    if on_node is not None:
        facts["pod.image_on_node"] = on_node
    return facts


def _events_whole(objects: Objects) -> bool:
    lists = [
        item for item in objects.lists if item.kind == "Event" or item.path.rsplit("/", 1)[-1].startswith("events.")
    ]
    return bool(lists) and all(item.complete for item in lists)


def _sandbox(pod: Object, workload: Workload, events: list[Object]) -> bool | None:
    """The kubelet pulls only after the sandbox stands; its condition says so directly from 1.28 on."""
    if workload.waiting.get("reason") in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"):
        return True
    for condition in items(mapping(pod.get("status")).get("conditions")):
        if condition.get("type") in ("PodReadyToStartContainers", "PodHasNetwork"):
            return condition.get("status") == "True"
    if any(event.get("reason") in ("Pulling", "Pulled", "Created", "Started") for event in events):
        return True
    if any(event.get("reason") == "FailedCreatePodSandBox" for event in events):
        return False
    return None


def _proxy_env(spec: Object) -> bool | None:
    """Proxy variables set for the container; None where they may come from a ConfigMap that is not at hand."""
    found = containers(spec)
    if not found:
        return None
    for container in found:
        for variable in items(container.get("env")):
            if str(variable.get("name") or "").lower() in _PROXY_NAMES:
                return True
    return None if any(container.get("envFrom") for container in found) else False


def _pod_excerpt(workload: Workload, facts: dict[str, Value]) -> str:
    lines = [f"image: {workload.image}", f"imagePullSecrets: {', '.join(workload.listed or ()) or '(none)'}"]
    if workload.waiting:
        reason, message = workload.waiting.get("reason", ""), str(workload.waiting.get("message") or "")
        lines.append(f"waiting: {reason}: {message[:600]}")
    if facts.get("pod.retrieve_event"):
        lines.append(f"event: {_RETRIEVE}")
    return redact("\n".join(lines))


def _retrieve_log(material: Material) -> Iterator[str]:
    for document in material.glob("nodes/*/kubelet.log"):
        for line in document.text.splitlines():
            match = _RETRIEVE_LOG.search(line)
            if match:
                yield match["pod"]


# --- sa.read ------------------------------------------------------------------------------------------------------


def _account_read(material: Material, scene: Scene) -> Iterable[Evidence]:
    objects = objects_of(material)
    yield from _broken(objects, "sa.read", ("serviceaccount",), scene)
    found = workloads(material, scene)
    for workload in found:
        account = objects.get("ServiceAccount", workload.namespace, workload.account) or objects.get(
            "ServiceAccount", "", workload.account
        )
        document = material.get(workload_documents(workload.namespace, workload.name)["serviceaccount"])
        if account is None:
            if document is not None and document.outcome is not Outcome.OBSERVED:
                yield unseen(
                    "sa.read", workload.target, document, scene,
                    cost="Without it a secret that the service account lists, and the pod lacks, is not seen.",
                    grant=f"verb get on serviceaccounts/{workload.account} in namespace {workload.namespace}.",
                    by_hand=f"kubectl get serviceaccount {workload.account} -n {workload.namespace} -o json > serviceaccount.json",
                )  # fmt: skip
            continue
        yield _account(material, objects, workload, account, scene)
    if not found:
        for namespace, name, account in objects.all("ServiceAccount"):
            names = pull_secret_names(account.get("imagePullSecrets"))
            yield Evidence(
                "sa.read",
                INCIDENT,
                scene.vantage,
                facts={"sa.secret_names": names},
                excerpt=f"serviceaccount {namespace}/{name}: imagePullSecrets {', '.join(names) or '(none)'}",
                command=f"kubectl get serviceaccount {name} -o json",
            )


def _account(material: Material, objects: Objects, workload: Workload, account: Object, scene: Scene) -> Evidence:
    names = pull_secret_names(account.get("imagePullSecrets"))
    facts: dict[str, Value] = {"sa.secret_names": names}
    match = sa_match(material, objects, workload, names)
    if match is not None:
        facts["sa.match"] = match
    changed = owned_field(account, "imagePullSecrets")
    if changed is not None:
        facts["sa.changed"] = changed
    applied = last_applied(account)
    if applied is not None:
        facts["sa.list_shrank"] = bool(set(pull_secret_names(applied.get("imagePullSecrets"))) - set(names))
    document = material.get(objects.path_of("ServiceAccount", workload.namespace, workload.account))
    return Evidence(
        "sa.read",
        workload.target,
        scene.vantage,
        facts=facts,
        excerpt=f"serviceaccount {workload.account}: imagePullSecrets {', '.join(names) or '(none)'}",
        taken_at=document.taken_at if document else None,
        command=(document.source if document else "")
        or f"kubectl get serviceaccount {workload.account} -n {workload.namespace} -o json",
    )


# --- source.read --------------------------------------------------------------------------------------------------


def _source_read(material: Material, scene: Scene) -> Iterable[Evidence]:
    objects = objects_of(material)
    loose = list(_manifests(material))
    for workload in workloads(material, scene):
        seen: list[tuple[str, bool]] = []
        for item in (workload.item, *owner_of(objects, workload.item), *_same_image(objects, workload)):
            applied = last_applied(item)
            for source, place in (
                (applied, "last-applied of "),
                (None if workload.is_pod and item is workload.item else item, ""),
            ):
                spec = pod_spec(source) if source is not None else None
                if spec is not None:
                    name = mapping(item.get("metadata")).get("name")
                    misplaced = any("imagePullSecrets" in container for container in containers(spec))
                    # The live object can never show the field: only a manifest without it says that it is not there.
                    if place or misplaced:
                        seen.append((f"{place}{item.get('kind')} {name}", misplaced))
        for path, spec in loose:
            if any(container.get("image") == workload.image for container in containers(spec)):
                seen.append((path, any("imagePullSecrets" in container for container in containers(spec))))
        if seen:
            wrong = [name for name, misplaced in seen if misplaced]
            yield Evidence(
                "source.read",
                workload.target,
                scene.vantage,
                facts={"source.secrets_under_container": bool(wrong)},
                excerpt=f"imagePullSecrets below a container in: {', '.join(wrong)}"
                if wrong
                else f"read: {', '.join(name for name, _ in seen)}",
                command=f"kubectl get {_kind(workload)} -n {workload.namespace} -o json",
            )


def _same_image(objects: Objects, workload: Workload) -> Iterator[Object]:
    """A Deployment copied by hand carries no owner link in the pod; the image ties them."""
    for kind in ("Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job"):
        for namespace, _, item in objects.all(kind):
            spec = pod_spec(item) or {}
            if namespace in ("", workload.namespace) and any(
                container.get("image") == workload.image for container in containers(spec)
            ):
                yield item


def _kind(workload: Workload) -> str:
    return (
        "pod " + workload.name if workload.is_pod else str(workload.item.get("kind", "")).lower() + " " + workload.name
    )


def _manifests(material: Material) -> Iterator[tuple[str, Object]]:
    """Manifests that somebody put into the bundle: the text before the API dropped what it does not know."""
    for document in (*material.glob("*.y*ml"), *material.glob("env/*.y*ml")):
        if document.path.startswith(("nodes/", "harbor/", "registry/", "workloads/")):
            continue
        for value in parse_documents(document, []):
            for item in _flat(value):
                spec = pod_spec(item)
                if spec is not None and "status" not in item:
                    yield document.path, spec


def _flat(value: Any) -> Iterator[Object]:
    if isinstance(value, dict):
        if isinstance(value.get("items"), list):
            yield from items(value["items"])
        else:
            yield value


PROBES: tuple[Probe, ...] = (
    kube_node.PROBE,
    Probe(
        "pod.read",
        (
            "pod.reason", "pod.pull_policy", "pod.secret_names", "pod.created", "pod.last_attempt", "pod.has_sandbox",
            "pod.proxy_env", "pod.retrieve_event", "pod.events_expired", "pod.image_on_node",
        ),
        _pod_read,
        _pod_wants,
    ),
    Probe("sa.read", ("sa.secret_names", "sa.match", "sa.changed", "sa.list_shrank"), _account_read, _account_wants),
    Probe("source.read", ("source.secrets_under_container",), _source_read, _source_wants),
)  # fmt: skip

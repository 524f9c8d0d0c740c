"""Kubernetes objects by kind, namespace and name, out of every document of the material that holds some.

Native API answers, `kubectl get -o json|yaml` output, single objects and lists are taken alike. A broken document is
listed in `broken`, never raised. Field meanings: harbor-and-kubernetes.md F.1, F.2 and G.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

import yaml

from app.model.evidence import Outcome
from app.model.material import Document, Material
from app.parsers.clock import parse_time

Object = dict[str, Any]

_TOP: Final = re.compile(r"^(?:cluster/)?[\w.-]+\.(?:json|ya?ml)$")
_OTHERS: Final = re.compile(r"^(?:workloads/.+|nodes/[^/]+/node)\.(?:json|ya?ml)$")
_NOT_OBJECTS: Final = frozenset({"bundle.json", "incident.json"})
_YAML_LIMIT: Final = 2_000_000
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Broken:
    """A document that could not be read, and where it breaks."""

    path: str
    where: str


@dataclass(frozen=True, slots=True)
class KubeList:
    """A list as it came: which kind, from where, and whether it is whole."""

    path: str
    kind: str
    """Kind of its items (`Secret`), empty for an empty `List`."""
    namespaces: frozenset[str]
    complete: bool
    taken_at: float | None = None


@dataclass(slots=True)
class Objects:
    """All objects of a material. The first document that shows an object wins within a kind; single files come first."""

    by_kind: dict[str, dict[tuple[str, str], Object]] = field(default_factory=dict)
    paths: dict[tuple[str, str, str], str] = field(default_factory=dict)
    lists: list[KubeList] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """One object; cluster-wide ones have the namespace ``."""
        return self.by_kind.get(kind, {}).get((namespace, name))

    def all(self, kind: str) -> Iterator[tuple[str, str, Object]]:
        """(namespace, name, object), in the order read."""
        for (namespace, name), item in self.by_kind.get(kind, {}).items():
            yield namespace, name, item

    def path_of(self, kind: str, namespace: str, name: str) -> str:
        return self.paths.get((kind, namespace, name), "")


_CACHE: WeakKeyDictionary[Material, Objects] = WeakKeyDictionary()


def objects_of(material: Material) -> Objects:
    """The index of a material; made once for each."""
    known = _CACHE.get(material)
    if known is None:
        known = _read(material)
        _CACHE[material] = known
    return known


def holds_objects(path: str) -> bool:
    """Whether a path of the layout is read for objects of the workload cluster (Harbor's own lie under `harbor/`)."""
    return path not in _NOT_OBJECTS and bool(_TOP.match(path) or _OTHERS.match(path))


def _read(material: Material) -> Objects:
    found = Objects()
    documents = [document for document in material if holds_objects(document.path) and _there(document)]
    # A single object that was asked for by name is newer and more exact than the list that shows it too.
    documents.sort(key=lambda document: (_is_list_name(document.path), document.path))
    for document in documents:
        for value in parse_documents(document, found.broken):
            _take(found, document, value)
    return found


def _there(document: Document) -> bool:
    return document.outcome is Outcome.OBSERVED and not document.absent


def _is_list_name(path: str) -> bool:
    if "/secret/" in path:
        return False
    stem = path.rsplit("/", 1)[-1].partition(".")[0]
    return stem.endswith("s") or stem.startswith("secrets-")


def parse_documents(document: Document, broken: list[Broken]) -> list[Any]:
    """JSON, JSON one after the other, or YAML documents."""
    text = document.text.lstrip("\ufeff")
    if not text.strip():
        return []
    if document.path.endswith(".json") or text.lstrip().startswith(("{", "[")):
        try:
            return [json.loads(text)]
        except (ValueError, RecursionError) as error:
            rest = _stream(text)
            if rest:
                return rest
            if text.lstrip().startswith(("{", "[")):
                broken.append(Broken(document.path, _json_where(error)))
                return []
    if len(text) > _YAML_LIMIT:
        broken.append(Broken(document.path, f"YAML of more than {_YAML_LIMIT} characters is not read"))
        return []
    try:
        return [value for value in yaml.safe_load_all(text) if value is not None]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        broken.append(Broken(document.path, f"not YAML, line {mark.line + 1}" if mark else "neither JSON nor YAML"))
        return []


def _stream(text: str) -> list[Any]:
    """Several JSON values, one after the other (`kubectl get -o json` appended to a file)."""
    decoder = json.JSONDecoder()
    values: list[Any] = []
    position = 0
    while position < len(text):
        blank = re.compile(r"\s*").match(text, position)
        position = blank.end() if blank else position
        if position >= len(text):
            break
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            return []
        values.append(value)
    return values


def _json_where(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    return "not JSON"


def _take(found: Objects, document: Document, value: Any) -> None:
    if isinstance(value, list):
        value = {"kind": "List", "items": value}
    if not isinstance(value, dict):
        return
    kind = str(value.get("kind") or "")
    items = value.get("items")
    if isinstance(items, list) and (kind.endswith("List") or not kind):
        item_kind = kind.removesuffix("List") or _kind_of_path(document.path)
        namespaces = set()
        for item in items:
            if isinstance(item, dict):
                if not item.get("kind") and item_kind:
                    item = {**item, "kind": item_kind}  # noqa: PLW2901 - items of a typed list carry no kind
                _add(found, document, item)
                item_kind = item_kind or str(item.get("kind") or "")
                namespaces.add(namespace_of(item))
        meta = mapping(value.get("metadata"))
        complete = not meta.get("continue") and not meta.get("remainingItemCount")
        found.lists.append(KubeList(document.path, item_kind, frozenset(namespaces), complete, document.taken_at))
        return
    if not kind:
        kind = _kind_of_path(document.path)
        if not kind or "metadata" not in value:
            return
        value = {**value, "kind": kind}
    _add(found, document, value)


def _add(found: Objects, document: Document, item: Object) -> None:
    kind = str(item.get("kind") or "")
    meta = mapping(item.get("metadata"))
    name = str(meta.get("name") or "")
    if not kind or not name:
        return
    place = (str(meta.get("namespace") or ""), name)
    known = found.by_kind.setdefault(kind, {})
    if place not in known:
        known[place] = item
        found.paths[kind, *place] = document.path


_KINDS: Final = {
    "pod": "Pod", "event": "Event", "serviceaccount": "ServiceAccount", "secret": "Secret", "deployment": "Deployment",
    "node": "Node", "replicaset": "ReplicaSet", "statefulset": "StatefulSet", "daemonset": "DaemonSet", "job": "Job",
    "cronjob": "CronJob", "namespace": "Namespace",
}  # fmt: skip


def _kind_of_path(path: str) -> str:
    stem = path.rsplit("/", 1)[-1].partition(".")[0].partition("-")[0]
    parent = path.rsplit("/", 2)[-2] if path.count("/") else ""
    return _KINDS.get(stem) or _KINDS.get(stem.removesuffix("s")) or _KINDS.get(parent, "")


# --- small readings of one object ---------------------------------------------------------------------------------


def mapping(value: Any) -> Object:
    """The value when it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Object]:
    """The mappings of a list, nothing for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def namespace_of(item: Mapping[str, Any]) -> str:
    return str(mapping(item.get("metadata")).get("namespace") or "")


def name_of(item: Mapping[str, Any]) -> str:
    return str(mapping(item.get("metadata")).get("name") or "")


def created(item: Mapping[str, Any]) -> float | None:
    return parse_time(mapping(item.get("metadata")).get("creationTimestamp"))


def pull_secret_names(value: Any) -> tuple[str, ...]:
    """Names of an `imagePullSecrets` list, empty names left out as the kubelet does."""
    return tuple(str(item["name"]) for item in items(value) if item.get("name"))


def owned_field(item: Mapping[str, Any], field_name: str) -> float | None:
    """When somebody last wrote a top-level field, by managedFields; None where they are not shown."""
    times = [
        parse_time(entry.get("time"))
        for entry in items(mapping(item.get("metadata")).get("managedFields"))
        if f"f:{field_name}" in mapping(entry.get("fieldsV1"))
    ]
    known = [time for time in times if time is not None]
    return max(known) if known else None


def last_applied(item: Mapping[str, Any]) -> Object | None:
    """The manifest as `kubectl apply` last saw it; None without the annotation, or where it is masked."""
    text = mapping(mapping(item.get("metadata")).get("annotations")).get(LAST_APPLIED)
    if not isinstance(text, str):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def pod_spec(item: Mapping[str, Any]) -> Object | None:
    """The pod's own spec, or the template of whatever makes pods; None where it has neither."""
    spec = mapping(item.get("spec"))
    if "jobTemplate" in spec:
        spec = mapping(mapping(spec["jobTemplate"]).get("spec"))
    if "template" in spec:
        return mapping(mapping(spec["template"]).get("spec")) or None
    return spec if "containers" in spec else None


def containers(spec: Mapping[str, Any]) -> list[Object]:
    """Init, plain and ephemeral containers of a pod's spec."""
    return [item for key in ("initContainers", "containers", "ephemeralContainers") for item in items(spec.get(key))]


def statuses(pod: Mapping[str, Any]) -> list[Object]:
    """Their statuses, in the same order of kinds."""
    status = mapping(pod.get("status"))
    return [
        item
        for key in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for item in items(status.get(key))
    ]


def event_time(event: Mapping[str, Any]) -> float | None:
    """The newest time of an event: series, last, event, first, creation."""
    series = mapping(event.get("series"))
    for value in (
        series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"), event.get("firstTimestamp"),
        mapping(event.get("metadata")).get("creationTimestamp"),
    ):  # fmt: skip
        found = parse_time(value)
        if found is not None:
            return found
    return None


def events_for(objects: Objects, namespace: str, name: str, uid: str = "") -> list[Object]:
    """Events about one pod, oldest first. Another pod of the same name (other uid) is left out."""
    found = []
    for _, _, event in objects.all("Event"):
        about = mapping(event.get("involvedObject") or event.get("regarding"))
        if about.get("name") != name or about.get("kind", "Pod") != "Pod":
            continue
        if about.get("namespace", namespace) != namespace:
            continue
        if uid and about.get("uid") and about["uid"] != uid:
            continue
        found.append(event)
    return sorted(found, key=lambda event: event_time(event) or 0.0)


def event_text(event: Mapping[str, Any]) -> str:
    return str(event.get("message") or event.get("note") or "")


def documents_like(material: Material, names: Iterable[str]) -> list[Document]:
    """Documents of which one of the names is the file name, whatever came of them."""
    wanted = set(names)
    return [document for document in material if document.path.rsplit("/", 1)[-1] in wanted]

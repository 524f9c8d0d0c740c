"""The cluster's objects and what the API server does with them: versions, selectors, conflicts, immutable fields."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from app.training.world.clock import iso
from app.training.world.patches import PatchError, json_patch, merge_patch, strategic_patch

KINDS: Final = {
    "pods": ("v1", "Pod"), "secrets": ("v1", "Secret"), "serviceaccounts": ("v1", "ServiceAccount"), "events": ("v1", "Event"),
    "services": ("v1", "Service"), "configmaps": ("v1", "ConfigMap"), "nodes": ("v1", "Node"), "namespaces": ("v1", "Namespace"),
    "deployments": ("apps/v1", "Deployment"), "replicasets": ("apps/v1", "ReplicaSet"), "statefulsets": ("apps/v1", "StatefulSet"),
    "daemonsets": ("apps/v1", "DaemonSet"), "jobs": ("batch/v1", "Job"), "cronjobs": ("batch/v1", "CronJob"),
    "ingresses": ("networking.k8s.io/v1", "Ingress"),
}  # fmt: skip
"""Plural to (apiVersion, kind)."""
GLOBAL: Final = frozenset({"nodes", "namespaces"})
Key = tuple[str, str, str]
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """An API path taken apart."""

    plural: str
    namespace: str = ""
    name: str = ""
    sub: tuple[str, ...] = ()


def place_of(path: str) -> Place | None:
    """`/apis/apps/v1/namespaces/shop/deployments/web` taken apart; None for a path that is no resource of the world."""
    parts = [part for part in path.split("?", maxsplit=1)[0].split("/") if part]
    if parts[:2] == ["api", "v1"]:
        rest, version = parts[2:], "v1"
    elif parts[:1] == ["apis"] and len(parts) > 3:
        rest, version = parts[3:], "/".join(parts[1:3])
    else:
        return None
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    if not rest or KINDS.get(rest[0], ("", ""))[0] != version:
        return None
    return Place(rest[0], namespace, rest[1] if len(rest) > 1 else "", tuple(rest[2:]))


def failure(status: int, reason: str, message: str) -> Object:
    """The Status object of a refusal."""
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": status,
    }  # fmt: skip


@dataclass(slots=True)
class Cluster:
    """A store by (plural, namespace, name). Every change makes a new version; what is handed out is a copy."""

    now: Callable[[], float]
    objects: dict[Key, Object] = field(default_factory=dict)
    version: int = 1000

    # --- reading ---

    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        """The stored object itself; controllers change it in place and call `touch`."""
        return self.objects.get((plural, namespace, name))

    def all(self, plural: str, namespace: str | None = None) -> list[Object]:
        """Stored objects of a kind by namespace and name."""
        keys = [key for key in self.objects if key[0] == plural and namespace in (None, key[1])]
        return [self.objects[key] for key in sorted(keys)]

    def listed(self, place: Place, query: Mapping[str, str]) -> Object:
        """A List, with field and label selectors."""
        version, kind = KINDS[place.plural]
        items = [
            deepcopy(item)
            for item in self.all(place.plural, place.namespace or None)
            if _labels_fit(item, query.get("labelSelector", "")) and _fields_fit(item, query.get("fieldSelector", ""))
        ]
        for item in items:
            item.pop("apiVersion", None)
            item.pop("kind", None)
        return {
            "kind": f"{kind}List",
            "apiVersion": version,
            "metadata": {"resourceVersion": str(self.version)},
            "items": items,
        }

    # --- writing ---

    def touch(self, item: Object) -> None:
        """Give an object a new version."""
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)

    def put(self, plural: str, body: Mapping[str, Any]) -> Object:
        """Store a new object as the server would; its namespace and name have to be free."""
        version, kind = KINDS[plural]
        item: Object = {"apiVersion": version, "kind": kind, **deepcopy(dict(body))}
        metadata = item["metadata"]
        namespace = "" if plural in GLOBAL else metadata.setdefault("namespace", "default")
        if plural == "secrets":
            for key, value in (item.pop("stringData", None) or {}).items():
                item.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()
            item.setdefault("type", "Opaque")
        self.version += 1
        digest = hashlib.sha256(f"{kind}/{namespace}/{metadata['name']}/{self.version}".encode()).hexdigest()
        metadata.setdefault("uid", f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-9{digest[17:20]}-{digest[20:32]}")
        metadata.setdefault("creationTimestamp", iso(self.now()))
        metadata["resourceVersion"] = str(self.version)
        if plural in ("deployments", "pods"):
            metadata.setdefault("generation", 1)
        self.objects[(plural, namespace, metadata["name"])] = item
        return item

    def create(self, place: Place, body: Any) -> tuple[int, Object]:
        """POST to a collection."""
        if not isinstance(body, Mapping) or not isinstance(body.get("metadata"), Mapping):
            return 400, failure(400, "BadRequest", "the body is not an object")
        name = str(body["metadata"].get("name") or "")
        key = (place.plural, place.namespace, name)
        if key in self.objects:
            return 409, failure(409, "AlreadyExists", f'{place.plural} "{name}" already exists')
        fresh = deepcopy(dict(body))
        if place.namespace:
            fresh["metadata"]["namespace"] = place.namespace
        for given in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
            fresh["metadata"].pop(given, None)
        return 201, deepcopy(self.put(place.plural, fresh))

    def change(self, place: Place, made: Callable[[Object], Object]) -> tuple[int, Object]:
        """Replace an object by what `made` gives; checks what the server checks. Raises nothing."""
        item = self.find(place.plural, place.namespace, place.name)
        if item is None:
            return self.missing(place)
        try:
            new = made(item)
        except PatchError as error:
            return error.status, failure(error.status, "Invalid", str(error))
        asked = new.get("metadata", {}).get("resourceVersion")
        if asked not in (None, item["metadata"]["resourceVersion"]):
            text = f'Operation cannot be fulfilled on {place.plural} "{place.name}": the object has been modified; please apply your changes to the latest version and try again'
            return 409, failure(409, "Conflict", text)
        problem = _immutable(place.plural, item, new)
        if problem:
            return 422, failure(422, "Invalid", f'{KINDS[place.plural][1]} "{place.name}" is invalid: {problem}')
        for kept in ("uid", "creationTimestamp", "name", "namespace"):
            if kept in item["metadata"]:
                new.setdefault("metadata", {})[kept] = item["metadata"][kept]
        if new == item:
            return 200, deepcopy(item)
        if new.get("spec") != item.get("spec") and "generation" in item["metadata"]:
            new["metadata"]["generation"] = int(item["metadata"]["generation"]) + 1
        self.touch(new)
        self.objects[(place.plural, place.namespace, place.name)] = new
        return 200, deepcopy(new)

    def patch(self, place: Place, body: Any, content_type: str) -> tuple[int, Object]:
        """PATCH by its content type."""
        apply = {
            "application/json-patch+json": json_patch,
            "application/merge-patch+json": merge_patch,
            "application/strategic-merge-patch+json": strategic_patch,
        }.get(content_type.partition(";")[0].strip())
        if apply is None:
            return 415, failure(415, "UnsupportedMediaType", f"{content_type} is not a patch")
        return self.change(place, lambda item: apply(item, body))

    def delete(self, place: Place) -> tuple[int, Object]:
        """DELETE one object."""
        item = self.objects.pop((place.plural, place.namespace, place.name), None)
        if item is None:
            return self.missing(place)
        self.version += 1
        return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    def missing(self, place: Place) -> tuple[int, Object]:
        """404."""
        group = KINDS[place.plural][0].rpartition("/")[0]
        name = f"{place.plural}.{group}" if group else place.plural
        return 404, failure(404, "NotFound", f'{name} "{place.name}" not found')


def _immutable(plural: str, old: Object, new: Object) -> str:
    if plural == "secrets" and old.get("type") != new.get("type"):
        return f'type: Invalid value: "{new.get("type")}": field is immutable'
    if plural == "pods":
        one, other = deepcopy(old.get("spec") or {}), deepcopy(new.get("spec") or {})
        for spec in (one, other):
            for container in spec.get("containers") or ():
                container.pop("image", None)
        if one != other:
            return "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    return ""


def _labels_fit(item: Object, selector: str) -> bool:
    labels = item["metadata"].get("labels") or {}
    return all(_pair_fits(str(labels.get(term.partition("=")[0].rstrip("!"), "")), term) for term in _terms(selector))


def _fields_fit(item: Object, selector: str) -> bool:
    for term in _terms(selector):
        value: Any = item
        for part in term.partition("=")[0].rstrip("!").split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not _pair_fits("" if value is None else str(value), term):
            return False
    return True


def _pair_fits(value: str, term: str) -> bool:
    wanted = term.rpartition("=")[2]
    return value != wanted if "!=" in term else value == wanted


def _terms(selector: str) -> Iterable[str]:
    return (term.strip() for term in selector.split(",") if term.strip())

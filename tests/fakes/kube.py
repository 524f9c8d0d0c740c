"""An API server in memory: what the gateway and the planners need of one, with versions, preconditions and its refusals."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from app.model.evidence import Outcome
from app.ports import KubeReply

_OBJECT = re.compile(r"(/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?")
_KINDS = {
    "secrets": "Secret", "pods": "Pod", "serviceaccounts": "ServiceAccount", "deployments": "Deployment", "replicasets": "ReplicaSet",
    "statefulsets": "StatefulSet", "daemonsets": "DaemonSet", "nodes": "Node", "cronjobs": "CronJob", "jobs": "Job",
    "poddisruptionbudgets": "PodDisruptionBudget", "horizontalpodautoscalers": "HorizontalPodAutoscaler", "events": "Event",
}  # fmt: skip


class KilledError(BaseException):
    """The process ends here, as by `kill -9`: nothing after it runs, no `except Exception` sees it."""


@dataclass
class FakeKube:
    """Reader and writer in one; `objects` by (plural, namespace, name)."""

    context: str = "test"
    server: str = "https://api.example.com"
    objects: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    """(verb, resource) that an access review refuses."""
    denied: set[str] = field(default_factory=set)
    """Paths (without query) that answer 403."""
    writes: list[tuple[str, str, Any]] = field(default_factory=list)
    before_write: Callable[[FakeKube, str, str], None] | None = None
    version: int = 100

    def add(self, item: dict[str, Any]) -> dict[str, Any]:
        """Put an object in as if somebody had made it."""
        plural = next(key for key, kind in _KINDS.items() if kind == item["kind"])
        metadata = item.setdefault("metadata", {})
        self.version += 1
        metadata.setdefault("uid", f"uid-{self.version}")
        metadata["resourceVersion"] = str(self.version)
        self.objects[plural, metadata.get("namespace", ""), metadata["name"]] = item
        return item

    def item(self, plural: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self.objects.get((plural, namespace, name))

    def state(self) -> dict[tuple[str, str, str], Any]:
        """Spec, data, type, labels and annotations of everything: what an undo has to bring back."""
        return {
            key: copy.deepcopy(
                {
                    **{name: value for name, value in item.items() if name not in ("metadata", "status")},
                    "labels": item["metadata"].get("labels"),
                    "annotations": item["metadata"].get("annotations"),
                }
            )
            for key, item in self.objects.items()
        }

    # --- reading ---

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> KubeReply:
        if path in self.denied:
            return KubeReply(Outcome.DENIED, 403, detail=f"{path} is forbidden", source=f"GET {path}")
        match = _OBJECT.fullmatch(path)
        assert match, path
        _, namespace, plural, name = match.groups()
        if name:
            found = self.objects.get((plural, namespace or "", name))
            if found is None:
                return KubeReply(Outcome.OBSERVED, 404, '{"kind":"Status","code":404}', source=f"GET {path}")
            return KubeReply(Outcome.OBSERVED, 200, json.dumps(found), source=f"GET {path}")
        items = [
            item
            for (kind, space, _), item in sorted(self.objects.items())
            if kind == plural and (not namespace or space == namespace) and _chosen(item, query or {})
        ]
        body = {"kind": f"{_KINDS[plural]}List", "apiVersion": "v1", "metadata": {}, "items": items}
        return KubeReply(Outcome.OBSERVED, 200, json.dumps(body), source=f"GET {path}")

    async def exec(self, namespace: str, pod: str, container: str, command: str, *arguments: str) -> KubeReply:
        return KubeReply(Outcome.UNSUPPORTED)

    async def allowed(
        self, verb: str, resource: str, namespace: str = "", name: str = "", subresource: str = "", group: str = ""
    ) -> bool | None:
        return (verb, resource) not in self.forbidden

    # --- writing ---

    async def write(
        self, method: Literal["POST", "PUT", "PATCH", "DELETE"], path: str, body: Any = None,
        *, content_type: str = "application/json", dry_run: bool = False,
    ) -> KubeReply:  # fmt: skip
        if self.before_write is not None:
            self.before_write(self, method, path)
        body = json.loads(json.dumps(body))  # as over the wire: whatever is no JSON fails here
        self.writes.append((method, path, body))
        match = _OBJECT.fullmatch(path)
        assert match, path
        _, namespace, plural, name = match.groups()
        key = (plural, namespace or "", name or ((body or {}).get("metadata") or {}).get("name", ""))
        there = self.objects.get(key)
        if method == "POST":
            if there is not None:
                return KubeReply(Outcome.OBSERVED, 409, detail="AlreadyExists")
            return self._stored(key, body)
        if there is None:
            return KubeReply(Outcome.OBSERVED, 404, detail="NotFound")
        if method == "DELETE":
            wanted = (body or {}).get("preconditions") or {}
            if any(there["metadata"].get(field_name) != value for field_name, value in wanted.items()):
                return KubeReply(Outcome.OBSERVED, 409, detail="Conflict")
            del self.objects[key]
            return KubeReply(Outcome.OBSERVED, 200, "{}")
        changed = copy.deepcopy(there)
        if content_type == "application/json-patch+json":
            try:
                for operation in body:
                    apply_operation(changed, operation)
            except (KeyError, IndexError, AssertionError) as error:
                return KubeReply(Outcome.OBSERVED, 422, detail=f"the server rejected our request: {error!r}")
        else:
            merge(changed, body)
        if plural == "secrets" and changed.get("type") != there.get("type"):
            return KubeReply(Outcome.OBSERVED, 422, detail="type: field is immutable")
        if plural == "secrets" and there.get("immutable") and changed.get("data") != there.get("data"):
            return KubeReply(Outcome.OBSERVED, 422, detail="data: field is immutable when `immutable` is set")
        return self._stored(key, changed, generation=changed.get("spec") != there.get("spec"))

    def _stored(self, key: tuple[str, str, str], item: dict[str, Any], *, generation: bool = False) -> KubeReply:
        for value in (item.get("data") or {}).values():
            base64.b64decode(value, validate=True)
        item["kind"] = _KINDS[key[0]]
        item.setdefault("metadata", {}).setdefault("namespace", key[1])
        if key not in self.objects:
            self.version += 1
            item["metadata"]["uid"] = f"uid-{self.version}"
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        if generation and item.get("status"):
            item["metadata"]["generation"] = int(item["metadata"].get("generation", 0)) + 1
            replicas = int((item.get("spec") or {}).get("replicas", 1))
            item["status"] = {"observedGeneration": item["metadata"]["generation"], "updatedReplicas": replicas,
                              "readyReplicas": replicas, "replicas": replicas}  # fmt: skip
        self.objects[key] = item
        return KubeReply(Outcome.OBSERVED, 200, json.dumps(item))


def _chosen(item: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    metadata = item["metadata"]
    field_selector = query.get("fieldSelector", "")
    if field_selector.startswith("metadata.name=") and metadata["name"] != field_selector.partition("=")[2]:
        return False
    if field_selector.startswith("status.phase="):
        return bool((item.get("status") or {}).get("phase") == field_selector.partition("=")[2])
    wanted = [word.partition("=")[::2] for word in query.get("labelSelector", "").split(",") if word]
    return all((metadata.get("labels") or {}).get(key) == value for key, value in wanted)


def apply_operation(document: Any, operation: Mapping[str, Any]) -> None:
    """One operation of JSON Patch (RFC 6902): test, add, replace, remove."""
    words = [word.replace("~1", "/").replace("~0", "~") for word in operation["path"].strip("/").split("/")]
    holder = document
    for word in words[:-1]:
        holder = holder[int(word)] if isinstance(holder, list) else holder[word]
    last: Any = words[-1]
    kind = operation["op"]
    if isinstance(holder, list):
        if kind == "add":
            holder.insert(len(holder) if last == "-" else int(last), operation["value"])
            return
        last = int(last)
    if kind == "test":
        assert holder[last] == operation["value"], f"test of {operation['path']}"
    elif kind == "add":
        holder[last] = operation["value"]
    elif kind == "replace":
        holder[last]
        holder[last] = operation["value"]
    elif kind == "remove":
        del holder[last]
    else:
        raise KeyError(kind)


def merge(document: dict[str, Any], patch: Mapping[str, Any]) -> None:
    """JSON merge patch (RFC 7386)."""
    for key, value in patch.items():
        if value is None:
            document.pop(key, None)
        elif isinstance(value, Mapping):
            inner = document.setdefault(key, {})
            merge(inner, value)
        else:
            document[key] = value


class FakeHarbor:
    """Harbor's API in memory: reads by path, writes recorded and carried out for the objects it knows."""

    def __init__(self, **tables: Any) -> None:
        self.tables: dict[str, Any] = tables
        self.writes: list[tuple[str, str, Any]] = []
        self.made_secret = "Made-By-Harbor-42"

    async def get(self, path: str) -> tuple[int, str]:
        plain, _, query = path.partition("?")
        value = self._find(plain, query)
        return (404, '{"errors":[{"code":"NOT_FOUND"}]}') if value is None else (200, json.dumps(value))

    def _find(self, path: str, query: str) -> Any:
        parts = path.strip("/").split("/")
        table = self.tables.get(parts[0])
        if parts[0] == "projects" and len(parts) > 2:
            members = self.tables.setdefault("members", [])
            return members if len(parts) == 3 else _by_id(members, parts[3])
        if isinstance(table, list):
            if len(parts) == 2:
                return _by_id(table, parts[1])
            wanted = re.search(r"ProjectID%3D(\d+)", query)
            if parts[0] == "robots":
                return [row for row in table if row.get("_project") == (int(wanted[1]) if wanted else None)]
            return table
        return table

    async def write(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        body = json.loads(json.dumps(body))
        self.writes.append((method, path, body))
        parts = path.strip("/").split("/")
        if parts[0] == "configurations":
            for key, value in body.items():
                self.tables["configurations"][key]["value"] = value
            return 200, ""
        if parts[0] == "projects" and parts[2] == "members":
            members = self.tables.setdefault("members", [])
            if method == "POST":
                members.append(
                    {
                        "id": 70 + len(members),
                        "entity_name": body["member_user"]["username"],
                        "role_id": body["role_id"],
                    }
                )
                return 201, ""
            found = _by_id(members, parts[3])
            if found is None:
                return 404, ""
            if method == "DELETE":
                members.remove(found)
            else:
                found.update(body)
            return 200, ""
        found = _by_id(self.tables[parts[0]], parts[1])
        if found is None:
            return 404, ""
        if method == "PATCH":
            return 200, json.dumps({"secret": self.made_secret})
        found.update(body)
        return 200, ""


def _by_id(rows: list[dict[str, Any]], ident: str) -> dict[str, Any] | None:
    return next((row for row in rows if str(row.get("id")) == ident), None)

"""The gateway's hand for Kubernetes objects: one change or one undo at a time. Only `app.fixes.gateway` uses it.

Every write is tied to the version of the object that was read and checked a moment before, so that nothing written by
somebody else in between is lost.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from app.errors import RefusedError, VerifyFailedError
from app.fixes.base import ABSENT, WORKLOAD, Hidden, Later, at_pointer, digest_value
from app.fixes.journal import UndoJournal
from app.model.evidence import Outcome
from app.model.fix import Change, FixPlan
from app.model.masked import refuse_masked
from app.ports import KubeApi, KubeReply, KubeWriter

UNDO_LABEL: Final = "harborpilot.io/undo-of"
_TRIES: Final = 4
_ROLLOUT_POLLS: Final = 120
Method = Literal["POST", "PUT", "PATCH", "DELETE"]


@dataclass(slots=True)
class KubeHand:
    """Reads, writes and undoes in the workload's and in Harbor's cluster."""

    journal: UndoJournal
    settle: Callable[[float], Awaitable[None]]
    writers: Mapping[str, KubeWriter | None]
    readers: Mapping[str, KubeApi | None]
    made: dict[str, str] = field(default_factory=dict, repr=False)
    """Secrets that earlier changes of the plan brought, by name."""

    def _side(self, cluster: str) -> tuple[KubeWriter, KubeApi]:
        writer = self.writers.get(cluster) or self.writers.get(WORKLOAD)
        reader = self.readers.get(cluster) or self.readers.get(WORKLOAD)
        if writer is None or reader is None:
            raise RefusedError("no kube API is at hand that could write")
        return writer, reader

    async def read(self, cluster: str, path: str) -> Any:
        """The object now, None where there is none. Raises RefusedError when it cannot be read."""
        _, reader = self._side(cluster)
        reply = await reader.get(path)
        if reply.outcome is not Outcome.OBSERVED:
            raise RefusedError(f"{path} cannot be read again: {reply.detail or reply.outcome.value}")
        return None if reply.status == 404 else json.loads(reply.body)

    async def assert_unmoved(self, change: Change) -> Any:
        """The object now. Raises RefusedError when a field that the plan rests on has moved since it was made."""
        cluster, path = str(change.payload.get("cluster") or WORKLOAD), str(change.payload["path"])
        document = await self.read(cluster, path)
        for pointer, wanted in change.expects.items():
            found = digest_value(at_pointer(document, pointer)) if document is not None else ABSENT
            if found != wanted:
                where = f" {pointer}" if pointer else ""
                raise RefusedError(f"{path}{where} has changed since the plan was made", "Plan it again.")
        return document

    async def _call(
        self, cluster: str, method: Method, path: str, body: Any, *, content_type: str = "application/json"
    ) -> KubeReply:
        writer, _ = self._side(cluster)
        return await writer.write(method, path, unmasked(body, self.made), content_type=content_type)

    async def _must(
        self, cluster: str, method: Method, path: str, body: Any, content_type: str = "application/json"
    ) -> None:
        reply = await self._call(cluster, method, path, body, content_type=content_type)
        if not _went(reply):
            raise RefusedError(f"{method} {path}: {reply.status or ''} {reply.detail or reply.outcome.value}".strip())

    # --- applying ---

    async def write(self, plan: FixPlan, change: Change, step: str) -> None:
        """One change: journal, keep what undo needs, write, journal. Raises RefusedError, VerifyFailedError."""
        payload = change.payload
        cluster, path = str(payload.get("cluster") or WORKLOAD), str(payload["path"])
        before = await self.assert_unmoved(change)
        undo = self._undo_of(plan, change, before)
        said = {
            "step": step,
            "kind": change.kind,
            "path": path,
            "cluster": cluster,
            "undo": undo,
            "object": payload.get("object", path),
        }
        # The journal speaks first: an end between any two of these lines leaves something that the next start can read.
        self.journal.write(plan.id, "step", **said, state="started")
        if undo["how"] == "secret":
            await self._keep(plan, change, before, undo)
            self.journal.write(plan.id, "step", **said, state="kept")
        await self._send(change, before, cluster, path)
        self.journal.write(plan.id, "step", **said, state="done")
        if payload.get("await_rollout"):
            await self._rollout(cluster, path)

    async def _send(self, change: Change, before: Any, cluster: str, path: str) -> None:
        payload = change.payload
        if change.kind == "kube-create":
            await self._must(cluster, "POST", str(payload["collection"]), payload["body"])
            return
        for attempt in range(_TRIES):
            version = str((before.get("metadata") or {}).get("resourceVersion") or "") if before else ""
            if change.kind in ("kube-delete", "kube-replace"):
                reply = await self._call(cluster, "DELETE", path, _tied(before))
            else:
                content_type = str(payload.get("content_type", "application/json-patch+json"))
                reply = await self._call(
                    cluster,
                    "PATCH",
                    path,
                    _versioned(payload["patch"], content_type, version),
                    content_type=content_type,
                )
            if _went(reply):
                break
            if reply.status not in (409, 422) or attempt == _TRIES - 1:
                raise RefusedError(
                    f"{path} was not changed: {reply.status or ''} {reply.detail or reply.outcome.value}".strip()
                )
            # Somebody wrote the object meanwhile. If it was nothing the plan rests on (a status, say), it is tried again.
            before = await self.assert_unmoved(change)
        if change.kind == "kube-replace":
            # A Secret's type never changes in place: the old object goes, the new one comes under its name.
            await self._must(cluster, "POST", str(payload["collection"]), payload["body"])

    def _undo_of(self, plan: FixPlan, change: Change, before: Any) -> dict[str, Any]:
        """What undo needs, without a secret: a Secret's old data stay in a Secret of the same namespace."""
        payload = change.payload
        if change.kind == "kube-restart" or payload.get("undo") == "none":
            return {"how": "none"}
        if change.kind == "kube-create" or before is None:
            return {"how": "delete", "wrote": self._shape(payload.get("body"))}
        if before.get("kind") == "Secret" or "/secrets/" in str(payload["path"]):
            metadata = before["metadata"]
            collection = f"/api/v1/namespaces/{metadata['namespace']}/secrets"
            name = f"harborpilot-undo-{plan.id}-{metadata['name']}"[:250].rstrip("-.")
            return {"how": "secret", "namespace": metadata["namespace"], "name": name, "collection": collection}
        return {
            "how": "fields",
            "fields": {pointer: at_pointer(before, pointer) for pointer in payload.get("touches", ())},
        }

    @staticmethod
    def _shape(body: Any) -> dict[str, Any]:
        """How to know an object that we made: type and names of its data, never a value."""
        return {"type": body.get("type"), "data": sorted(body.get("data") or ())} if isinstance(body, Mapping) else {}

    async def _keep(self, plan: FixPlan, change: Change, before: Mapping[str, Any], undo: Mapping[str, Any]) -> None:
        after = _after(
            before, unmasked(change.payload.get("patch"), self.made), unmasked(change.payload.get("body"), self.made)
        )
        kept = {"object": json.dumps(bare(before)), "wrote": _content_digest(after)}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": undo["name"], "namespace": undo["namespace"], "labels": {UNDO_LABEL: plan.id}},
            "type": "Opaque",
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in kept.items()},
        }
        reply = await self._call(str(change.payload.get("cluster") or WORKLOAD), "POST", str(undo["collection"]), body)
        # 409: it was kept by an earlier try of the same step, before anything was changed.
        if not _went(reply) and reply.status != 409:
            raise RefusedError(
                f"the old data of {change.payload['path']} cannot be kept for an undo, so nothing was changed: {reply.detail or reply.status}"
            )

    async def _rollout(self, cluster: str, path: str) -> None:
        """Wait until all pods of a restarted or scaled workload are new and ready, at most four minutes."""
        for _ in range(_ROLLOUT_POLLS):
            document = await self.read(cluster, path)
            if document is not None and rolled_out(document):
                return
            await self.settle(2.0)
        raise VerifyFailedError(f"{path} was not rolled out within four minutes", "Its pods say why.")

    # --- undoing ---

    async def undo(self, event: Mapping[str, Any]) -> str:
        """Put back one step; a line for the operator. Raises RefusedError when somebody has changed it since."""
        undo, path, cluster = event["undo"], str(event["path"]), str(event.get("cluster") or WORKLOAD)
        name = str(event.get("object") or path)
        if undo["how"] == "delete":
            return await self._undo_create(event, cluster, path, name)
        if undo["how"] == "secret":
            return await self._undo_secret(event, cluster, path, name)
        if undo["how"] == "fields":
            return await self._undo_fields(undo["fields"], cluster, path, name)
        return f"{name}: cannot be undone ({'a restart' if event['kind'] == 'kube-restart' else 'it was deleted, and made again by its owner'})"

    async def _undo_create(self, event: Mapping[str, Any], cluster: str, path: str, name: str) -> str:
        current = await self.read(cluster, path)
        if current is None:
            return f"{name}: not there; nothing to take away"
        wrote = event["undo"].get("wrote") or {}
        if wrote and self._shape(current) != wrote:
            raise RefusedError(
                f"{name} is not what was made: somebody has changed it since", "Look at it, then remove it yourself."
            )
        await self._must(cluster, "DELETE", path, _tied(current))
        return f"{name}: removed"

    async def _undo_secret(self, event: Mapping[str, Any], cluster: str, path: str, name: str) -> str:
        undo = event["undo"]
        kept_path = f"{undo['collection']}/{undo['name']}"
        kept = await self.read(cluster, kept_path)
        if kept is None:
            if event["state"] == "started":
                return f"{name}: was not changed; nothing to put back"
            raise RefusedError(f"the old data of {name} are no longer in Secret {undo['namespace']}/{undo['name']}")
        data = {key: base64.b64decode(value).decode() for key, value in kept["data"].items()}
        original = json.loads(data["object"])
        current = await self.read(cluster, path)
        if current is not None and _content_digest(current) not in (data.get("wrote"), _content_digest(original)):
            raise RefusedError(
                f"{name} has been changed by somebody since; it is left as it is",
                f"What it was before lies in Secret {undo['namespace']}/{undo['name']}.",
            )
        await self._restore(cluster, path, str(undo["collection"]), current, original)
        await self._must(cluster, "DELETE", kept_path, None)
        return f"{name}: type, data and labels as before"

    async def _restore(self, cluster: str, path: str, collection: str, current: Any, original: Any) -> None:
        if current is None:
            await self._must(cluster, "POST", collection, original)
        elif current.get("type") == original.get("type") and not current.get("immutable"):
            wanted = {
                "labels": original["metadata"].get("labels"),
                "annotations": original["metadata"].get("annotations"),
            }
            patch: list[dict[str, Any]] = []
            for pointer, value in (
                ("/data", original.get("data")),
                *((f"/metadata/{key}", value) for key, value in wanted.items()),
            ):
                patch += _back(current, pointer, value)
            if patch:
                version = str(current["metadata"].get("resourceVersion") or "")
                await self._must(
                    cluster,
                    "PATCH",
                    path,
                    _versioned(patch, "application/json-patch+json", version),
                    "application/json-patch+json",
                )
        else:
            await self._must(cluster, "DELETE", path, _tied(current))
            await self._must(cluster, "POST", collection, original)

    async def _undo_fields(self, fields: Mapping[str, Any], cluster: str, path: str, name: str) -> str:
        current = await self.read(cluster, path)
        if current is None:
            return f"{name}: is gone; nothing to put back"
        patch = [operation for pointer, value in fields.items() for operation in _back(current, pointer, value)]
        if patch:
            await self._must(cluster, "PATCH", path, patch, "application/json-patch+json")
        return f"{name}: as before"


def _back(current: Any, pointer: str, value: Any) -> list[dict[str, Any]]:
    """JSON Patch that makes a field what it was."""
    there = at_pointer(current, pointer)
    if there == value:
        return []
    test = [] if there is None or pointer.startswith("/data") else [{"op": "test", "path": pointer, "value": there}]
    if value is None:
        return [*test, {"op": "remove", "path": pointer}]
    return [*test, {"op": "replace" if there is not None else "add", "path": pointer, "value": value}]


def _versioned(patch: Any, content_type: str, version: str) -> Any:
    if not version:
        return patch
    if content_type == "application/json-patch+json":
        return [{"op": "test", "path": "/metadata/resourceVersion", "value": version}, *patch]
    return patch


def _tied(document: Any) -> dict[str, Any] | None:
    """Options of a deletion that only hits the object that was read."""
    metadata = (document or {}).get("metadata") or {}
    tied = {key: metadata[key] for key in ("uid", "resourceVersion") if metadata.get(key)}
    return {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": tied} if tied else None


def _went(reply: KubeReply) -> bool:
    return reply.outcome is Outcome.OBSERVED and 200 <= reply.status < 300


def _after(before: Mapping[str, Any], patch: Any, body: Any) -> Mapping[str, Any]:
    """A Secret as it will be."""
    if isinstance(body, Mapping):
        return body
    data = dict(before.get("data") or {})
    for operation in patch or ():
        parts = str(operation["path"]).split("/", 2)
        if len(parts) == 3 and parts[1] == "data":
            data[parts[2].replace("~1", "/").replace("~0", "~")] = operation["value"]
    return {**before, "data": data}


def _content_digest(item: Mapping[str, Any]) -> str:
    return digest_value([item.get("type") or "Opaque", item.get("data") or {}])


def rolled_out(document: Mapping[str, Any]) -> bool:
    """Whether every pod of a Deployment, StatefulSet or DaemonSet is of the newest template and ready."""
    status, spec = document.get("status") or {}, document.get("spec") or {}
    if int(status.get("observedGeneration") or 0) < int((document.get("metadata") or {}).get("generation") or 0):
        return False
    if document.get("kind") == "DaemonSet":
        wanted = int(status.get("desiredNumberScheduled") or 0)
        return (
            int(status.get("updatedNumberScheduled") or 0) >= wanted and int(status.get("numberReady") or 0) >= wanted
        )
    wanted = int(spec.get("replicas", 1))
    return (
        int(status.get("updatedReplicas") or 0) >= wanted
        and int(status.get("readyReplicas") or 0) >= wanted
        and int(status.get("replicas") or 0) == wanted
    )


def bare(document: Mapping[str, Any]) -> dict[str, Any]:
    """An object without what the server sets."""
    kept = dict(document)
    kept.pop("status", None)
    metadata = dict(kept.get("metadata") or {})
    for key in ("resourceVersion", "uid", "creationTimestamp", "managedFields", "generation", "selfLink"):
        metadata.pop(key, None)
    kept["metadata"] = metadata
    return kept


def unmasked(body: Any, made: Mapping[str, str]) -> Any:
    """The real values at the last moment, just before the writer. Masked placeholders from evidence are refused."""
    if isinstance(body, Hidden):
        return body.reveal()
    if isinstance(body, Later):
        if body.name not in made:
            raise RefusedError(f"{body.name} was not brought by an earlier change of this plan")
        return body.build(made[body.name])
    if isinstance(body, Mapping):
        return {key: unmasked(value, made) for key, value in body.items()}
    if isinstance(body, list | tuple):
        return [unmasked(value, made) for value in body]
    refuse_masked(body)
    return body


__all__ = ["UNDO_LABEL", "KubeHand", "bare", "rolled_out", "unmasked"]

"""The one place that writes. It knows the lock, the confirmation and the journal; no screen, key or rule can write round it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from app.errors import HarborPilotError, RefusedError, VerifyFailedError
from app.fixes.base import ABSENT, Hidden, at_pointer, digest_value
from app.fixes.journal import UndoJournal
from app.model.evidence import Outcome
from app.model.fix import ApplyReport, Change, FixPlan, StepState, TargetProgress
from app.model.masked import refuse_masked
from app.model.target import Target
from app.ports import HarborWriter, KubeApi, KubeWriter, NodeWriter

UNDO_LABEL: Final = "harborpilot.io/undo-of"
Verify = Callable[[FixPlan, Target], Awaitable[tuple[bool, str]]]
"""(plan, target) → whether what had failed now works there, and what was seen."""


@dataclass(slots=True)
class Writers:
    """Everything that can write, and a reader for the fields a plan rests on."""

    kube: KubeWriter | None = None
    kube_reader: KubeApi | None = None
    harbor_kube: KubeWriter | None = None
    harbor_kube_reader: KubeApi | None = None
    nodes: NodeWriter | None = None
    harbor: HarborWriter | None = None


@dataclass(slots=True)
class Gateway:
    """Read-only until unlocked by name; applies only the very plan that was confirmed."""

    context: str
    writers: Writers
    journal: UndoJournal
    settle: Callable[[float], Awaitable[None]]
    """Sleeps some seconds; the practice world passes one that only moves its clock."""
    locked: bool = True
    stopping: bool = False
    applying: set[str] = field(default_factory=set)

    def unlock(self, name: str) -> None:
        """Unlock for this session. Raises RefusedError unless the context's own name was given."""
        if name != self.context:
            raise RefusedError(
                f"{name!r} is not the name of this context", f"Type {self.context} to unlock it, or stay read-only."
            )
        self.locked = False

    def lock(self) -> None:
        self.locked = True

    def stop(self) -> None:
        """Stop after the current step."""
        self.stopping = True

    def _check(self, plan: FixPlan, confirmed: str) -> None:
        if self.locked:
            raise RefusedError(f"{self.context} is read-only", "Unlock it by its name first.")
        if plan.context != self.context:
            raise RefusedError(f"this plan was made for {plan.context}, not for {self.context}")
        if not plan.changed:
            raise RefusedError("this plan changes nothing; it is a hand-off or advice")
        if plan.blocked:
            raise RefusedError(f"a precheck failed: {plan.blocked}")
        wanted = plan.confirm_name or plan.id
        if confirmed != wanted:
            raise RefusedError("the plan was not confirmed", f"Confirm it with {wanted}.")
        busy = {str(target) for target in plan.targets} & self.applying
        if busy:
            raise RefusedError(f"another apply is at work on {', '.join(sorted(busy))}")

    async def apply(
        self,
        plan: FixPlan,
        *,
        confirmed: str,
        verify: Verify,
        decide: Callable[[Target, str], Awaitable[str]] | None = None,
    ) -> AsyncIterator[ApplyReport]:
        """Wave by wave: check digests, write, restart, verify. Yields after each step; the last report is the result.

        Args:
            confirmed: the plan's `confirm_name`, or its id for a mild plan.
            decide: for a failed target `retry`, `skip` or `stop`; without it the first failure stops.
        """
        self._check(plan, confirmed)
        self.stopping = False
        names = {str(target) for target in plan.targets}
        self.applying |= names
        states = {target: TargetProgress(target, StepState.QUEUED) for target in plan.targets}
        try:
            await self._assert_unmoved(plan)
            self.journal.write(
                plan.id,
                "begun",
                fix=plan.fix,
                finding=plan.finding,
                title=plan.title,
                context=plan.context,
                targets=sorted(names),
            )
            stopped = ""
            for wave in plan.waves:
                for target in wave.targets:
                    if stopped or self.stopping:
                        states[target] = TargetProgress(target, StepState.SKIPPED, stopped or "stopped by the operator")
                        continue
                    while True:
                        async for progress in self._one(plan, target, verify):
                            states[target] = progress
                            yield self._report(plan, states, done=False)
                        if states[target].state is StepState.VERIFIED:
                            break
                        choice = await decide(target, states[target].note) if decide else "stop"
                        if choice == "retry":
                            continue
                        if choice != "skip":
                            stopped = f"stopped after {target} failed"
                        break
            self.journal.write(
                plan.id, "finished", states={str(target): progress.state.value for target, progress in states.items()}
            )
            yield self._report(plan, states, done=True)
        finally:
            self.applying -= names

    def _report(self, plan: FixPlan, states: Mapping[Target, TargetProgress], *, done: bool) -> ApplyReport:
        verified = done and all(progress.state is StepState.VERIFIED for progress in states.values())
        return ApplyReport(
            plan.id, tuple(states.values()), verified, probe_verified=verified, note="finished" if done else ""
        )

    async def _one(self, plan: FixPlan, target: Target, verify: Verify) -> AsyncIterator[TargetProgress]:
        changes = [change for change in plan.changes if change.target == target]
        yield TargetProgress(target, StepState.CHECKING)
        try:
            for number, change in enumerate(changes):
                yield TargetProgress(
                    target, StepState.RESTARTING if "restart" in change.kind else StepState.WRITING, change.title
                )
                await self._write(plan, change, number)
            yield TargetProgress(target, StepState.VERIFYING, plan.verify)
            works, seen = await verify(plan, target)
        except HarborPilotError as error:
            yield TargetProgress(target, StepState.FAILED_KEPT, error.what)
            return
        yield TargetProgress(target, StepState.VERIFIED if works else StepState.FAILED_KEPT, seen)

    # --- digests ---

    async def _assert_unmoved(self, plan: FixPlan) -> None:
        """Raises RefusedError when a field that the plan rests on has moved since. Files are checked by the writer itself."""
        for change in plan.changes:
            if not change.kind.startswith("kube-") or not change.expects:
                continue
            document = await self._read(change)
            for pointer, wanted in change.expects.items():
                found = digest_value(at_pointer(document, pointer)) if document is not None else ABSENT
                if found != wanted:
                    raise RefusedError(
                        f"{change.payload['path']} {pointer} has changed since the plan was made", "Plan it again."
                    )

    def _kube(self, change: Change) -> tuple[KubeWriter, KubeApi]:
        harbor = change.payload.get("cluster") == "harbor"
        writer = (self.writers.harbor_kube if harbor else None) or self.writers.kube
        reader = (self.writers.harbor_kube_reader if harbor else None) or self.writers.kube_reader
        if writer is None or reader is None:
            raise RefusedError("no kube API is at hand that could write")
        return writer, reader

    async def _read(self, change: Change) -> Any:
        _, reader = self._kube(change)
        reply = await reader.get(str(change.payload["path"]))
        if reply.outcome is not Outcome.OBSERVED:
            raise RefusedError(f"{change.payload['path']} cannot be read again: {reply.detail or reply.outcome}")
        return None if reply.status == 404 else json.loads(reply.body)

    # --- writes ---

    async def _write(self, plan: FixPlan, change: Change, number: int) -> None:
        if self.locked:
            raise RefusedError(f"{self.context} was locked again")
        step = f"{change.target}#{number}"
        payload = change.payload
        if change.kind == "node-file":
            backup = None if change.expects.get("sha256") == ABSENT else f"{payload['path']}.harborpilot-{plan.id}"
            self.journal.write(
                plan.id,
                "step",
                step=step,
                kind=change.kind,
                node=payload["node"],
                path=payload["path"],
                backup=backup,
                state="started",
            )
            expected = change.expects.get("sha256")
            made = await self._nodes().replace(
                str(payload["node"]), str(payload["path"]), str(payload["text"]),
                expect_sha256=None if expected == ABSENT else expected, mode=str(payload.get("mode", "0644")), backup=backup or "",
            )  # fmt: skip
            if payload.get("check_runtime"):
                said = await self._nodes().check_runtime_config(str(payload["node"]))
                if said:
                    await self._nodes().restore(
                        str(payload["node"]), str(payload["path"]), backup=backup, expect_sha256=made
                    )
                    raise VerifyFailedError(
                        f"the node's runtime does not accept the new file, the old one is back: {said}"
                    )
            self.journal.write(
                plan.id,
                "step",
                step=step,
                kind=change.kind,
                state="done",
                node=payload["node"],
                path=payload["path"],
                backup=backup,
                sha256=made,
            )
        elif change.kind == "node-restart":
            self.journal.write(
                plan.id,
                "step",
                step=step,
                kind=change.kind,
                node=payload["node"],
                unit=payload["unit"],
                state="started",
            )
            await self._nodes().restart(str(payload["node"]), str(payload["unit"]))
            self.journal.write(plan.id, "step", step=step, kind=change.kind, state="done")
        elif change.kind == "node-trust-update":
            self.journal.write(plan.id, "step", step=step, kind=change.kind, node=payload["node"], state="started")
            await self._nodes().run_trust_update(str(payload["node"]))
            self.journal.write(plan.id, "step", step=step, kind=change.kind, state="done", node=payload["node"])
        elif change.kind.startswith("kube-"):
            await self._write_kube(plan, change, step)
        elif change.kind == "harbor-api":
            await self._write_harbor(plan, change, step)
        else:
            raise RefusedError(f"unknown kind of change {change.kind!r}")

    def _nodes(self) -> NodeWriter:
        if self.writers.nodes is None:
            raise RefusedError("no node can be written to in this run")
        return self.writers.nodes

    async def _write_kube(self, plan: FixPlan, change: Change, step: str) -> None:
        writer, _ = self._kube(change)
        payload = change.payload
        path = str(payload["path"])
        before = await self._read(change)
        undo = await self._keep(plan, change, before)
        self.journal.write(
            plan.id,
            "step",
            step=step,
            kind=change.kind,
            path=path,
            cluster=payload.get("cluster", "workload"),
            undo=undo,
            state="started",
        )
        if change.kind == "kube-create":
            await self._call(writer, "POST", str(payload["collection"]), payload["body"])
        elif change.kind == "kube-replace":
            # A Secret's type never changes in place: the old object goes, the new one comes under its name.
            await self._call(writer, "DELETE", path, None)
            await self._call(writer, "POST", str(payload["collection"]), payload["body"])
        elif change.kind == "kube-delete":
            await self._call(writer, "DELETE", path, None)
        else:
            await self._call(
                writer,
                "PATCH",
                path,
                payload["patch"],
                content_type=str(payload.get("content_type", "application/json-patch+json")),
            )
        self.journal.write(
            plan.id,
            "step",
            step=step,
            kind=change.kind,
            path=path,
            cluster=payload.get("cluster", "workload"),
            undo=undo,
            state="done",
        )
        if change.kind == "kube-restart":
            await self._rollout(change)

    async def _call(
        self, writer: KubeWriter, method: Any, path: str, body: Any, *, content_type: str = "application/json"
    ) -> None:
        reply = await writer.write(method, path, _unmasked(body), content_type=content_type)
        if reply.outcome is not Outcome.OBSERVED or reply.status >= 400:
            raise RefusedError(f"{method} {path}: {reply.status} {reply.detail or reply.outcome}")

    async def _keep(self, plan: FixPlan, change: Change, before: Any) -> dict[str, Any]:
        """What undo needs. The old data of a Secret stay in a Secret of the same namespace, never in the journal."""
        payload = change.payload
        if change.kind == "kube-restart":
            return {"how": "none"}
        if change.kind == "kube-create" or before is None:
            return {"how": "delete"}
        if before.get("kind") == "Secret" or "/secrets/" in str(payload["path"]):
            writer, _ = self._kube(change)
            metadata = before["metadata"]
            name = f"harborpilot-undo-{plan.id}-{metadata['name']}"[:250]
            body = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": metadata["namespace"], "labels": {UNDO_LABEL: plan.id}},
                "type": "Opaque",
                "data": {"object": base64.b64encode(json.dumps(_bare(before)).encode()).decode()},
            }
            await self._call(writer, "POST", f"/api/v1/namespaces/{metadata['namespace']}/secrets", body)
            return {
                "how": "secret",
                "namespace": metadata["namespace"],
                "name": name,
                "collection": f"/api/v1/namespaces/{metadata['namespace']}/secrets",
            }
        return {
            "how": "fields",
            "fields": {pointer: at_pointer(before, pointer) for pointer in change.payload.get("touches", ())},
        }

    async def _rollout(self, change: Change) -> None:
        """Wait until a restarted Deployment has all new pods ready, at most four minutes."""
        for _ in range(120):
            document = await self._read(change)
            status, spec = document.get("status") or {}, document.get("spec") or {}
            wanted = int(spec.get("replicas", 1))
            if (
                int(status.get("observedGeneration", 0)) >= int((document.get("metadata") or {}).get("generation", 0))
                and int(status.get("updatedReplicas", 0)) >= wanted
                and int(status.get("readyReplicas", 0)) >= wanted
                and int(status.get("replicas", 0)) == wanted
            ):
                return
            await self.settle(2.0)
        raise VerifyFailedError(f"{change.payload['path']} was not rolled out within four minutes", "Its pods say why.")

    async def _write_harbor(self, plan: FixPlan, change: Change, step: str) -> None:
        if self.writers.harbor is None:
            raise RefusedError("no Harbor login with the right to change this is at hand")
        payload = change.payload
        self.journal.write(
            plan.id,
            "step",
            step=step,
            kind=change.kind,
            path=payload["path"],
            undo=payload.get("undo") or {"how": "none"},
            state="started",
        )
        status, said = await self.writers.harbor.write(
            payload["method"], str(payload["path"]), _unmasked(payload.get("body"))
        )
        if status >= 400:
            raise RefusedError(f"Harbor answered {status} to {payload['method']} {payload['path']}: {said[:200]}")
        self.journal.write(
            plan.id,
            "step",
            step=step,
            kind=change.kind,
            path=payload["path"],
            undo=payload.get("undo") or {"how": "none"},
            state="done",
        )

    # --- undo ---

    async def undo(self, plan_id: str) -> list[str]:
        """Put back what a plan changed, last step first. Returns a line for each step; raises RefusedError when locked."""
        events = self.journal.read(plan_id)
        begun = next((event for event in events if event["event"] == "begun"), {})
        if self.locked:
            raise RefusedError(f"{self.context} is read-only", "Unlock it by its name first.")
        if begun.get("context") not in (None, self.context):
            raise RefusedError(f"plan {plan_id} was applied to {begun['context']}, not to {self.context}")
        steps: dict[str, Mapping[str, Any]] = {}
        for event in events:
            if event["event"] == "step":
                steps[str(event["step"])] = event
        self.journal.write(plan_id, "undo-begun")
        lines = [await self._undo_step(event) for event in reversed(list(steps.values()))]
        self.journal.write(plan_id, "undone")
        return lines

    async def _undo_step(self, event: Mapping[str, Any]) -> str:
        kind = str(event["kind"])
        if kind == "node-file":
            if event["state"] != "done":
                return f"{event['node']} {event['path']}: was not written, or its writing was cut off before the rename; nothing to put back"
            await self._nodes().restore(
                str(event["node"]), str(event["path"]), backup=event.get("backup"), expect_sha256=str(event["sha256"])
            )
            return (
                f"{event['node']} {event['path']}: the old file is back"
                if event.get("backup")
                else f"{event['node']} {event['path']}: removed"
            )
        if kind == "node-trust-update":
            await self._nodes().run_trust_update(str(event["node"]))
            return f"{event['node']}: trust store built again"
        if kind == "harbor-api" and event["undo"].get("method"):
            if self.writers.harbor is None:
                raise RefusedError("no Harbor login is at hand to undo with")
            status, said = await self.writers.harbor.write(
                event["undo"]["method"], event["undo"]["path"], event["undo"].get("body")
            )
            if status >= 400:
                raise RefusedError(f"Harbor answered {status} to the undo: {said[:200]}")
            return f"{event['path']}: as before"
        if kind.startswith("kube-"):
            return await self._undo_kube(event)
        return f"{kind}: cannot be undone"

    async def _undo_kube(self, event: Mapping[str, Any]) -> str:
        undo = event["undo"]
        probe = Change(
            Target(),
            str(event["kind"]),
            "",
            payload={"path": event["path"], "cluster": event.get("cluster", "workload")},
        )
        writer, reader = self._kube(probe)
        path = str(event["path"])
        if undo["how"] == "delete":
            if await self._read(probe) is not None:
                await self._call(writer, "DELETE", path, None)
            return f"{path}: removed"
        if undo["how"] == "secret":
            kept_path = f"{undo['collection']}/{undo['name']}"
            reply = await reader.get(kept_path)
            if reply.outcome is not Outcome.OBSERVED or reply.status == 404:
                raise RefusedError(f"the old data of {path} are no longer in Secret {undo['namespace']}/{undo['name']}")
            original = json.loads(base64.b64decode(json.loads(reply.body)["data"]["object"]))
            if await self._read(probe) is not None:
                await self._call(writer, "DELETE", path, None)
            await self._call(writer, "POST", str(undo["collection"]), original)
            await self._call(writer, "DELETE", kept_path, None)
            return f"{path}: type, data and labels as before"
        if undo["how"] == "fields":
            current = await self._read(probe)
            patch: list[dict[str, Any]] = []
            for pointer, value in undo["fields"].items():
                there = at_pointer(current, pointer) is not None
                if value is None and there:
                    patch.append({"op": "remove", "path": pointer})
                elif value is not None:
                    patch.append({"op": "replace" if there else "add", "path": pointer, "value": value})
            if patch:
                await self._call(writer, "PATCH", path, patch, content_type="application/json-patch+json")
            return f"{path}: fields as before"
        return f"{path}: cannot be undone (a restart)"


def _bare(document: Mapping[str, Any]) -> dict[str, Any]:
    """An object without what the server sets."""
    kept = dict(document)
    kept.pop("status", None)
    metadata = dict(kept.get("metadata") or {})
    for key in ("resourceVersion", "uid", "creationTimestamp", "managedFields", "generation", "selfLink"):
        metadata.pop(key, None)
    kept["metadata"] = metadata
    return kept


def _unmasked(body: Any) -> Any:
    """The real values at the last moment, just before the writer. Masked placeholders from evidence are refused."""
    if isinstance(body, Hidden):
        return body.reveal()
    if isinstance(body, Mapping):
        return {key: _unmasked(value) for key, value in body.items()}
    if isinstance(body, list | tuple):
        return [_unmasked(value) for value in body]
    refuse_masked(body)
    return body

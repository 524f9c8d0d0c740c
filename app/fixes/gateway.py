"""The one place that writes. It knows the lock, the confirmation and the journal; no screen, key or rule can write round it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from app.errors import HarborPilotError, RefusedError
from app.fixes.base import HARBOR, WORKLOAD, at_pointer, digest_value
from app.fixes.gateway_kube import UNDO_LABEL, KubeHand, unmasked
from app.fixes.gateway_node import KINDS as NODE_KINDS
from app.fixes.gateway_node import NodeHand, steps_of, undone_of
from app.fixes.journal import UndoJournal
from app.fixes.upload import upload_and_cancel
from app.model.exchange import Exchange
from app.model.fix import ApplyReport, Change, FixPlan, StepState, TargetProgress, Verified
from app.model.target import Target
from app.ports import HarborWriter, Http, HttpRequest, KubeApi, KubeWriter, NodeWriter

Verify = Callable[[FixPlan, Target], Awaitable[Verified | tuple[bool, str]]]
"""(plan, target) → whether what had failed now works there, and what was seen."""
HarborGet = Callable[[str], Awaitable[tuple[int, str]]]
"""GET below `/api/v2.0`: status and whole body."""


@dataclass(slots=True)
class Writers:
    """Everything that can write, and a reader for the fields a plan rests on."""

    kube: KubeWriter | None = None
    kube_reader: KubeApi | None = None
    harbor_kube: KubeWriter | None = None
    harbor_kube_reader: KubeApi | None = None
    nodes: NodeWriter | None = None
    harbor: HarborWriter | None = None
    harbor_reader: HarborGet | None = None
    http: Http | None = None
    """For the try of an upload."""


@dataclass(slots=True)
class Gateway:
    """Read-only until unlocked by name; applies only the very plan that was confirmed."""

    context: str
    writers: Writers
    journal: UndoJournal
    settle: Callable[[float], Awaitable[None]]
    """Sleeps some seconds; the practice world passes one that only moves its clock."""
    others: frozenset[str] = frozenset()
    """Further contexts that may be unlocked by their own names, such as the one of Harbor's cluster."""
    unlocked: set[str] = field(default_factory=set)
    uploads: set[str] = field(default_factory=set)
    """Registries (`host[:port]`) at which an upload may be started and cancelled in this run."""
    stopping: bool = False
    applying: set[str] = field(default_factory=set)
    verified: dict[str, dict[Target, Verified]] = field(default_factory=dict)
    """By plan, then by target."""
    _done: set[tuple[str, str]] = field(default_factory=set)
    """(plan, step) of what was written: a target that is tried again does not write twice."""
    _made: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    """Secrets that changes of a plan under way brought, by plan; forgotten at its end."""

    @property
    def locked(self) -> bool:
        """Read-only: no context is unlocked."""
        return not self.unlocked

    def unlock(self, name: str) -> None:
        """Unlock for this session. Raises RefusedError unless the context's own name was given."""
        if name != self.context and name not in self.others:
            raise RefusedError(
                f"{name!r} is not the name of this context", f"Type {self.context} to unlock it, or stay read-only."
            )
        self.unlocked.add(name)

    def lock(self) -> None:
        """Read-only again; an apply under way stops before its next write."""
        self.unlocked.clear()

    def stop(self) -> None:
        """Stop after the current step."""
        self.stopping = True

    # --- the try of an upload ---

    def allow_upload(self, registry: str) -> None:
        """The operator consents: in this run an upload may be started and cancelled at this registry, `host[:port]`."""
        self.uploads.add(registry.lower())

    async def try_upload(self, request: HttpRequest, at: float) -> Exchange:
        """Start a blob upload and cancel it. Raises RefusedError without the consent for the very host that is dialled."""
        host = urlsplit(request.url).netloc.lower()
        if host not in self.uploads:
            raise RefusedError(f"no consent to start an upload at {host}", "Give it with --try-upload.")
        if self.writers.http is None:
            raise RefusedError("nothing is asked over HTTP in this run")
        return await upload_and_cancel(
            self.writers.http, UndoJournal(self.journal.folder.parent / "audit"), request, at
        )

    def _check(self, plan: FixPlan, confirmed: str) -> None:
        if plan.context != self.context and plan.context not in self.others:
            raise RefusedError(f"this plan was made for {plan.context}, not for {self.context}")
        self._check_lock(plan.context)
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

    def _check_lock(self, context: str) -> None:
        if context not in self.unlocked:
            raise RefusedError(f"{context} is read-only", "Unlock it by its name first.")

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
        self.verified[plan.id] = {}
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
                at=plan.made_at,
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
            self._made.pop(plan.id, None)

    def _report(self, plan: FixPlan, states: Mapping[Target, TargetProgress], *, done: bool) -> ApplyReport:
        verified = done and all(progress.state is StepState.VERIFIED for progress in states.values())
        seen = list(self.verified.get(plan.id, {}).values())
        events = [one.event for one in seen if one.event is not None]
        return ApplyReport(
            plan.id,
            tuple(states.values()),
            verified,
            probe_verified=bool(seen) and all(one.probe is not False and (one.probe or one.works) for one in seen),
            event_verified=all(events) if events else None,
            note="finished" if done else "",
        )

    async def _one(self, plan: FixPlan, target: Target, verify: Verify) -> AsyncIterator[TargetProgress]:
        changes = [change for change in plan.changes if change.target == target]
        yield TargetProgress(target, StepState.CHECKING)
        try:
            for number, change in enumerate(changes):
                if (plan.id, f"{target}#{number}") in self._done:
                    continue
                yield TargetProgress(
                    target, StepState.RESTARTING if "restart" in change.kind else StepState.WRITING, change.title
                )
                await self._write(plan, change, number)
            yield TargetProgress(target, StepState.VERIFYING, plan.verify)
            answer = await verify(plan, target)
            said = answer if isinstance(answer, Verified) else Verified(*answer)
            self.verified[plan.id][target] = said
        except HarborPilotError as error:
            yield TargetProgress(target, StepState.FAILED_KEPT, error.what)
            return
        yield TargetProgress(target, StepState.VERIFIED if said.works else StepState.FAILED_KEPT, said.note)

    # --- digests ---

    async def _assert_unmoved(self, plan: FixPlan) -> None:
        """Raises RefusedError when a field that the plan rests on has moved since. Files are checked by the writer itself."""
        for change in plan.changes:
            if change.kind.startswith("kube-") and change.expects:
                await self._hand().assert_unmoved(change)
            elif change.kind == "harbor-api" and change.expects:
                await self._harbor_unmoved(change)

    async def _harbor_unmoved(self, change: Change) -> None:
        status, body = await self._harbor_get(str(change.payload["read"]))
        document = json.loads(body) if status < 400 else None
        for pointer, wanted in change.expects.items():
            if digest_value(at_pointer(document, pointer)) != wanted:
                raise RefusedError(
                    f"Harbor's {change.payload['read']} {pointer} has changed since the plan was made", "Plan it again."
                )

    async def _harbor_get(self, path: str) -> tuple[int, str]:
        if self.writers.harbor_reader is None:
            raise RefusedError("no Harbor login with the right to read this is at hand")
        return await self.writers.harbor_reader(path)

    def _hand(self, plan: str = "") -> KubeHand:
        return KubeHand(
            self.journal,
            self.settle,
            {WORKLOAD: self.writers.kube, HARBOR: self.writers.harbor_kube},
            {WORKLOAD: self.writers.kube_reader, HARBOR: self.writers.harbor_kube_reader},
            self._made.setdefault(plan, {}) if plan else {},
        )

    # --- writes ---

    async def _write(self, plan: FixPlan, change: Change, number: int) -> None:
        step = f"{change.target}#{number}"
        await self._write_step(plan, change, step)
        self._done.add((plan.id, step))

    async def _write_step(self, plan: FixPlan, change: Change, step: str) -> None:
        self._check_lock(plan.context)
        if change.kind in NODE_KINDS:
            hand = self._node_hand(plan.id)
            try:
                await hand.write(plan, change, step)
            finally:
                self._done -= {(plan.id, name) for name in hand.put_back}
        elif change.kind.startswith("kube-"):
            await self._hand(plan.id).write(plan, change, step)
        elif change.kind == "harbor-api":
            await self._write_harbor(plan, change, step)
        else:
            raise RefusedError(f"unknown kind of change {change.kind!r}")

    def _node_hand(self, plan: str = "") -> NodeHand:
        if self.writers.nodes is None:
            raise RefusedError("no node can be written to in this run")
        return NodeHand(self.journal, self.writers.nodes, self._made.setdefault(plan, {}) if plan else {})

    async def _write_harbor(self, plan: FixPlan, change: Change, step: str) -> None:
        if self.writers.harbor is None:
            raise RefusedError("no Harbor login with the right to change this is at hand")
        payload = change.payload
        if change.expects:
            await self._harbor_unmoved(change)
        said = {"step": step, "kind": change.kind, "path": payload["path"], "undo": payload.get("undo") or {"how": "none"},
                "object": payload.get("object", payload["path"])}  # fmt: skip
        self.journal.write(plan.id, "step", **said, state="started")
        status, answer = await self.writers.harbor.write(
            payload["method"], str(payload["path"]), unmasked(payload.get("body"), {})
        )
        if status >= 400:
            raise RefusedError(f"Harbor answered {status} to {payload['method']} {payload['path']}: {answer[:200]}")
        self.journal.write(plan.id, "step", **said, state="done")
        for name, key in (payload.get("yields") or {}).items():
            try:
                self._made.setdefault(plan.id, {})[name] = str(json.loads(answer)[key])
            except (ValueError, KeyError, TypeError) as error:
                raise RefusedError(f"Harbor did not answer with the {name} that it made") from error

    # --- undo ---

    async def undo(self, plan_id: str) -> list[str]:
        """Put back what a plan changed, last step first. Returns a line for each step; raises RefusedError when locked."""
        if self.locked:
            raise RefusedError(f"{self.context} is read-only", "Unlock it by its name first.")
        events = self.journal.read(plan_id)
        begun = next((event for event in events if event["event"] == "begun"), {})
        applied_to = str(begun.get("context") or self.context)
        if applied_to != self.context and applied_to not in self.others:
            raise RefusedError(f"plan {plan_id} was applied to {applied_to}, not to {self.context}")
        self._check_lock(applied_to)
        if events and events[-1]["event"] == "undone":
            raise RefusedError(f"plan {plan_id} was undone already")
        steps, put_back = steps_of(events), undone_of(events)
        self.journal.write(plan_id, "undo-begun")
        lines = []
        # A trust store is built from the anchors, so it comes after they were put back; a service that the plan had
        # restarted reads its files when it starts, so it comes last.
        later = {"node-trust-update": 1, "node-restart": 2}
        backwards = list(reversed(steps.items()))
        backwards.sort(key=lambda step: later.get(str(step[1]["kind"]), 0))
        for name, event in backwards:
            if name in put_back:
                continue
            lines.append(await self._undo_step(event, steps))
            self.journal.write(plan_id, "step-undone", step=name)
        self.journal.write(plan_id, "undone")
        return lines

    async def _undo_step(self, event: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]]) -> str:
        kind = str(event["kind"])
        if kind in NODE_KINDS:
            return await self._node_hand().undo(event, steps)
        if kind == "harbor-api":
            return await self._undo_harbor(event)
        if kind.startswith("kube-"):
            return await self._hand().undo(event)
        return f"{kind}: cannot be undone"

    async def _undo_harbor(self, event: Mapping[str, Any]) -> str:
        undo, name = event["undo"], str(event.get("object") or event["path"])
        if not undo.get("method"):
            return f"{name}: cannot be undone"
        if self.writers.harbor is None:
            raise RefusedError("no Harbor login is at hand to undo with")
        path = str(undo["path"])
        if undo.get("how") == "find":
            status, body = await self._harbor_get(str(undo["list"]))
            rows = json.loads(body) if status < 400 else []
            found = next(
                (row for row in rows if all(row.get(key) == value for key, value in undo["match"].items())), None
            )
            if found is None:
                return f"{name}: not there; nothing to take away"
            path = path.replace("{id}", str(found["id"]))
        status, said = await self.writers.harbor.write(undo["method"], path, undo.get("body"))
        if status >= 400:
            raise RefusedError(f"Harbor answered {status} to the undo: {said[:200]}")
        return f"{name}: as before"


__all__ = ["UNDO_LABEL", "Gateway", "Verify", "Writers"]

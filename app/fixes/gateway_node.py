"""The gateway's hand on nodes: files with backups, the trust store, restarts; each journalled before it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.errors import HarborPilotError, VerifyFailedError
from app.fixes.base import ABSENT
from app.fixes.gateway_kube import unmasked
from app.fixes.journal import UndoJournal
from app.model.fix import Change, FixPlan
from app.ports import NodeWriter

KINDS: Final = ("node-file", "node-restart", "node-trust-update")


@dataclass(slots=True)
class NodeHand:
    """Writes and undoes on nodes."""

    journal: UndoJournal
    writer: NodeWriter
    made: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Secrets that earlier changes of the plan brought, by name."""
    put_back: set[str] = field(default_factory=set)
    """Steps whose files are back since the node's runtime refused them: a second try writes them again."""

    async def write(self, plan: FixPlan, change: Change, step: str) -> None:
        """One change. Raises RefusedError, VerifyFailedError."""
        payload = change.payload
        said = {"step": step, "kind": change.kind, "node": payload["node"]}
        if change.kind == "node-file":
            await self._file(plan, change, said)
        elif change.kind == "node-restart":
            said["unit"] = payload["unit"]
            self.journal.write(plan.id, "step", **said, state="started")
            await self.writer.restart(str(payload["node"]), str(payload["unit"]))
            self.journal.write(plan.id, "step", **said, state="done")
        else:
            self.journal.write(plan.id, "step", **said, state="started")
            await self.writer.run_trust_update(str(payload["node"]))
            self.journal.write(plan.id, "step", **said, state="done")

    async def _file(self, plan: FixPlan, change: Change, said: Mapping[str, Any]) -> None:
        payload, expected = change.payload, change.expects.get("sha256")
        node, path = str(payload["node"]), str(payload["path"])
        kept = f"{path}.harborpilot-{plan.id}"
        backup = None if expected == ABSENT else kept
        self.journal.write(plan.id, "step", **said, path=path, backup=backup, state="started")
        made = await self.writer.replace(
            node, path, str(unmasked(payload["text"], self.made)),
            expect_sha256=None if expected == ABSENT else expected, mode=str(payload.get("mode", "0644")), backup=kept,
        )  # fmt: skip
        self.journal.write(plan.id, "step", **said, path=path, backup=backup, sha256=made, state="done")
        if payload.get("check_runtime"):
            refusal = await self.writer.check_runtime_config(node)
            if refusal:
                told = await self._all_back(plan, node)
                raise VerifyFailedError(f"the node's runtime does not accept the new files, {told}: {refusal}")

    async def _all_back(self, plan: FixPlan, node: str) -> str:
        """Every file of this node that the plan has written, the last one first: half of a change is worse than none."""
        events = self.journal.read(plan.id)
        stuck: list[str] = []
        for name, event in reversed(steps_of(events).items()):
            if event["kind"] != "node-file" or event.get("node") != node or event["state"] != "done":
                continue
            if name in undone_of(events):
                continue
            try:
                await self.undo_file(event)
            except HarborPilotError as error:
                stuck.append(f"{event['path']} ({error.what})")
                continue
            self.journal.write(plan.id, "step-undone", step=name)
            self.put_back.add(name)
        return f"the old ones are back except {', '.join(stuck)}" if stuck else "the old ones are back"

    # --- undo ---

    async def undo_file(self, event: Mapping[str, Any]) -> str:
        """Put one file back."""
        where = f"{event['node']} {event['path']}"
        if event["state"] != "done":
            return f"{where}: was not written, or its writing was cut off before the rename; nothing to put back"
        await self.writer.restore(
            str(event["node"]), str(event["path"]), backup=event.get("backup"), expect_sha256=str(event["sha256"])
        )
        return f"{where}: the old file is back" if event.get("backup") else f"{where}: removed"

    async def undo(self, event: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]]) -> str:
        """Undo one step; `steps` are all of the plan's."""
        node = str(event["node"])
        if event["kind"] == "node-file":
            return await self.undo_file(event)
        if event["kind"] == "node-trust-update":
            await self.writer.run_trust_update(node)
            return f"{node}: trust store built again"
        unit = str(event["unit"])
        if not any(
            one["kind"] != "node-restart" and one.get("node") == node and one["state"] == "done"
            for one in steps.values()
        ):
            return f"{node}: a restart of {unit} cannot be undone"
        await self.writer.restart(node, unit)
        return f"{node}: {unit} restarted once more, so that it runs with what was put back"


def steps_of(events: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The latest word of the journal on each step, in the order in which they were begun."""
    steps: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["event"] == "step":
            steps[str(event["step"])] = {**steps.get(str(event["step"]), {}), **event}
    return steps


def undone_of(events: Sequence[Mapping[str, Any]]) -> set[str]:
    """Steps that were put back and not written again since."""
    found: set[str] = set()
    for event in events:
        if event["event"] == "step-undone":
            found.add(str(event["step"]))
        elif event["event"] == "step":
            found.discard(str(event["step"]))
    return found


__all__ = ["KINDS", "NodeHand", "steps_of", "undone_of"]

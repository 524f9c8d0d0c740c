"""The undo journal: one file for each applied plan, owner-only, flushed per line. It holds references and digests, never a secret."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import SessionError


@dataclass(slots=True)
class UndoJournal:
    """Append-only JSON Lines below `undo/` of the state directory."""

    folder: Path

    def _file(self, plan: str) -> Path:
        return self.folder / f"{plan}.jsonl"

    def write(self, plan: str, event: str, **data: Any) -> None:
        """Append one line and sync it to disk before the step it announces is taken."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        line = json.dumps({"event": event, **data}, sort_keys=True) + "\n"
        descriptor = os.open(self._file(plan), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, plan: str) -> list[Mapping[str, Any]]:
        """All whole lines of a plan; a torn last line is left out. Raises SessionError when there is no such plan."""
        try:
            lines = self._file(plan).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise SessionError(
                f"no applied plan {plan!r} in {self.folder}", "`harborpilot undo` lists the plans that can be undone."
            ) from error
        found = []
        for number, line in enumerate(lines, 1):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                if number == len(lines):
                    break
                raise SessionError(
                    f"{self._file(plan)}:{number}: not JSON", "The line before it is the last that can be trusted."
                ) from error
        return found

    def plans(self) -> list[str]:
        """Ids of all plans, newest first."""
        if not self.folder.is_dir():
            return []
        files = sorted(self.folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
        return [path.stem for path in files]

    def interrupted(self) -> list[str]:
        """Plans that were begun and neither finished nor undone; a file that cannot be read counts as one."""
        return [plan for plan in self.plans() if self.summary(plan).state in ("interrupted", "unreadable")]

    def summary(self, plan: str) -> Applied:
        """What became of a plan, in short; never raises for a plan that `plans` lists."""
        try:
            events = self.read(plan)
        except SessionError as error:
            return Applied(plan, state="unreadable", steps=(error.what,))
        begun = next((event for event in events if event["event"] == "begun"), {})
        steps: dict[str, str] = {}
        for event in events:
            if event["event"] == "step":
                name = str(
                    event.get("object")
                    or f"{event.get('node', '')} {event.get('path') or event.get('unit') or ''}".strip()
                )
                state = "done" if event["state"] == "done" else "begun, perhaps not done"
                steps[str(event["step"])] = f"{name or steps.get(str(event['step']), '').rpartition(':')[0]}: {state}"
            elif event["event"] == "step-undone":
                steps[str(event["step"])] = f"{steps.get(str(event['step']), '').rpartition(':')[0]}: undone"
        last = _last(events)
        state = {"finished": "applied", "undone": "undone"}.get(last, "interrupted")
        return Applied(
            plan,
            str(begun.get("fix", "")),
            str(begun.get("title", "")),
            str(begun.get("context", "")),
            float(begun.get("at") or 0.0),
            state,
            tuple(steps.values()),
        )


@dataclass(frozen=True, slots=True)
class Applied:
    """One applied plan. `state`: `applied`, `undone`, `interrupted`, `unreadable`."""

    plan: str
    fix: str = ""
    title: str = ""
    context: str = ""
    at: float = 0.0
    state: str = ""
    steps: tuple[str, ...] = ()


def _last(events: list[Mapping[str, Any]]) -> str:
    marks = [
        str(event["event"]) for event in events if event.get("event") in ("begun", "finished", "undone", "undo-begun")
    ]
    return marks[-1] if marks else ""

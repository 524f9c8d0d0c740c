"""Sessions behind the desk: the journal of a walk, and replay both ways. Loads no client library."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from app.engine.advance import advance
from app.errors import SessionError
from app.model.case import Case, Incident
from app.model.events import (
    Answered,
    Applied,
    Closed,
    Confirmed,
    Event,
    Judged,
    Noted,
    Objected,
    Observed,
    Opened,
    Planned,
    Progressed,
    Stamped,
    Undone,
    applied,
    judged,
    planned,
)
from app.model.evidence import Evidence
from app.model.fix import ApplyReport, FixPlan
from app.model.material import Material
from app.model.standing import Certainty, Step
from app.model.view import HeaderView, Mark, Mode, ReplayView, SessionRow, SessionsView, Timeline, WalkView
from app.ports import Clock, Ids
from app.probes.base import Scene
from app.rulebook.book import Rulebook
from app.runner import investigation as running
from app.runner import views
from app.session.record import Recorder
from app.session.replay import Replay, read_session
from app.session.report import markdown
from app.session.store import SessionInfo, find_session, list_sessions

_DECISIONS: Final = (Judged, Answered, Objected, Planned, Confirmed, Applied, Undone)
_KINDS: Final[Mapping[type[Event], str]] = {
    Observed: "collect", Answered: "answer", Objected: "answer", Judged: "decision", Planned: "fix", Confirmed: "fix",
    Progressed: "fix", Applied: "fix", Undone: "fix",
}  # fmt: skip


@dataclass(slots=True)
class WalkJournal:
    """Writes a walk as it goes: one session for each incident that is opened. Implements the desk's `Journal`."""

    folder: Path
    clock: Clock
    ids: Ids
    product: str
    context: str
    source: str
    rulebook: Rulebook
    recorders: dict[str, Recorder] = field(default_factory=dict)
    written: dict[str, dict[object, Evidence]] = field(default_factory=dict)
    steps: dict[str, Judged] = field(default_factory=dict)
    current: str = ""
    problem: str = ""
    """Why nothing is recorded any more; shown once, never a reason to stop the walk."""

    def note(self, kind: str, **data: Any) -> None:
        """One event of the walk. A full disk costs the recording, not the walk."""
        try:
            self._note(kind, data)
        except SessionError as error:
            self.problem = error.what

    def _note(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "opened":
            self._open(data["incident"], data.get("variables") or {})
            return
        recorder = self.recorders.get(self.current)
        if recorder is None:
            return
        if kind == "evidence":
            known = self.written.setdefault(self.current, {})
            for record in data["records"]:
                if known.get(record.key) != record:
                    known[record.key] = record
                    recorder.append(Observed(record))
        elif kind == "step":
            seen = judged(data["step"], now=data.get("now", 0.0))
            last = self.steps.get(self.current)
            if last is None or replace(last, now=seen.now) != seen:
                self.steps[self.current] = seen
                recorder.append(seen)
        elif kind == "answer":
            recorder.append(Answered(data["question"], data["value"]))
        elif kind == "objection":
            recorder.append(Objected(data["probe"], str(data["target"]), data["reason"]))
        elif kind == "back":
            recorder.append(Noted("the last answer was taken back"))
        elif kind == "note":
            recorder.append(Noted(data["text"]))

    def _open(self, incident: Incident, variables: Mapping[str, Any]) -> None:
        self.current = incident.id
        if incident.id in self.recorders:
            return
        title = f"{incident.action or 'request'} {incident.image or incident.registry or ''}".strip()
        recorder = Recorder.create(
            self.folder, product=self.product, rulebook=self.rulebook.digest, target=incident.image or incident.registry or "",
            clock=self.clock, ids=self.ids, source=self.source, title=title,
        )  # fmt: skip
        self.recorders[incident.id] = recorder
        recorder.append(Opened(incident, self.source, self.context, variables=variables, now=self.clock.now()))

    # --- fixes ---

    def plan(self, plan: FixPlan) -> None:
        self._append(planned(plan))

    def confirm(self, plan: FixPlan, by: str) -> None:
        self._append(Confirmed(plan.id, by))

    def progress(self, report: ApplyReport) -> None:
        for item in report.progress:
            self._append(Progressed(report.plan, str(item.target), item.state, item.note))

    def applied(self, report: ApplyReport) -> None:
        self._append(applied(report))

    def undone(self, plan: str, *, complete: bool, note: str) -> None:
        self._append(Undone(plan, complete, note))

    def _append(self, event: Event) -> None:
        recorder = self.recorders.get(self.current)
        if recorder is None:
            return
        try:
            recorder.append(event)
        except SessionError as error:
            self.problem = error.what

    def close(self) -> None:
        """End all walks."""
        for name, recorder in self.recorders.items():
            step = self.steps.get(name)
            with contextlib.suppress(SessionError, ValueError):
                recorder.append(Closed(step.outcome if step else "inconclusive"))
            recorder.close()
        self.recorders.clear()

    @property
    def path(self) -> Path | None:
        """File of the open walk."""
        recorder = self.recorders.get(self.current)
        return recorder.path if recorder is not None else None


def row_of(info: SessionInfo) -> SessionRow:
    """One line of the list of sessions."""
    return SessionRow(
        info.id,
        info.title or info.target,
        info.source,
        info.started,
        info.events,
        info.outcome,
        info.fixed,
        info.problem,
    )


def sessions_view(folder: Path, now: float) -> SessionsView:
    """Saved sessions, newest first; unreadable ones say why."""
    return SessionsView(tuple(row_of(info) for info in list_sessions(folder)), str(folder), now)


@dataclass(slots=True)
class ReplayDesk:
    """One open replay."""

    replay: Replay
    rulebook: Rulebook
    changed: tuple[str, ...] | None = None
    marks: tuple[Mark, ...] = ()

    @classmethod
    def open(cls, folder: Path, name: str, rulebook: Rulebook) -> ReplayDesk:
        """Raises SessionError."""
        path = Path(name) if name.endswith(".jsonl") and Path(name).exists() else find_session(folder, name)
        replay = read_session(path)
        desk = cls(replay, rulebook)
        desk.marks = tuple(_mark(stamped) for stamped in replay.events())
        return desk

    def view(self) -> ReplayView:
        """The walk at the position, judged from the evidence recorded up to there."""
        header = self.replay.header
        timeline = Timeline(
            self.marks,
            self.replay.position,
            changed=self.changed,
            rules_then=header.rulebook,
            rules_now=self.rulebook.digest,
        )
        session = SessionRow(
            header.id,
            header.title or header.target,
            header.source,
            header.started,
            len(self.replay),
            self.replay.state.outcome,
            "",
            self.replay.problem,
        )
        return ReplayView(session, replace(self._walk(), timeline=timeline), timeline)

    def _walk(self) -> WalkView:
        case = self.replay.case()
        step = self._judge(case)
        opened = running.Opened(
            Scene(case.incident, case.now, "replay", variables=case.variables), Material(), None, case=case, step=step
        )
        header = HeaderView(
            self.replay.state.context or self.replay.header.target,
            Mode.REPLAY,
            True,
            seen_at=self.replay.state.at or None,
        )
        return views.walk(
            header, opened, self.rulebook, number=max(1, len(step.path)), auto=False, now=self.replay.state.at
        )

    def _judge(self, case: Case) -> Step:
        return advance(self.rulebook, case, interactive=True)

    def seek(self, position: int) -> ReplayView:
        self.replay.seek(position)
        return self.view()

    def judge_again(self) -> ReplayView:
        """What today's rules say at the end of the recording, against what was said then."""
        here = self.replay.position
        self.replay.seek(len(self.replay))
        then = self.replay.state.step
        now = self._judge(self.replay.case())
        self.replay.seek(here)
        self.changed = changed_verdicts(then, now)
        return self.view()

    def report(self) -> str:
        """The page for the ticket, of the whole recording."""
        here = self.replay.position
        state = self.replay.seek(len(self.replay))
        text = markdown(state, self.replay.header)
        self.replay.seek(here)
        return text


def _mark(stamped: Stamped) -> Mark:
    event = stamped.event
    return Mark(stamped.at, _KINDS.get(type(event), "note"), _words(event), isinstance(event, _DECISIONS))


def _words(event: Event) -> str:
    table: Mapping[type[Any], Callable[[Any], str]] = {
        Opened: lambda e: f"opened {e.incident.image or e.incident.registry or 'an incident'}",
        Observed: lambda e: f"{e.record.probe} at {e.record.target}: {e.record.outcome.value}",
        Answered: lambda e: f"{e.question} answered {e.value}",
        Objected: lambda e: f"objection to {e.probe}: {e.reason}",
        Judged: lambda e: (
            f"{e.outcome}: {e.standings[0].finding} {e.standings[0].certainty}" if e.standings else e.outcome
        ),
        Planned: lambda e: f"plan {e.title}",
        Confirmed: lambda e: "plan confirmed",
        Progressed: lambda e: f"{e.target}: {e.state.value}",
        Applied: lambda e: "applied and verified" if e.verified else "applied, not verified",
        Undone: lambda e: "undone",
        Noted: lambda e: e.text,
        Closed: lambda e: f"closed: {e.outcome}",
    }
    return table[type(event)](event)[:120]


def changed_verdicts(then: Judged | None, now: Step) -> tuple[str, ...]:
    """Findings whose certainty differs, in words."""
    old = {standing.finding: str(standing.certainty) for standing in then.standings} if then else {}
    new = {standing.finding: standing.certainty.value for standing in now.standings}
    quiet = {Certainty.POSSIBLE.value, Certainty.OUT.value, ""}
    return tuple(
        f"{name}: {old.get(name, 'not judged')} then, {new.get(name, 'not judged')} now"
        for name in sorted({*old, *new})
        if old.get(name, "") != new.get(name, "") and not {old.get(name, ""), new.get(name, "")} <= quiet
    )

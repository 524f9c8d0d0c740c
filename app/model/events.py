"""What a session records: typed events, each true by itself, never changed afterwards.

Names on disk are the `name` of each class; a field added later has a default, so that older recordings still read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final

from app.model.case import Incident
from app.model.evidence import Evidence, Value
from app.model.fix import ApplyReport, FixPlan, StepState
from app.model.standing import Ask, Certainty, Collect, Standing, Step

_SHOWN: Final = 6
"""Standings kept with their grounds; of the others the id and the reason are enough."""


@dataclass(frozen=True, slots=True)
class GroundSeen:
    """One term behind a judgement as it was shown, with the evidence that decided it."""

    text: str
    value: str
    seen: str = ""
    role: str = ""
    probe: str = ""
    target: str = ""
    vantage: str = ""
    command: str = ""
    excerpt: str = ""
    taken_at: float | None = None


@dataclass(frozen=True, slots=True)
class MissingSeen:
    """What was not known and would have mattered."""

    probe: str
    target: str
    fact: str
    why: str = ""
    by_hand: str = ""


@dataclass(frozen=True, slots=True)
class StandingSeen:
    """A finding's standing at one moment."""

    finding: str
    cause: str | None
    kind: str
    certainty: str
    targets: tuple[str, ...]
    title: str
    summary: str = ""
    because: str = ""
    grounds: tuple[GroundSeen, ...] = ()
    missing: tuple[MissingSeen, ...] = ()
    fixes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """A walk began. `source`: `live`, `bundle`, `text`, `practice`."""

    name: ClassVar[str] = "opened"
    incident: Incident
    source: str = "live"
    context: str = ""
    vantage: str = "operator"
    variables: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class Observed:
    """A record of evidence came; it takes the place of an older one with the same key."""

    name: ClassVar[str] = "evidence"
    record: Evidence


@dataclass(frozen=True, slots=True)
class Answered:
    """The operator answered a question; an empty value takes the answer back."""

    name: ClassVar[str] = "answer"
    question: str
    value: str


@dataclass(frozen=True, slots=True)
class Objected:
    """The operator does not accept a record."""

    name: ClassVar[str] = "objection"
    probe: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What the engine said."""

    name: ClassVar[str] = "step"
    outcome: str
    symptoms: tuple[str, ...] = ()
    standings: tuple[StandingSeen, ...] = ()
    also_noticed: tuple[StandingSeen, ...] = ()
    explained: tuple[str, ...] = ()
    path: tuple[tuple[str, str], ...] = ()
    """(question, the answer taken or ``), as walked."""
    next: str = ""
    """`collect …`, `ask …`, `done …`, in words."""
    now: float = 0.0
    variables: Mapping[str, Value] | None = None
    """The case's variables when they have changed."""


@dataclass(frozen=True, slots=True)
class ChangeSeen:
    """One write of a plan, without what it carries."""

    target: str
    kind: str
    title: str
    diff: str = ""
    command: str = ""
    undo: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan was made and shown."""

    name: ClassVar[str] = "plan"
    plan: str
    fix: str
    finding: str
    title: str
    fix_class: str = ""
    risk: str = ""
    restarts: str = ""
    undo: str = ""
    targets: tuple[str, ...] = ()
    changes: tuple[ChangeSeen, ...] = ()
    checks: tuple[tuple[str, str], ...] = ()
    """(what was checked, its state)."""
    verify: str = ""
    hand_off: str = ""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The operator confirmed that plan. `by`: what was pressed or typed."""

    name: ClassVar[str] = "confirm"
    plan: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Progressed:
    """One target of a plan moved on."""

    name: ClassVar[str] = "progress"
    plan: str
    target: str
    state: StepState
    note: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """An apply ended."""

    name: ClassVar[str] = "applied"
    plan: str
    verified: bool
    probe_verified: bool = False
    event_verified: bool | None = None
    undone: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Undone:
    """A plan was undone; `complete` false: something stayed."""

    name: ClassVar[str] = "undo"
    plan: str
    complete: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Noted:
    """A word of the operator, or of ours about the run (`kind` = `note`, `run`, `error`)."""

    name: ClassVar[str] = "note"
    text: str
    kind: str = "note"


@dataclass(frozen=True, slots=True)
class Closed:
    """The walk ended. `outcome`: `fault_found`, `inconclusive`, `healthy`, `interrupted`."""

    name: ClassVar[str] = "closed"
    outcome: str
    reason: str = ""


Event = (
    Opened
    | Observed
    | Answered
    | Objected
    | Judged
    | Planned
    | Confirmed
    | Progressed
    | Applied
    | Undone
    | Noted
    | Closed
)
EVENTS: Final[tuple[type[Event], ...]] = (
    Opened, Observed, Answered, Objected, Judged, Planned, Confirmed, Progressed, Applied, Undone, Noted, Closed,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stamped:
    """An event with its number (from 1) and the time it was recorded at."""

    number: int
    at: float
    event: Event


# --- snapshots ----------------------------------------------------------------------------------------------------


def judged(step: Step, *, now: float = 0.0, variables: Mapping[str, Value] | None = None) -> Judged:
    """A step as an event: the leading standings with their grounds, the others by name and reason."""
    return Judged(
        step.outcome,
        step.symptoms,
        tuple(standing_seen(standing, full=number < _SHOWN) for number, standing in enumerate(step.standings)),
        tuple(standing_seen(standing, full=False) for standing in step.also_noticed),
        step.explained,
        tuple(
            (asked.id, asked.choices[asked.taken].label if asked.taken is not None and asked.choices else "")
            for asked in step.path
        ),
        _next(step),
        now,
        variables,
    )


def _next(step: Step) -> str:
    if isinstance(step.next, Collect):
        return "collect " + ", ".join(f"{probe} at {target}" for probe, target in step.next.wanted)
    if isinstance(step.next, Ask):
        return f"ask {step.next.question.id}: {step.next.question.text}"
    return f"done {step.next.reason}".strip()


def standing_seen(standing: Standing, *, full: bool) -> StandingSeen:
    """One standing as it is recorded; one that is out keeps only the reason."""
    detailed = full and standing.certainty is not Certainty.OUT
    return StandingSeen(
        standing.finding,
        standing.cause,
        standing.kind.value,
        standing.certainty.value,
        tuple(str(target) for target in standing.targets),
        standing.title,
        standing.summary if detailed else "",
        standing.because,
        tuple(
            GroundSeen(
                ground.text,
                ground.value,
                ground.seen,
                ground.role,
                ground.evidence.probe if ground.evidence else "",
                str(ground.evidence.target) if ground.evidence else "",
                ground.evidence.vantage if ground.evidence else "",
                ground.evidence.command if ground.evidence else "",
                ground.evidence.excerpt if ground.evidence else "",
                ground.evidence.taken_at if ground.evidence else None,
            )
            for ground in standing.grounds
        )
        if detailed
        else (),
        tuple(
            MissingSeen(missing.probe, str(missing.target), missing.fact, missing.why, missing.by_hand)
            for missing in standing.missing
        )
        if detailed
        else (),
        standing.fixes if detailed else (),
    )


def planned(plan: FixPlan) -> Planned:
    """A plan as an event; what its changes carry (`payload`) is never recorded."""
    return Planned(
        plan.id,
        plan.fix,
        plan.finding,
        plan.title,
        plan.fix_class,
        plan.risk,
        plan.restarts,
        plan.undo,
        tuple(str(target) for target in plan.targets),
        tuple(
            ChangeSeen(str(change.target), change.kind, change.title, change.diff, change.command, change.undo)
            for change in plan.changes
        ),
        tuple((check.text, check.state) for check in plan.checks),
        plan.verify,
        plan.hand_off,
    )


def applied(report: ApplyReport) -> Applied:
    """The end of an apply as an event."""
    return Applied(
        report.plan, report.verified, report.probe_verified, report.event_verified, report.undone, report.note
    )


__all__ = [
    "EVENTS", "Answered", "Applied", "ChangeSeen", "Closed", "Confirmed", "Event", "GroundSeen", "Judged",
    "MissingSeen", "Noted", "Objected", "Observed", "Opened", "Planned", "Progressed", "Stamped", "StandingSeen",
    "Undone", "applied", "judged", "planned", "standing_seen",
]  # fmt: skip

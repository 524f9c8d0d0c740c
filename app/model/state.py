"""The state of a session: a pure reduction over its events. Nothing here reads a clock or a disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from app.model.case import Case, Incident, Objection
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
)
from app.model.evidence import Evidence, Value
from app.model.target import Target


@dataclass(frozen=True, slots=True)
class PlanState:
    """A plan and how far it came."""

    plan: Planned
    confirmed: str = ""
    """How it was confirmed; empty while it is not."""
    progress: tuple[Progressed, ...] = ()
    """The latest of each target, in the order they began."""
    ended: Applied | None = None
    undone: Undone | None = None


@dataclass(frozen=True, slots=True)
class SessionState:
    """Everything known after a number of events."""

    number: int = 0
    at: float = 0.0
    incident: Incident | None = None
    source: str = ""
    context: str = ""
    vantage: str = "operator"
    variables: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    now: float = 0.0
    blocks: tuple[tuple[Evidence, ...], ...] = field(default=(), repr=False)
    """Older records in blocks, so that one more costs the same after ten thousand as after ten."""
    tail: tuple[Evidence, ...] = field(default=(), repr=False)
    answers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    objections: tuple[Objection, ...] = ()
    step: Judged | None = None
    plans: tuple[PlanState, ...] = ()
    notes: tuple[tuple[float, Noted], ...] = ()
    closed: Closed | None = None

    @property
    def records(self) -> tuple[Evidence, ...]:
        """All evidence in the order it came."""
        return (*(record for block in self.blocks for record in block), *self.tail)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The newest record of each key."""
        return tuple({record.key: record for record in self.records}.values())

    @property
    def outcome(self) -> str:
        """How it ended, else how it stands."""
        if self.closed is not None:
            return self.closed.outcome
        return self.step.outcome if self.step is not None else ""

    def case(self) -> Case:
        """The case to judge again with today's rules."""
        return Case(
            self.incident or Incident(),
            self.evidence,
            self.variables,
            self.answers,
            self.objections,
            self.now,
        )


EMPTY: Final = SessionState()
_BLOCK: Final = 64


def reduce(state: SessionState, stamped: Stamped) -> SessionState:
    """The state after one more event."""
    event = stamped.event
    number, at = stamped.number, stamped.at
    match event:
        case Observed():
            now = max(state.now, event.record.taken_at or 0.0)
            blocks, tail = state.blocks, (*state.tail, event.record)
            if len(tail) >= _BLOCK:
                blocks, tail = (*blocks, tail), ()
            return replace(state, number=number, at=at, blocks=blocks, tail=tail, now=now)
        case Opened():
            return replace(
                state,
                number=number,
                at=at,
                incident=event.incident,
                source=event.source,
                context=event.context,
                vantage=event.vantage,
                variables=event.variables,
                now=max(state.now, event.now),
                closed=None,
            )
        case Answered():
            answers = {**state.answers, event.question: event.value}
            if not event.value:
                del answers[event.question]
            return replace(state, number=number, at=at, answers=MappingProxyType(answers))
        case Objected():
            objection = Objection(event.probe, _target(event.target), event.reason)
            return replace(state, number=number, at=at, objections=(*state.objections, objection))
        case Judged():
            return replace(
                state,
                number=number,
                at=at,
                step=event,
                now=max(state.now, event.now),
                variables=state.variables if event.variables is None else event.variables,
            )
        case Noted():
            return replace(state, number=number, at=at, notes=(*state.notes, (at, event)))
        case Closed():
            return replace(state, number=number, at=at, closed=event)
        case _:
            return replace(state, number=number, at=at, plans=_plans(state.plans, event))


def reduce_all(events: Iterable[Stamped], state: SessionState = EMPTY) -> SessionState:
    """The state after all of them."""
    for stamped in events:
        state = reduce(state, stamped)
    return state


def _plans(plans: tuple[PlanState, ...], event: Event) -> tuple[PlanState, ...]:
    if isinstance(event, Planned):
        return (*(held for held in plans if held.plan.plan != event.plan), PlanState(event))
    return tuple(_moved(held, event) if held.plan.plan == getattr(event, "plan", None) else held for held in plans)


def _moved(held: PlanState, event: Event) -> PlanState:
    match event:
        case Confirmed():
            return replace(held, confirmed=event.by or "confirmed")
        case Progressed():
            known = {progress.target: progress for progress in held.progress}
            known[event.target] = event
            return replace(held, progress=tuple(known.values()))
        case Applied():
            return replace(held, ended=event)
        case Undone():
            return replace(held, undone=event)
        case _:
            return held


def _target(text: str) -> Target:
    try:
        return Target.parse(text)
    except ValueError:
        return Target()

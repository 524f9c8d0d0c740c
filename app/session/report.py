"""The page for the ticket, from a session's state: what was seen, why, what rests on what, what was changed, and whether it works.

Everything that came from outside is text: escaped in HTML, in fences or escaped in Markdown, never markup.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from app.model.events import GroundSeen, Judged, StandingSeen
from app.model.evidence import Evidence, Outcome
from app.model.state import PlanState, SessionState
from app.parsers.redact import redact
from app.session.codec import Header
from app.session.report_render import Block, Code, Items, Para, Section, html_page, markdown_page

_WORDS: Final = {
    "proven": "proven",
    "likely": "likely",
    "possible": "possible, not decided",
    "conflict": "in conflict: evidence speaks for it and against it",
    "out": "ruled out",
}
_CLASSES: Final = {"first_aid": "first aid", "cure": "cure", "hand_off": "hand-off to the owner", "advice": "advice"}


@dataclass(frozen=True, slots=True)
class Report:
    """Title, one line of verdict, and the sections in order."""

    title: str
    verdict: str
    sections: tuple[Section, ...]
    footer: tuple[str, ...] = field(default=())


def markdown(state: SessionState, header: Header | None = None) -> str:
    """The report as Markdown."""
    report = build(state, header)
    return markdown_page(report.title, report.verdict, report.sections, report.footer)


def html(state: SessionState, header: Header | None = None) -> str:
    """The report as one HTML file that loads nothing."""
    report = build(state, header)
    return html_page(report.title, report.verdict, report.sections, report.footer)


def build(state: SessionState, header: Header | None = None) -> Report:
    """What both renderings show."""
    step = state.step
    best = next((standing for standing in step.standings if standing.certainty != "out"), None) if step else None
    incident = state.incident
    what = (incident.image or incident.registry) if incident else ""
    action = (incident.action or "pull or push") if incident else "pull or push"
    sections = [
        Section("Symptom", tuple(_symptom(state))),
        Section("Cause", tuple(_cause(step, best))),
        Section("Evidence", tuple(_evidence(state, best))),
        Section("Ruled out", tuple(_ruled_out(step))),
        Section("Not known", tuple(_unknown(state, best))),
        Section("By the operator", tuple(_operator(state))),
        Section("Change", tuple(_changes(state))),
        Section("Proof that it works", tuple(_proof(state))),
    ]
    footer = [f"Recorded {_when(state.at)}." if state.at else ""]
    if header is not None:
        footer.append(
            f"Session {header.id}, harborpilot {header.product}, rules {header.rulebook[:16]}, {header.target}."
        )
    return Report(
        f"{action} of {what}" if what else "Image pulls and pushes",
        _verdict(state, best),
        tuple(section for section in sections if section.blocks),
        tuple(line for line in footer if line),
    )


def _verdict(state: SessionState, best: StandingSeen | None) -> str:
    if state.outcome == "healthy":
        return "Nothing fails."
    if best is None:
        return "No cause was found with what is known."
    word = _WORDS.get(best.certainty, best.certainty)
    places = f" ({', '.join(best.targets[:6])}{', …' if len(best.targets) > 6 else ''})" if best.targets else ""
    return f"{best.title}{places}: {word}."


def _symptom(state: SessionState) -> Iterator[Block]:
    incident = state.incident
    if incident is None:
        return
    facts = []
    if incident.image:
        facts.append(("Image", incident.image))
    if incident.registry:
        facts.append(("Registry", incident.registry))
    if incident.pods:
        facts.append(("Pods", _some(incident.pods)))
    if incident.nodes:
        facts.append(("Nodes", _some(incident.nodes)))
    if incident.healthy_nodes:
        facts.append(("Nodes where it works", _some(incident.healthy_nodes)))
    if incident.since:
        facts.append(("Since", _when(incident.since)))
    if state.context:
        facts.append(("Context", state.context))
    if facts:
        yield Items(tuple(f"{name}: {value}" for name, value in facts))
    for text in incident.texts:
        yield Code(redact(text))


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"


def _cause(step: Judged | None, best: StandingSeen | None) -> Iterator[Block]:
    if step is None:
        yield Para("It was not judged.")
        return
    if best is None:
        yield Para("No finding explains it with what is known.")
        return
    yield Para(f"{best.title}. {_WORDS.get(best.certainty, best.certainty).capitalize()}.")
    if best.summary:
        # The summary states what the finding means; a finding that is only possible has not been seen to hold.
        yield Para(f"It would mean: {best.summary}" if best.certainty == "possible" else best.summary)
    about = [f"Finding: {best.finding}"]
    if best.cause:
        about.append(f"Cause: {best.cause}")
    if best.targets:
        about.append(f"Where: {_some(best.targets)}")
    if best.because:
        about.append(f"Note: {best.because}")
    yield Items(tuple(about))
    others = [
        standing
        for standing in step.standings
        if standing is not best and standing.certainty in ("proven", "likely", "conflict")
    ]
    if others:
        yield Para("Also:")
        yield Items(
            tuple(f"{standing.title} ({standing.finding}): {_WORDS[standing.certainty]}" for standing in others)
        )
    if step.also_noticed:
        yield Para("Noticed besides, explains nothing of this:")
        yield Items(tuple(f"{standing.title} ({standing.finding})" for standing in step.also_noticed))


def _evidence(state: SessionState, best: StandingSeen | None) -> Iterator[Block]:
    grounds = [
        ground for ground in (best.grounds if best else ()) if ground.value == "true" and ground.role != "exclusion"
    ]
    shown: set[tuple[str, str]] = set()
    for ground in grounds:
        yield Para(
            f"{ground.text}{f': {ground.seen}' if ground.seen and ground.seen not in ground.text else ''}{_source(ground)}"
        )
        key = (ground.command, ground.excerpt)
        if key in shown:
            continue
        shown.add(key)
        if ground.command:
            yield Code(redact(ground.command), "Repeat it with")
        if ground.excerpt:
            yield Code(redact(ground.excerpt), "It said")
    if not grounds:
        seen = sorted({record.probe for record in state.evidence if record.outcome is Outcome.OBSERVED})
        if seen:
            yield Para(f"Read without a decision: {', '.join(seen)}.")


def _source(ground: GroundSeen) -> str:
    words = [f"at {ground.target}" if ground.target and ground.target != "incident" else ""]
    words.append(f"seen from {ground.vantage}" if ground.vantage else "")
    words.append(_when(ground.taken_at) if ground.taken_at else "")
    told = ", ".join(word for word in words if word)
    return f" ({told})" if told else ""


def _ruled_out(step: Judged | None) -> Iterator[Block]:
    out = [standing for standing in (step.standings if step else ()) if standing.certainty == "out"]
    if out:
        yield Items(
            tuple(
                f"{standing.title} ({standing.finding}){f': {standing.because}' if standing.because else ''}"
                for standing in out
            )
        )


def _unknown(state: SessionState, best: StandingSeen | None) -> Iterator[Block]:
    for missing in best.missing if best else ():
        where = f" at {missing.target}" if missing.target and missing.target != "incident" else ""
        yield Para(f"{missing.fact or missing.probe}{where}{f': {missing.why}' if missing.why else ''}")
        if missing.by_hand:
            yield Code(redact(missing.by_hand), "By hand")
    refused = [record for record in state.evidence if record.outcome not in (Outcome.OBSERVED, Outcome.SKIPPED)]
    if refused:
        yield Items(tuple(_not_observed(record) for record in refused))


def _not_observed(record: Evidence) -> str:
    where = f" at {record.target}" if record.target.parts else ""
    return f"{record.probe}{where}: {record.outcome.value.replace('_', ' ')}{f'. {redact(record.detail)}' if record.detail else ''}"


def _operator(state: SessionState) -> Iterator[Block]:
    said = [f"{question}: {value}" for question, value in state.answers.items()]
    said += [
        f"does not accept {objection.probe} at {objection.target}: {objection.reason}" for objection in state.objections
    ]
    said += [f"{_when(at)}: {note.text}" for at, note in state.notes if note.kind == "note"]
    if said:
        yield Items(tuple(redact(line) for line in said))


def _changes(state: SessionState) -> Iterator[Block]:
    if not state.plans:
        yield Para("Nothing was changed.")
        return
    for held in state.plans:
        plan = held.plan
        yield Para(
            f"{plan.title} ({_CLASSES.get(plan.fix_class, plan.fix_class) or plan.fix}) on {_some(plan.targets)}: {_state_of(held)}."
        )
        facts = [
            f"{name}: {value}"
            for name, value in (("Risk", plan.risk), ("Restarts", plan.restarts), ("Undo", plan.undo))
            if value
        ]
        facts += [f"Checked: {text}: {state_word}" for text, state_word in plan.checks]
        facts += [
            f"{progress.target}: {progress.state.value}{f' ({progress.note})' if progress.note else ''}"
            for progress in held.progress
        ]
        if facts:
            yield Items(tuple(redact(fact) for fact in facts))
        for change in plan.changes:
            if change.command:
                yield Code(redact(change.command), change.title)
            if change.diff:
                yield Code(redact(change.diff), f"Difference at {change.target}")
        if plan.hand_off:
            yield Code(redact(plan.hand_off), "For the owner")


def _state_of(held: PlanState) -> str:
    if held.undone is not None:
        return "undone" if held.undone.complete else "undone in part"
    if held.ended is not None:
        return "applied" if not held.ended.undone else "applied and undone"
    if held.confirmed:
        return "confirmed, not finished"
    return "planned, not applied"


def _proof(state: SessionState) -> Iterator[Block]:
    lines = []
    for held in state.plans:
        ended = held.ended
        if ended is None:
            continue
        event = {None: "was not waited for", True: "came", False: "did not come"}[ended.event_verified]
        lines.append(
            f"{held.plan.title}: {'verified' if ended.verified else 'NOT verified'}; the probe that failed "
            f"{'passes' if ended.probe_verified else 'does not pass'}, the awaited event {event}."
            + (f" {redact(ended.note)}" if ended.note else "")
        )
    if lines:
        yield Items(tuple(lines))


def _when(at: float | None) -> str:
    if at is None:
        return ""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return ""

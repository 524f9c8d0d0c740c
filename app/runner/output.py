"""What `diagnose` prints: schema 1 as JSON or YAML, and text for people."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from app.model.evidence import Evidence
from app.model.standing import Certainty, Standing, Step
from app.rulebook.book import Rulebook
from app.runner.assemble import NO_ERROR_TEXT, Judged, outcome_of

SIGNS = {
    Certainty.PROVEN: "●",
    Certainty.LIKELY: "◐",
    Certainty.POSSIBLE: "○",
    Certainty.CONFLICT: "⚡",
    Certainty.OUT: "–",
}
EXIT = {"fault_found": 3, "healthy": 0, "inconclusive": 4}
_MOST_POSSIBLE = 8


def stamp(at: float | None) -> str | None:
    """Epoch seconds → ISO 8601 in UTC."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _record(evidence: Evidence) -> dict[str, Any]:
    return {
        "probe": evidence.probe, "target": str(evidence.target), "vantage": evidence.vantage, "outcome": evidence.outcome.value,
        "excerpt": evidence.excerpt, "taken_at": stamp(evidence.taken_at), "command": evidence.command,
    }  # fmt: skip


def diagnoses_of(step: Step) -> list[Standing]:
    """What is shown as a diagnosis: proven and likely ones, then the best of the possible; conflicts too."""
    live = [standing for standing in step.standings if standing.certainty is not Certainty.OUT]
    sure = [standing for standing in live if standing.certainty in (Certainty.PROVEN, Certainty.LIKELY)]
    return sure + [standing for standing in live if standing not in sure][:_MOST_POSSIBLE]


def to_data(judged: Sequence[Judged]) -> dict[str, Any]:
    """Schema 1 of design section 5."""
    return {"schema": 1, "outcome": outcome_of(judged), "incidents": [_incident(item) for item in judged]}


def _incident(item: Judged) -> dict[str, Any]:
    incident, step = item.case.incident, item.step
    out = [standing for standing in step.standings if standing.certainty is Certainty.OUT]
    ruled_out = [
        {"finding": standing.finding, "cause": standing.cause, "because": standing.because} for standing in out
    ]
    return {
        "image": incident.image,
        "registry": incident.registry,
        "action": incident.action if incident.action in ("pull", "push") else None,
        "symptoms": list(step.symptoms),
        "pods": len(incident.pods),
        "nodes": list(incident.nodes),
        "diagnoses": [
            _diagnosis(standing, ruled_out if number == 0 else []) for number, standing in enumerate(diagnoses_of(step))
        ],
        "also_noticed": [
            {
                "finding": standing.finding,
                "cause": standing.cause,
                "targets": [str(target) for target in standing.targets],
                "summary": standing.summary,
            }
            for standing in step.also_noticed
        ],
    }


def _diagnosis(standing: Standing, ruled_out: list[dict[str, Any]]) -> dict[str, Any]:
    records: dict[int, Evidence] = {}
    for ground in standing.grounds:
        if ground.evidence is not None and ground.value == "true":
            records[id(ground.evidence)] = ground.evidence
    return {
        "finding": standing.finding,
        "cause": standing.cause,
        "certainty": "possible" if standing.certainty is Certainty.CONFLICT else standing.certainty.value,
        "conflict": standing.certainty is Certainty.CONFLICT,
        "targets": [str(target) for target in standing.targets],
        "title": standing.title,
        "summary": standing.summary,
        "because": [
            {"term": ground.text, "value": ground.value, "seen": ground.seen, "role": ground.role}
            for ground in standing.grounds
        ],
        "evidence": [_record(evidence) for evidence in records.values()],
        "ruled_out": ruled_out,
        "missing": [
            {
                "probe": missing.probe,
                "target": str(missing.target),
                "fact": missing.fact,
                "why": missing.why,
                "by_hand": missing.by_hand,
            }
            for missing in standing.missing
        ],
        "fixes": [fix for _, fix in standing.fixes],
    }


def to_json(judged: Sequence[Judged]) -> str:
    return json.dumps(to_data(judged), indent=1, ensure_ascii=False)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun if number == 1 else noun + 's'}"


def to_text(judged: Sequence[Judged], rulebook_fixes: dict[str, str]) -> str:
    """For a terminal without colour and for a ticket; the same order as on screen."""
    lines: list[str] = []
    for item in judged:
        incident, step = item.case.incident, item.step
        what = (
            " · ".join(part for part in (incident.action, incident.image or incident.registry) if part)
            or "no image named"
        )
        where = f"{_count(len(incident.pods), 'pod')} on {_count(len(incident.nodes), 'node')}" if incident.pods else ""
        lines.append(" · ".join(part for part in (what, where) if part))
        lines.extend(f"    “{' '.join(text.split())[:300]}”" for text in incident.texts[:3])
        shown = diagnoses_of(step)
        if not shown:
            lines.append(
                f"    ✓ healthy: no symptom, and a success was seen{_rests_on(item)}"
                if step.outcome == "healthy"
                else f"    ? {NO_ERROR_TEXT}; it names no image, registry, client or request"
                if incident.texts
                else "    ? nothing to judge from"
            )
        proven = any(standing.certainty is Certainty.PROVEN for standing in shown)
        rest = [standing for standing in shown if standing.certainty is Certainty.POSSIBLE] if proven else []
        for standing in shown:
            if standing not in rest:
                lines.extend(_text_standing(standing, rulebook_fixes))
        if rest:
            lines.append(
                "  ○ not ruled out, of no interest while the above stands: " + ", ".join(one.finding for one in rest)
            )
        out = [standing for standing in step.standings if standing.certainty is Certainty.OUT]
        if out:
            lines.append("  ruled out")
            lines.extend(f"    – {standing.finding}: {standing.because}" for standing in out[:6])
            if len(out) > 6:
                lines.append(f"    – and {len(out) - 6} more (-o json lists them)")
        lines.extend(
            f"  also noticed: {standing.title} ({', '.join(str(target) for target in standing.targets[:3])})"
            for standing in step.also_noticed
        )
        lines.append("")
    lines.append(
        {
            "fault_found": "A fault was found.",
            "healthy": "Healthy.",
            "inconclusive": f"Inconclusive{': what is missing is named above' if _missing(judged) else ''}.",
        }[outcome_of(judged)]
    )
    return "\n".join(lines)


def _missing(judged: Sequence[Judged]) -> bool:
    return any(standing.missing for item in judged for standing in diagnoses_of(item.step))


def _rests_on(item: Judged) -> str:
    """What a success of our own try of a push does not show."""
    tried = any(record.facts.get("upload.location_ok") for record in item.case.evidence)
    return (
        ": the start of an upload was accepted; quota and size limits are only checked later in a push"
        if tried and not item.case.incident.texts
        else ""
    )


def _text_standing(standing: Standing, fixes: dict[str, str]) -> list[str]:
    targets = ", ".join(str(target) for target in standing.targets[:2]) + (
        f" and {len(standing.targets) - 2} more" if len(standing.targets) > 2 else ""
    )
    lines = [
        f"  {SIGNS[standing.certainty]} {standing.certainty.value:8} {standing.title}   [{standing.finding}]   {targets}"
    ]
    if standing.certainty in (Certainty.PROVEN, Certainty.LIKELY, Certainty.CONFLICT):
        lines.append(f"      {standing.summary}")
        for ground in standing.grounds:
            if ground.value == "true":
                source = (
                    f"  ← {ground.evidence.command}" if ground.evidence is not None and ground.evidence.command else ""
                )
                lines.append(f"      ✓ {ground.text}: {ground.seen or 'yes'}{source}")
        if standing.because:
            lines.append(f"      {standing.because}")
        for kind, fix in standing.fixes[:4]:
            lines.append(f"      fix ({kind.replace('_', ' ')}): {fixes.get(fix, fix)}")
    for missing in standing.missing[:2]:
        lines.append(
            f"      ? {missing.fact}: {missing.why}" + (f"; by hand: {missing.by_hand}" if missing.by_hand else "")
        )
    return lines


def to_yaml(judged: Sequence[Judged]) -> str:
    """The same data as YAML."""
    import yaml  # noqa: PLC0415 - only this format needs it

    return str(yaml.safe_dump(to_data(judged), sort_keys=False, allow_unicode=True, width=140))


def to_markdown(judged: Sequence[Judged], rulebook: Rulebook) -> str:
    """A page for a ticket or a job summary. Text from outside stands in code spans, so that it is never markup."""
    lines: list[str] = []
    for item in judged:
        incident, step = item.case.incident, item.step
        lines += [
            f"## {incident.action or 'request'} of {code(incident.image or incident.registry or 'an unnamed image')}",
            "",
        ]
        lines += [*(f"> {code(text[:400])}" for text in incident.texts[:3]), ""]
        for standing in diagnoses_of(step)[:4]:
            lines.append(
                f"- **{standing.certainty.value}** {standing.title} ({code(standing.finding)}), {', '.join(code(str(target)) for target in standing.targets[:4])}"
            )
            if standing.certainty in (Certainty.PROVEN, Certainty.LIKELY):
                lines.append(f"  - {standing.summary}")
                lines.extend(
                    f"  - seen: {ground.text}: {code(ground.seen or 'yes')}"
                    for ground in standing.grounds
                    if ground.value == "true"
                )
                lines.extend(
                    f"  - {kind.replace('_', ' ')}: {rulebook.fixes[fix].title}"
                    for kind, fix in standing.fixes[:3]
                    if fix in rulebook.fixes
                )
            lines.extend(f"  - unknown: {code(missing.fact)}, {missing.why}" for missing in standing.missing[:2])
        lines.append("")
    lines.append(
        {"fault_found": "A fault was found.", "healthy": "Healthy.", "inconclusive": "Inconclusive."}[
            outcome_of(judged)
        ]
    )
    return "\n".join(lines)


def code(text: str) -> str:
    """A code span that its content cannot end."""
    flat = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", flat)), default=0))
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"

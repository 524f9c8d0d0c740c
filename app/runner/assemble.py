"""Material → evidence → case → step, without any client: what a bundle, a session and a live run share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from app.engine.advance import advance
from app.model.case import NOT_ASKED, Case
from app.model.evidence import Evidence, Of, Outcome, Value
from app.model.material import Material
from app.model.standing import Certainty, Step
from app.parsers.image_ref import parse_image
from app.parsers.redact import redact
from app.probes import ALL
from app.probes.base import HarborPlace, Probe, Scene
from app.probes.incidents import case_time, find_incidents
from app.probes.registry_scene import stands_for_desk
from app.rulebook.book import Rulebook

NOT_IN_BUNDLE = "not in the bundle"
TEXT_ALONE = "not asked, since only the text is judged"
"""Why a fact is unknown that no probe tried to read, where it is not `NOT_ASKED`."""
NO_ERROR_TEXT = "this is no error text that the rules know"
"""Said of a text for which no finding stands."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One incident with its case and what the engine says of it."""

    case: Case
    step: Step


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of the material besides what it shows by itself."""

    text: str | None = None
    push: str | None = None
    image: str | None = None
    harbor: HarborPlace | None = None
    vantage: str = "bundle"
    now: float | None = None
    try_credentials: bool = False
    push_login: bool = False
    try_upload: bool = False


def scenes(material: Material, ask: Ask) -> list[Scene]:
    """One scene for each incident of the material."""
    now = ask.now if ask.now is not None else case_time(material)
    return [
        Scene(incident, now, ask.vantage, ask.harbor, variables, ask.try_credentials, ask.push_login, ask.try_upload)
        for incident, variables in find_incidents(material, text=ask.text, push=ask.push, image=ask.image)
    ]


def read_all(material: Material, scene: Scene, rulebook: Rulebook, probes: Sequence[Probe] = ALL) -> list[Evidence]:
    """Evidence of all probes for one scene. A probe that fails on odd input becomes a record that says so."""
    found: list[Evidence] = []
    for probe in probes:
        spec = rulebook.probes.get(probe.id)
        try:
            records = list(probe.read(material, scene))
        except Exception as error:
            records = [
                Evidence(
                    probe.id,
                    vantage=scene.vantage,
                    outcome=Outcome.UNPARSABLE,
                    detail=f"the reading failed: {redact(repr(error))[:300]}",
                    taken_at=scene.now,
                )
            ]
        for record in records:
            aged = (
                record
                if record.max_age is not None or spec is None or scene.vantage == "bundle"
                else replace(record, max_age=spec.max_age)
            )
            found.append(_aside(aged, scene))
    return found


def _aside(record: Evidence, scene: Scene) -> Evidence:
    """What a node shows is not what a client elsewhere meets: the node was asked because the desk cannot."""
    node = record.target.get("node")
    if node and record.of is Of.THIS and scene.vantage != "bundle" and stands_for_desk(scene, node):
        return replace(record, of=Of.ELSEWHERE)
    return record


def case_of(
    scene: Scene, evidence: Iterable[Evidence], *, given: Iterable[Evidence] = (), unread: str = NOT_ASKED
) -> Case:
    """Evidence given beforehand (`evidence.jsonl`, a session) comes first; what was read now replaces the same key."""
    merged = {record.key: record for record in given}
    merged.update(
        {record.key: record for record in evidence if record.outcome is Outcome.OBSERVED or record.key not in merged}
    )
    variables = {**_for_commands(scene), **scene.variables}
    return Case(scene.incident, tuple(merged.values()), variables, unread=unread, now=scene.now)


def _for_commands(scene: Scene) -> dict[str, Value]:
    """Variables that only fill the commands by hand."""
    found: dict[str, Value] = {}
    reference = parse_image(scene.incident.image) if scene.incident.image else None
    if reference is not None and reference.ok:
        found["image.repository"] = reference.path
        found["image.tag"] = reference.digest or reference.tag or "latest"
    if scene.harbor is not None and scene.harbor.namespace:
        found["harbor.namespace"] = scene.harbor.namespace
    return found


def judge_material(
    rulebook: Rulebook,
    material: Material,
    ask: Ask,
    *,
    given: Sequence[Evidence] = (),
    interactive: bool = False,
    unread: str = NOT_IN_BUNDLE,
) -> list[Judged]:
    """All incidents of the material, best standing first, then by pods."""
    judged = []
    for scene in scenes(material, ask):
        case = case_of(scene, read_all(material, scene, rulebook), given=given, unread=unread)
        judged.append(Judged(case, advance(rulebook, case, interactive=interactive)))
    judged.sort(key=lambda item: (_best(item.step), -len(item.case.incident.pods)))
    return judged


def _best(step: Step) -> int:
    return min((standing.certainty.rank for standing in step.standings), default=Certainty.OUT.rank)


def outcome_of(judged: Sequence[Judged]) -> str:
    """`fault_found`, `healthy` or `inconclusive` of a whole run (design section 5)."""
    outcomes = [item.step.outcome for item in judged]
    if "fault_found" in outcomes:
        return "fault_found"
    return "healthy" if outcomes and all(outcome == "healthy" for outcome in outcomes) else "inconclusive"

"""`advance(rulebook, case) -> Step`: everything is judged afresh from the whole case, so going back and replay come for free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from app.engine.evaluate import Scope, evaluate
from app.engine.judge import ATTEMPT_PROBES, Judgement, TextSeen, grounds_of, judge, judge_silent, missing_of
from app.engine.view import View
from app.engine.walk import walk
from app.engine.wordless import judge_wordless
from app.model.case import Case
from app.model.evidence import Value
from app.model.standing import Certainty, Collect, Done, Kind, Standing, Step
from app.model.target import INCIDENT, Target
from app.rulebook.book import Rulebook, Symptom
from app.rulebook.conditions import Condition

_KIND_ORDER = {Kind.FAULT: 0, Kind.TRAP: 0, Kind.TOOL: 1, Kind.RELAY: 2, Kind.RISK: 3}
_SPEAKS = (Certainty.PROVEN, Certainty.LIKELY)
_LEADING = 6
"""Standings that a further probe should separate."""


def advance(rulebook: Rulebook, case: Case, *, interactive: bool = True, symptoms: Iterable[str] | None = None) -> Step:
    """Standings ranked with their targets, the path through the trees, and what next.

    Args:
        interactive: ask the operator where evidence cannot answer; otherwise take `otherwise` and go on.
        symptoms: taken as seen whatever the texts say (cases of rules).
    """
    view = View(case)
    texts = _texts(rulebook, view, frozenset(symptoms) if symptoms is not None else None)
    seen = frozenset(symptom for text in texts for symptom in text.symptoms)
    by_id = {text.id: text for text in texts}
    silent = texts if all(text.wordless for text in texts) else []
    judgements: dict[str, list[Judgement]] = {}
    for finding in rulebook.findings.values():
        found = judge(finding, view, texts) if finding.explains & seen else judge_wordless(finding, view, silent)
        if found:
            judgements[finding.id] = found
    _sole_survivors(judgements, rulebook, by_id)
    order = _ranked_symptoms(rulebook, view, seen)
    ranked: list[tuple[tuple[object, ...], Standing]] = []
    for found in judgements.values():
        for group in _merged(found):
            standing = _standing(group, view, by_id, rulebook)
            if standing.kind is Kind.RISK:
                continue
            ranked.append((_order(group, standing, rulebook, order, len(texts)), standing))
    ranked.sort(key=lambda pair: pair[0])
    standings = _masked(tuple(standing for _, standing in ranked), rulebook)
    noticed = _also_noticed(rulebook, view, judgements, by_id)
    explained = _explained(rulebook, standings, seen)
    path, following = walk(
        rulebook,
        view,
        order,
        texts,
        interactive=interactive,
        explained=explained if explained < set(order) else (),
    )
    if isinstance(following, Done):
        following = _separating(rulebook, view, standings) or following
    return Step(
        standings, noticed, tuple(order), path, following, tuple(sorted(explained)), _outcome(standings, seen, case)
    )


def _texts(rulebook: Rulebook, view: View, forced: frozenset[str] | None) -> list[TextSeen]:
    """Each text with the symptoms it shows, and one entry without text for patterns."""
    targets: dict[str, set[Target]] = {}
    for observation in view.facts.get("text.signature", ()):
        name = observation.target.get("text")
        if name:
            targets.setdefault(name, set()).add(observation.target.only("node", "workload", "client"))
    found = []
    for name, places in sorted(targets.items()):
        common = set.intersection(*(set(place.parts) for place in places))
        target = Target(tuple(part for part in min(places).parts if part in common))
        focus = target.joined(Target((("text", name),)))
        seen = frozenset(symptom.id for symptom in rulebook.symptoms.values() if _is_seen(symptom, view, focus))
        if forced is not None:
            seen |= forced
        if seen:
            found.append(TextSeen(name, target, seen, places=tuple(sorted(places)) if len(places) > 1 else ()))
    everywhere = forced or frozenset()
    if not targets:
        everywhere |= frozenset(
            symptom.id for symptom in rulebook.symptoms.values() if _is_seen(symptom, view, INCIDENT)
        )
    else:
        # Patterns (tool-differs, some-nodes-only, …) are seen by facts of the whole incident, not in one text.
        alone = Target((("text", "-"),))
        everywhere |= frozenset(symptom.id for symptom in rulebook.symptoms.values() if _is_seen(symptom, view, alone))
    if everywhere and (not found or everywhere - {symptom for text in found for symptom in text.symptoms}):
        found.append(TextSeen("", INCIDENT, everywhere))
    if found and everywhere:
        found = [replace(text, symptoms=text.symptoms | everywhere) if text.id else text for text in found]
    return [replace(text, wordless=_wordless(rulebook, text.symptoms)) for text in found]


def _wordless(rulebook: Rulebook, symptoms: frozenset[str]) -> bool:
    return all(symptom in rulebook.symptoms and rulebook.symptoms[symptom].wordless for symptom in symptoms)


def _is_seen(symptom: Symptom, view: View, focus: Target) -> bool:
    """Seen when its text is there and its rate is not known to be false."""
    scope = Scope(view, focus, frozenset())
    if evaluate(symptom.seen, scope).truth is not True:
        return False
    return symptom.rate is None or evaluate(symptom.rate, scope).truth is not False


def _ranked_symptoms(rulebook: Rulebook, view: View, seen: frozenset[str]) -> list[str]:
    """Refining symptoms first, then those whose rate is known to hold, then the more plausible ones, then by id."""
    refined = {
        general for symptom in seen if symptom in rulebook.symptoms for general in rulebook.symptoms[symptom].refines
    }

    def key(name: str) -> tuple[int, int, int, int, str]:
        symptom = rulebook.symptoms.get(name)
        if symptom is None:
            return (2, 2, 0, 0, name)
        rate = evaluate(symptom.rate, Scope(view, INCIDENT, seen)).truth if symptom.rate is not None else None
        return (int(name in refined), 0 if rate is True else 1, 0 if symptom.refines & seen else 1, symptom.prior, name)

    return sorted((name for name in seen if name in rulebook.symptoms), key=key)


def _sole_survivors(judgements: dict[str, list[Judgement]], rulebook: Rulebook, by_id: Mapping[str, TextSeen]) -> None:
    """A finding without a true set is likely only when it has look-alikes and they are out, and so are all other candidates.

    One of several candidates that are left is no survivor: every other fault that a seen symptom ranks, and that explains the
    same text, has to be out as well. A finding that no seen symptom ranks survives nothing.
    """
    certainty = {
        name: min(found, key=lambda judgement: judgement.certainty.rank).certainty for name, found in judgements.items()
    }
    faults = {name for name, found in judgements.items() if found[0].finding.kind is Kind.FAULT}
    for name, found in judgements.items():
        finding = found[0].finding
        look_alikes = {other for other in finding.told_apart if other in judgements}
        if (
            certainty[name] is not Certainty.POSSIBLE
            or not look_alikes
            or name not in faults
            or finding.cap is Certainty.POSSIBLE
        ):
            continue
        texts = {text for judgement in found for text in judgement.texts}
        seen = {symptom for text in texts if text in by_id for symptom in by_id[text].symptoms}
        ranks = [rulebook.symptoms[symptom].rank for symptom in seen if symptom in rulebook.symptoms]
        if not any(name in rank for rank in ranks):
            continue
        rivals = look_alikes | {other for rank in ranks for other in rank if other in faults}
        if any(certainty[other] is not Certainty.OUT for other in rivals - {name}):
            continue
        judgements[name] = [
            replace(
                judgement,
                certainty=Certainty.LIKELY,
                role="sole survivor",
                blocked="all other candidates are ruled out",
            )
            if judgement.certainty is Certainty.POSSIBLE and judgement.open_set
            else judgement
            for judgement in found
        ]


def _merged(found: list[Judgement]) -> list[list[Judgement]]:
    """Judgements of one finding grouped by certainty; at each target its best one counts, and `out` only when nothing else is left."""
    best: dict[Target, Judgement] = {}
    for judgement in found:
        known = best.get(judgement.target)
        if known is None or (judgement.certainty.rank, not judgement.grounded, -judgement.score) < (
            known.certainty.rank,
            not known.grounded,
            -known.score,
        ):
            texts = judgement.texts | known.texts if known else judgement.texts
            best[judgement.target] = replace(judgement, texts=texts)
        else:
            best[judgement.target] = replace(known, texts=known.texts | judgement.texts)
    groups: dict[Certainty, list[Judgement]] = {}
    for judgement in best.values():
        groups.setdefault(judgement.certainty, []).append(judgement)
    if len(groups) > 1:
        groups.pop(Certainty.OUT, None)
        if any(certainty in groups for certainty in _SPEAKS):
            groups.pop(Certainty.POSSIBLE, None)
    return [groups[certainty] for certainty in sorted(groups, key=lambda certainty: certainty.rank)]


def _order(
    group: list[Judgement], standing: Standing, rulebook: Rulebook, order: list[str], total: int
) -> tuple[object, ...]:
    finding = group[0].finding
    texts = {text for judgement in group for text in judgement.texts}
    position = (9, 999)
    for place, symptom in enumerate(order):
        rank = rulebook.symptoms[symptom].rank
        if finding.id in rank:
            position = (place, rank.index(finding.id))
            break
        if symptom in finding.explains and position == (9, 999):
            position = (place, 500)
    if position == (9, 999) and not finding.explains & frozenset(order):
        # A text that does not say what failed ranks by layer, in the order in which a request meets them.
        position = (0, 100 + finding.layer)
    return (
        int(standing.certainty is Certainty.OUT),
        _KIND_ORDER[standing.kind],
        standing.certainty.rank,
        not any(judgement.open_set for judgement in group),
        not any(judgement.grounded for judgement in group),
        -len(texts) / max(total, 1),
        -max(judgement.score for judgement in group),
        position,
        finding.file.priority,
        finding.id,
    )


def _standing(group: list[Judgement], view: View, texts: Mapping[str, TextSeen], rulebook: Rulebook) -> Standing:
    first = min(group, key=lambda judgement: (not judgement.grounded, -judgement.score, str(judgement.target)))
    text = texts.get(first.text) or next(
        (seen for seen in texts.values() if first.finding.explains & seen.symptoms), TextSeen("", INCIDENT, frozenset())
    )
    file = first.finding.file
    return Standing(
        finding=first.finding.id,
        kind=first.finding.kind,
        cause=file.cause,
        certainty=first.certainty,
        targets=tuple(sorted({judgement.target for judgement in group})),
        title=filled(file.title, view.case.variables),
        summary=filled(file.summary, view.case.variables),
        grounds=grounds_of(first, view, text, rulebook.units),
        because=first.because or first.blocked,
        missing=missing_of(first, view, text, rulebook),
        fixes=tuple(
            (kind, fix)
            for kind, fix in first.finding.fixes
            if _fits(rulebook.fits.get(fix), {judgement.target for judgement in group}, view)
        ),
    )


def _fits(condition: Condition | None, targets: Iterable[Target], view: View) -> bool:
    """Whether a fix is offered: what is not known of a target keeps it, what is known of all of them may take it away."""
    return condition is None or any(
        evaluate(condition, Scope(view, target, frozenset(), symptoms_known=False)).truth is not False
        for target in targets
    )


def filled(text: str, variables: Mapping[str, Value]) -> str:
    """`{image.host}` → its value; a placeholder that is not known becomes a plain word."""
    words = {
        "image.host": "the registry",
        "contacted.host": "the registry",
        "mirror.host": "the mirror",
        "account": "the account",
        "action": "request",
        "node.arch": "the node's architecture",
        "project.action": "the action",
    }
    for name, word in words.items():
        if "{" + name + "}" in text:
            text = text.replace("{" + name + "}", str(variables.get(name) or word))
    return text


def _also_noticed(
    rulebook: Rulebook, view: View, judgements: Mapping[str, list[Judgement]], texts: Mapping[str, TextSeen]
) -> tuple[Standing, ...]:
    """True findings that explain nothing seen, and risks."""
    noticed = []
    for finding in rulebook.findings.values():
        found = judgements.get(finding.id)
        if found is None:
            found = judge_silent(finding, view) if finding.proof else []
            true = [
                judgement
                for judgement in found
                if judgement.true_proof
                and judgement.certainty in (Certainty.PROVEN, Certainty.LIKELY, Certainty.POSSIBLE)
            ]
        elif finding.kind is Kind.RISK:
            true = [judgement for judgement in found if judgement.certainty in _SPEAKS]
        else:
            continue
        if true:
            noticed.append(_standing(true, view, texts, rulebook))
    return tuple(sorted(noticed, key=lambda standing: (standing.certainty.rank, standing.finding)))


def _explained(rulebook: Rulebook, standings: Iterable[Standing], seen: frozenset[str]) -> set[str]:
    return {
        symptom
        for standing in standings
        if standing.certainty is Certainty.PROVEN and standing.kind in (Kind.FAULT, Kind.TRAP)
        for symptom in rulebook.findings[standing.finding].explains & seen
    }


def _masked(standings: tuple[Standing, ...], rulebook: Rulebook) -> tuple[Standing, ...]:
    """Behind a proven fault the failing attempt shows nothing of later layers; what a probe of ours saw stays."""
    proven = [item for item in standings if item.certainty is Certainty.PROVEN and item.kind is Kind.FAULT]
    if not proven:
        return standings
    shown = [_behind(standing, proven, rulebook) for standing in standings]
    # Those that were set back stand after the other likely ones, in their own order.
    return tuple(
        sorted(
            shown,
            key=lambda item: (
                item.certainty is Certainty.OUT,
                item.kind not in (Kind.FAULT, Kind.TRAP),
                item.certainty.rank,
            ),
        )
    )


def _behind(standing: Standing, proven: list[Standing], rulebook: Rulebook) -> Standing:
    """The standing, set back when only the failing attempt speaks for it and a proven fault bites before it."""
    if standing.certainty is not Certainty.LIKELY or not _from_the_attempt(standing):
        return standing
    for item in proven:
        if item.finding != standing.finding and _bites_before(item, standing, rulebook):
            because = f"behind {item.finding}: asked again after its fix"
            return replace(standing, certainty=Certainty.POSSIBLE, because=because)
    return standing


def _bites_before(proven: Standing, other: Standing, rulebook: Rulebook) -> bool:
    finding, behind = rulebook.findings[proven.finding], rulebook.findings[other.finding]
    # A missing login is chosen early and refused late: it bites where the registry asks for it.
    bites = max(finding.layer, 9) if "/pull-secret/" in finding.where or "/login/" in finding.where else finding.layer
    masked = behind.layer > bites or f"L{behind.layer}" in finding.file.masks
    return masked and any(one.agrees(two) for one in proven.targets for two in other.targets)


def _from_the_attempt(standing: Standing) -> bool:
    true = [ground for ground in standing.grounds if ground.value == "true"]
    return all(ground.evidence is None or ground.evidence.probe in ATTEMPT_PROBES for ground in true)


def _separating(rulebook: Rulebook, view: View, standings: tuple[Standing, ...]) -> Collect | None:
    """With all questions asked: the cheapest probe that nobody tried and that would lift or strike a leading standing."""
    if standings and standings[0].certainty is Certainty.PROVEN:
        return None
    wanted: dict[str, tuple[int, int]] = {}
    for place, standing in enumerate(standings[:_LEADING]):
        for missing in standing.missing:
            if missing.probe in rulebook.probes and missing.probe not in view.attempted:
                cost = rulebook.probes[missing.probe]
                wanted.setdefault(missing.probe, (int(cost.price != "free") * 100 + cost.cost, place))
    if not wanted:
        return None
    best = min(wanted, key=lambda probe: (*wanted[probe], probe))
    return Collect(((best, INCIDENT),))


def _outcome(standings: tuple[Standing, ...], seen: frozenset[str], case: Case) -> str:
    if any(standing.certainty in _SPEAKS for standing in standings[:1]):
        return "fault_found"
    if not seen and case.incident.succeeded:
        return "healthy"
    return "inconclusive"

"""Behaviour gate: the cases beside a finding, run through `advance`, and what they cover."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.engine.advance import advance
from app.engine.evaluate import Scope, conjunction, evaluate
from app.engine.judge import targets_of
from app.engine.view import View
from app.errors import RuleError
from app.model.case import Case, Incident
from app.model.evidence import Evidence, Of, Outcome, Value
from app.model.standing import Certainty, Standing, Step
from app.model.target import Target
from app.rulebook.book import Finding, Rulebook
from app.rulebook.schema import CaseSpec

_NOW = 1_700_000_000.0


@dataclass(slots=True)
class Coverage:
    """Which sets and exclusions of a finding some case made true: `proof A`, `likely 1`, `exclusion 2`, `text 1`."""

    fired: dict[str, set[str]] = field(default_factory=dict)

    def missing(self, finding: Finding) -> list[str]:
        """Sets and exclusions that no case makes true."""
        wanted = [f"proof {chr(65 + n)}" for n in range(len(finding.proof))] + [
            f"text {n + 1}" for n in range(len(finding.text_proof))
        ]
        wanted += [f"likely {n + 1}" for n in range(len(finding.likely))] + [
            f"exclusion {n + 1}" for n in range(len(finding.excluded_by))
        ]
        return [name for name in wanted if name not in self.fired.get(finding.id, set())]


def case_of(spec: CaseSpec, rulebook: Rulebook) -> Case:
    """The literal facts of a case file as a Case. Raises RuleError on a target or outcome that cannot be."""
    evidence: list[Evidence] = []
    nodes: set[str] = set()
    healthy: set[str] = set()
    texts = 0
    for place, given in spec.given.items():
        where, _, of_word = place.partition(" @")
        try:
            target, of = Target.parse(where.strip()), Of(of_word or "this")
        except ValueError as error:
            raise RuleError(f"case {spec.name!r}: {error}") from error
        node = target.get("node")
        if node and of is Of.HEALTHY:
            healthy.add(node)
        elif node:
            nodes.add(node)
        texts += target.get("text") is not None
        evidence.extend(_records(spec, rulebook, target, of, given))
    incident = Incident(
        image=spec.image,
        registry=None,
        action=spec.action,
        texts=("given",) * max(texts, 1) if spec.symptoms or texts else (),
        nodes=tuple(sorted(nodes)),
        healthy_nodes=tuple(sorted(healthy)),
    )
    variables: dict[str, Value] = {"action": spec.action, **spec.variables}
    return Case(incident, tuple(evidence), variables, now=_NOW)


def _records(
    spec: CaseSpec, rulebook: Rulebook, target: Target, of: Of, given: Mapping[str, Any]
) -> Iterable[Evidence]:
    roster = {scope: tuple(str(name) for name in names) for scope, names in dict(given.get("roster") or {}).items()}
    at = float(given.get("at", 0.0))
    if roster:
        yield Evidence("given.roster", target, roster=roster, taken_at=_NOW)
    for fact, raw in given.items():
        if fact in ("roster", "at"):
            continue
        probe = rulebook.facts[fact].probe if fact in rulebook.facts else "given"
        value, bounds, partial = raw, {}, frozenset[str]()
        if isinstance(raw, dict):
            value = raw.get("value")
            bounds = {fact: float(raw["bound"])} if "bound" in raw else {}
            partial = frozenset({fact}) if raw.get("partial") else frozenset()
        if isinstance(value, str) and value.startswith("!"):
            try:
                outcome = Outcome(value[1:])
            except ValueError as error:
                raise RuleError(f"case {spec.name!r}: {fact}: {value!r} is no outcome") from error
            yield Evidence(probe, target, vantage=f"given {fact}", outcome=outcome, of=of, taken_at=_NOW + at)
            continue
        if isinstance(value, list):
            value = tuple(str(item) for item in value)
        yield Evidence(
            probe,
            target,
            vantage=f"given {fact}",
            facts={fact: value},
            bounds=bounds,
            partial=partial,
            of=of,
            taken_at=_NOW + at,
        )


def run_case(spec: CaseSpec, finding: str, rulebook: Rulebook, coverage: Coverage | None = None) -> list[str]:
    """What a case finds wrong with the rules; empty when all is as wanted."""
    case = case_of(spec, rulebook)
    step = advance(rulebook, case, interactive=False, symptoms=spec.symptoms or None)
    if coverage is not None:
        _cover(rulebook.findings[finding], case, step, coverage, frozenset(spec.symptoms))
    want = spec.want
    wrong = []
    live = [standing for standing in step.standings if standing.certainty is not Certainty.OUT]
    if want.first is not None and (not live or live[0].finding != want.first):
        got = ", ".join(f"{standing.finding} ({standing.certainty})" for standing in live[:3]) or "nothing"
        wrong.append(f"first is {got}, wanted {want.first}")
    own = _own(step, finding)
    if want.certainty is not None and (own is None or own.certainty.value != want.certainty):
        wrong.append(
            f"{finding} is {own.certainty if own else 'not judged'}, wanted {want.certainty}{f' ({own.because})' if own and own.because else ''}"
        )
    if own is not None and own.certainty.value in want.not_certainty:
        wrong.append(f"{finding} is {own.certainty}, which must not be")
    if want.targets is not None and (
        own is None or sorted(str(target) for target in own.targets) != sorted(want.targets)
    ):
        wrong.append(f"targets are {[str(target) for target in own.targets] if own else []}, wanted {want.targets}")
    for fact in want.missing:
        if own is None or fact not in [missing.fact for missing in own.missing]:
            wrong.append(f"{fact} is not named as missing")
    if want.cures is not None:
        offered = [fix for kind, fix in own.fixes if kind == "cure"] if own is not None else []
        if offered != want.cures:
            wrong.append(f"cures offered are {offered}, wanted {want.cures}")
    if want.also_noticed is not None and want.also_noticed is not any(
        standing.finding == finding for standing in step.also_noticed
    ):
        wrong.append(f"also_noticed is {not want.also_noticed}")
    return wrong


def _own(step: Step, finding: str) -> Standing | None:
    return next((standing for standing in (*step.standings, *step.also_noticed) if standing.finding == finding), None)


def _cover(finding: Finding, case: Case, step: Step, coverage: Coverage, symptoms: frozenset[str]) -> None:
    view = View(case)
    seen = symptoms | frozenset(step.symptoms)
    fired = coverage.fired.setdefault(finding.id, set())
    for target in targets_of(finding, view):
        scope = Scope(view, target, seen)
        for kind, sets in (("proof", finding.proof), ("text", finding.text_proof), ("likely", finding.likely)):
            for number, terms in enumerate(sets):
                if conjunction([evaluate(term, scope) for term in terms]).truth is True:
                    fired.add(f"proof {chr(65 + number)}" if kind == "proof" else f"{kind} {number + 1}")
        for number, condition in enumerate(finding.excluded_by):
            if evaluate(condition, scope).truth is True:
                fired.add(f"exclusion {number + 1}")

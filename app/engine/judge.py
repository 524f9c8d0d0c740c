"""One finding against one case: certainty for each target, with the grounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.engine.evaluate import Scope, Verdict, conjunction, evaluate
from app.engine.view import Observation, View, plain_host
from app.model.evidence import OPERATOR_ANSWER
from app.model.spelling import spelled
from app.model.standing import Certainty, Ground, Missing
from app.model.target import INCIDENT, Target
from app.rulebook.book import Finding, Rulebook
from app.rulebook.conditions import Condition, Not, Term, Use, facts_in, say

ATTEMPT_PROBES = frozenset(
    {"text.parse", "text.url", "text.more", "text.realm", "text.role", "text.pattern", "attempt.log", "pod.read"}
)
"""Probes that tell of the failing attempt itself; a proven fault masks what they say of later layers."""
_KUBELET_ONLY = (1, 2)
"""Layers of the kubelet and its runtime interface, which a client's push or login never passes."""
_CLIENTS = frozenset({"docker", "crane", "skopeo", "helm", "ours", "other"})
_TEXT_PROBES = frozenset(
    {"text.parse", "text.url", "text.more", "text.realm", "text.role", "text.pattern", "image.parse", "account.parse"}
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A finding at one target, over one text (or none)."""

    finding: Finding
    target: Target
    certainty: Certainty
    winning: tuple[Condition, ...]
    role: str
    because: str
    grounded: bool
    """A true term was observed beyond the symptom's own text."""
    score: int
    """True likely sets and supports."""
    texts: frozenset[str]
    true_proof: bool
    open_set: bool
    """Some proof or likely set is not known to be false."""
    blocked: str = ""
    """Why a full proof set is only likely."""
    text: str = ""
    """The text over which this certainty was reached."""


@dataclass(frozen=True, slots=True)
class TextSeen:
    """One text of the incident with the symptoms it shows; id `` for symptoms without a text."""

    id: str
    target: Target
    symptoms: frozenset[str]
    wordless: bool = False
    """It does not say what failed (`wordless` of all its symptoms)."""
    places: tuple[Target, ...] = ()
    """Where it was seen, where that is in several places; `target` is what they have in common."""

    def tells_of(self, target: Target) -> bool:
        """Whether it may have been seen at a target."""
        return any(place.agrees(target) for place in self.places or (self.target,))


def targets_of(finding: Finding, view: View) -> list[Target]:
    """All targets that a finding could accuse in this case; `INCIDENT` where nothing is known of its scope."""
    targets = [INCIDENT]
    for scope in finding.scopes:
        names = _candidates(scope, view)
        if names:
            targets = [target.joined(Target(((scope, name),))) for target in targets for name in names]
    return targets


def _candidates(scope: str, view: View) -> list[str]:
    incident = view.case.incident
    if scope == "node":
        return list(incident.nodes) or [name for name in view.ids("node") if name not in view.healthy]
    if scope == "registry":
        return [plain_host(incident.registry)] if incident.registry else view.ids("registry")[:1]
    if scope == "host":
        known, contacted = view.variable("contacted.host")
        hosts = view.ids("host")
        first = plain_host(str(contacted)) if known and contacted else plain_host(incident.registry or "")
        return sorted({first, *hosts} - {""}) if first else hosts
    if scope == "image":
        return [incident.image] if incident.image else []
    return view.ids(scope)


def judge(finding: Finding, view: View, texts: Iterable[TextSeen]) -> list[Judgement]:
    """Judgements for each target and each text that the finding could explain; none where it explains nothing seen."""
    relevant = [text for text in texts if finding.explains & text.symptoms]
    if finding.layer in _KUBELET_ONLY:
        relevant = [text for text in relevant if not _by_a_client(view, text)]
    found = []
    for target in targets_of(finding, view):
        for text in relevant:
            if text.tells_of(target):
                found.append(judge_one(finding, view, target, text))
    return found


def _by_a_client(view: View, text: TextSeen) -> bool:
    """A push, a login, or a pull by a tool of the operator's: no kubelet takes part in it."""
    incident = view.case.incident
    if incident.action in ("push", "login"):
        return True
    if incident.pods or not text.id:
        return False
    clients = {str(seen.value) for seen in view.observations("text.client", Target((("text", text.id),)))}
    return bool(clients) and clients <= _CLIENTS


def judge_silent(finding: Finding, view: View) -> list[Judgement]:
    """Judgements with a full proof set, of a finding that explains nothing seen: for `also_noticed`."""
    nothing = TextSeen("", INCIDENT, frozenset())
    return [
        judge_one(finding, view, target, nothing)
        for target in targets_of(finding, view)
        if _proof_is_full(finding, Scope(view, target, nothing.symptoms, bool(view.case.incident.texts)))
    ]


def _proof_is_full(finding: Finding, scope: Scope) -> bool:
    """What explains nothing seen is noticed only with a full proof set; most have none, so this is asked first."""
    return any(all(evaluate(term, scope).truth is True for term in terms) for terms in finding.proof)


def judge_one(finding: Finding, view: View, target: Target, text: TextSeen) -> Judgement:
    """One finding at one target, over one text."""
    focus = target.joined(Target((("text", text.id),))) if text.id else target
    scope = Scope(view, focus, text.symptoms, bool(view.case.incident.texts) or bool(text.symptoms))
    exclusions = [(condition, evaluate(condition, scope)) for condition in finding.excluded_by]
    struck = next((condition for condition, verdict in exclusions if verdict.truth is True), None)
    open_must = next(
        (condition for condition, verdict in exclusions if condition.must_know and verdict.truth is None),
        None,
    )
    proofs = [
        (number, terms, conjunction([evaluate(term, scope) for term in terms]))
        for number, terms in enumerate(finding.proof)
    ]
    spoken = [(terms, conjunction([evaluate(term, scope) for term in terms])) for terms in finding.text_proof]
    likely = [
        (number, terms, conjunction([evaluate(term, scope) for term in terms]))
        for number, terms in enumerate(finding.likely)
    ]
    supports = [(condition, evaluate(condition, scope)) for condition in finding.supports]
    score = sum(1 for _, _, verdict in likely if verdict.truth is True) + sum(
        1 for _, verdict in supports if verdict.truth is True
    )
    full = [(f"proof {chr(65 + number)}", terms, verdict) for number, terms, verdict in proofs if verdict.truth is True]
    told = [("text", terms, verdict) for terms, verdict in spoken if verdict.truth is True]

    winning: tuple[Condition, ...] = ()
    role = because = blocked = ""
    certainty = Certainty.POSSIBLE
    decisive: Verdict | None = None
    if struck is not None:
        certainty = Certainty.CONFLICT if any(verdict.proves for _, _, verdict in full) else Certainty.OUT
        because = struck.because or say(struck)
        if full:
            role, winning, decisive = full[0]
    elif any(verdict.proves for _, _, verdict in told):
        role, winning, decisive = next(item for item in told if item[2].proves)
        certainty = Certainty.PROVEN
    elif any(verdict.proves for _, _, verdict in full) and open_must is None:
        role, winning, decisive = next(item for item in full if item[2].proves)
        certainty = Certainty.PROVEN
    elif full:
        role, winning, decisive = full[0]
        certainty = Certainty.LIKELY
        blocked = (
            f"not yet known: {say(open_must)}"
            if open_must is not None
            else "rests on an operator's word or an old reading"
        )
    elif any(verdict.truth is True for _, _, verdict in likely):
        number, winning, decisive = next(item for item in likely if item[2].truth is True)
        role = f"likely {number + 1}"
        certainty = Certainty.LIKELY
    else:
        nearly = next(
            (terms for _, terms, verdict in proofs if verdict.truth is None and _only_here_is_open(terms, scope)), None
        )
        if nearly is not None:
            role, winning, certainty = "proof", nearly, Certainty.LIKELY
            blocked = "not yet known: whose host refused"
    if certainty.rank < finding.cap.rank:
        certainty = finding.cap
    sets = (*(item[2] for item in proofs), *(item[1] for item in spoken), *(item[2] for item in likely))
    open_set = any(verdict.truth is not False for verdict in sets)
    grounded = _grounded(decisive) or any(_grounded(verdict) for _, verdict in supports if verdict.truth is True)
    grounded = grounded or any(_grounded(verdict) for _, _, verdict in likely if verdict.truth is True)
    return Judgement(
        finding, target, certainty, winning, role, because, grounded, score,
        frozenset({text.id} if certainty is not Certainty.OUT else ()), bool(full), open_set, blocked, text.id,
    )  # fmt: skip


def _only_here_is_open(terms: tuple[Condition, ...], scope: Scope) -> bool:
    """True when every term but HERE (the refusing host is the image's) is true."""
    open_terms = [term for term in terms if evaluate(term, scope).truth is None]
    return len(open_terms) == 1 and isinstance(open_terms[0], Use) and open_terms[0].macro == "here"


def _grounded(verdict: Verdict | None) -> bool:
    return verdict is not None and any(
        observation.evidence.probe not in _TEXT_PROBES and observation.evidence.vantage != OPERATOR_ANSWER
        for observation in verdict.seen
    )


def grounds_of(judgement: Judgement, view: View, text: TextSeen, units: Mapping[str, str]) -> tuple[Ground, ...]:
    """The terms behind a judgement in words, decisive ones first, each with the evidence that was read.

    `units` are those of `Rulebook.units`.
    """
    finding = judgement.finding
    focus = judgement.target.joined(Target((("text", text.id),))) if text.id else judgement.target
    scope = Scope(view, focus, text.symptoms, True)
    grounds = [_ground(term, scope, judgement.role, units) for term in judgement.winning]
    for condition in finding.supports:
        if evaluate(condition, scope).truth is True:
            grounds.append(_ground(condition, scope, "support", units))
    for condition in finding.excluded_by:
        ground = _ground(condition, scope, "exclusion", units)
        if ground.value == "true" or (condition.must_know and judgement.certainty is not Certainty.OUT):
            grounds.append(ground)
    return tuple(grounds)


def _ground(condition: Condition, scope: Scope, role: str, units: Mapping[str, str]) -> Ground:
    verdict = evaluate(condition, scope)
    value = {True: "true", False: "false", None: "unknown"}[verdict.truth]
    seen = verdict.seen or _look(condition, scope)
    shown = "; ".join(dict.fromkeys(_show(observation, units) for observation in seen[:6]))
    return Ground(condition.because or say(condition), value, shown, seen[0].evidence if seen else None, role)


def _look(condition: Condition, scope: Scope) -> tuple[Observation, ...]:
    if isinstance(condition, Term):
        return tuple(scope.view.observations(condition.fact, scope.focus, condition.of))
    if isinstance(condition, Not | Use):
        return _look(condition.inner, scope)
    return ()


def _show(observation: Observation, units: Mapping[str, str]) -> str:
    said = spelled(observation.value, units.get(observation.fact, ""), observation.bound)
    where = str(observation.target.only("node", "core-pod", "secret", "connection", "try"))
    return f"{said} ({where})" if where != "incident" else said


def missing_of(judgement: Judgement, view: View, text: TextSeen, book: Rulebook) -> tuple[Missing, ...]:
    """Facts that nobody knows and that would lift this judgement: those of the proof set that is nearest, and must-knows."""
    finding = judgement.finding
    if judgement.certainty in (Certainty.PROVEN, Certainty.OUT):
        return ()
    focus = judgement.target.joined(Target((("text", text.id),))) if text.id else judgement.target
    scope = Scope(view, focus, text.symptoms, True)
    best: list[Condition] | None = None
    for terms in (*finding.proof, *finding.text_proof):
        verdicts = [(term, evaluate(term, scope).truth) for term in terms]
        if any(truth is False for _, truth in verdicts):
            continue
        unknown = [term for term, truth in verdicts if truth is None]
        if best is None or len(unknown) < len(best):
            best = unknown
    wanted = list(best or [])
    wanted += [
        condition
        for condition in finding.excluded_by
        if condition.must_know and evaluate(condition, scope).truth is None
    ]
    found: dict[str, Missing] = {}
    for condition in wanted:
        for fact in sorted(facts_in(condition)):
            if view.observations(fact, focus) or fact in found:
                continue
            spec = book.facts.get(fact)
            probe = spec.probe if spec else ""
            failed = view.failed.get(probe, [])
            why = failed[0].detail or str(failed[0].outcome) if failed else view.case.unread
            hand = (failed[0].by_hand if failed else "") or (book.probes[probe].by_hand if probe in book.probes else "")
            found[fact] = Missing(probe, judgement.target, fact, why, hand)
    return tuple(found.values())

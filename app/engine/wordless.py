"""Texts that do not say what failed (`ImagePullBackOff` alone, an unknown sentence): facts beyond the text decide.

The important findings of the layer and action stay possible (MODES.md 1.1, unclassified). One whose set holds but for what
only a text could have said is likely. Nothing is proven here, since no observed failure is known to be the one it explains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from app.engine.evaluate import Scope, evaluate
from app.engine.judge import Judgement, TextSeen, judge_one, targets_of
from app.engine.view import View
from app.model.standing import Certainty, Kind
from app.model.target import INCIDENT, Target
from app.rulebook.book import Finding
from app.rulebook.conditions import Condition, Term, Use, facts_in

_REACHED = {"ping": (3, 9), "token": (3, 9), "manifest": (3, 11), "blob": (3, 14), "upload": (3, 17)}
"""First and last layer that a failure of this request can lie in."""
_PUSH_LAYERS = range(15, 18)
_NOT_IN_A_PUSH = (1, 2, 10, 11, 12, 13, 14)
_SAID_BY_TEXT = ("text.", "pattern.")


def judge_wordless(finding: Finding, view: View, texts: Sequence[TextSeen]) -> list[Judgement]:
    """Judgements over texts that say nothing; none where layer or action do not fit or nothing speaks for a minor finding."""
    if finding.kind not in (Kind.FAULT, Kind.TRAP) or not texts:
        return []
    found = []
    for target in targets_of(finding, view):
        for text in texts:
            if text.tells_of(target) and _fits(finding, view, text):
                judged = _judged(finding, view, target, text)
                if judged is not None:
                    found.append(judged)
    return found


def _fits(finding: Finding, view: View, text: TextSeen) -> bool:
    """By the request of the URL in the text, where there is one, and by the action."""
    focus = INCIDENT.joined(Target((("text", text.id),))) if text.id else INCIDENT
    requests = {str(seen.value) for seen in view.observations("text.path_kind", focus)}
    for request in requests & _REACHED.keys():
        first, last = _REACHED[request]
        if not first <= finding.layer <= last:
            return False
    action = view.case.variables.get("action") or view.case.incident.action
    if action == "pull":
        return finding.layer not in _PUSH_LAYERS
    if action == "push":
        return finding.layer not in _NOT_IN_A_PUSH
    if action == "login":
        return 3 <= finding.layer <= 9
    return True


def _judged(finding: Finding, view: View, target: Target, text: TextSeen) -> Judgement | None:
    judged = judge_one(finding, view, target, text)
    if judged.certainty in (Certainty.OUT, Certainty.CONFLICT):
        return None
    scope = Scope(view, target.joined(Target((("text", text.id),))) if text.id else target, text.symptoms, True)
    sets = (*finding.proof, *finding.likely)
    winning = judged.winning if judged.grounded and judged.certainty.rank <= Certainty.LIKELY.rank else ()
    if not winning:
        winning = next((terms for terms in sets if _holds_beyond_text(terms, scope)), ())
    if winning and finding.cap is not Certainty.POSSIBLE:
        return replace(
            judged,
            certainty=Certainty.LIKELY,
            winning=winning,
            role=judged.role or "beyond the text",
            blocked="no text says what failed",
            grounded=True,
        )
    if finding.file.priority != "P1" or not _about_a_request(view):
        return None
    return replace(judged, certainty=Certainty.POSSIBLE, blocked="")


def _about_a_request(view: View) -> bool:
    """Whether anything is known that such a text could be about. One that names nothing may be anybody's shopping list."""
    incident = view.case.incident
    if incident.image or incident.registry or incident.action or view.case.variables.get("action"):
        return True
    named = ("text.client", "text.status", "text.url_host", "text.action")
    return any(view.facts.get(fact) for fact in named) or any(
        _beyond(seen.evidence.probe) for observations in view.facts.values() for seen in observations
    )


def _holds_beyond_text(terms: Iterable[Condition], scope: Scope) -> bool:
    """Some term was observed to be true, and what is open could only be told by a text."""
    observed = False
    for term in terms:
        verdict = evaluate(term, scope)
        if verdict.truth is False:
            return False
        if verdict.truth is None and not _told_by_text(term):
            return False
        observed = observed or (verdict.truth is True and any(_beyond(seen.evidence.probe) for seen in verdict.seen))
    return observed


def _beyond(probe: str) -> bool:
    return not probe.startswith(("text.", "image.", "account."))


def _told_by_text(condition: Condition) -> bool:
    """NEED, HERE, and terms over facts of the text alone."""
    if isinstance(condition, Use) and condition.macro in ("need", "here"):
        return True
    facts = facts_in(condition)
    if isinstance(condition, Term) or facts:
        return bool(facts) and all(fact.startswith(_SAID_BY_TEXT) for fact in facts)
    return False

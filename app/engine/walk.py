"""The walk: which questions were asked and answered, and what comes next. Trees order; they never accuse."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from app.engine.evaluate import Scope, evaluate
from app.engine.judge import TextSeen
from app.engine.placeholders import filled, filled_command, names_of
from app.engine.view import View
from app.model.evidence import Evidence, Of, Outcome
from app.model.standing import Ask, Asked, Choice, Collect, Done
from app.model.target import INCIDENT, Target
from app.rulebook.book import Rulebook, TreeQuestion
from app.rulebook.conditions import AllOf, AnyOf, Condition, Not, Term, Use, facts_in, say

_WORD = {True: "true", False: "false", None: "unknown"}
_MEMBERS = ("node", "core-pod")
"""Scopes of which a question may have several targets, with an answer of their own each."""


@dataclass(frozen=True, slots=True)
class _Walk:
    """What stays the same for all questions of one walk."""

    rulebook: Rulebook
    scope: Scope
    names: Mapping[str, str]


def walk(
    rulebook: Rulebook,
    view: View,
    symptoms: Sequence[str],
    texts: Sequence[TextSeen],
    *,
    interactive: bool,
    explained: Collection[str] = (),
) -> tuple[tuple[Asked, ...], Collect | Ask | Done]:
    """Follow the tree of each symptom, best ranked first, until something is not known.

    Of symptoms that a proven finding has `explained` the path shows how far evidence leads; nothing is read or asked for them.
    """
    path: list[Asked] = []
    seen = frozenset(symptom for text in texts for symptom in text.symptoms)
    ground = _Walk(rulebook, Scope(view, INCIDENT, seen), names_of(view.case))
    answered: dict[str, str] = {}
    """Text of a question → label of the answer that was taken."""
    for symptom in symptoms:
        tree = {question.id: question for question in rulebook.symptoms[symptom].tree}
        current = next(iter(tree), "done")
        visited: set[str] = set()
        while current in tree and current not in visited:
            visited.add(current)
            question = tree[current]
            taken: int | None
            if question.text in answered:
                # Two symptoms may order the same question; it is asked once, and its answer counts for both.
                taken = _same_answer(question, answered[question.text])
            else:
                step, following = _answer(question, symptom, ground, interactive=interactive)
                if symptom in explained and step.by not in ("evidence", "operator"):
                    current = question.branches[-1].goto
                    continue
                path.append(step)
                if following is not None:
                    return tuple(path), following
                taken = step.taken
                answered[question.text] = question.branches[taken].label if taken is not None else ""
            current = question.branches[taken].goto if taken is not None else "done"
    return tuple(path), Done("every question of the seen symptoms is answered")


def _same_answer(question: TreeQuestion, label: str) -> int:
    found = next((index for index, branch in enumerate(question.branches) if branch.label == label), None)
    return found if found is not None else len(question.branches) - 1


def _answer(
    question: TreeQuestion, symptom: str, ground: _Walk, *, interactive: bool
) -> tuple[Asked, Collect | Ask | None]:
    ident = f"{symptom}/{question.id}"
    view = ground.scope.view
    truths = [evaluate(branch.when, ground.scope).truth if branch.when else None for branch in question.branches]
    otherwise = next((index for index, branch in enumerate(question.branches) if branch.when is None), None)
    members = _members(question, ground)
    spread = _spread(question, members, ground)
    choices = tuple(
        Choice(
            branch.label or (say(branch.when) if branch.when else "unknown"),
            _WORD[truth],
            branch.goto,
            branch.when.because if branch.when else "",
            tuple(spread.get(index, ())),
        )
        for index, (branch, truth) in enumerate(zip(question.branches, truths, strict=True))
    )
    true = [index for index, truth in enumerate(truths) if truth is True]
    # Where several nodes answer differently, most of them decide what is looked at next; the others stay shown.
    decided = max(true, key=lambda index: (len(choices[index].targets), -index), default=None)
    evidence = _evidence(question, view)

    def asked(taken: int | None, by: str) -> Asked:
        hand = question.by_hand
        return Asked(
            ident,
            symptom,
            filled(question.text, ground.names),
            filled(question.why, ground.names),
            choices,
            taken,
            by,
            question.probes,
            filled_command(hand.run, ground.names) if hand else "",
            hand.paste_as if hand else "",
            evidence,
            len(members),
            _denied(members, evidence, spread),
        )

    answer = view.case.answers.get(ident)
    if answer is not None and answer.isdigit() and 0 < int(answer) <= len(question.branches):
        return asked(int(answer) - 1, "operator"), None
    if decided is not None:
        return asked(decided, "evidence"), None
    wanted = tuple(
        (probe, INCIDENT)
        for probe in question.probes
        if probe not in view.attempted and probe in ground.rulebook.probes
    )
    if wanted and answer is None:
        return asked(None, ""), Collect(wanted)
    still_open = any(truth is None for index, truth in enumerate(truths) if index != otherwise)
    if still_open and answer is None and interactive:
        step = asked(None, "")
        return step, Ask(step)
    return asked(otherwise, "otherwise"), None


# --- Several targets ----------------------------------------------------------------------------------------------


def _members(question: TreeQuestion, ground: _Walk) -> tuple[Target, ...]:
    """Nodes or core pods that the question's facts are about, when there are several; else none."""
    view, facts = ground.scope.view, ground.rulebook.facts
    for kind in _MEMBERS:
        about = {
            term.fact
            for branch in question.branches
            if branch.when is not None
            for term in _single_terms(branch.when)
            if term.fact in facts and kind in facts[term.fact].scope.split()
        }
        if not about:
            continue
        names = view.nodes if kind == "node" and view.nodes else frozenset(view.ids(kind))
        if len(names) > 1:
            return tuple(Target(((kind, name),)) for name in sorted(names))
    return ()


def _spread(question: TreeQuestion, members: Sequence[Target], ground: _Walk) -> dict[int, list[Target]]:
    """Index of an answer → the members of which it is the first true one."""
    found: dict[int, list[Target]] = {}
    for member in members:
        scope = Scope(ground.scope.view, member, ground.scope.symptoms, ground.scope.symptoms_known)
        for index, branch in enumerate(question.branches):
            if branch.when is not None and evaluate(branch.when, scope).truth is True:
                found.setdefault(index, []).append(member)
                break
    return found


def _single_terms(condition: Condition) -> list[Term]:
    """Terms about one target each; a quantified term compares its members and has no answer for one of them."""
    if isinstance(condition, Term):
        return [] if condition.over or condition.op == "contrast" or condition.of is not Of.THIS else [condition]
    if isinstance(condition, AllOf):
        return [term for part in condition.of_all for term in _single_terms(part)]
    if isinstance(condition, AnyOf):
        return [term for part in condition.of_any for term in _single_terms(part)]
    if isinstance(condition, Not | Use):
        return _single_terms(condition.inner)
    return []


def _denied(
    members: Sequence[Target], evidence: Sequence[Evidence], spread: Mapping[int, Sequence[Target]]
) -> tuple[Target, ...]:
    known = {target for targets in spread.values() for target in targets}
    refused = [record.target for record in evidence if record.outcome is Outcome.DENIED]
    return tuple(
        member
        for member in members
        if member not in known and any(target.get(scope) == name for target in refused for scope, name in member.parts)
    )


# --- Evidence -----------------------------------------------------------------------------------------------------


def _evidence(question: TreeQuestion, view: View) -> tuple[Evidence, ...]:
    """Records with a fact that some answer looks at; then what the question's probes could not observe."""
    facts = {fact for branch in question.branches if branch.when is not None for fact in facts_in(branch.when)}
    with_facts: dict[int, Evidence] = {}
    for fact in facts:
        for observation in view.facts.get(fact, ()):
            with_facts.setdefault(id(observation.evidence), observation.evidence)

    def failing_first(record: Evidence) -> tuple[bool, float, str]:
        node = record.target.get("node")
        beside = record.of is Of.HEALTHY or (node is not None and bool(view.nodes) and node not in view.nodes)
        return beside, -(record.taken_at or 0.0), str(record.target)

    failed = [record for probe in question.probes for record in view.failed.get(probe, ())]
    return (*sorted(with_facts.values(), key=failing_first), *sorted(failed, key=failing_first))

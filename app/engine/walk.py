"""The walk: which questions were asked and answered, and what comes next. Trees order; they never accuse."""

from __future__ import annotations

from collections.abc import Sequence

from app.engine.evaluate import Scope, evaluate
from app.engine.judge import TextSeen
from app.engine.view import View
from app.model.standing import Ask, Asked, Choice, Collect, Done
from app.model.target import INCIDENT
from app.rulebook.book import Rulebook, TreeQuestion
from app.rulebook.conditions import say

_WORD = {True: "true", False: "false", None: "unknown"}


def walk(
    rulebook: Rulebook, view: View, symptoms: Sequence[str], texts: Sequence[TextSeen], *, interactive: bool
) -> tuple[tuple[Asked, ...], Collect | Ask | Done]:
    """Follow the tree of each symptom, best ranked first, until something is not known."""
    path: list[Asked] = []
    seen = frozenset(symptom for text in texts for symptom in text.symptoms)
    scope = Scope(view, INCIDENT, seen)
    asked: set[str] = set()
    for symptom in symptoms:
        tree = {question.id: question for question in rulebook.symptoms[symptom].tree}
        current = next(iter(tree), "done")
        visited: set[str] = set()
        while current in tree and current not in visited:
            visited.add(current)
            question = tree[current]
            if question.text in asked:
                # Two symptoms may order the same question; it is asked once.
                step, following = _answer(question, symptom, scope, rulebook, interactive=False)
            else:
                step, following = _answer(question, symptom, scope, rulebook, interactive=interactive)
                asked.add(question.text)
                path.append(step)
            if following is not None:
                return tuple(path), following
            current = question.branches[step.taken].goto if step.taken is not None else "done"
    return tuple(path), Done("every question of the seen symptoms is answered")


def _answer(
    question: TreeQuestion, symptom: str, scope: Scope, rulebook: Rulebook, *, interactive: bool
) -> tuple[Asked, Collect | Ask | None]:
    ident = f"{symptom}/{question.id}"
    choices = []
    decided: int | None = None
    open_branch = False
    otherwise: int | None = None
    for index, branch in enumerate(question.branches):
        if branch.when is None:
            otherwise = index
            choices.append(Choice(branch.label or "unknown", "unknown", branch.goto))
            continue
        truth = evaluate(branch.when, scope).truth
        choices.append(Choice(branch.label or say(branch.when), _WORD[truth], branch.goto, branch.when.because))
        if truth is True and decided is None:
            decided = index
        open_branch = open_branch or truth is None
    evidence = scope.view.records(question.probes)

    def asked(taken: int | None, by: str) -> Asked:
        hand = question.by_hand
        return Asked(
            ident,
            symptom,
            question.text,
            question.why,
            tuple(choices),
            taken,
            by,
            question.probes,
            hand.run if hand else "",
            hand.paste_as if hand else "",
            evidence,
        )

    answer = scope.view.case.answers.get(ident)
    if answer is not None and answer != "unknown" and answer.isdigit() and 0 < int(answer) <= len(question.branches):
        return asked(int(answer) - 1, "operator"), None
    if decided is not None:
        return asked(decided, "evidence"), None
    wanted = tuple(
        (probe, INCIDENT) for probe in question.probes if probe not in scope.view.attempted and probe in rulebook.probes
    )
    if wanted and answer is None:
        return asked(None, ""), Collect(wanted)
    if open_branch and answer is None and interactive:
        step = asked(None, "")
        return step, Ask(step)
    return asked(otherwise, "otherwise"), None

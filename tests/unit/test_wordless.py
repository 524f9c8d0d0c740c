"""Texts that do not say what failed: the facts beside them decide, and nothing is proven."""

from __future__ import annotations

import pytest

from app.engine.advance import advance
from app.files import load_rulebook
from app.model.case import Case, Incident
from app.model.evidence import Evidence, Value
from app.model.standing import Certainty, Step
from app.model.target import Target

RULES, _ = load_rulebook()
POD = {"workload": "apps/web"}


def judged(action: str, *given: tuple[dict[str, str], dict[str, Value]]) -> Step:
    evidence = [
        Evidence("text.parse", Target.of(text="1"), facts={"text.signature": ("unclassified",)}),
        *(Evidence(f"given.{number}", Target.of(**where), facts=facts) for number, (where, facts) in enumerate(given)),
    ]
    incident = Incident(
        image="registry.example:5000/web:1", registry="registry.example:5000", action=action, texts=("?",)
    )
    return advance(RULES, Case(incident, tuple(evidence), {"action": action}, now=1.7e9))


def test_a_set_that_is_open_only_in_what_a_text_tells_makes_likely() -> None:
    step = judged("pull", (POD, {"secret.match_count": 0, "secret.near_miss": "port"}))
    assert (step.standings[0].finding, step.standings[0].certainty) == ("pull-secret-wrong-server", Certainty.LIKELY)
    assert step.outcome == "fault_found"


def test_without_facts_the_important_findings_stay_possible() -> None:
    step = judged("pull")
    assert {standing.certainty for standing in step.standings} == {Certainty.POSSIBLE}
    assert {RULES.findings[standing.finding].file.priority for standing in step.standings} == {"P1"}
    assert step.outcome == "inconclusive"


def nameless(**text: Value) -> Step:
    parsed = {"text.signature": ("unclassified",), **{name.replace("__", "."): value for name, value in text.items()}}
    evidence = (Evidence("text.parse", Target.of(text="1"), facts=parsed),)
    return advance(RULES, Case(Incident(texts=("?",)), evidence, now=1.7e9))


def test_a_text_that_names_nothing_at_all_has_no_suspects() -> None:
    assert nameless().standings == ()
    assert nameless().outcome == "inconclusive"
    assert nameless(text__client="docker").standings
    assert nameless(text__status=503).standings
    assert nameless(text__url_host="registry.example").standings


def test_a_full_proof_set_is_no_proof_of_a_failure_that_nobody_described() -> None:
    step = judged(
        "pull",
        (
            {"registry": "registry.example:5000"},
            {"artifact.exists": False, "artifact.repo_exists": True, "project.proxy_of": ""},
        ),
    )
    found = next(standing for standing in step.standings if standing.finding == "artifact-missing")
    assert found.certainty is Certainty.LIKELY
    assert found.because == "no text says what failed"


@pytest.mark.parametrize(("action", "barred"), [("push", {1, 2, 10, 11, 12, 13, 14}), ("pull", {15, 16, 17})])
def test_layers_that_the_action_never_passes_are_left_out(action: str, barred: set[int]) -> None:
    layers = {RULES.findings[standing.finding].layer for standing in judged(action).standings}
    assert layers
    assert not layers & barred

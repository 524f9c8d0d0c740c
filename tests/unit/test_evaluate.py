"""Kleene logic over evidence: unknown is never no."""

from __future__ import annotations

from typing import Any

import pytest

from app.engine.evaluate import Scope, evaluate, version_matches
from app.engine.view import View
from app.errors import RuleError
from app.model.case import Case, Incident, Objection
from app.model.evidence import OPERATOR_ANSWER, Evidence, Of, Outcome, Value
from app.model.target import INCIDENT, Target
from app.rulebook.conditions import compile_condition

N1, N2, N3 = (Target.of(node=name) for name in ("n1", "n2", "n3"))


def fact(name: str, value: Value, target: Target = INCIDENT, **more: Any) -> Evidence:
    more.setdefault("vantage", f"test {name} {value}")
    return Evidence("probe." + name, target, facts={name: value}, **more)


def truth(
    raw: dict[str, Any],
    *evidence: Evidence,
    focus: Target = INCIDENT,
    symptoms: frozenset[str] = frozenset(),
    **case: Any,
) -> bool | None:
    incident = case.pop("incident", Incident())
    view = View(Case(incident, evidence, now=1000.0, **case))
    return evaluate(compile_condition(raw, {}), Scope(view, focus, symptoms)).truth


@pytest.mark.parametrize(
    ("raw", "value", "wanted"),
    [
        ({"fact": "f", "is": True}, True, True),
        ({"fact": "f", "is": True}, False, False),
        ({"fact": "f", "in": ["a", "b"]}, "b", True),
        ({"fact": "f", "is": "harbor.example"}, "HARBOR.example:443", True),
        ({"fact": "f", "lt": 5}, 4, True),
        ({"fact": "f", "ge": 5}, 4, False),
        ({"fact": "f", "version": ">=1.5.0 <1.7.32"}, "v1.7.24+k3s1", True),
        ({"fact": "f", "version": "<2.0"}, "2.1.9", False),
        ({"fact": "f", "has": "tag"}, ("tag(ci)", "other"), True),
        ({"fact": "f", "has": "tag"}, ("other",), False),
        ({"fact": "f", "lacks": ["a", "b"]}, (), True),
        ({"fact": "f", "lacks": "a"}, ("a(x)",), False),
        ({"fact": "f", "present": True}, "x", True),
        ({"fact": "f", "present": False}, "", True),
        ({"fact": "f", "present": True}, (), False),
    ],
)
def test_an_operator_judges_a_seen_value(raw: dict[str, Any], value: Value, wanted: bool) -> None:
    assert truth(raw, fact("f", value)) is wanted


@pytest.mark.parametrize(
    "raw",
    [
        {"fact": "f", "is": True},
        {"not": {"fact": "f", "is": True}},
        {"fact": "f", "present": False},
        {"fact": "f", "lacks": "a"},
    ],
)
def test_what_nobody_saw_is_unknown(raw: dict[str, Any]) -> None:
    assert truth(raw) is None
    assert truth(raw, Evidence("probe.f", outcome=Outcome.DENIED)) is None


@pytest.mark.parametrize(
    "raw", [{"fact": "f", "is": "x"}, {"not": {"fact": "f", "is": "x"}}, {"fact": "f", "lacks": "x"}]
)
def test_a_fact_that_does_not_apply_makes_every_comparison_false(raw: dict[str, Any]) -> None:
    assert truth(raw, fact("f", None)) is False


def test_a_list_that_may_be_longer_never_lacks() -> None:
    seen = fact("f", ("b",), partial=frozenset({"f"}))
    assert truth({"fact": "f", "lacks": "a"}, seen) is None
    assert truth({"fact": "f", "has": "a"}, seen) is None
    assert truth({"fact": "f", "has": "b"}, seen) is True


def test_a_tag_must_name_the_account_when_asked_to() -> None:
    raw = {"fact": "f", "has": {"tag": "refused", "name": {"var": "account"}}}
    seen = fact("f", ("refused(robot$ci)",))
    assert truth(raw, seen) is None
    assert truth(raw, seen, variables={"account": "robot$ci"}) is True
    assert truth(raw, seen, variables={"account": "robot$cd"}) is False


def test_never_a_skew_inside_the_bound() -> None:
    raw = {"fact": "f", "beyond": "5s"}
    assert truth(raw, fact("f", 9.0, bounds={"f": 1.0})) is True
    assert truth(raw, fact("f", -9.0, bounds={"f": 1.0})) is True
    assert truth(raw, fact("f", 5.5, bounds={"f": 1.0})) is None
    assert truth(raw, fact("f", 3.0, bounds={"f": 1.0})) is False
    assert truth({"fact": "f", "inside": 5}, fact("f", 5.5, bounds={"f": 1.0})) is None


def test_a_limit_that_was_measured_has_its_bound_too() -> None:
    limit = Evidence("limit", facts={"limit": 30.0}, bounds={"limit": 30.0})
    for raw, expected in (({"beyond": {"fact": "limit"}}, True), ({"inside": {"fact": "limit"}}, False)):
        term = {"fact": "f", **raw}
        assert truth(term, limit, fact("f", 62.0, bounds={"f": 1.0})) is expected
        assert truth(term, limit, fact("f", 60.5, bounds={"f": 1.0})) is None
        assert truth(term, limit, fact("f", 0.5, bounds={"f": 0.2})) is None
    assert truth({"fact": "f", "le": {"fact": "limit"}}, limit, fact("f", 61.0)) is False
    assert truth({"fact": "f", "le": {"fact": "limit"}}, limit, fact("f", 59.0)) is None


def test_two_values_over_a_scope_need_no_complete_list() -> None:
    raw = {"fact": "kid", "over": "core-pod", "distinct": {"ge": 2}}
    pods = [fact("kid", kid, Target.of(core_pod=pod)) for pod, kid in (("a", "K1"), ("b", "K2"))]
    assert truth(raw, *pods) is True
    assert truth(raw, pods[0]) is None
    assert truth(raw, pods[0], Evidence("roster", roster={"core-pod": ("a",)})) is False


def test_one_value_over_a_scope_needs_all_members() -> None:
    raw = {"fact": "kid", "over": "core-pod", "distinct": {"le": 1}, "complete": True}
    seen = fact("kid", "K1", Target.of(core_pod="a"))
    assert truth(raw, seen) is None
    assert truth(raw, seen, Evidence("roster", roster={"core-pod": ("a", "b")})) is None
    other = fact("kid", "K1", Target.of(core_pod="b"))
    assert truth(raw, seen, other, Evidence("roster", roster={"core-pod": ("a", "b")})) is True


def test_a_proof_by_repetition_needs_the_second_sighting() -> None:
    raw = {"fact": "kid", "over": "connection", "distinct": {"ge": 2}, "within": "60s", "again_after": "5m"}

    def seen(at: float, kid: str) -> Evidence:
        return fact("kid", kid, Target.of(connection=f"{at}"), taken_at=at)

    first = [seen(0.0, "K1"), seen(1.0, "K2")]
    assert truth(raw, *first) is None
    assert truth(raw, *first, seen(100.0, "K1"), seen(101.0, "K2")) is None
    assert truth(raw, *first, seen(400.0, "K1"), seen(401.0, "K2")) is True


def test_every_and_any_over_the_secrets_that_match() -> None:
    def secret(name: str, status: int | None, matches: bool) -> list[Evidence]:
        target = Target.of(secret=name)
        found = [fact("matches", matches, target)]
        return found + ([fact("login", status, target)] if status else [])

    raw = {"fact": "login", "over": "secret", "every": {"is": 401}, "where": [{"fact": "matches", "is": True}]}
    roster = Evidence("roster", roster={"secret": ("ns/a", "ns/b", "ns/c")})
    bad = [*secret("ns/a", 401, True), *secret("ns/b", 401, True), *secret("ns/c", None, False)]
    assert truth(raw, *bad, roster) is True
    assert truth(raw, *bad) is None
    good = [*secret("ns/a", 401, True), *secret("ns/b", 200, True), *secret("ns/c", None, False)]
    assert truth(raw, *good, roster) is False
    assert truth({"fact": "login", "over": "secret", "any": {"is": 200}}, *good) is True


def test_facts_of_other_nodes_do_not_meet_this_one() -> None:
    seen = [fact("f", True, N1), fact("f", False, N2)]
    assert truth({"fact": "f", "is": True}, *seen, focus=N1) is True
    assert truth({"fact": "f", "is": True}, *seen, focus=N2) is False
    assert truth({"fact": "f", "is": True}, *seen, focus=N3) is None


def test_a_difference_between_failing_and_healthy_nodes() -> None:
    raw = {"fact": "key", "contrast": "healthy"}
    incident = Incident(nodes=("n1",), healthy_nodes=("n2", "n3"))
    failing = fact("key", "old", N1)
    assert truth(raw, failing, focus=N1, incident=incident) is None
    assert truth(raw, failing, fact("key", "new", N2), fact("key", "new", N3), focus=N1, incident=incident) is True
    assert truth(raw, failing, fact("key", "old", N2), focus=N1, incident=incident) is False
    assert (
        truth({"fact": "key", "is": "new", "of": "healthy"}, fact("key", "new", N2), focus=N1, incident=incident)
        is True
    )


def test_an_objection_takes_a_record_out() -> None:
    seen = fact("f", True, N1)
    assert truth({"fact": "f", "is": True}, seen, focus=N1, objections=(Objection("probe.f", N1, "stale"),)) is None


def test_the_operators_word_ranks_and_does_not_prove() -> None:
    case = Case(Incident(), (Evidence("p", facts={"f": True}, vantage=OPERATOR_ANSWER),), now=1.0)
    verdict = evaluate(compile_condition({"fact": "f", "is": True}, {}), Scope(View(case), INCIDENT, frozenset()))
    assert verdict.truth is True
    assert not verdict.proves


def test_an_old_reading_does_not_prove() -> None:
    old = Evidence("p", facts={"f": True}, taken_at=0.0, max_age=60.0)
    verdict = evaluate(
        compile_condition({"fact": "f", "is": True}, {}),
        Scope(View(Case(Incident(), (old,), now=100.0)), INCIDENT, frozenset()),
    )
    assert verdict.truth is True
    assert not verdict.proves


def test_a_newer_record_of_the_same_probe_and_target_counts() -> None:
    old, new = Evidence("p", N1, facts={"f": 1}), Evidence("p", N1, facts={"f": 2})
    assert truth({"fact": "f", "is": 1}, old, new, focus=N1) is False


def test_another_hosts_facts_are_told_by_their_role() -> None:
    seen = fact("f", 401, Target.of(registry="mirror.example"), of=Of.MIRROR)
    focus = Target.of(registry="registry.example")
    assert truth({"fact": "f", "is": 401}, seen, focus=focus) is None
    assert truth({"fact": "f", "is": 401, "of": "mirror"}, seen, focus=focus) is True


def test_combinations_follow_kleene() -> None:
    yes, no, open_ = {"fact": "y", "is": True}, {"fact": "n", "is": True}, {"fact": "u", "is": True}
    seen = (fact("y", True), fact("n", False))
    assert truth({"all": [yes, open_]}, *seen) is None
    assert truth({"all": [no, open_]}, *seen) is False
    assert truth({"any": [no, open_]}, *seen) is None
    assert truth({"any": [yes, open_]}, *seen) is True
    assert truth({"not": open_}, *seen) is None
    assert truth({"symptom": "s"}, symptoms=frozenset({"s"})) is True


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({}, "one of fact"),
        ({"fact": "f"}, "one operator"),
        ({"fact": "f", "is": 1, "lt": 2}, "one operator"),
        ({"fact": "f", "equals": 1}, "unknown operator"),
        ({"fact": "f", "any": {"is": 1}}, "unknown operator"),
        ({"fact": "f", "over": "planet", "any": {"is": 1}}, "no scope"),
        ({"fact": "f", "over": "node", "is": 1}, "needs one of"),
        ({"use": "m"}, "unknown macro"),
        ({"all": []}, "not empty"),
        ({"fact": "f", "beyond": "soon"}, "not a duration"),
        ({"fact": "f", "is": 1, "of": "moon"}, "is none of"),
        ({"fact": "f", "present": "yes"}, "true or false"),
        ("f = 1", "mapping"),
    ],
)
def test_a_wrong_condition_says_what_is_wrong(raw: Any, words: str) -> None:
    with pytest.raises(RuleError, match=words):
        compile_condition(raw, {})


def test_versions_compare_by_numbers() -> None:
    assert version_matches("1.10.0", ">1.9") is True
    assert version_matches("2.13.1-abcdef", ">=2.13") is True
    assert version_matches("unknown", ">1") is None
    assert version_matches("2.1.9", "2.1") is True

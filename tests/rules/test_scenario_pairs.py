"""Of every two findings of priority P1 that look alike, at least one can be practised, and its scenario points to another."""

from __future__ import annotations

import yaml

from app.files import rule_files
from app.training.scenario import Scenario
from tests.rules.test_scenarios import KNOWN

Pair = tuple[str, str]

EXCEPTED: dict[Pair, str] = {}
"""Pairs that cannot be practised, with the reason."""


def pairs() -> set[Pair]:
    """Both of priority P1, and told apart in the rules."""
    findings = [data for _, text in rule_files() if "finding" in (data := yaml.safe_load(text))]
    first = {data["finding"]: data for data in findings if data["priority"] == "P1"}
    return {
        (min(name, other), max(name, other))
        for name, data in first.items()
        for other in data.get("told_apart") or ()
        if other in first
    }


def test_there_are_pairs_at_all() -> None:
    assert len(pairs()) > 100


def causes(scenario: Scenario) -> set[str]:
    """Findings that the scenario is about, one behind the other included."""
    return {one.finding for one in (scenario.expect, scenario.behind) if one is not None}


def test_each_pair_of_look_alikes_has_a_scenario() -> None:
    practised = set[str]().union(*map(causes, KNOWN.values()))
    open_pairs = {pair for pair in pairs() if not practised & set(pair)}
    assert sorted(open_pairs - set(EXCEPTED)) == []
    # An exception that is no longer needed has to go.
    assert sorted(set(EXCEPTED) - open_pairs) == []


def test_every_exception_has_a_reason() -> None:
    assert all(len(reason.split()) > 3 for reason in EXCEPTED.values())


def test_every_scenario_points_to_one_of_another_cause() -> None:
    same = [name for name, one in KNOWN.items() if causes(KNOWN[one.look_alike]) == causes(one)]
    assert same == []

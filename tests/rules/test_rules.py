"""The gates over the shipped rules: shape, references, lints, behaviour, coverage."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from app.engine.cases import Coverage, run_case
from app.files import rule_files
from app.probes import ALL
from app.rulebook.book import Rulebook
from app.rulebook.lint import lint
from app.rulebook.load import load, load_cases
from app.rulebook.schema import CaseFile, FactsFile, FindingFile, FixesFile, SymptomFile

FILES = rule_files(cases=True)
TEXTS = dict(FILES)
CASES = [name for name in TEXTS if name.endswith(".cases.yaml")]
SCHEMA = Path(__file__).parents[2] / "rules/schema/rule-v1.json"


@pytest.fixture(scope="module")
def book() -> Rulebook:
    found, problems = load(FILES, strict=True)
    assert problems == []
    return found


def test_the_rules_are_in_order(book: Rulebook) -> None:
    produced = {fact for probe in ALL for fact in probe.produces}
    assert [str(problem) for problem in lint(book, TEXTS, produced)] == []


def test_there_are_rules_at_all(book: Rulebook) -> None:
    assert len(book.findings) > 100
    assert len(book.symptoms) > 40


def test_every_finding_has_cases(book: Rulebook) -> None:
    without = [
        finding.id for finding in book.findings.values() if finding.where.replace(".yaml", ".cases.yaml") not in TEXTS
    ]
    assert without == []


@pytest.mark.parametrize("area", sorted({name.split("/")[2] for name in CASES}))
def test_cases_say_what_the_engine_says(book: Rulebook, area: str) -> None:
    by_file = {finding.where: finding.id for finding in book.findings.values()}
    wrong = []
    for name in CASES:
        if name.split("/")[2] != area:
            continue
        file, problems = load_cases(name, TEXTS[name])
        assert file is not None, problems
        for spec in file.cases:
            said = run_case(spec, by_file[name.replace(".cases.yaml", ".yaml")], book)
            wrong.extend(f"{name}: {spec.name}: {words}" for words in said)
    assert wrong == []


def test_every_set_and_exclusion_fires_in_some_case(book: Rulebook) -> None:
    coverage = Coverage()
    by_file = {finding.where: finding.id for finding in book.findings.values()}
    for name in CASES:
        file, _ = load_cases(name, TEXTS[name])
        for spec in file.cases if file else ():
            run_case(spec, by_file[name.replace(".cases.yaml", ".yaml")], book, coverage)
    idle = {finding.id: left for finding in book.findings.values() if (left := coverage.missing(finding))}
    assert idle == {}


def test_every_probe_of_the_registry_is_in_the_catalogue(book: Rulebook) -> None:
    assert {probe.id for probe in ALL} == set(book.probes)
    for probe in ALL:
        wrong = [fact for fact in probe.produces if fact not in book.facts or book.facts[fact].probe != probe.id]
        assert wrong == [], probe.id


def test_no_tree_names_a_culprit(book: Rulebook) -> None:
    for symptom in book.symptoms.values():
        for question in symptom.tree:
            for branch in question.branches:
                assert branch.goto not in book.findings, f"{symptom.id}/{question.id}"


def test_the_published_schema_is_fresh() -> None:
    _, schemas = msgspec.json.schema_components([FindingFile, SymptomFile, FactsFile, FixesFile, CaseFile])
    fresh = (
        json.dumps(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": schemas}, indent=1, sort_keys=True
        )
        + "\n"
    )
    assert SCHEMA.read_text() == fresh, "write rules/schema/rule-v1.json again"

"""Every scenario: broken at the start, found by the engine, cured by its solution and by nothing tempting."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from pathlib import Path

import pytest

from app.commands import train
from app.model.standing import Certainty
from app.training.practice import read_all
from app.training.run import PracticeRun, build_run
from app.training.scenario import Expected, Scenario, Solution, lint, load_scenario
from tests.fakes.practice import book, investigate

FOLDER = Path(__file__).parents[2] / "rules" / "scenarios"
FILES = sorted(FOLDER.glob("*.yaml"))
KNOWN, PROBLEMS = read_all((str(path), path.read_text(encoding="utf-8")) for path in FILES)
every = pytest.mark.parametrize("scenario", list(KNOWN.values()), ids=list(KNOWN))


def start(scenario: Scenario) -> PracticeRun:
    return asyncio.run(build_run(scenario))


def test_all_files_are_read_and_name_what_the_rules_have() -> None:
    assert not PROBLEMS
    texts = [(str(path), path.read_text(encoding="utf-8")) for path in FILES]
    assert not lint([(name, text, KNOWN[Path(name).stem]) for name, text in texts], book())


def test_each_of_the_three_groups_has_a_scenario_and_a_look_alike() -> None:
    by_group: dict[str, list[Scenario]] = {}
    for one in KNOWN.values():
        by_group.setdefault(one.group, []).append(one)
    for group in ("Refused now and then", "Node and registry disagree", "Pull secret and account"):
        assert len(by_group[group]) >= 2
    assert all(one.look_alike for one in KNOWN.values())


@every
def test_it_is_broken_and_has_hints(scenario: Scenario) -> None:
    run = start(scenario)
    assert not run.solved()
    assert len(scenario.hints) >= 2
    assert not run.state.writes
    if scenario.push is not None:
        assert "\nError" in run.push_text
    else:
        phases = {
            pod["status"]["phase"] for space in scenario.goal.pods for pod in run.state.cluster.all("pods", space)
        }
        assert "Pending" in phases


def check(run: PracticeRun, expected: Expected) -> None:
    _, opened = asyncio.run(investigate(run, try_credentials=expected.try_credentials))
    assert len(opened) == 1
    step = opened[0].step
    assert step is not None
    assert step.outcome == "fault_found"
    first = step.standings[0]
    assert (first.finding, first.certainty) == (expected.finding, Certainty(expected.certainty))
    proven = {one.finding for one in step.standings if one.certainty is Certainty.PROVEN}
    assert proven <= {expected.finding}


def cure(run: PracticeRun, solution: Solution) -> None:
    """By the operator's own hands, or by those of the owner to whom it is handed over."""
    asyncio.run(run.hands.do(solution.steps, given=bool(solution.owner)))


@every
def test_the_engine_finds_the_cause(scenario: Scenario) -> None:
    check(start(scenario), scenario.expect)


@every
def test_the_solution_cures_it_and_the_tempting_change_does_not(scenario: Scenario) -> None:
    run = start(scenario)
    asyncio.run(run.hands.do(scenario.wrong.steps))
    assert not run.solved()
    run = start(scenario)
    cure(run, scenario.solution)
    if scenario.second is not None and scenario.behind is not None:
        assert not run.solved()
        check(run, scenario.behind)
        cure(run, scenario.second)
    assert run.solved()


@every
def test_the_same_scenario_is_the_same_world(scenario: Scenario) -> None:
    one, other = start(scenario), start(scenario)
    assert one.push_text == other.push_text
    assert one.state.cluster.objects == other.state.cluster.objects
    assert one.state.nodes == other.state.nodes
    assert one.state.certificates == other.state.certificates


@pytest.mark.parametrize("name", [name for name, one in KNOWN.items() if one.behind is not None])
def test_a_second_fault_stays_hidden_behind_the_first(name: str) -> None:
    scenario = KNOWN[name]
    assert scenario.behind is not None
    _, opened = asyncio.run(investigate(start(scenario)))
    step = opened[0].step
    assert step is not None
    assert all(one.finding != scenario.behind.finding or one.certainty is Certainty.OUT for one in step.standings)


def test_the_command_line_lets_owners_do_their_part() -> None:
    assert train.run(["--check", str(FOLDER / "ci-login-stale.yaml")]) == 0


def test_looking_whether_it_is_solved_changes_nothing() -> None:
    run = start(KNOWN["core-keys-differ"])
    before = deepcopy(run.state.harbor)
    assert not run.solved()
    assert run.state.harbor == before


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("schema: 1", "schema: 9", "schema 9"),
        ("difficulty: medium", "difficulty: extreme", "difficulty"),
        ("goal: {pushes: 12}", "goal: {}", "goal"),
        ("  - core_key: {core: 1, key: before-the-upgrade}", "  - core_key: {core: 1, key: x}\n    wait: 3", "exactly one"),
        ("    - harbor: {method: PATCH", "    - clock: {nodes: [worker-1], offset: 1}\n    - harbor: {method: PATCH", "no operator"),
        ("lesson:", "lessn: x\nlesson:", "unknown field"),
        ("base: kubeadm", "base: kubeadm\ndenied: [logs]", "a verb and a resource"),
        ("schema: 1", "schema: [1", ""),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(old: str, new: str, what: str) -> None:
    text = (FOLDER / "core-keys-differ.yaml").read_text(encoding="utf-8")
    assert old in text
    scenario, problems = load_scenario("x.yaml", text.replace(old, new, 1))
    assert scenario is None
    assert what in problems[0].message
    assert str(problems[0]).startswith("x.yaml:")
    assert problems[0].line >= 1

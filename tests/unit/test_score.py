"""Points, and what practice shows and keeps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.errors import RefusedError, UsageError
from app.files import load_rulebook
from app.training.practice import Practice, read_all, shipped, titles
from app.training.score import Tally, hint_cost, lines, price_of, targets, total
from app.training.world.state import Counts, Written

BEST = Tally(True, True, 300.0, 480.0, 5, 10, 0, 2, 2, 0)


class HandClock:
    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def practice(tmp_path: Path, clock: HandClock) -> Practice:
    known, problems = read_all(shipped())
    assert not problems
    return Practice(known, tmp_path, clock)


def test_a_perfect_run_has_all_points() -> None:
    assert total(lines(BEST)) == 100


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"elapsed": 720.0}, 7),
        ({"elapsed": 5000.0}, 15),
        ({"price": 12}, 4),
        ({"wrong_fixes": 1}, 5),
        ({"touched": 4}, 6),
        ({"hints": 2}, 15),
        ({"cause_named": False}, 30),
    ],
)
def test_what_costs_how_much(change: dict[str, object], lost: int) -> None:
    values = {name: getattr(BEST, name) for name in Tally.__slots__}
    assert total(lines(Tally(**{**values, **change}))) == 100 - lost  # type: ignore[arg-type]


def test_giving_up_keeps_only_the_named_cause() -> None:
    values = {name: getattr(BEST, name) for name in Tally.__slots__}
    assert total(lines(Tally(**{**values, "solved": False}))) == 30


def test_prices_hints_and_targets() -> None:
    assert price_of(Counts(logins=2, execs=3, node_rounds=9, requests=50)) == 13
    assert [hint_cost(used) for used in range(4)] == [5, 10, 15, 15]
    places = ["node/n1 /etc/a", "node/n1 containerd", "kube /api/v1/namespaces/a/secrets/x", "kube /api/v1/namespaces/a/secrets", "harbor /robots/1"]  # fmt: skip
    assert targets([Written(0.0, place, "x") for place in places]) == (
        "node/n1",
        "kube /api/v1/namespaces/a/secrets/x",
        "harbor /robots/1",
    )


def test_a_run_from_brief_to_debrief(practice: Practice, clock: HandClock, tmp_path: Path) -> None:
    assert practice.strip() is None
    with pytest.raises(UsageError):
        practice.brief("none")
    with pytest.raises(RefusedError):
        practice.hint()
    assert practice.brief("robot-disabled").pager
    run = asyncio.run(practice.start("robot-disabled"))
    strip = practice.strip()
    assert strip is not None
    assert (strip.price, strip.hints_used, strip.next_hint_cost) == (0, 0, 5)
    clock.at += 60
    first = practice.hint()
    strip = practice.strip()
    assert strip is not None
    assert (strip.elapsed, strip.hint, strip.next_hint_cost) == (60, first, 10)
    assert not practice.solved()
    practice.applied("rewrite-secret", "robot-secret-stale", helped=False)
    asyncio.run(run.hands.do(run.scenario.solution.steps))
    practice.applied("robot-enable", "robot-disabled", helped=True)
    assert practice.solved()
    clock.at += 600
    debrief = practice.debrief()
    assert debrief.solved
    assert debrief.elapsed == 60
    assert {what: points for what, _, points in debrief.lines} == {
        "right cause named": 30, "cured": 25, "time": 15, "price of evidence": 10, "wrong fixes": 5, "blast radius": 10, "hints": -5,
    }  # fmt: skip
    assert debrief.score == 90
    assert debrief.shortest
    assert any("robot-enable" in line for line in debrief.own_path)
    practice.debrief()
    row = next(row for row in practice.scenarios().scenarios if row.id == "robot-disabled")
    assert (row.best_score, row.played) == (90, 1)
    assert (tmp_path / "practice.json").is_file()


def test_the_path_is_in_order_and_verifying_costs_nothing(practice: Practice) -> None:
    run = asyncio.run(practice.start("robot-disabled"))
    run.state.counts.execs = 2
    practice.note("asked: a question")
    practice.named("robot-disabled")
    asyncio.run(run.hands.do(run.scenario.solution.steps))
    run.clock.move(300)
    run.state.counts.execs += 15
    practice.applied("robot-enable", "robot-disabled", helped=True)
    assert practice.solved()
    debrief = practice.debrief()
    assert debrief.own_path[:2] == ("asked: a question", "cause named: robot-disabled")
    assert debrief.own_path[-1] == "applied: robot-enable"
    assert len(debrief.own_path) > 3, "what was written stands between"
    assert next(detail for what, detail, _ in debrief.lines if what == "price of evidence").startswith("2,")


def test_the_debrief_speaks_in_titles(practice: Practice) -> None:
    """Every id that a scenario or a run can bring has a title in the rules."""
    practice.titles = titles(load_rulebook()[0])
    asyncio.run(practice.start("robot-disabled"))
    practice.named("robot-secret-stale")
    practice.applied("rewrite-secret", "robot-secret-stale", helped=False)
    debrief = practice.give_up()
    assert debrief.cause == "The robot account is disabled"
    assert debrief.own_path == (
        "cause named: The robot's secret was changed",
        "applied: Write the pull secret anew, which did not help",
    )
    for scenario in practice.known:
        asyncio.run(practice.start(scenario))
        debrief = practice.give_up()
        ids = {practice.known[scenario].expect.finding, *(step.probe for step in practice.known[scenario].shortest)}
        assert [name for name in ids if name in " ".join((debrief.cause, *debrief.shortest)).split(": ")] == []


def test_giving_up(practice: Practice) -> None:
    asyncio.run(practice.start("secret-missing"))
    debrief = practice.give_up()
    assert (debrief.solved, debrief.gave_up, debrief.score) == (False, True, 0)
    assert debrief.cause == "pull-secret-missing"
    practice.leave()
    assert practice.strip() is None


def test_a_torn_file_of_scores_counts_as_none(practice: Practice, tmp_path: Path) -> None:
    (tmp_path / "practice.json").write_text('{"robot-dis', encoding="utf-8")
    assert all(row.best_score is None for row in practice.scenarios().scenarios)

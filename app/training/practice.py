"""Practice at the desk: the list of scenarios, one run at a time, hints, score, debrief, and own best scores in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from app.engine.advance import filled
from app.errors import RefusedError, UsageError
from app.model.view import BriefView, DebriefView, ScenarioRow, ScenariosView, TrainingStrip
from app.ports import Clock
from app.rulebook.book import Rulebook
from app.rulebook.load import Problem
from app.training import score
from app.training.run import PracticeRun, build_run
from app.training.scenario import Scenario, load_scenario

BEST = "practice.json"


def shipped() -> list[tuple[str, str]]:
    """(file, text) of the scenarios that come with the product."""
    folder = resources.files("rules") / "scenarios"
    entries = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda entry: entry.name
    )
    return [(f"rules/scenarios/{entry.name}", entry.read_text(encoding="utf-8")) for entry in entries]


def read_all(files: Iterable[tuple[str, str]]) -> tuple[dict[str, Scenario], list[Problem]]:
    """(file, text) of all scenario files → scenarios by id, and what is wrong with the others."""
    found: dict[str, Scenario] = {}
    problems: list[Problem] = []
    for name, text in files:
        scenario, mine = load_scenario(name, text)
        problems += mine
        if scenario is not None:
            found[scenario.scenario] = scenario
    return found, problems


def titles(book: Rulebook) -> dict[str, str]:
    """Findings, fixes and probes by id, in words."""
    return {
        **{name: filled(finding.file.title, {}) for name, finding in book.findings.items()},
        **{name: fix.title for name, fix in book.fixes.items()},
        **{name: probe.title for name, probe in book.probes.items()},
    }


@dataclass(slots=True)
class Practice:
    """One operator who practises. `clock` is the real one: the score counts the operator's own minutes."""

    known: dict[str, Scenario]
    folder: Path
    clock: Clock
    titles: Mapping[str, str] = field(default_factory=dict)
    """What findings, fixes and probes are called; one that is not here is called by its id."""
    run: PracticeRun | None = None
    began: float = 0.0
    ended: float | None = None
    hints_given: list[str] = field(default_factory=list)
    named_cause: str = ""
    wrong_fixes: int = 0
    notes: list[tuple[float, str]] = field(default_factory=list)
    gave_up: bool = False
    scored: bool = False
    writes_noted: int = 0
    price_planned: int = 0
    """What had been paid when a fix was planned."""
    price_of_fixes: int = 0
    """What applying and verifying paid by itself: no evidence that the operator chose."""

    # --- before ---

    def scenarios(self) -> ScenariosView:
        """All of them, with own best scores."""
        best = self._best()
        rows = []
        for one in sorted(self.known.values(), key=lambda item: (item.group, _RANK[item.difficulty], item.title)):
            mine = best.get(one.scenario, {})
            rows.append(ScenarioRow(one.scenario, one.title, one.group, one.difficulty, one.par.minutes * 60, mine.get("best"), int(mine.get("played", 0)), one.pager))  # fmt: skip
        return ScenariosView(tuple(rows))

    def _scenario(self, scenario: str) -> Scenario:
        found = self.known.get(scenario)
        if found is None:
            raise UsageError(f"there is no scenario {scenario!r}", "`harborpilot train --list` names them all.")
        return found

    def brief(self, scenario: str) -> BriefView:
        """Raises UsageError for an unknown id."""
        one = self._scenario(scenario)
        return BriefView(one.scenario, one.title, one.pager, one.story, one.par.minutes * 60, score.RULES)

    async def start(self, scenario: str) -> PracticeRun:
        """A fresh run; one that was open is dropped. Raises UsageError for an unknown id."""
        self.run = await build_run(self._scenario(scenario))
        self.run.clock.follow(self.clock)
        self.began, self.ended = self.clock.monotonic(), None
        self.hints_given, self.named_cause, self.wrong_fixes = [], "", 0
        self.notes, self.gave_up, self.scored = [], False, False
        self.writes_noted = self.price_planned = self.price_of_fixes = 0
        return self.run

    # --- during ---

    def _title(self, name: str) -> str:
        return self.titles.get(name, name)

    def _open(self) -> PracticeRun:
        if self.run is None:
            raise RefusedError("no scenario is open", "Choose one from the list.")
        return self.run

    def elapsed(self) -> float:
        """The operator's own seconds so far."""
        return (self.ended if self.ended is not None else self.clock.monotonic()) - self.began

    def price(self) -> int:
        """What the operator's evidence has cost so far."""
        return score.price_of(self._open().state.counts) - self.price_of_fixes

    def strip(self) -> TrainingStrip | None:
        """The strip above the walk; None outside of practice."""
        if self.run is None:
            return None
        one, used = self.run.scenario, len(self.hints_given)
        left = len(one.hints) - used
        return TrainingStrip(
            one.pager, self.elapsed(), one.par.minutes * 60, self.price(), used, left,
            score.hint_cost(used) if left else 0, self.hints_given[-1] if self.hints_given else "",
        )  # fmt: skip

    def hint(self) -> str:
        """The next hint. Raises RefusedError where there is none left."""
        hints = self._open().scenario.hints
        if len(self.hints_given) >= len(hints):
            raise RefusedError("there are no more hints", "Give up to see the debrief.")
        text = hints[len(self.hints_given)]
        self.hints_given.append(text)
        self.note(f"hint: {text}")
        return text

    def note(self, text: str) -> None:
        """One step of the operator's own path, for the debrief."""
        self.notes.append((self.elapsed(), text))

    def _note_writes(self) -> None:
        """What was written since the last look. The world's clock leaps while pods wait, so its times tell no order here."""
        writes = self._open().state.writes
        for written in writes[self.writes_noted :]:
            self.note(f"{written.what} {written.place}")
        self.writes_noted = len(writes)

    def named(self, finding: str) -> None:
        """The cause that the operator settled on, e.g. by planning a fix for it; the last one counts."""
        if finding != self.named_cause:
            self.note(f"cause named: {self._title(finding)}")
        self.named_cause = finding
        self.price_planned = self.price()

    def applied(self, fix: str, finding: str, *, helped: bool) -> None:
        """A plan was applied. One that is none of the expected fixes, and that did not help, counts as wrong."""
        self.price_of_fixes += self.price() - self.price_planned
        self.named(finding)
        self._note_writes()
        scenario = self._open().scenario
        expected = {*scenario.solution.fixes, *(scenario.second.fixes if scenario.second else ())}
        if fix not in expected and not helped and not self._open().solved():
            self.wrong_fixes += 1
        self.note(f"applied: {self._title(fix)}{'' if helped else ', which did not help'}")

    def given(self) -> Mapping[str, str]:
        """What the story put into the operator's hands, by the name under which a fix asks for it."""
        run = self._open()
        return {name: str(run.hands.filled(text)) for name, text in run.scenario.given.items()}

    async def hand_over(self, fix: str, finding: str) -> tuple[bool, str]:
        """Ask those whom a plan in words is for: they do what cures it where cause and fix are the right ones.

        Answers whether they did, and what they say. What they change is not the operator's, for the score.
        """
        self.named(finding)
        self._note_writes()
        run, scenario = self._open(), self._open().scenario
        for expected, solution in ((scenario.expect, scenario.solution), (scenario.behind, scenario.second)):
            if expected is None or solution is None or expected.finding != finding or fix not in solution.fixes:
                continue
            written = len(run.state.writes)
            await run.hands.do(solution.steps, given=True)
            del run.state.writes[written:]
            said = f"{solution.owner or 'done by hand'}: {solution.title}"
            self.note(f"handed over {fix}. {said}")
            return True, said
        self.wrong_fixes += 1
        self.note(f"handed over {fix}, which did not help")
        return False, "the owner looked and found nothing to put right"

    def solved(self) -> bool:
        """Whether the goal holds; the clock stops at the first yes."""
        solved = self._open().solved()
        if solved and self.ended is None:
            self.ended = self.clock.monotonic()
        return solved

    # --- after ---

    def give_up(self) -> DebriefView:
        """End the run without a cure."""
        self.gave_up = not self._open().solved()
        return self.debrief()

    def debrief(self) -> DebriefView:
        """Score, own path and the shortest proof. The first one of a run is written to the file of best scores."""
        run = self._open()
        solved = self.solved()
        if self.ended is None:
            self.ended = self.clock.monotonic()
        scenario = run.scenario
        causes = {scenario.expect.finding, *((scenario.behind.finding,) if scenario.behind else ())}
        told = score.lines(
            score.Tally(
                solved, self.named_cause in causes, self.elapsed(), scenario.par.minutes * 60, self.price(), scenario.par.price,
                self.wrong_fixes, len(score.targets(run.state.writes)), _needed(scenario), len(self.hints_given),
            )
        )  # fmt: skip
        points = score.total(told)
        if not self.scored:
            self.scored = True
            self._keep(scenario.scenario, points)
        self._note_writes()
        return DebriefView(
            scenario.title, solved, self.gave_up, points, score.OF, told, tuple(text for _, text in self.notes),
            tuple(f"{self._title(one.probe)}: {one.shows}" for one in scenario.shortest), self._title(scenario.expect.finding), scenario.lesson,
            self.elapsed(), scenario.par.minutes * 60,
        )  # fmt: skip

    def leave(self) -> None:
        """Close the run."""
        self.run = None

    # --- best scores ---

    def _best(self) -> dict[str, dict[str, Any]]:
        try:
            data = json.loads((self.folder / BEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {key: value for key, value in data.items() if isinstance(value, dict)} if isinstance(data, dict) else {}

    def _keep(self, scenario: str, points: int) -> None:
        best = self._best()
        mine = best.get(scenario, {})
        best[scenario] = {"best": max(points, int(mine.get("best") or 0)), "played": int(mine.get("played", 0)) + 1}
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f"{BEST}.new"
        beside.write_text(json.dumps(best, indent=1, sort_keys=True), encoding="utf-8")
        os.replace(beside, self.folder / BEST)


_RANK = {"easy": 0, "medium": 1, "hard": 2}


def _needed(scenario: Scenario) -> int:
    """How many nodes, objects and accounts the solution changes."""
    found: set[str] = set()
    for solution in (scenario.solution, scenario.second):
        for step in solution.steps if solution is not None else ():
            for nodes in (step.file and step.file.nodes, step.remove and step.remove.nodes, step.restart and step.restart.nodes, step.trust_update):  # fmt: skip
                found |= {f"node/{node}" for node in nodes or ()}
            if step.patch is not None:
                found.add(step.patch.path)
            if step.secret is not None:
                found.add(f"{step.secret.namespace}/{step.secret.name}")
            if step.harbor is not None:
                found.add(step.harbor.path)
            found |= {path for path in (step.delete,) if path}
    return max(1, len(found))

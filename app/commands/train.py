"""`harborpilot train`: practise in a simulated cluster; list and check scenarios."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from app.clients.clock import SystemClock
from app.commands.flags import parser
from app.errors import HarborPilotError, UsageError, reason
from app.files import rule_files, state_dir
from app.rulebook.load import Problem, load
from app.training.practice import Practice, read_all, shipped
from app.training.run import build_run
from app.training.scenario import Scenario, lint, load_scenario


def run(words: Sequence[str]) -> int:
    """Exit 0 in order, 2 a scenario with a mistake or an unknown one; else what the screens end with."""
    flags = parser("train", "Practise in a simulated cluster: no cluster, no network, no account.")
    flags.add_argument("scenario", nargs="?", help="id of a scenario; without one: the list (with --check: a file)")
    flags.add_argument("--list", action="store_true", help="print the scenarios and leave")
    flags.add_argument("--check", action="store_true", help="check the scenario files, or one file, and leave")
    options = flags.parse_args(words)
    if options.list:
        return _list()
    if options.check:
        return _check(options.scenario)
    if options.scenario is not None and options.scenario not in read_all(shipped())[0]:
        raise UsageError(f"there is no scenario {options.scenario!r}", "`harborpilot train --list` names them all.")
    from app.commands import screens  # only now: the screens load Textual

    return int(screens.open_practice(options.scenario))


def _list() -> int:
    known, problems = read_all(shipped())
    view = Practice(known, state_dir(), SystemClock()).scenarios()
    width = max((len(row.id) for row in view.scenarios), default=0)
    group = ""
    for row in view.scenarios:
        if row.group != group:
            group = row.group
            print(f"{group}:")
        best = f"best {row.best_score}" if row.best_score is not None else "not played"
        print(f"  {row.id:{width}}  {row.difficulty:6}  par {row.par / 60:.0f} min  {best:10}  {row.title}")
    return _told(problems)


def _check(name: str | None) -> int:
    files = shipped()
    if name is not None:
        try:
            files = [(name, Path(name).read_text(encoding="utf-8"))]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name} cannot be read: {reason(error)}") from error
    problems: list[Problem] = []
    found: list[tuple[str, str, Scenario]] = []
    for file, text in files:
        scenario, mine = load_scenario(file, text)
        problems += mine
        if scenario is not None:
            found.append((file, text, scenario))
    book, broken = load(rule_files())
    problems += broken
    # A single file may name a shipped one as its look-alike.
    beside = [] if name is None else [(file, text, one) for file, text in shipped() if (one := load_scenario(file, text)[0]) is not None and one.scenario not in {mine.scenario for _, _, mine in found}]  # fmt: skip
    own = {file for file, _, _ in found}
    problems += [problem for problem in lint([*found, *beside], book) if problem.file in own]
    for file, _, scenario in found:
        problems += [Problem(file, 1, "world", what) for what in asyncio.run(_played(scenario))]
    status = _told(sorted(problems))
    if not status:
        print(f"train --check: {len(found)} scenarios in order")
    return status


async def _played(scenario: Scenario) -> list[str]:
    """What does not hold in the world itself: broken at the start, not cured by the wrong change, cured by the solution."""
    told = []
    try:
        run = await build_run(scenario)
        if run.solved():
            told.append("nothing is wrong at the start")
        await run.hands.do(scenario.wrong.steps)
        if run.solved():
            told.append("the tempting wrong change cures it")
        run = await build_run(scenario)
        await run.hands.do(scenario.solution.steps, given=bool(scenario.solution.owner))
        if scenario.second is not None:
            if run.solved():
                told.append("the first cure is enough: nothing stands behind it")
            await run.hands.do(scenario.second.steps, given=bool(scenario.second.owner))
        if not run.solved():
            told.append("the solution does not cure it")
    except HarborPilotError as error:
        told.append(f"a step cannot be done: {error.what}")
    except (KeyError, IndexError) as error:
        told.append(f"a step names what the world does not have: {error}")
    return told


def _told(problems: Sequence[Problem]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    return 2 if problems else 0

"""A practice run behind the runner's parts, for tests that diagnose and mend it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from app.files import rule_files
from app.fixes.gateway import Gateway
from app.fixes.journal import UndoJournal
from app.rulebook.book import Rulebook
from app.rulebook.load import load
from app.runner.assemble import Ask
from app.runner.collect import World
from app.runner.credentials import Budget
from app.runner.fixing import Fixing
from app.runner.investigation import Investigation, Opened
from app.training.run import PracticeRun


@lru_cache(maxsize=1)
def book() -> Rulebook:
    """The shipped rules."""
    found, problems = load(rule_files())
    assert not problems
    return found


def world_of(run: PracticeRun, *, try_credentials: bool = False) -> World:
    """The runner's world over a run."""
    budget = Budget(allowed=try_credentials, harbor=run.harbor_login)
    return World(run.clock, run.kube, run.nodes, run.http, budget)


async def investigate(run: PracticeRun, *, try_credentials: bool = False) -> tuple[Investigation, list[Opened]]:
    """Scan, collect everything and judge."""
    world = world_of(run, try_credentials=try_credentials)
    investigation = Investigation(book(), world, vantage="world", try_credentials=try_credentials)
    await investigation.scan()
    pushed = Ask(text=run.push_text, push=run.push_image)
    opened = investigation.fold(pushed if run.push_text else Ask())
    for item in opened:
        await investigation.collect(item)
        investigation.judge(item, interactive=False)
    return investigation, opened


class Numbers:
    """Ids that count."""

    def __init__(self) -> None:
        self.last = 0

    def new(self) -> str:
        self.last += 1
        return f"plan{self.last}"


def fixing_of(run: PracticeRun, investigation: Investigation, folder: Path) -> Fixing:
    """Planner and gateway over a run, unlocked."""
    gateway = Gateway(run.context, run.writers(), UndoJournal(folder), run.settle)
    gateway.unlock(run.context)
    return Fixing(investigation, gateway, Numbers(), b"key", run.settle, run.harbor.read)

"""The desk plays practice scenarios."""

from __future__ import annotations

from dataclasses import dataclass

from app.errors import UsageError
from app.model.material import Material
from app.model.view import (
    BoardView,
    BriefView,
    DebriefView,
    Mode,
    ScenariosView,
    WalkView,
)
from app.runner.assemble import Ask
from app.runner.console_seat import Practising, Seat


@dataclass(slots=True)
class PracticeConsole(Seat):
    """The part of `app.desk.Desk` about practice."""

    def _practice(self) -> Practising:
        if self.practice is None:
            raise UsageError("practice is not available here")
        return self.practice

    async def scenarios(self) -> ScenariosView:
        return self._practice().scenarios()

    async def brief(self, scenario: str) -> BriefView:
        return self._practice().brief(scenario)

    async def start_scenario(self, scenario: str) -> BoardView:
        practice = self._practice()
        assert self.make_practice is not None  # noqa: S101 - comes with the practice
        run = await practice.start(scenario)
        investigation, make_fixing = self.make_practice(run, self.rulebook)
        self.unlocked.discard(run.context)
        self._seat(investigation, run.context, Mode.PRACTICE, make_fixing)
        if getattr(run, "push_text", ""):
            self.walks.add(
                Material(), Ask(text=run.push_text, push=getattr(run, "push_image", None) or None), pasted=True
            )
        async for view in self.walks.refresh():
            last = view
        return last

    async def hint(self) -> WalkView:
        self._practice().hint()
        return self.walks.walk()

    async def give_up(self) -> DebriefView:
        return self._practice().give_up()

    async def debrief(self) -> DebriefView | None:
        if self.mode is not Mode.PRACTICE or self.practice is None or not self.practice.solved():
            return None
        return self.practice.debrief()

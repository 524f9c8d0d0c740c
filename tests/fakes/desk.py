"""A desk that answers with literal states and writes down what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from app.errors import HarborPilotError, RefusedError
from app.model.fix import FixPlan
from app.model.target import Target
from app.model.view import (
    ApplyView,
    BoardView,
    BriefView,
    ConnectionsView,
    DebriefView,
    DiagnosisView,
    EvidenceView,
    HeaderView,
    HostKeysView,
    PlanView,
    PullPlanView,
    ReplayView,
    RulesView,
    ScenariosView,
    SessionsView,
    WalkView,
)
from tests.screens import states as at


class FakeDesk:
    """Implements `app.desk.Desk`. `asked` holds (method, arguments); `failing` maps a method to what it raises."""

    def __init__(self, **failing: Exception) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.failing = failing
        self.walk = at.WALK
        self.header = at.LIVE
        self.solved = False
        self.cut_off: ApplyView | None = None
        self.hold: asyncio.Event | None = None
        """Set to keep `apply` waiting at its first view."""
        self.closed = False

    def _note(self, name: str, *arguments: Any) -> None:
        self.asked.append((name, *arguments))
        if name in self.failing:
            raise self.failing[name]

    def calls(self, name: str) -> list[tuple[Any, ...]]:
        """Arguments of every call of a method."""
        return [entry[1:] for entry in self.asked if entry[0] == name]

    async def board(self) -> BoardView:
        self._note("board")
        return at.BOARD

    async def refresh(self) -> AsyncIterator[BoardView]:
        self._note("refresh")
        yield replace(at.BOARD, loading="reading pods")
        yield at.BOARD

    async def open_bundle(self, path: str) -> BoardView:
        self._note("open_bundle", path)
        return replace(at.BOARD, header=at.BUNDLE, next_to_fail=None)

    async def paste(self, text: str) -> WalkView:
        self._note("paste", text)
        return self.walk

    async def describe_push(self, image: str, where: str, text: str) -> WalkView:
        self._note("describe_push", image, where, text)
        return self.walk

    async def open_incident(self, incident: str) -> WalkView:
        self._note("open_incident", incident)
        return self.walk

    async def collect_next(self, consent: bool = False) -> AsyncIterator[WalkView]:
        self._note("collect_next", consent)
        yield at.WALK_BUSY
        self.walk = at.WALK
        yield self.walk

    async def set_auto(self, auto: bool) -> WalkView:
        self._note("set_auto", auto)
        self.walk = replace(self.walk, auto=auto)
        return self.walk

    async def answer(self, question: str, value: str) -> WalkView:
        self._note("answer", question, value)
        self.walk = at.WALK_DONE
        return self.walk

    async def object_to(self, probe: str, target: Target, reason: str) -> WalkView:
        self._note("object_to", probe, target, reason)
        return self.walk

    async def supply(self, paste_as: str, target: str, text: str) -> WalkView:
        self._note("supply", paste_as, target, text)
        return self.walk

    async def back(self) -> WalkView:
        self._note("back")
        return self.walk

    async def read_again(self) -> AsyncIterator[WalkView]:
        self._note("read_again")
        yield self.walk

    async def go_on(self) -> WalkView:
        self._note("go_on")
        return self.walk

    async def evidence(self) -> EvidenceView:
        self._note("evidence")
        return at.EVIDENCE_VIEW

    async def diagnosis(self, finding: str = "") -> DiagnosisView:
        self._note("diagnosis", finding)
        return replace(at.DIAGNOSIS, header=self.header)

    async def plan(
        self,
        fix_id: str,
        finding: str = "",
        inputs: Mapping[str, str] | None = None,
        secrets: frozenset[str] = frozenset(),
    ) -> PlanView:
        self._note("plan", fix_id, finding)
        return PlanView(self.header, at.PLAN, "prod-eu")

    async def unlock(self, name: str) -> HeaderView:
        self._note("unlock", name)
        if name != "prod-eu":
            raise RefusedError(f"{name} is not the name of this context.")
        self.header = at.UNLOCKED
        return self.header

    async def apply(self, plan: FixPlan, retry_pods: bool = False) -> AsyncIterator[ApplyView]:
        self._note("apply", plan, retry_pods)
        yield at.APPLYING
        if self.hold is not None:
            await self.hold.wait()
        yield at.APPLY_DONE

    async def interrupted(self) -> ApplyView | None:
        self._note("interrupted")
        return self.cut_off

    async def stop_apply(self) -> None:
        self._note("stop_apply")

    async def decide(self, choice: str) -> None:
        self._note("decide", choice)

    async def undo(self, plan: FixPlan) -> AsyncIterator[ApplyView]:
        self._note("undo", plan)
        yield at.APPLY_UNDONE

    async def sessions(self) -> SessionsView:
        self._note("sessions")
        return at.SESSIONS

    async def replay(self, session: str) -> ReplayView:
        self._note("replay", session)
        return at.REPLAY_START

    async def seek(self, position: int) -> ReplayView:
        self._note("seek", position)
        line = replace(at.LINE, position=position)
        return replace(at.REPLAY, walk=replace(at.REPLAY.walk, timeline=line), timeline=line)

    async def judge_again(self) -> ReplayView:
        self._note("judge_again")
        return at.REPLAY_JUDGED

    async def resume(self, session: str) -> WalkView:
        self._note("resume", session)
        return self.walk

    async def report(self, session: str = "") -> str:
        self._note("report", session)
        return "# Report\n"

    async def save(self, name: str, text: str) -> str:
        self._note("save", name, text)
        return f"/exports/{name}"

    async def export(self, session: str = "") -> str:
        self._note("export", session)
        return f"/exports/{session}.tar.gz"

    async def scenarios(self) -> ScenariosView:
        self._note("scenarios")
        return at.SCENARIOS

    async def brief(self, scenario: str) -> BriefView:
        self._note("brief", scenario)
        return at.BRIEF

    async def start_scenario(self, scenario: str) -> BoardView:
        self._note("start_scenario", scenario)
        self.header = at.PRACTICE
        self.walk = at.WALK_TRAINING
        return replace(at.BOARD, header=at.PRACTICE, next_to_fail=None)

    async def hint(self) -> WalkView:
        self._note("hint")
        return at.WALK_TRAINING

    async def give_up(self) -> DebriefView:
        self._note("give_up")
        return at.DEBRIEF_GAVE_UP

    async def debrief(self) -> DebriefView | None:
        self._note("debrief")
        return at.DEBRIEF if self.solved else None

    async def self_check(self) -> ConnectionsView:
        self._note("self_check")
        return at.CONNECTIONS

    async def host_keys(self) -> HostKeysView:
        self._note("host_keys")
        return at.HOST_KEYS

    async def accept_host_keys(self, hosts: tuple[str, ...]) -> ConnectionsView:
        self._note("accept_host_keys", hosts)
        return replace(at.CONNECTIONS, pending_host_keys=0)

    async def pull_plan(self, node: str = "") -> PullPlanView:
        self._note("pull_plan", node)
        return replace(at.PULL_PLAN, node=node) if node else at.PULL_PLAN

    async def rules(self) -> RulesView:
        self._note("rules")
        return at.RULES

    async def close(self) -> None:
        self.closed = True


FAILURE = HarborPilotError("No kubeconfig was found.", "Set KUBECONFIG.")

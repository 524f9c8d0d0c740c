"""The desk plans, applies, verifies and undoes fixes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.errors import InputNeededError, RefusedError, UsageError
from app.fixes.base import Hidden
from app.fixes.journal import UndoJournal
from app.model.case import Incident
from app.model.fix import ApplyReport, FixPlan, StepState, TargetProgress
from app.model.material import Material
from app.model.standing import Standing
from app.model.target import Target
from app.model.view import (
    ApplyView,
    HeaderView,
    Mode,
    PlanView,
)
from app.probes.base import Scene
from app.runner.console_seat import Practising, Seat
from app.runner.fixing import Fixing
from app.runner.investigation import Investigation, Opened


@dataclass(slots=True)
class FixConsole(Seat):
    """The part of `app.desk.Desk` about fixes."""

    def _standing(self, finding: str) -> Standing:
        opened = self.walks.opened()
        step = opened.step or self.investigation.judge(opened)
        found = next(
            (item for item in (*step.standings, *step.also_noticed) if not finding or item.finding == finding), None
        )
        if found is None:
            raise UsageError(f"{finding or 'a finding'} is not judged in this walk", "Open the diagnosis first.")
        return found

    async def plan(
        self,
        fix_id: str,
        finding: str = "",
        inputs: Mapping[str, str] | None = None,
        secrets: frozenset[str] = frozenset(),
    ) -> PlanView:
        opened = self.walks.opened()
        why = self._why_not(opened).get(fix_id, "")
        if why or self.make_fixing is None:
            raise RefusedError(f"{fix_id} cannot be planned here: {why or 'no cluster is connected'}")
        fixing = self._fixing(opened)
        standing = self._standing(finding)
        given: dict[str, str | Hidden] = {
            name: Hidden(text) if name in secrets else text for name, text in (inputs or {}).items()
        }
        plan, needs = await fixing.plan(opened, standing, fix_id, given)
        in_hand = self.practice.given() if self.mode is Mode.PRACTICE and self.practice is not None else {}
        if plan is None and any(need.key in in_hand for need in needs):
            # What the story gave is not typed in: a key of many lines or a long password is no exercise.
            known = {
                need.key: Hidden(in_hand[need.key]) if need.secret else in_hand[need.key]
                for need in needs
                if need.key in in_hand
            }
            plan, needs = await fixing.plan(opened, standing, fix_id, {**known, **given})
        if plan is None:
            raise InputNeededError(fix_id, finding, tuple((need.key, need.question, need.secret) for need in needs))
        self.standing = standing
        if self.mode is Mode.PRACTICE and self.practice is not None:
            self.practice.named(standing.finding)
        if self.journal is not None:
            self.journal.plan(plan)
        return self._plan_view(plan)

    def _fixing(self, opened: Opened) -> Fixing:
        assert self.make_fixing is not None  # noqa: S101 - the callers have looked
        fixing = self.make_fixing(opened)
        for name in self.unlocked:
            if name == fixing.gateway.context or name in fixing.gateway.others:
                fixing.gateway.unlock(name)
        self.fixing = fixing
        return fixing

    def _gateway_alone(self) -> Fixing:
        """For the undo of an earlier run's apply, when no incident is open."""
        if self.make_fixing is None:
            raise RefusedError("no cluster is connected", "`harborpilot undo` lists the plans that can be undone.")
        alone = next(iter(self.investigation.opened.values()), None) or Opened(
            Scene(Incident(), self.clock.now()), Material(), None
        )
        return self._fixing(alone)

    def _plan_view(self, plan: FixPlan) -> PlanView:
        self.walks.locked = plan.context not in self.unlocked
        hands_over = self.mode is Mode.PRACTICE and not plan.changed and not plan.blocked and plan.fix_class != "advice"
        return PlanView(
            self.walks.header(), plan, unlock_name=plan.context if self.walks.locked else "", hands_over=hands_over
        )

    async def unlock(self, name: str) -> HeaderView:
        fixing = self.fixing
        if fixing is None:
            raise RefusedError("nothing is planned yet", "Open a fix first; unlocking is for one context by its name.")
        fixing.gateway.unlock(name)
        self.unlocked.add(name)
        self.walks.locked = False
        self.walks.journal.note("note", text=f"unlocked {name}")
        return self.walks.header()

    async def apply(self, plan: FixPlan, retry_pods: bool = False) -> AsyncIterator[ApplyView]:
        fixing = self.fixing
        if fixing is None or self.standing is None:
            raise RefusedError("this plan was not made at this desk", "Plan the fix again.")
        opened = self.walks.opened()
        if self.mode is Mode.PRACTICE and self.practice is not None and not plan.changed:
            async for view in self._hand_over(opened, plan, self.practice):
                yield view
            return
        if self.journal is not None:
            self.journal.confirm(plan, plan.confirm_name or "enter")
        started = self.walks.now()
        running: list[str] = [""]
        waiting: list[str] = [""]

        async def decide(target: Target, note: str) -> str:
            waiting[0] = str(target)
            running[0] = note
            choice = await self.decisions.get()
            waiting[0] = ""
            return choice

        while not self.decisions.empty():
            self.decisions.get_nowait()
        reports = fixing.apply(
            opened, self.standing, plan, confirmed=plan.confirm_name or plan.id, retry_pods=retry_pods,
            say=lambda text: running.__setitem__(0, text), decide=decide,
        )  # fmt: skip
        last: ApplyReport | None = None
        async for report in _ticking(reports):
            if report is not None:
                last = report
            progress = (
                last.progress if last else tuple(TargetProgress(target, StepState.QUEUED) for target in plan.targets)
            )
            busy = next(
                (
                    item
                    for item in progress
                    if item.state in (StepState.WRITING, StepState.RESTARTING, StepState.VERIFYING)
                ),
                None,
            )
            yield ApplyView(
                plan, progress, now_running=running[0] or (busy.note if busy else ""), waiting_on=waiting[0],
                stopping=fixing.gateway.stopping, elapsed=self.walks.now() - started,
            )  # fmt: skip
        if last is None:
            return
        if self.journal is not None:
            self.journal.progress(last)
            self.journal.applied(last)
        if self.mode is Mode.PRACTICE and self.practice is not None:
            self.practice.applied(plan.fix, plan.finding, helped=last.verified)
        verdict = (
            "what had failed works now" if last.verified else "applied, and what had failed is not seen to work yet"
        )
        notes = "; ".join(item.note for item in last.progress if item.note)
        yield ApplyView(
            plan,
            last.progress,
            finished=True,
            verified=last.verified,
            verdict=f"{verdict}{': ' + notes[:200] if notes else ''}",
            can_undo=_undoable(plan),
            elapsed=self.walks.now() - started,
        )
        self.walks.trails.pop(self.walks.current, None)
        await self._look_again(opened)

    async def _hand_over(self, opened: Opened, plan: FixPlan, practice: Practising) -> AsyncIterator[ApplyView]:
        """What a plan in words asks of others: in practice they are at hand."""
        started = self.walks.now()
        helped, said = await practice.hand_over(plan.fix, plan.finding)
        state = StepState.VERIFIED if helped else StepState.SKIPPED
        progress = tuple(TargetProgress(target, state, said) for target in plan.targets)
        yield ApplyView(
            plan, progress, finished=True, verified=helped, verdict=said, elapsed=self.walks.now() - started
        )
        await self._look_again(opened)

    async def _look_again(self, opened: Opened) -> None:
        """After a change the walk starts from fresh evidence: nothing seen before it counts any more."""
        if self.investigation.world is None:
            return
        fresh = Investigation(
            self.rulebook, self.investigation.world, vantage=self.investigation.vantage, harbor_namespace=self.investigation.harbor_namespace,
            selection=self.investigation.selection, try_credentials=self.investigation.try_credentials,
        )  # fmt: skip
        await fresh.scan()
        self.investigation.material = fresh.material
        pinned = {name: item for name, item in self.investigation.opened.items() if name in self.investigation.pinned}
        self.investigation.opened = {**fresh.opened, **pinned}
        for item in self.investigation.opened.values():
            if item.step is None:
                await asyncio.to_thread(self.investigation.judge, item)
        if opened.scene.incident.id not in self.investigation.opened:
            opened.scene = replace(opened.scene, incident=replace(opened.scene.incident, succeeded=True))

    async def interrupted(self) -> ApplyView | None:
        """The newest apply that was begun and neither finished nor undone, as its journal has it."""
        book = UndoJournal(self.state / "undo")
        waiting = await asyncio.to_thread(book.interrupted)
        if not waiting:
            return None
        events = await asyncio.to_thread(book.read, waiting[0])
        return _cut_off(waiting[0], events)

    async def stop_apply(self) -> None:
        if self.fixing is not None:
            self.fixing.gateway.stop()

    async def decide(self, choice: str) -> None:
        await self.decisions.put(choice)

    async def undo(self, plan: FixPlan) -> AsyncIterator[ApplyView]:
        fixing = self.fixing
        if fixing is None:
            raise RefusedError(
                "nothing was applied at this desk", "`harborpilot undo` lists the plans that can be undone."
            )
        working = tuple(TargetProgress(target, StepState.WRITING, "putting back") for target in plan.targets)
        yield ApplyView(plan, working, now_running="putting back, last step first", undoing=True)
        lines = await fixing.gateway.undo(plan.id)
        if self.journal is not None:
            self.journal.undone(plan.id, complete=True, note="; ".join(lines))
        done = tuple(
            TargetProgress(target, StepState.UNDONE, next((line for line in lines if _names(target, line)), ""))
            for target in plan.targets
        )
        yield ApplyView(plan, done, finished=True, undoing=True, verified=True, verdict="; ".join(lines)[:300])
        await self._look_again(self.walks.opened())


async def _ticking(reports: AsyncIterator[ApplyReport], every: float = 0.5) -> AsyncIterator[ApplyReport | None]:
    """Reports as they come, and None in between, so that the screen shows what is waited for."""
    pending: asyncio.Future[ApplyReport] | None = None
    while True:
        if pending is None:
            pending = asyncio.ensure_future(reports.__anext__())
        done, _ = await asyncio.wait([pending], timeout=every)
        if not done:
            yield None
            continue
        try:
            report = pending.result()
        except StopAsyncIteration:
            return
        pending = None
        yield report


def _cut_off(plan: str, events: list[Mapping[str, Any]]) -> ApplyView:
    """What a journal tells of an apply that was interrupted."""
    begun: Mapping[str, Any] = next((event for event in events if event.get("event") == "begun"), {})
    steps = {str(event["step"]): str(event.get("state", "")) for event in events if event.get("event") == "step"}
    progress = []
    for text in begun.get("targets", ()):
        mine = [state for step, state in steps.items() if step.startswith(f"{text}#")]
        state = StepState.QUEUED if not mine else StepState.FAILED_KEPT if "started" in mine else StepState.WRITING
        note = (
            "not begun"
            if not mine
            else "cut off in the middle of a write"
            if "started" in mine
            else f"{len(mine)} writes done, not verified"
        )
        progress.append(TargetProgress(Target.parse(str(text)), state, note))
    targets = tuple(item.target for item in progress)
    title = str(begun.get("title", plan))
    shell = FixPlan(
        plan, str(begun.get("fix", "")), str(begun.get("finding", "")), title, "cure", "", "", "from the journal", targets, (), (), (),
        "the next diagnosis", context=str(begun.get("context", "")),
    )  # fmt: skip
    return ApplyView(
        shell,
        tuple(progress),
        finished=True,
        verdict="an earlier run was cut off here; undo puts back what was written",
        can_undo=bool(steps),
    )


def _undoable(plan: FixPlan) -> bool:
    return any(change.kind not in ("node-restart", "kube-restart") for change in plan.changes)


def _names(target: Target, line: str) -> bool:
    return any(name and name in line for _, name in target.parts)

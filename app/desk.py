"""The desk: the one thing the screens' application talks to. It answers with views and never draws anything.

Implemented by the runner over live clusters, bundles, the practice world and recordings. A method raises
HarborPilotError when it cannot do what it was asked; trouble at a target is evidence and shows in the view.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

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


class Desk(Protocol):
    """One operator at one desk; at most one incident, one replay and one scenario are open at a time."""

    # --- board ---

    async def board(self) -> BoardView:
        """The board as it is known now; reads nothing."""

    def refresh(self) -> AsyncIterator[BoardView]:
        """Read the cluster once more; yields a board whenever more is known, the last one without `loading`."""

    async def open_bundle(self, path: str) -> BoardView:
        """Judge an evidence bundle; its incidents stand on the board returned. Raises BundleError."""

    async def paste(self, text: str) -> WalkView:
        """A pasted error text becomes an incident, which is opened."""

    async def describe_push(self, image: str, where: str, text: str) -> WalkView:
        """A failing push (or pull) described by hand: image reference, where it runs, what it printed."""

    # --- walk ---

    async def open_incident(self, incident: str) -> WalkView:
        """Open an incident of the board; the walk starts, or goes on where it stood."""

    def collect_next(self, consent: bool = False) -> AsyncIterator[WalkView]:
        """Collect what the step asks for; yields as evidence arrives, the last one without `busy`.

        With a price (`WalkView.price`) nothing is done unless `consent`.
        """

    async def set_auto(self, auto: bool) -> WalkView:
        """Follow the evidence alone, or one step at a time."""

    async def answer(self, question: str, value: str) -> WalkView:
        """The operator's answer: number of the branch from 1, or `unknown`.

        Question `price` with `unknown` declines the step that has a price.
        """

    async def object_to(self, probe: str, target: Target, reason: str) -> WalkView:
        """Leave a piece of evidence out, with the reason recorded."""

    async def supply(self, paste_as: str, target: str, text: str) -> WalkView:
        """Output of a command that the operator ran, read as if we had run it."""

    async def back(self) -> WalkView:
        """Take back the last answer or step."""

    def read_again(self) -> AsyncIterator[WalkView]:
        """Drop the evidence of the open incident and read it anew; what the operator said stays."""

    async def go_on(self) -> WalkView:
        """Go on after a diagnosis, with what it does not explain."""

    async def evidence(self) -> EvidenceView:
        """All evidence of the open incident."""

    async def diagnosis(self, finding: str = "") -> DiagnosisView:
        """One standing in full; empty: the best one."""

    # --- fixes ---

    async def plan(
        self,
        fix_id: str,
        finding: str = "",
        inputs: Mapping[str, str] | None = None,
        secrets: frozenset[str] = frozenset(),
    ) -> PlanView:
        """Plan a fix; reads and changes nothing. Raises RefusedError when it cannot be planned.

        Raises InputNeededError when the operator has to supply something first; it comes back in `inputs`, the keys in
        `secrets` are passwords.
        """

    async def unlock(self, name: str) -> HeaderView:
        """Unlock the context for this session by its name. Raises RefusedError when the name is not right."""

    def apply(self, plan: FixPlan, retry_pods: bool = False) -> AsyncIterator[ApplyView]:
        """Apply exactly this plan, then verify; yields as targets move on, the last one `finished`.

        `retry_pods`: recreate owned pods at once instead of waiting for their back-off.
        """

    async def interrupted(self) -> ApplyView | None:
        """An apply of an earlier run that was cut off: what was done and what was not. None when there is none.

        Going on is `apply` of its plan, going back is `undo`; both check the world first.
        """

    async def stop_apply(self) -> None:
        """Stop after the current step."""

    async def decide(self, choice: str) -> None:
        """For a failed target: `retry`, `skip` or `stop`."""

    def undo(self, plan: FixPlan) -> AsyncIterator[ApplyView]:
        """Put back what this plan changed; yields like `apply`."""

    # --- sessions ---

    async def sessions(self) -> SessionsView:
        """Saved sessions, newest first; those that cannot be read say why."""

    async def replay(self, session: str) -> ReplayView:
        """Open a session at its first event. Raises SessionError."""

    async def seek(self, position: int) -> ReplayView:
        """Go to an event of the open replay."""

    async def judge_again(self) -> ReplayView:
        """Judge the open replay with today's rules; `Timeline.changed` lists the verdicts that change."""

    async def resume(self, session: str) -> WalkView:
        """Go on with a saved session."""

    async def report(self, session: str = "") -> str:
        """The page for the ticket as Markdown, of the open incident or of a session."""

    async def save(self, name: str, text: str) -> str:
        """Write a text (report, hand-off, commands) into the export folder; returns its path."""

    async def export(self, session: str = "") -> str:
        """Export a session as a file to hand over; returns its path."""

    # --- practice ---

    async def scenarios(self) -> ScenariosView:
        """All scenarios with own best scores."""

    async def brief(self, scenario: str) -> BriefView:
        """What the operator is told before it starts."""

    async def start_scenario(self, scenario: str) -> BoardView:
        """Start it: the board of the practice cluster. Its walks carry a `training` strip."""

    async def hint(self) -> WalkView:
        """The next hint, charged."""

    async def give_up(self) -> DebriefView:
        """End the scenario, or look at how it went."""

    async def debrief(self) -> DebriefView | None:
        """The debrief when the running scenario is solved; None while it is not, and outside practice."""

    # --- connections, pull plan, rules ---

    async def self_check(self) -> ConnectionsView:
        """Every connection and right, asked now."""

    async def host_keys(self) -> HostKeysView:
        """Host keys that nobody has vouched for, and changed ones."""

    async def accept_host_keys(self, hosts: tuple[str, ...]) -> ConnectionsView:
        """Record these unknown keys as vouched for. Changed keys are never accepted."""

    async def pull_plan(self, node: str = "") -> PullPlanView:
        """What kubelet and runtime of a node would do for the image of the open incident; empty: a failing node."""

    async def rules(self) -> RulesView:
        """The rulebook in force, with what is wrong in it."""

    async def close(self) -> None:
        """End the session: journal flushed, connections closed."""


DeskFactory = Callable[[], Desk]
"""Builds the desk. Called in a worker after the first frame, so it may import what is slow."""

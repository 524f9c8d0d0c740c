"""Pictures of every screen: typical at 80x24 and 120x40, and the states that look different. Review each before accepting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.screen import Screen

from screens.apply import ApplyScreen
from screens.board import BoardScreen
from screens.brief import BriefScreen
from screens.connections import ConnectionsScreen
from screens.debrief import DebriefScreen
from screens.diagnosis import DiagnosisScreen
from screens.dialogs.confirm import ConfirmDialog, confirm_plan, confirm_undo
from screens.dialogs.error import ErrorDialog
from screens.dialogs.host_keys import HostKeysDialog
from screens.dialogs.info import InfoDialog
from screens.dialogs.texts import NewPushDialog, ObjectDialog, OpenBundleDialog, PasteDialog, SupplyDialog
from screens.dialogs.unlock import UnlockDialog
from screens.evidence import EvidenceScreen
from screens.fix_plan import FixPlanScreen
from screens.help import HelpScreen, rows_of
from screens.pull_plan import PullPlanScreen
from screens.replay import ReplayScreen
from screens.rules_browser import RulesScreen
from screens.scenarios import ScenariosScreen
from screens.sessions import SessionsScreen
from screens.walk import WalkScreen
from screens.widgets.text import plain
from tests.screens import states as at

Snap = Callable[..., None]
Build = Callable[[], Screen[Any]]

TYPICAL: dict[str, Build] = {
    "board": lambda: BoardScreen(at.BOARD),
    "walk": lambda: WalkScreen(at.WALK),
    "evidence": lambda: EvidenceScreen(at.EVIDENCE_VIEW),
    "diagnosis": lambda: DiagnosisScreen(at.DIAGNOSIS),
    "fix_plan": lambda: FixPlanScreen(at.PLAN_LOCKED),
    "apply": lambda: ApplyScreen(at.APPLYING),
    "sessions": lambda: SessionsScreen(at.SESSIONS),
    "replay": lambda: ReplayScreen(at.REPLAY),
    "connections": lambda: ConnectionsScreen(at.CONNECTIONS),
    "scenarios": lambda: ScenariosScreen(at.SCENARIOS),
    "brief": lambda: BriefScreen(at.BRIEF),
    "debrief": lambda: DebriefScreen(at.DEBRIEF),
    "pull_plan": lambda: PullPlanScreen(at.PULL_PLAN),
    "rules": lambda: RulesScreen(at.RULES),
    "help": lambda: HelpScreen("Walk", rows_of(WalkScreen(at.WALK))),
}


@pytest.mark.parametrize("size", ["80x24", "120x40"])
@pytest.mark.parametrize("name", TYPICAL)
def test_typical(name: str, size: str, snap_screen: Snap) -> None:
    """The typical state: nothing cut off that matters, the footer readable, the cursor or open question in sight."""
    snap_screen(TYPICAL[name](), size)


STATES: dict[str, tuple[Build, str]] = {
    "board-healthy": (lambda: BoardScreen(at.BOARD_HEALTHY), "80x24"),
    "board-no-cluster": (lambda: BoardScreen(at.BOARD_NOTHING), "80x24"),
    "board-loading": (lambda: BoardScreen(at.BOARD_LOADING), "80x24"),
    "board-denied": (lambda: BoardScreen(at.BOARD_DENIED), "80x24"),
    "board-error": (lambda: BoardScreen(at.BOARD_ERROR), "80x24"),
    "board-long": (lambda: BoardScreen(at.BOARD_LONG), "80x24"),
    "board-large": (lambda: BoardScreen(at.BOARD), "200x60"),
    "walk-start": (lambda: WalkScreen(at.WALK_START), "80x24"),
    "walk-reading": (lambda: WalkScreen(at.WALK_BUSY), "80x24"),
    "walk-price": (lambda: WalkScreen(at.WALK_PRICE), "80x24"),
    "walk-done": (lambda: WalkScreen(at.WALK_DONE), "120x40"),
    "walk-inconclusive": (lambda: WalkScreen(at.WALK_INCONCLUSIVE), "80x24"),
    "walk-outdated": (lambda: WalkScreen(at.WALK_OUTDATED), "120x40"),
    "walk-conflict": (lambda: WalkScreen(at.WALK_CONFLICT), "120x40"),
    "walk-healthy": (lambda: WalkScreen(at.WALK_HEALTHY), "80x24"),
    "walk-denied": (lambda: WalkScreen(at.WALK_DENIED), "80x24"),
    "walk-long": (lambda: WalkScreen(at.WALK_LONG), "80x24"),
    "walk-training": (lambda: WalkScreen(at.WALK_TRAINING), "80x24"),
    "walk-large": (lambda: WalkScreen(at.WALK), "200x60"),
    "evidence-empty": (lambda: EvidenceScreen(at.EVIDENCE_EMPTY), "80x24"),
    "evidence-long": (lambda: EvidenceScreen(at.EVIDENCE_LONG), "80x24"),
    "diagnosis-conflict": (lambda: DiagnosisScreen(at.DIAGNOSIS_CONFLICT), "80x24"),
    "diagnosis-likely": (lambda: DiagnosisScreen(at.DIAGNOSIS_LIKELY), "80x24"),
    "plan-unlocked": (lambda: FixPlanScreen(at.PLAN_UNLOCKED), "80x24"),
    "plan-blocked": (lambda: FixPlanScreen(at.PLAN_BLOCKED), "80x24"),
    "plan-hand-off": (lambda: FixPlanScreen(at.PLAN_HAND_OFF), "80x24"),
    "plan-read-only": (lambda: FixPlanScreen(at.PLAN_BUNDLE), "80x24"),
    "apply-failed": (lambda: ApplyScreen(at.APPLY_FAILED), "80x24"),
    "apply-interrupted": (lambda: ApplyScreen(at.APPLY_INTERRUPTED), "80x24"),
    "apply-verified": (lambda: ApplyScreen(at.APPLY_DONE), "80x24"),
    "apply-not-verified": (lambda: ApplyScreen(at.APPLY_NOT_VERIFIED), "80x24"),
    "apply-undone": (lambda: ApplyScreen(at.APPLY_UNDONE), "80x24"),
    "sessions-empty": (lambda: SessionsScreen(at.SessionsView((), "~/.local/state/harborpilot/sessions")), "80x24"),
    "replay-judged": (lambda: ReplayScreen(at.REPLAY_JUDGED), "120x40"),
    "replay-start": (lambda: ReplayScreen(at.REPLAY_START), "80x24"),
    "connections-empty": (lambda: ConnectionsScreen(at.CONNECTIONS_EMPTY), "80x24"),
    "connections-reading": (lambda: ConnectionsScreen(at.CONNECTIONS_READING), "80x24"),
    "debrief-gave-up": (lambda: DebriefScreen(at.DEBRIEF_GAVE_UP), "80x24"),
    "pull-plan-unknown": (lambda: PullPlanScreen(at.PULL_PLAN_EMPTY), "80x24"),
    "pull-plan-reading": (lambda: PullPlanScreen(at.PULL_PLAN_READING), "80x24"),
    "rules-problems": (lambda: RulesScreen(at.RULES_PROBLEMS), "80x24"),
    "confirm": (lambda: confirm_plan(at.PLAN, True), "80x24"),
    "confirm-severe": (lambda: confirm_plan(at.SEVERE), "80x24"),
    "confirm-undo": (lambda: confirm_undo(at.PLAN), "80x24"),
    "unlock": (lambda: UnlockDialog("prod-eu"), "80x24"),
    "error": (
        lambda: ErrorDialog(
            "Kubeconfig not usable",
            "context prod-eu: its exec plugin aws ended with code 255: the token has expired",
            "Log in again (aws sso login), then r.",
        ),
        "80x24",
    ),
    "paste": (PasteDialog, "80x24"),
    "supply": (lambda: SupplyDialog(at.UNKNOWNS[0]), "80x24"),
    "new-push": (NewPushDialog, "80x24"),
    "open-bundle": (OpenBundleDialog, "80x24"),
    "object": (lambda: ObjectDialog(at.EVIDENCE), "80x24"),
    "host-keys": (lambda: HostKeysDialog(at.HOST_KEYS), "80x24"),
    "hint": (
        lambda: ConfirmDialog("Take a hint?", plain("The next hint costs 10 points."), "Take it", danger=False),
        "80x24",
    ),
    "info": (
        lambda: InfoDialog("Next to fail", plain("18 more nodes have the old CA\n\n  edge-b-01\n  edge-b-02")),
        "80x24",
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_state(name: str, snap_screen: Snap) -> None:
    """A state that looks different: it says what is known, how, what not, and what to do next."""
    build, size = STATES[name]
    snap_screen(build(), size)


def test_walk_standings_tab(snap_screen: Snap) -> None:
    """At 80 columns tab shows the standings and what is unknown in place of the path."""
    snap_screen(WalkScreen(at.WALK), "80x24", press=["tab"])


def test_plan_shows_the_hand_off_text(snap_screen: Snap) -> None:
    """h shows the change in the owner's terms."""
    snap_screen(FixPlanScreen(at.PLAN_LOCKED), "80x24", press=["h"])


def test_board_filtered(snap_screen: Snap) -> None:
    """The filter line stands above the footer, the list holds what matches."""
    snap_screen(BoardScreen(at.BOARD), "80x24", press=["slash", *"401"])


@pytest.mark.parametrize("theme", ["light", "high-contrast", "deuteranopia", "tritanopia", "no-colour"])
def test_themes(theme: str, snap_screen: Snap) -> None:
    """The walk in each theme: every state still tells itself by sign and word."""
    snap_screen(WalkScreen(at.WALK), "120x40", theme=theme)

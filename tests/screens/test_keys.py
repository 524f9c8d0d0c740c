"""Every key shown in a footer does what it says: it asks for one thing, or changes what is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.screen import Screen

from screens import messages as ask
from screens.apply import ApplyScreen
from screens.base import Keyed
from screens.board import BoardScreen
from screens.brief import BriefScreen
from screens.connections import ConnectionsScreen
from screens.debrief import DebriefScreen
from screens.diagnosis import DiagnosisScreen
from screens.evidence import EvidenceScreen
from screens.fix_plan import FixPlanScreen
from screens.help import HelpScreen, rows_of
from screens.pull_plan import PullPlanScreen
from screens.replay import ReplayScreen
from screens.rules_browser import RulesScreen
from screens.scenarios import ScenariosScreen
from screens.sessions import SessionsScreen
from screens.walk import WalkScreen
from screens.widgets.keybar import KeyBar
from tests.screens import states as at
from tests.screens.host import Host

Case = tuple[str, Callable[[], Screen[Any]], str, type, dict[str, Any]]

ASKS: list[Case] = [
    ("board enter", lambda: BoardScreen(at.BOARD), "enter", ask.OpenIncident, {"id": "i1"}),
    ("board n", lambda: BoardScreen(at.BOARD), "n", ask.NewPush, {}),
    ("board v", lambda: BoardScreen(at.BOARD), "v", ask.PasteText, {}),
    ("board o", lambda: BoardScreen(at.BOARD), "o", ask.OpenBundle, {}),
    ("board t", lambda: BoardScreen(at.BOARD), "t", ask.ShowScenarios, {}),
    ("board r", lambda: BoardScreen(at.BOARD), "r", ask.Refresh, {}),
    ("board e", lambda: BoardScreen(at.BOARD), "e", ask.ShowSessions, {}),
    ("board x", lambda: BoardScreen(at.BOARD), "x", ask.ShowNextToFail, {}),
    ("board S", lambda: BoardScreen(at.BOARD), "S", ask.ShowSelfCheck, {}),
    ("board b", lambda: BoardScreen(at.BOARD), "b", ask.ShowRules, {}),
    ("walk 2", lambda: WalkScreen(at.WALK), "2", ask.Answer, {"question": "x509/anchor", "value": "2"}),
    ("walk 0", lambda: WalkScreen(at.WALK), "0", ask.Answer, {"question": "x509/anchor", "value": "unknown"}),
    ("walk enter", lambda: WalkScreen(at.WALK_START), "enter", ask.CollectNext, {"consent": False}),
    ("walk y", lambda: WalkScreen(at.WALK_PRICE), "y", ask.CollectNext, {"consent": True}),
    ("walk 0 declines", lambda: WalkScreen(at.WALK_PRICE), "0", ask.Answer, {"question": "price", "value": "unknown"}),
    ("walk x", lambda: WalkScreen(at.WALK), "x", ask.ObjectTo, {"evidence": at.EVIDENCE}),
    ("walk i", lambda: WalkScreen(at.WALK), "i", ask.Supply, {}),
    ("walk i unknown", lambda: WalkScreen(at.WALK_INCONCLUSIVE), "i", ask.Supply, {"row": at.UNKNOWNS[0]}),
    ("walk b", lambda: WalkScreen(at.WALK), "b", ask.StepBack, {}),
    ("walk r", lambda: WalkScreen(at.WALK), "r", ask.ReadAgain, {}),
    ("walk s", lambda: WalkScreen(at.WALK), "s", ask.SetAuto, {"auto": False}),
    ("walk e", lambda: WalkScreen(at.WALK), "e", ask.ShowEvidence, {}),
    ("walk w", lambda: WalkScreen(at.WALK), "w", ask.ShowDiagnosis, {"id": ""}),
    ("walk l", lambda: WalkScreen(at.WALK), "l", ask.ShowPullPlan, {"id": ""}),
    ("walk f", lambda: WalkScreen(at.WALK), "f", ask.ShowDiagnosis, {"id": "fixes"}),
    ("walk g", lambda: WalkScreen(at.WALK), "g", ask.GoOn, {}),
    ("walk H", lambda: WalkScreen(at.WALK_TRAINING), "H", ask.TakeHint, {"cost": 10}),
    ("walk D", lambda: WalkScreen(at.WALK_TRAINING), "D", ask.GiveUp, {}),
    ("walk c", lambda: WalkScreen(at.WALK), "c", ask.CopyText, {}),
    ("walk ctrl+s", lambda: WalkScreen(at.WALK), "ctrl+s", ask.Report, {"id": ""}),
    ("evidence x", lambda: EvidenceScreen(at.EVIDENCE_VIEW), "x", ask.ObjectTo, {"evidence": (at.SERVED,)}),
    ("evidence c", lambda: EvidenceScreen(at.EVIDENCE_VIEW), "c", ask.CopyText, {}),
    (
        "diagnosis enter",
        lambda: DiagnosisScreen(at.DIAGNOSIS),
        "enter",
        ask.PlanFix,
        {"fix": "install-ca", "finding": "tls-ca-replaced"},
    ),
    (
        "diagnosis enter on the list",
        lambda: DiagnosisScreen(at.DIAGNOSIS, at_fixes=True),
        "enter",
        ask.PlanFix,
        {"fix": "install-ca"},
    ),
    ("diagnosis g", lambda: DiagnosisScreen(at.DIAGNOSIS), "g", ask.GoOn, {}),
    ("diagnosis g on the list", lambda: DiagnosisScreen(at.DIAGNOSIS, at_fixes=True), "g", ask.GoOn, {}),
    ("diagnosis e", lambda: DiagnosisScreen(at.DIAGNOSIS), "e", ask.ShowEvidence, {}),
    ("diagnosis i", lambda: DiagnosisScreen(at.DIAGNOSIS), "i", ask.Supply, {}),
    ("diagnosis c", lambda: DiagnosisScreen(at.DIAGNOSIS), "c", ask.CopyText, {}),
    ("diagnosis ctrl+s", lambda: DiagnosisScreen(at.DIAGNOSIS), "f2", ask.Report, {}),
    ("plan A", lambda: FixPlanScreen(at.PLAN_UNLOCKED), "A", ask.ApplyPlan, {"plan": at.PLAN, "retry_pods": False}),
    (
        "plan A in practice",
        lambda: FixPlanScreen(replace(at.PLAN_HAND_OFF, hands_over=True)),
        "A",
        ask.ApplyPlan,
        {"plan": at.OWNED, "retry_pods": False},
    ),
    ("plan W", lambda: FixPlanScreen(at.PLAN_LOCKED), "W", ask.Unlock, {"id": "prod-eu"}),
    ("plan c", lambda: FixPlanScreen(at.PLAN_LOCKED), "c", ask.CopyText, {}),
    ("plan ctrl+s", lambda: FixPlanScreen(at.PLAN_LOCKED), "ctrl+s", ask.SaveText, {"name": "plan-install-ca.txt"}),
    (
        "plan ctrl+s of a hand-off",
        lambda: FixPlanScreen(at.PLAN_HAND_OFF),
        "ctrl+s",
        ask.SaveText,
        {"text": at.OWNED.hand_off},
    ),
    ("apply ctrl+c", lambda: ApplyScreen(at.APPLYING), "ctrl+c", ask.StopApply, {}),
    ("apply R", lambda: ApplyScreen(at.APPLY_FAILED), "R", ask.Decide, {"id": "retry"}),
    ("apply K", lambda: ApplyScreen(at.APPLY_FAILED), "K", ask.Decide, {"id": "skip"}),
    ("apply X", lambda: ApplyScreen(at.APPLY_FAILED), "X", ask.Decide, {"id": "stop"}),
    ("apply A", lambda: ApplyScreen(at.APPLY_INTERRUPTED), "A", ask.ApplyPlan, {"plan": at.PLAN}),
    ("apply U", lambda: ApplyScreen(at.APPLY_NOT_VERIFIED), "U", ask.UndoPlan, {"plan": at.PLAN}),
    ("apply c", lambda: ApplyScreen(at.APPLYING), "c", ask.CopyText, {}),
    ("apply ctrl+s", lambda: ApplyScreen(at.APPLY_DONE), "ctrl+s", ask.Report, {}),
    ("apply esc", lambda: ApplyScreen(at.APPLY_DONE), "escape", ask.BackToWalk, {}),
    ("sessions enter", lambda: SessionsScreen(at.SESSIONS), "enter", ask.OpenReplay, {"id": at.SESSION.id}),
    ("sessions a", lambda: SessionsScreen(at.SESSIONS), "a", ask.Resume, {"id": at.SESSION.id}),
    ("sessions p", lambda: SessionsScreen(at.SESSIONS), "p", ask.Report, {"id": at.SESSION.id}),
    ("sessions ctrl+s", lambda: SessionsScreen(at.SESSIONS), "ctrl+s", ask.Export, {"id": at.SESSION.id}),
    ("replay .", lambda: ReplayScreen(at.REPLAY), "full_stop", ask.Seek, {"position": 12}),
    ("replay ,", lambda: ReplayScreen(at.REPLAY), "comma", ask.Seek, {"position": 10}),
    ("replay [", lambda: ReplayScreen(at.REPLAY), "left_square_bracket", ask.Seek, {"position": 4}),
    ("replay ]", lambda: ReplayScreen(at.REPLAY), "right_square_bracket", ask.Seek, {"position": 19}),
    ("replay left", lambda: ReplayScreen(at.REPLAY), "left", ask.Seek, {"position": 1}),
    ("replay right", lambda: ReplayScreen(at.REPLAY), "right", ask.Seek, {"position": 21}),
    ("replay home", lambda: ReplayScreen(at.REPLAY), "home", ask.Seek, {"position": 0}),
    ("replay end", lambda: ReplayScreen(at.REPLAY), "end", ask.Seek, {"position": 24}),
    ("replay j", lambda: ReplayScreen(at.REPLAY), "j", ask.JudgeAgain, {}),
    ("replay e", lambda: ReplayScreen(at.REPLAY), "e", ask.ShowEvidence, {}),
    ("replay w", lambda: ReplayScreen(at.REPLAY), "w", ask.ShowDiagnosis, {}),
    ("replay ctrl+s", lambda: ReplayScreen(at.REPLAY), "ctrl+s", ask.Report, {"id": at.SESSION.id}),
    ("connections h", lambda: ConnectionsScreen(at.CONNECTIONS), "h", ask.ShowHostKeys, {}),
    ("connections r", lambda: ConnectionsScreen(at.CONNECTIONS), "r", ask.ShowSelfCheck, {}),
    (
        "connections c",
        lambda: ConnectionsScreen(at.CONNECTIONS),
        "c",
        ask.CopyText,
        {"text": at.CONNECTIONS.rights[1].grant},
    ),
    ("connections a", lambda: ConnectionsScreen(at.CONNECTIONS), "a", ask.CopyText, {"what": "3 grants"}),
    ("scenarios enter", lambda: ScenariosScreen(at.SCENARIOS), "enter", ask.ShowBrief, {"id": "two-keys"}),
    ("brief enter", lambda: BriefScreen(at.BRIEF), "enter", ask.StartScenario, {"id": "two-keys"}),
    ("debrief t", lambda: DebriefScreen(at.DEBRIEF), "t", ask.ShowScenarios, {}),
    ("debrief c", lambda: DebriefScreen(at.DEBRIEF), "c", ask.CopyText, {}),
    ("debrief ctrl+s", lambda: DebriefScreen(at.DEBRIEF), "ctrl+s", ask.SaveText, {"name": "debrief.txt"}),
    ("pull plan n", lambda: PullPlanScreen(at.PULL_PLAN), "n", ask.ShowPullPlan, {"id": "edge-a-02"}),
    ("pull plan p", lambda: PullPlanScreen(at.PULL_PLAN), "p", ask.ShowPullPlan, {"id": "k3s-07"}),
    ("pull plan c", lambda: PullPlanScreen(at.PULL_PLAN), "c", ask.CopyText, {}),
    ("pull plan ctrl+s", lambda: PullPlanScreen(at.PULL_PLAN), "ctrl+s", ask.SaveText, {"name": "pull-plan.txt"}),
    ("rules c", lambda: RulesScreen(at.RULES), "c", ask.CopyText, {}),
]


@pytest.mark.parametrize(
    ("build", "press", "kind", "fields"), [case[1:] for case in ASKS], ids=[case[0] for case in ASKS]
)
async def test_a_key_asks_for_one_thing(
    build: Callable[[], Screen[Any]], press: str, kind: type, fields: dict[str, Any]
) -> None:
    app = Host(build())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press(press)
        await pilot.pause()
        assert [type(message) for message in app.asked] == [kind]
        for name, value in fields.items():
            assert getattr(app.asked[0], name) == value


SCREENS: list[Callable[[], Keyed[Any]]] = [
    lambda: BoardScreen(at.BOARD),
    lambda: WalkScreen(at.WALK),
    lambda: WalkScreen(at.WALK_TRAINING),
    lambda: WalkScreen(at.WALK_PRICE),
    lambda: WalkScreen(at.WALK_START),
    lambda: EvidenceScreen(at.EVIDENCE_VIEW),
    lambda: DiagnosisScreen(at.DIAGNOSIS),
    lambda: FixPlanScreen(at.PLAN_LOCKED),
    lambda: FixPlanScreen(at.PLAN_UNLOCKED),
    lambda: ApplyScreen(at.APPLYING),
    lambda: ApplyScreen(at.APPLY_FAILED),
    lambda: ApplyScreen(at.APPLY_NOT_VERIFIED),
    lambda: ApplyScreen(at.APPLY_INTERRUPTED),
    lambda: SessionsScreen(at.SESSIONS),
    lambda: ReplayScreen(at.REPLAY),
    lambda: ConnectionsScreen(at.CONNECTIONS),
    lambda: ScenariosScreen(at.SCENARIOS),
    lambda: BriefScreen(at.BRIEF),
    lambda: DebriefScreen(at.DEBRIEF),
    lambda: PullPlanScreen(at.PULL_PLAN),
    lambda: RulesScreen(at.RULES),
]
SHOWN_ONLY = {
    "do('leave')",
    "do('filter')",
    "do('pane')",
    "do('next_diff')",
    "do('all_diffs')",
    "do('hand_off')",
    "do('retry')",
    "do('play')",
    "app.help",
    "app.quit",
}
"""Keys that change only what is shown; each has a test of its own below or in test_tui."""


def test_every_footer_key_has_a_test() -> None:
    """A key that a footer shows in any of these states is pressed by a test."""
    tested = {(type(case[1]()).__name__, case[2]) for case in ASKS}
    missing = []
    for build in SCREENS:
        screen = build()
        for binding in screen.key_order:
            keys = binding.key.split(",")
            if (
                binding.show
                and binding.description
                and binding.action not in SHOWN_ONLY
                and not _why_not(screen, binding.action)
            ):
                name = type(screen).__name__
                if not any((name, key) in tested for key in keys) and not (
                    name == "WalkScreen" and binding.action == "do('answer-1')"
                ):
                    missing.append(f"{name} {binding.key}")
    assert missing == []


def _why_not(screen: Keyed[Any], action: str) -> str:
    try:
        return screen.why_not_action(action)
    except Exception:
        return ""  # needs to be mounted to tell; then the key counts as shown


@pytest.mark.parametrize("build", SCREENS)
async def test_the_footer_shows_only_what_works(build: Callable[[], Keyed[Any]]) -> None:
    """Every binding with a reason not to work is missing in the footer, every other one is there."""
    screen = build()
    app = Host(screen)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        footer = str(screen.query_one(KeyBar).render())
        for binding in screen.key_order:
            if binding.show and binding.description and not screen.why_not_action(binding.action):
                assert binding.description in footer


@pytest.mark.parametrize(
    ("build", "press", "says"),
    [
        (lambda: BoardScreen(at.BOARD_HEALTHY), "slash", "no incident"),
        (lambda: BoardScreen(at.BOARD_NOTHING), "r", "no cluster"),
        (lambda: BoardScreen(replace(at.BOARD, next_to_fail=None)), "x", "No node is known"),
        (lambda: WalkScreen(at.WALK), "7", "3 answers"),
        (lambda: WalkScreen(at.WALK_BUSY), "1", "No question is open"),
        (lambda: WalkScreen(at.WALK_BUSY), "r", "Still"),
        (lambda: WalkScreen(at.WALK_START), "f", "guess"),
        (lambda: WalkScreen(at.WALK), "H", "practice"),
        (lambda: WalkScreen(at.WALK_INCONCLUSIVE), "g", "no proven diagnosis"),
        (lambda: FixPlanScreen(at.PLAN_LOCKED), "A", "read-only"),
        (lambda: FixPlanScreen(at.PLAN_BLOCKED), "A", "check failed"),
        (lambda: FixPlanScreen(at.PLAN_BUNDLE), "W", "nothing to unlock"),
        (lambda: ApplyScreen(at.APPLYING), "escape", "still runs"),
        (lambda: ApplyScreen(at.APPLY_DONE), "R", "No target waits"),
        (lambda: ReplayScreen(at.REPLAY), "f", "replay"),
        (lambda: ReplayScreen(at.REPLAY), "2", "replay"),
        (lambda: ReplayScreen(at.REPLAY), "r", "replay"),
        (lambda: ReplayScreen(at.REPLAY_JUDGED), "full_stop", "last event"),
        (lambda: SessionsScreen(at.SessionsView(())), "p", "no session"),
        (lambda: ConnectionsScreen(at.CONNECTIONS_EMPTY), "h", "known"),
        (lambda: PullPlanScreen(at.PULL_PLAN_EMPTY), "n", "no other node"),
    ],
)
async def test_a_key_that_cannot_work_says_why(build: Callable[[], Screen[Any]], press: str, says: str) -> None:
    app = Host(build())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press(press)
        await pilot.pause()
        assert app.asked == []
        assert [says in note.message for note in app._notifications] == [True]


async def test_plan_keys_that_only_show() -> None:
    app = Host(FixPlanScreen(at.PLAN_UNLOCKED))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app.screen
        assert isinstance(screen, FixPlanScreen)
        await pilot.press("d")
        assert screen.diff == 1
        await pilot.press("u")
        assert screen.all_diffs
        await pilot.press("h")
        assert screen.hand_off
        await pilot.press("h", "space", "A")
        await pilot.pause()
        message = app.asked[-1]
        assert isinstance(message, ask.ApplyPlan)
        assert message.plan is at.PLAN
        assert message.retry_pods


async def test_replay_plays_and_pauses() -> None:
    app = Host(ReplayScreen(at.REPLAY))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app.screen
        assert isinstance(screen, ReplayScreen)
        await pilot.press("space")
        assert screen.playing
        screen._tick()
        await pilot.press("space")
        await pilot.pause()
        assert not screen.playing
        assert isinstance(app.asked[0], ask.Seek)


async def test_filter_keeps_what_matches_and_escape_shows_all() -> None:
    app = Host(BoardScreen(at.BOARD))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        table = app.screen.query_one("#incidents")
        await pilot.press("slash", *"pull")
        assert table.shown == 3
        await pilot.press("enter", "n", "n")
        assert table.current == "i4"
        await pilot.press("N")
        assert table.current == "i2"
        await pilot.press("escape")
        await pilot.pause()
        assert table.shown == 4
        assert app.asked == []


async def test_vim_keys_move_and_the_cursor_sign_follows() -> None:
    app = Host(BoardScreen(at.BOARD))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        table = app.screen.query_one("#incidents")
        await pilot.press("j", "j", "k")
        await pilot.pause()
        assert table.current == "i2"
        assert [str(option.prompt)[0] for option in table.rows.options] == [" ", "▸", " ", " "]
        await pilot.press("G")
        assert table.current == "i4"
        await pilot.press("g", "enter")
        await pilot.pause()
        assert app.asked[-1].id == "i1"


async def test_tab_goes_round_the_panes() -> None:
    for screen, first, second in (
        (WalkScreen(at.WALK), "path", "side"),
        (DiagnosisScreen(at.DIAGNOSIS), "text", None),
        (ConnectionsScreen(at.CONNECTIONS), None, "grant"),
        (RulesScreen(at.RULES), None, "rule"),
    ):
        app = Host(screen)
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause()
            assert app.focused is not None
            assert app.focused.id == first
            await pilot.press("tab")
            assert app.focused.id == second
            await pilot.press("tab")
            assert app.focused.id == first


async def test_escape_leaves() -> None:
    for build in SCREENS:
        screen = build()
        if isinstance(screen, BoardScreen | ApplyScreen):
            continue
        app = Host(screen)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            await pilot.press("escape")
            await pilot.pause()
            assert app.screen is not screen


async def test_footer_keys_can_be_clicked() -> None:
    app = Host(BoardScreen(at.BOARD))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        bar = app.screen.query_one(KeyBar)
        column = str(bar.render()).index("paste") + 1
        await pilot.click(KeyBar, offset=(column + 1, 0))
        await pilot.pause()
        assert [type(message) for message in app.asked] == [ask.PasteText]


async def test_foreign_text_is_never_markup() -> None:
    """Markup, escape sequences and bidirectional controls are drawn as text or as a dot."""
    app = Host(WalkScreen(at.WALK_LONG))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        text = app.screen.query_one("#path").text
        assert "[red]not markup[/red]" in text
        assert "\x1b" not in text
        assert "\u202e" not in text


async def test_help_lists_every_key_and_why_one_does_not_work() -> None:
    rows = rows_of(WalkScreen(at.WALK))
    app = Host(HelpScreen("Walk", rows))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        text = app.screen.query_one("#help").text
        assert "not now: Hints belong to practice." in text
        assert "walk.pull_plan" in text


def test_no_lower_case_key_changes_the_world() -> None:
    """Apply, unlock, undo, retry, skip, stop: upper case, or ctrl+c which only stops."""
    for action in ("apply", "unlock", "undo", "stop_here", "skip"):
        for kind in (FixPlanScreen, ApplyScreen):
            for binding in kind.key_order:
                if binding.action == f"do('{action}')":
                    assert binding.key.isupper()

"""The application over a desk of literal states: what opens what, what is asked of the desk, what is refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.command import CommandPalette
from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from app.desk import Desk
from app.errors import BundleError
from app.tui import SCREENS, HarborPilotApp, Start, binding_ids
from screens.apply import ApplyScreen
from screens.base import Dialog, Page
from screens.board import BoardScreen
from screens.brief import BriefScreen
from screens.connections import ConnectionsScreen
from screens.debrief import DebriefScreen
from screens.diagnosis import DiagnosisScreen
from screens.dialogs.confirm import ConfirmDialog
from screens.dialogs.error import ErrorDialog
from screens.dialogs.host_keys import HostKeysDialog
from screens.dialogs.info import InfoDialog
from screens.dialogs.texts import NewPushDialog, ObjectDialog, OpenBundleDialog, PasteDialog, SupplyDialog
from screens.dialogs.unlock import UnlockDialog
from screens.evidence import EvidenceScreen
from screens.fix_plan import FixPlanScreen
from screens.help import HelpScreen
from screens.pull_plan import PullPlanScreen
from screens.replay import ReplayScreen
from screens.rules_browser import RulesScreen
from screens.scenarios import ScenariosScreen
from screens.sessions import SessionsScreen
from screens.walk import WalkScreen
from screens.widgets.keybar import KeyBar
from screens.widgets.pane import Pane, hanging
from tests.fakes.desk import FakeDesk
from tests.screens import states as at

ROOT = Path(__file__).resolve().parents[2]


async def settle(pilot: Pilot[Any], rounds: int = 3) -> None:
    """Let messages, workers that wait for nobody, and redraws come to rest."""
    for _ in range(rounds):
        await pilot.pause()
        await asyncio.sleep(0)
    await pilot.pause(0.02)


class Session:
    """A started app with its fake desk."""

    def __init__(self, desk: FakeDesk, pilot: Pilot[Any], app: HarborPilotApp) -> None:
        self.desk, self.pilot, self.app = desk, pilot, app

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await settle(self.pilot)

    @property
    def top(self) -> type:
        return type(self.app.screen)

    @property
    def notes(self) -> list[str]:
        return [note.message for note in self.app._notifications]


def open_app(
    test: Callable[[Session], Any],
    *,
    start: Start | None = None,
    desk: FakeDesk | None = None,
    size: tuple[int, int] = (120, 40),
) -> Any:
    """Run a test body inside a started app; afterwards the app must not have failed and the desk must be closed."""

    async def run() -> None:
        fake = desk or FakeDesk()
        app = HarborPilotApp(lambda: fake, start)
        async with app.run_test(size=size) as pilot:
            await app.workers.wait_for_complete()
            await settle(pilot)
            await test(Session(fake, pilot, app))
        assert app._exception is None
        assert fake.closed

    return run()


def test_the_fake_is_a_desk() -> None:
    """The fake has every method of the protocol, and nothing answers that the protocol does not know."""
    wanted = {name for name in vars(Desk) if not name.startswith("_")}
    has = {name for name in vars(FakeDesk) if not name.startswith("_")}
    assert wanted <= has
    assert has - wanted == {"calls"}


async def test_starts_on_the_board_and_reads_the_cluster() -> None:
    async def body(s: Session) -> None:
        assert s.top is BoardScreen
        assert s.desk.calls("refresh") == [()]
        assert "prod-eu" in str(s.app.screen.query_one("#head").render())

    await open_app(body)


@pytest.mark.parametrize(
    ("start", "top", "call"),
    [
        (Start("bundle", "/tmp/b"), BoardScreen, ("open_bundle", ("/tmp/b",))),
        (Start("text", "x509: nope"), WalkScreen, ("paste", ("x509: nope",))),
        (Start("train"), ScenariosScreen, ("scenarios", ())),
        (Start("train", "two-keys"), BriefScreen, ("brief", ("two-keys",))),
        (Start("replay", "s1"), ReplayScreen, ("replay", ("s1",))),
    ],
)
async def test_starts_where_it_is_told(start: Start, top: type, call: tuple[str, tuple[Any, ...]]) -> None:
    async def body(s: Session) -> None:
        assert s.top is top
        assert s.desk.calls(call[0]) == [call[1]]

    await open_app(body, start=start)


async def test_from_the_board_to_a_verified_and_undone_fix() -> None:
    """The main job by keyboard: walk, answer, why, plan, unlock by name, confirm, apply, report, undo, back."""

    async def body(s: Session) -> None:
        await s.press("enter")
        assert s.top is WalkScreen
        await s.press("2")
        assert s.desk.calls("answer") == [("x509/anchor", "2")]
        await s.press("f")
        assert s.top is DiagnosisScreen
        await s.press("enter")
        assert s.top is FixPlanScreen
        await s.press("A")
        assert s.top is FixPlanScreen
        assert any("read-only" in note for note in s.notes)
        await s.press("W")
        assert s.top is UnlockDialog
        await s.press(*"prod-eu", "enter")
        assert s.desk.calls("unlock") == [("prod-eu",)]
        assert s.top is FixPlanScreen
        await s.press("A")
        assert s.top is ConfirmDialog
        assert s.app.focused is not None
        assert s.app.focused.id == "no"
        await s.press("enter")
        assert s.desk.calls("apply") == []
        await s.press("A", "tab", "enter")
        assert s.desk.calls("apply") == [(at.PLAN, False)]
        assert s.desk.calls("apply")[0][0] is at.PLAN
        assert s.top is ApplyScreen
        await s.press("ctrl+s")
        assert s.desk.calls("save") == [("report.md", "# Report\n")]
        await s.press("U", "tab", "enter")
        assert s.desk.calls("undo") == [(at.PLAN,)]
        assert s.top is ApplyScreen
        await s.press("escape")
        assert s.top is WalkScreen
        await s.press("escape")
        assert s.top is BoardScreen

    await open_app(body)


async def test_quitting_waits_for_an_apply() -> None:
    desk = FakeDesk()
    desk.header, desk.hold = at.UNLOCKED, asyncio.Event()

    async def body(s: Session) -> None:
        await s.press("enter", "f", "enter", "A", "tab", "enter")
        assert s.top is ApplyScreen
        await s.press("ctrl+q")
        assert s.app.is_running
        assert any("being applied" in note for note in s.notes)
        await s.press("ctrl+c")
        assert s.desk.calls("stop_apply") == [()]
        assert s.desk.hold is not None
        s.desk.hold.set()
        await settle(s.pilot)
        assert s.app.screen.view.finished

    await open_app(body, desk=desk)


async def test_an_interrupted_apply_is_shown_at_the_next_start() -> None:
    desk = FakeDesk()
    desk.cut_off = at.APPLY_INTERRUPTED

    async def body(s: Session) -> None:
        assert s.top is ApplyScreen
        await s.press("A")
        assert s.top is ConfirmDialog
        await s.press("tab", "enter")
        assert s.desk.calls("apply") == [(at.PLAN, False)]
        assert s.top is ApplyScreen
        await s.press("escape")
        assert s.top is BoardScreen

    await open_app(body, desk=desk)


async def test_what_is_read_again_is_followed_like_any_reading() -> None:
    desk = FakeDesk()
    desk.walk = at.WALK

    async def body(s: Session) -> None:
        await s.press("enter")
        s.desk.walk = at.replace(at.WALK_START, auto=True)
        await s.press("r")
        assert s.desk.calls("read_again") == [()]
        assert s.desk.calls("collect_next") == [(False,)]
        assert s.app.screen.view == at.WALK

    await open_app(body, desk=desk)


async def test_auto_collects_until_a_question_and_step_does_not() -> None:
    desk = FakeDesk()
    desk.walk = at.replace(at.WALK_START, auto=True)

    async def body(s: Session) -> None:
        await s.press("enter")
        assert s.desk.calls("collect_next") == [(False,)]
        assert s.app.screen.view == at.WALK
        await s.press("s")
        assert s.desk.calls("set_auto") == [(False,)]

    await open_app(body, desk=desk)

    desk = FakeDesk()
    desk.walk = at.WALK_START

    async def stepping(s: Session) -> None:
        await s.press("enter")
        assert s.desk.calls("collect_next") == []
        await s.press("enter")
        assert s.desk.calls("collect_next") == [(False,)]

    await open_app(stepping, desk=desk)


async def test_a_collection_that_brings_nothing_is_not_asked_for_again() -> None:
    class Stuck(FakeDesk):
        async def collect_next(self, consent: bool = False) -> Any:
            self._note("collect_next", consent)
            yield self.walk

    desk = Stuck()
    desk.walk = at.replace(at.WALK_START, auto=True)

    async def body(s: Session) -> None:
        await s.press("enter")
        assert s.desk.calls("collect_next") == [(False,)]

    await open_app(body, desk=desk)


async def test_a_pasted_text_is_walked_on_after_its_dialog_has_closed() -> None:
    """The board comes to light for a moment between the dialog and the walk; that is no leaving of the walk."""

    class Slow(FakeDesk):
        async def paste(self, text: str) -> Any:
            await asyncio.sleep(0.05)
            return await super().paste(text)

        async def collect_next(self, consent: bool = False) -> Any:
            async for view in super().collect_next(consent):
                await asyncio.sleep(0.05)
                yield view

    desk = Slow()
    desk.walk = at.replace(at.WALK_START, auto=True)

    async def body(s: Session) -> None:
        s.app.post_message(events.Paste("x509: unknown authority"))
        await settle(s.pilot)
        await s.press("ctrl+s")
        await s.app.workers.wait_for_complete()
        assert s.top is WalkScreen
        assert s.app.screen.view == at.WALK

    await open_app(body, desk=desk)


async def test_leaving_the_walk_stops_what_it_reads() -> None:
    stopped = []

    class Endless(FakeDesk):
        async def collect_next(self, consent: bool = False) -> Any:
            self._note("collect_next", consent)
            try:
                yield at.WALK_BUSY
                await asyncio.sleep(3600)
            finally:
                stopped.append(True)

    desk = Endless()
    desk.walk = at.replace(at.WALK_START, auto=True)

    async def body(s: Session) -> None:
        await s.press("enter")
        assert s.top is WalkScreen
        assert stopped == []
        await s.press("escape")
        assert s.top is BoardScreen
        assert stopped == [True]

    await open_app(body, desk=desk)


async def test_many_views_are_drawn_as_few_and_the_last_one_counts() -> None:
    class Busy(FakeDesk):
        async def refresh(self) -> Any:
            for number in range(500):
                yield at.replace(at.BOARD, loading=f"page {number}")
                if number % 50 == 0:
                    await asyncio.sleep(0)
            yield at.BOARD

    drawn: list[Any] = []

    async def body(s: Session) -> None:
        board = s.app.screen
        show = board.show
        board.show = lambda view: (drawn.append(view), show(view))
        await s.press("r")
        await s.app.workers.wait_for_complete()
        assert drawn[-1] == at.BOARD
        assert len(drawn) < 50

    await open_app(body, desk=Busy())


async def test_a_price_is_paid_only_by_consent() -> None:
    desk = FakeDesk()
    desk.walk = at.WALK_PRICE

    async def body(s: Session) -> None:
        await s.press("enter", "enter")
        assert s.desk.calls("collect_next") == []
        await s.press("y")
        assert s.desk.calls("collect_next") == [(True,)]

    await open_app(body, desk=desk)


async def test_dialogs_of_the_board() -> None:
    async def body(s: Session) -> None:
        await s.press("v")
        assert s.top is PasteDialog
        await s.press("escape")
        assert s.top is BoardScreen
        await s.press("v", "ctrl+s")
        assert s.top is PasteDialog
        s.app.screen.query_one(TextArea).text = "x509: unknown authority"
        await s.press("ctrl+s")
        assert s.desk.calls("paste") == [("x509: unknown authority",)]
        assert s.top is WalkScreen
        await s.press("escape", "o")
        assert s.top is OpenBundleDialog
        await s.press(*"/b", "enter")
        assert s.desk.calls("open_bundle") == [("/b",)]
        await s.press("n")
        assert s.top is NewPushDialog
        s.app.screen.query_one("#image", Input).value = "harbor.corp.example/a/b:1"
        await s.press("f2")
        assert s.desk.calls("describe_push") == [("harbor.corp.example/a/b:1", "", "")]

    await open_app(body)


async def test_a_terminal_paste_goes_where_the_cursor_is() -> None:
    async def body(s: Session) -> None:
        s.app.post_message(events.Paste("x509: unknown authority"))
        await settle(s.pilot)
        assert s.top is PasteDialog
        assert s.app.screen.query_one(TextArea).text == "x509: unknown authority"
        s.app.post_message(events.Paste("more"))
        await settle(s.pilot)
        assert s.top is PasteDialog
        assert "more" in s.app.screen.query_one(TextArea).text
        await s.press("escape")
        assert s.top is BoardScreen, "one dialog, not one on top of the other"

    await open_app(body)


async def test_a_walk_that_can_read_little_says_so_where_it_waits() -> None:
    desk = FakeDesk()
    desk.walk = at.replace(at.WALK_INCONCLUSIVE, blind="No cluster is connected: start with --kubeconfig FILE.")

    async def body(s: Session) -> None:
        await s.press("enter")
        assert "No cluster is connected" in s.app.screen.query_one("#path", Pane).text

    await open_app(body, desk=desk)


async def test_evidence_objection_and_supply_by_hand() -> None:
    async def body(s: Session) -> None:
        await s.press("enter", "e")
        assert s.top is EvidenceScreen
        await s.press("x")
        assert s.top is ObjectDialog
        await s.press("enter")
        assert s.desk.calls("object_to") == []
        await s.press(*"old", "enter")
        assert s.desk.calls("object_to") == [("registry.tls", at.SERVED.target, "old")]
        await s.press("escape", "i")
        assert s.top is SupplyDialog
        s.app.screen.query_one(TextArea).text = "subject=CN=corp-root"
        await s.press("ctrl+s")
        assert s.desk.calls("supply") == [("text", "", "subject=CN=corp-root")]
        await s.press("b")
        assert s.desk.calls("back") == [()]
        await s.press("l", "n")
        assert s.top is PullPlanScreen
        assert s.desk.calls("pull_plan") == [("",), ("edge-a-02",)]
        await s.press("escape", "w", "g")
        assert s.top is WalkScreen
        assert s.desk.calls("go_on") == [()]

    await open_app(body)


async def test_sessions_and_replay() -> None:
    async def body(s: Session) -> None:
        await s.press("e")
        assert s.top is SessionsScreen
        await s.press("ctrl+s", "p")
        assert s.desk.calls("export") == [(at.SESSION.id,)]
        assert s.desk.calls("report") == [(at.SESSION.id,)]
        await s.press("enter")
        assert s.top is ReplayScreen
        await s.press("full_stop")
        assert s.desk.calls("seek") == [(1,)]
        await s.press("j")
        assert s.desk.calls("judge_again") == [()]
        assert s.app.screen.replay is at.REPLAY_JUDGED
        await s.press("escape", "a")
        assert s.desk.calls("resume") == [(at.SESSION.id,)]
        assert s.top is WalkScreen

    await open_app(body)


async def test_practice_from_the_list_to_the_debrief() -> None:
    desk = FakeDesk()

    async def body(s: Session) -> None:
        await s.press("t")
        assert s.top is ScenariosScreen
        await s.press("enter")
        assert s.top is BriefScreen
        await s.press("enter")
        assert s.top is BoardScreen
        assert s.desk.calls("start_scenario") == [("two-keys",)]
        await s.press("enter", "H")
        assert s.top is ConfirmDialog
        assert s.desk.calls("hint") == []
        await s.press("tab", "enter")
        assert s.desk.calls("hint") == [()]
        s.desk.solved = True
        await s.press("f", "enter")
        assert s.top is FixPlanScreen
        await s.press("escape", "escape", "D", "tab", "enter")
        assert s.desk.calls("give_up") == [()]
        assert s.top is DebriefScreen
        await s.press("t")
        assert s.top is ScenariosScreen

    await open_app(body, desk=desk)


async def test_a_solved_scenario_ends_in_its_debrief() -> None:
    desk = FakeDesk()
    desk.header, desk.solved = at.PRACTICE, True

    async def body(s: Session) -> None:
        await s.press("enter", "f", "enter", "A", "tab", "enter")
        assert s.top is DebriefScreen

    await open_app(body, desk=desk)


async def test_self_check_host_keys_rules_and_next_to_fail() -> None:
    async def body(s: Session) -> None:
        await s.press("S")
        assert s.top is ConnectionsScreen
        await s.press("h")
        assert s.top is HostKeysDialog
        await s.press("enter")
        assert s.desk.calls("accept_host_keys") == []
        await s.press("h", "tab", "enter")
        assert s.desk.calls("accept_host_keys") == [(("10.1.3.1 (k3s-01)", "10.1.3.2 (k3s-02)"),)]
        await s.press("escape", "b")
        assert s.top is RulesScreen
        await s.press("escape", "x")
        assert s.top is InfoDialog
        await s.press("escape")
        assert s.top is BoardScreen

    await open_app(body)


async def test_an_error_is_a_dialog_with_a_next_step() -> None:
    desk = FakeDesk(
        open_bundle=BundleError(
            "/b holds a path outside itself: ../../etc/passwd", "Nothing was read. Ask for a new bundle."
        )
    )

    async def body(s: Session) -> None:
        await s.press("o", *"/b", "enter")
        assert s.top is ErrorDialog
        text = "\n".join(str(item.render()) for item in s.app.screen.query("#body Static"))
        assert "outside itself" in text
        assert "Ask for a new bundle" in text
        await s.press("escape")
        assert s.top is BoardScreen

    await open_app(body, desk=desk)


async def test_a_defect_is_shown_and_the_board_stays() -> None:
    async def body(s: Session) -> None:
        assert s.top is ErrorDialog
        assert "defect" in s.app.screen.title_text
        await s.press("enter", "v")
        assert s.top is PasteDialog

    await open_app(body, desk=FakeDesk(refresh=ValueError("boom")))


async def test_a_desk_that_cannot_be_built_says_so() -> None:
    def broken() -> FakeDesk:
        raise BundleError("no", "try again")

    app = HarborPilotApp(broken)
    async with app.run_test() as pilot:
        await app.workers.wait_for_complete()
        await settle(pilot)
        assert isinstance(app.screen, ErrorDialog)
        await pilot.press("escape", "r")
        await settle(pilot)
    assert app._exception is None


async def test_help_and_palette_are_everywhere() -> None:
    async def body(s: Session) -> None:
        for open_it in ((), ("enter",), ("e",)):
            await s.press(*open_it, "question_mark")
            assert s.top is HelpScreen
            await s.press("f1")
            assert s.top is not HelpScreen
        await s.press("colon")
        assert s.top is CommandPalette
        await s.press("escape", "ctrl+p")
        assert s.top is CommandPalette

    await open_app(body)


async def test_the_palette_offers_what_works_now() -> None:
    async def body(s: Session) -> None:
        await s.press("enter")
        titles = [command.title for command in s.app.get_system_commands(s.app.screen)]
        assert "pull plan" in titles
        assert "hint" not in titles
        assert {"theme", "help", "quit"} <= set(titles)

    await open_app(body)


async def test_own_keys_are_read_by_binding_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARBORPILOT_CONFIG_DIR", str(tmp_path))
    (tmp_path / "keymap.yaml").write_text("board.paste: f6\nno.such: x\n")

    async def body(s: Session) -> None:
        assert s.top is ErrorDialog
        assert "no.such" in s.app.screen.what
        await s.press("escape")
        assert "f6 paste" in str(s.app.screen.query_one(KeyBar).render())
        await s.press("v")
        assert s.top is BoardScreen
        await s.press("f6")
        assert s.top is PasteDialog

    await open_app(body)


@pytest.mark.parametrize("text", ["board.paste: [f6]", "- a", "a: b: c", "\tx"])
async def test_a_keymap_that_is_none_leaves_the_keys_as_they_are(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARBORPILOT_CONFIG_DIR", str(tmp_path))
    (tmp_path / "keymap.yaml").write_text(text)

    async def body(s: Session) -> None:
        assert s.top is ErrorDialog
        await s.press("escape", "v")
        assert s.top is PasteDialog

    await open_app(body)


def test_every_binding_has_an_id() -> None:
    """What has no id cannot be rebound."""
    without = [
        f"{kind.__name__} {binding.key}"
        for kind in (*Page.__subclasses__(), *Dialog.__subclasses__())
        for binding in kind.key_order
        if not binding.id
    ]
    assert without == []
    assert {"board.walk", "walk.go_on", "plan.apply", "app.help", "list.down"} <= binding_ids()


def test_every_screen_module_is_known() -> None:
    """A new module in `screens` has to be listed, so that its keys can be rebound and its import is late."""
    found = {path.relative_to(ROOT / "screens").with_suffix("") for path in (ROOT / "screens").rglob("*.py")}
    modules = {
        ".".join(path.parts)
        for path in found
        if path.name not in {"__init__", "base", "messages"} and path.parts[0] != "widgets"
    }
    assert modules == set(SCREENS)


def test_no_colour_counts_only_when_it_is_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    app = HarborPilotApp(FakeDesk)
    assert (app.no_color, app.theme) == (False, "dark")
    monkeypatch.setenv("NO_COLOR", "1")
    app = HarborPilotApp(FakeDesk)
    assert (app.no_color, app.theme) == (True, "no-colour")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert HarborPilotApp(FakeDesk, theme="light").theme == "light"
    assert HarborPilotApp(FakeDesk, theme="nonsense").theme == "dark"
    assert app.animation_level == "none"


def test_the_first_frame_imports_no_client_and_no_other_screen() -> None:
    code = (
        "import sys, app.tui; bad = [name for name in sys.modules if name.split('.')[0] in {'httpx', 'kubernetes', 'paramiko', 'yaml', 'msgspec', 'cryptography'}"
        " or name.startswith(('screens.walk', 'screens.dialogs.', 'app.engine.', 'app.runner', 'app.probes.'))]; print(bad)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


async def test_a_long_text_does_not_go_to_the_clipboard() -> None:
    from screens import messages as ask

    async def body(s: Session) -> None:
        s.app.post_message(ask.CopyText("x" * 80_000, "the log"))
        await settle(s.pilot)
        assert any("too long" in note for note in s.notes)
        s.app.post_message(ask.CopyText("x", "the log"))
        await settle(s.pilot)
        assert s.app.clipboard == "x"

    await open_app(body)


async def test_the_end_of_a_long_walk_is_in_sight_on_a_small_screen() -> None:
    """What it was, and the keys that go on from there; the answers before it are scrolled away."""
    desk = FakeDesk()
    step = at.WALK_DONE.step
    asked = "Does what the failing nodes have in common, and the healthy ones lack, explain it?"
    path = tuple(at.replace(step.path[0], id=f"symptom/{number}", text=asked) for number in range(5))
    desk.walk = at.replace(
        at.WALK_DONE,
        step=at.replace(step, path=path),
        differences=tuple(f"the setting {number} of the runtime: failing 1, healthy 2" for number in range(5)),
        training=at.STRIP,
    )

    async def body(s: Session) -> None:
        await s.press("enter")
        pane = s.app.screen.query_one("#path", Pane)
        region = pane.scrollable_content_region
        shown = hanging(Content(pane.text), region.width).plain.split("\n")[int(pane.scroll_y) :][: region.height]
        assert any("proven:" in line for line in shown)
        assert any("f fixes" in line for line in shown), shown

    await open_app(body, desk=desk, size=(80, 24))

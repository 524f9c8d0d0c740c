"""The application: screens ask by messages, the desk answers with views, nothing blocks a key.

Only Textual and the board are imported before the first frame; the desk is built after it, in a thread.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.content import Content
from textual.screen import Screen
from textual.timer import Timer

from app.errors import HarborPilotError, InputNeededError, UsageError
from app.keymap import config_dir, read_keymap, unknown_ids
from app.model.view import ApplyView, BoardView, HeaderView, WalkView
from app.theme import DEFAULT, NO_COLOUR, THEMES
from screens import messages as ask
from screens.base import Keyed
from screens.board import BoardScreen

if TYPE_CHECKING:
    from app.desk import Desk, DeskFactory
    from app.model.fix import FixPlan
    from app.model.view import ReplayView

DRAW_EVERY = 0.05
"""Seconds."""
CLIPBOARD_LIMIT = 75_000
"""Bytes; longer OSC 52 sequences are cut or dropped by terminals and tmux."""

S = TypeVar("S", bound="Screen[Any]")


@dataclass(frozen=True, slots=True)
class Start:
    """What to open first. `kind`: `board`, `bundle`, `text`, `train`, `replay`; `argument` its path, text or id."""

    kind: str = "board"
    argument: str = ""


V = TypeVar("V")


class Painter(Generic[V]):
    """Draws the newest of many views at most every `DRAW_EVERY` seconds, so that keys stay quick while nodes answer."""

    def __init__(self, app: App[Any], draw: Callable[[V], None]) -> None:
        self._app = app
        self._draw = draw
        self._waiting: list[V] = []
        self._timer: Timer | None = None

    def offer(self, view: V) -> None:
        """Draw this view soon, unless a newer one comes first."""
        self._waiting = [view]
        if self._timer is None:
            self._timer = self._app.set_timer(DRAW_EVERY, self.flush)

    def flush(self) -> None:
        """Draw the newest view now."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        for view in self._waiting:
            self._draw(view)
        self._waiting = []


class HarborPilotApp(App[None]):
    """Owns the desk and the stack of screens."""

    TITLE = "Harbor Pilot"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[Any]] = [
        Binding("ctrl+p", "command_palette", "palette", show=False, priority=True, id="app.palette_ctrl"),
        Binding("colon", "command_palette", "palette", show=False, id="app.palette"),
        Binding("f10", "quit", "quit", show=False, id="app.quit_alias"),
    ]
    CSS = """
    ToastRack { margin-bottom: 3; }
    Toast { max-width: 76; }
    """

    def __init__(self, desk_factory: DeskFactory, start: Start | None = None, *, theme: str = "") -> None:
        # By the convention NO_COLOR counts only when it is not empty; Textual reacts to any value.
        if not os.environ.get("NO_COLOR", "x"):
            del os.environ["NO_COLOR"]
        super().__init__()
        self._factory = desk_factory
        self._start = start or Start()
        self._desk: Desk | None = None
        self._desk_open = asyncio.Event()
        self._applying = False
        self._walked: Screen[Any] | None = None
        """The walk that the worker group `probe` reads for."""
        self.remapped: dict[str, str] = {}
        self.animation_level = "none"
        for item in THEMES:
            self.register_theme(item)
        for name in [name for name in self.available_themes if name not in {item.name for item in THEMES}]:
            self.unregister_theme(name)
        chosen = theme or (NO_COLOUR if self.no_color else DEFAULT)
        self.theme = chosen if chosen in self.available_themes else DEFAULT

    # --- start and end ---

    def get_default_screen(self) -> Screen[None]:
        return BoardScreen(BoardView(HeaderView(), loading="starting"))

    def on_mount(self) -> None:
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self._act(self._open_desk(), group="board")

    async def _open_desk(self) -> None:
        await self._load_keymap()
        self._desk = await asyncio.to_thread(self._factory)
        self._desk_open.set()
        self._board.show(await self.desk.board())
        kind, argument = self._start.kind, self._start.argument
        if kind == "bundle":
            self._board.show(await self.desk.open_bundle(argument))
        elif kind == "text":
            await self._walk_on(await self.desk.paste(argument), open_it=True)
        elif kind == "train":
            await (self._open_brief(argument) if argument else self._open_scenarios())
        elif kind == "replay":
            await self._open_replay(argument)
        else:
            cut_off = await self.desk.interrupted()
            if cut_off is not None:
                await self.push_screen(_screen("apply", "ApplyScreen")(cut_off))
            await self._refresh()

    async def _load_keymap(self) -> None:
        try:
            path = config_dir(os.environ) / "keymap.yaml"
            keymap = read_keymap(path)
            if not keymap:
                return
            strangers = unknown_ids(keymap, binding_ids())
            if strangers:
                raise UsageError(
                    f"{path}: no such binding: {', '.join(strangers)}",
                    "Help (?) lists the ids of a screen. The other lines are in force.",
                )
        except UsageError as error:
            self._fail(error)
            keymap = {} if not path.is_file() else _known_part(path)
        self.remapped = keymap
        self.set_keymap(keymap)
        for screen in self.screen_stack:
            if isinstance(screen, Keyed):
                screen.keys_changed()

    async def on_unmount(self) -> None:
        if self._desk is not None:
            await self._desk.close()

    async def action_quit(self) -> None:
        if self._applying:
            self.notify(
                "A plan is being applied. ctrl+c stops after the current step; then quit.",
                title="Not now",
                severity="warning",
                markup=False,
            )
            return
        self.exit()

    @property
    def desk(self) -> Desk:
        if self._desk is None:
            raise HarborPilotError("Still starting.", "Try again in a moment.")
        return self._desk

    async def _at_hand(self) -> Desk:
        """The desk, as soon as it is there: what was typed while the rules were read is not lost."""
        if self._desk is None:
            self.notify("It opens as soon as the rules are read.", title="Still starting", markup=False)
            await self._desk_open.wait()
        return self.desk

    # --- plumbing ---

    def _act(self, work: Coroutine[Any, Any, None], *, group: str = "desk", exclusive: bool = False) -> None:
        """Run a piece of work; what goes wrong becomes a dialog, never a silent end."""
        self.run_worker(self._guard(work), group=group, exclusive=exclusive, exit_on_error=False)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self.log.error(error)
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.push_screen(_screen("dialogs.error", "ErrorDialog").of(error))

    async def _draw_all(self, views: AsyncIterator[V], screen: Any) -> V | None:
        """Draw views as they come, on a screen as long as it is there. Returns the last one."""
        last: V | None = None

        def draw(view: V) -> None:
            if screen is not None and screen.is_attached:
                screen.show(view)

        painter: Painter[V] = Painter(self, draw)
        try:
            async for view in views:
                last = view
                painter.offer(view)
        finally:
            painter.flush()  # also when cancelled: nothing old may be drawn over what comes next
        return last

    def _find(self, kind: type[S]) -> S | None:
        return next((screen for screen in reversed(self.screen_stack) if type(screen) is kind), None)

    @property
    def _board(self) -> BoardScreen:
        board = self._find(BoardScreen)
        if board is None:
            raise HarborPilotError("The board is gone.", "Quit and start again.")
        return board

    def _pop_to(self, *kinds: type[Screen[Any]]) -> None:
        """Leave every screen above the topmost of these kinds; the board is always there."""
        while type(self.screen) not in {*kinds, BoardScreen} and len(self.screen_stack) > 1:
            self.pop_screen()

    def _tell(self, text: str) -> None:
        self.notify(text, markup=False)

    # --- board ---

    def on_board_shown(self) -> None:
        # The board also comes to light between a dialog and the walk that it opens; only a walk that was left is stopped.
        if self._walked is not None and self._walked not in self.screen_stack:
            self.workers.cancel_group(self, "probe")
            self._walked = None
        if self._desk is not None:
            self._act(self._redraw_board(), group="board-view", exclusive=True)

    async def _redraw_board(self) -> None:
        self._board.show(await self.desk.board())

    def on_refresh(self) -> None:
        self._act(self._refresh(), group="board", exclusive=True)

    async def _refresh(self) -> None:
        await self._draw_all(self.desk.refresh(), self._board)

    def on_open_incident(self, event: ask.OpenIncident) -> None:
        self._act(self._open_walk(self.desk.open_incident(event.id)), group="probe", exclusive=True)

    async def _open_walk(self, answer: Coroutine[Any, Any, WalkView]) -> None:
        await self._walk_on(await answer, open_it=True)

    def on_paste_text(self) -> None:
        self._act(self._paste())

    def on_paste(self, event: events.Paste) -> None:
        """What the terminal pastes where no field takes it is an error text; a dialog's own field has it already."""
        if not self.screen.is_modal and event.text.strip():
            self._act(self._paste(event.text))

    async def _paste(self, given: str = "") -> None:
        text = await self.push_screen_wait(_screen("dialogs.texts", "PasteDialog")(given))
        if text:
            desk = await self._at_hand()
            self._act(self._open_walk(desk.paste(text)), group="probe", exclusive=True)

    def on_new_push(self) -> None:
        self._act(self._new_push())

    async def _new_push(self) -> None:
        given = await self.push_screen_wait(_screen("dialogs.texts", "NewPushDialog")())
        if given:
            desk = await self._at_hand()
            self._act(self._open_walk(desk.describe_push(*given)), group="probe", exclusive=True)

    def on_open_bundle(self) -> None:
        self._act(self._open_bundle())

    async def _open_bundle(self) -> None:
        path = await self.push_screen_wait(_screen("dialogs.texts", "OpenBundleDialog")())
        if path:
            desk = await self._at_hand()
            self._board.show(await desk.open_bundle(path))

    def on_show_next_to_fail(self) -> None:
        view = self._board.view.next_to_fail
        if view is not None:
            text = Content("\n").join([Content(view.text), Content(""), *[Content(f"  {node}") for node in view.nodes]])
            self.push_screen(_screen("dialogs.info", "InfoDialog")("Next to fail", text))

    # --- walk ---

    async def _walk_on(self, view: WalkView, *, open_it: bool = False) -> None:
        """Show a walk; in auto, follow the evidence until somebody has to answer."""
        kind = _screen("walk", "WalkScreen")
        screen = self._find(kind)
        if screen is None and open_it:
            screen = kind(view)
            await self.push_screen(screen)
        self._walked = screen
        while screen is not None and screen.is_attached:
            screen.show(view)
            if not (view.auto and view.can_continue):
                return
            before = (view.step.next, view.collected, len(view.evidence))
            view = await self._draw_all(self.desk.collect_next(), screen) or view
            if before == (view.step.next, view.collected, len(view.evidence)):
                return  # nothing came of it; asking again would go round for ever

    def _walk(self, answer: Coroutine[Any, Any, WalkView]) -> None:
        async def work() -> None:
            await self._walk_on(await answer)

        self._act(work(), group="probe", exclusive=True)

    def on_collect_next(self, event: ask.CollectNext) -> None:
        self._act(self._follow_walk(self.desk.collect_next(event.consent)), group="probe", exclusive=True)

    async def _follow_walk(self, views: AsyncIterator[WalkView]) -> None:
        view = await self._draw_all(views, self._find(_screen("walk", "WalkScreen")))
        if view is not None:
            await self._walk_on(view)

    def on_set_auto(self, event: ask.SetAuto) -> None:
        self._walk(self.desk.set_auto(event.auto))

    def on_answer(self, event: ask.Answer) -> None:
        self._walk(self.desk.answer(event.question, event.value))

    def on_step_back(self) -> None:
        self._walk(self.desk.back())

    def on_read_again(self) -> None:
        self._act(self._follow_walk(self.desk.read_again()), group="probe", exclusive=True)

    def on_go_on(self) -> None:
        self._pop_to(_screen("walk", "WalkScreen"))
        self._walk(self.desk.go_on())

    def on_object_to(self, event: ask.ObjectTo) -> None:
        self._act(self._object(event))

    async def _object(self, event: ask.ObjectTo) -> None:
        given = await self.push_screen_wait(_screen("dialogs.texts", "ObjectDialog")(event.evidence))
        if given:
            evidence, reason = given
            view = await self.desk.object_to(evidence.probe, evidence.target, reason)
            record = self._find(_screen("evidence", "EvidenceScreen"))
            if record is not None:
                record.show(await self.desk.evidence())
            self._act(self._walk_on(view), group="probe", exclusive=True)

    def on_supply(self, event: ask.Supply) -> None:
        self._act(self._supply(event))

    async def _supply(self, event: ask.Supply) -> None:
        row = event.row
        text = await self.push_screen_wait(_screen("dialogs.texts", "SupplyDialog")(row))
        if text:
            self._pop_to(_screen("walk", "WalkScreen"))
            self._walk(self.desk.supply(row.paste_as, row.targets[0] if row.targets else "", text))

    def on_show_evidence(self) -> None:
        self._act(self._evidence())

    async def _evidence(self) -> None:
        self.push_screen(_screen("evidence", "EvidenceScreen")(await self.desk.evidence()))

    def on_show_diagnosis(self, event: ask.ShowDiagnosis) -> None:
        self._act(self._diagnosis("" if event.id == "fixes" else event.id, at_fixes=event.id == "fixes"))

    async def _diagnosis(self, finding: str, *, at_fixes: bool) -> None:
        view = await self.desk.diagnosis(finding)
        self.push_screen(_screen("diagnosis", "DiagnosisScreen")(view, at_fixes=at_fixes))

    def on_show_pull_plan(self, event: ask.ShowPullPlan) -> None:
        self._act(self._pull_plan(event.id))

    async def _pull_plan(self, node: str) -> None:
        await self._show_or_push("pull_plan", "PullPlanScreen", await self.desk.pull_plan(node))

    async def _show_or_push(self, module: str, name: str, view: object) -> None:
        """Draw a view on the screen of its kind when that is on top, else push one."""
        kind = _screen(module, name)
        top: Any = self.screen
        if type(top) is kind:
            top.show(view)
        else:
            await self.push_screen(kind(view))

    # --- fixes ---

    def on_plan_fix(self, event: ask.PlanFix) -> None:
        self._act(self._plan(event))

    async def _plan(self, event: ask.PlanFix) -> None:
        given: dict[str, str] = {}
        secret: frozenset[str] = frozenset()
        while True:
            try:
                view = await self.desk.plan(event.fix, event.finding, given, secret)
                break
            except InputNeededError as error:
                more = await self.push_screen_wait(_screen("dialogs.inputs", "InputsDialog")(error.needs))
                if more is None:
                    return
                given |= more
                secret |= {key for key, _, hidden in error.needs if hidden}
        self.push_screen(_screen("fix_plan", "FixPlanScreen")(view))

    def on_unlock(self, event: ask.Unlock) -> None:
        self._act(self._unlock(event.id))

    async def _unlock(self, name: str) -> None:
        typed = await self.push_screen_wait(_screen("dialogs.unlock", "UnlockDialog")(name))
        if typed is None:
            return
        header = await self.desk.unlock(typed)
        plan_screen = self._find(_screen("fix_plan", "FixPlanScreen"))
        if plan_screen is not None:
            from dataclasses import replace  # noqa: PLC0415

            plan_screen.show(replace(plan_screen.view, header=header))

    def on_apply_plan(self, event: ask.ApplyPlan) -> None:
        self._act(self._apply(event.plan, event.retry_pods), group="apply")

    async def _apply(self, plan: FixPlan, retry_pods: bool) -> None:
        if await self.push_screen_wait(_screen("dialogs.confirm", "confirm_plan")(plan, retry_pods)):
            await self._follow(plan, self.desk.apply(plan, retry_pods))

    def on_undo_plan(self, event: ask.UndoPlan) -> None:
        self._act(self._undo(event.plan), group="apply")

    async def _undo(self, plan: FixPlan) -> None:
        if await self.push_screen_wait(_screen("dialogs.confirm", "confirm_undo")(plan)):
            await self._follow(plan, self.desk.undo(plan), undoing=True)

    async def _follow(self, plan: FixPlan, views: AsyncIterator[ApplyView], *, undoing: bool = False) -> None:
        """Draw an apply as it goes. Quitting waits until it has ended."""
        if self._applying:
            raise HarborPilotError("A plan is being applied already.", "Wait for it to end.")
        kind = _screen("apply", "ApplyScreen")
        await self._show_or_push("apply", "ApplyScreen", ApplyView(plan, (), undoing=undoing))
        screen = self._find(kind)
        self._applying = True
        try:
            await self._draw_all(views, screen)
        finally:
            self._applying = False
        debrief = None if undoing else await self.desk.debrief()
        if debrief is not None:
            self.push_screen(_screen("debrief", "DebriefScreen")(debrief))

    def on_stop_apply(self) -> None:
        self._act(self.desk.stop_apply())

    def on_decide(self, event: ask.Decide) -> None:
        self._act(self.desk.decide(event.id))

    def on_back_to_walk(self) -> None:
        walk = _screen("walk", "WalkScreen")
        self._pop_to(walk)
        screen = self._find(walk)
        if screen is not None:
            self._walk(self.desk.open_incident(screen.view.incident.id))

    # --- sessions and texts ---

    def on_show_sessions(self) -> None:
        self._act(self._sessions())

    async def _sessions(self) -> None:
        await self._show_or_push("sessions", "SessionsScreen", await (await self._at_hand()).sessions())

    def on_open_replay(self, event: ask.OpenReplay) -> None:
        self._act(self._open_replay(event.id), group="replay", exclusive=True)

    async def _open_replay(self, session: str) -> None:
        await self.push_screen(_screen("replay", "ReplayScreen")(await self.desk.replay(session)))

    def on_seek(self, event: ask.Seek) -> None:
        self._act(self._show_replay(self.desk.seek(event.position)), group="replay", exclusive=True)

    def on_judge_again(self) -> None:
        self._act(self._show_replay(self.desk.judge_again()), group="replay", exclusive=True)

    async def _show_replay(self, answer: Coroutine[Any, Any, ReplayView]) -> None:
        view = await answer
        screen = self._find(_screen("replay", "ReplayScreen"))
        if screen is not None:
            screen.show_replay(view)

    def on_resume(self, event: ask.Resume) -> None:
        self._pop_to()
        self._act(self._open_walk(self.desk.resume(event.id)), group="probe", exclusive=True)

    def on_report(self, event: ask.Report) -> None:
        self._act(self._report(event.id))

    async def _report(self, session: str) -> None:
        text = await self.desk.report(session)
        self._tell(
            f"Report written to {await self.desk.save(f'report-{session}.md' if session else 'report.md', text)}"
        )

    def on_export(self, event: ask.Export) -> None:
        self._act(self._export(event.id))

    async def _export(self, session: str) -> None:
        self._tell(f"Session exported to {await self.desk.export(session)}")

    def on_save_text(self, event: ask.SaveText) -> None:
        self._act(self._save(event.name, event.text))

    async def _save(self, name: str, text: str) -> None:
        self._tell(f"Written to {await self.desk.save(name, text)}")

    def on_copy_text(self, event: ask.CopyText) -> None:
        if len(event.text.encode()) > CLIPBOARD_LIMIT:
            self.notify(
                f"{event.what} is too long for the terminal's clipboard; save it instead (ctrl+s).",
                title="Not copied",
                severity="warning",
                markup=False,
            )
            return
        self.copy_to_clipboard(event.text)
        self._tell(f"Copied {event.what}.")

    # --- practice ---

    def on_show_scenarios(self) -> None:
        self._act(self._open_scenarios())

    async def _open_scenarios(self) -> None:
        view = await (await self._at_hand()).scenarios()
        kind = _screen("scenarios", "ScenariosScreen")
        if self._find(kind) is None:
            self._pop_to()
        else:
            self._pop_to(kind)
        await self._show_or_push("scenarios", "ScenariosScreen", view)

    def on_show_brief(self, event: ask.ShowBrief) -> None:
        self._act(self._open_brief(event.id))

    async def _open_brief(self, scenario: str) -> None:
        await self.push_screen(_screen("brief", "BriefScreen")(await self.desk.brief(scenario)))

    def on_start_scenario(self, event: ask.StartScenario) -> None:
        self._act(self._start_scenario(event.id))

    async def _start_scenario(self, scenario: str) -> None:
        view = await self.desk.start_scenario(scenario)
        self._pop_to()
        self._board.show(view)

    def on_take_hint(self, event: ask.TakeHint) -> None:
        self._act(self._hint(event.cost))

    async def _hint(self, cost: int) -> None:
        text = Content(f"The next hint costs {cost} points.")
        if await self.push_screen_wait(
            _screen("dialogs.confirm", "ConfirmDialog")("Take a hint?", text, "Take it", danger=False)
        ):
            self._walk(self.desk.hint())

    def on_give_up(self) -> None:
        self._act(self._give_up())

    async def _give_up(self) -> None:
        text = Content("The scenario ends and the debrief shows what it was. Nothing can be scored after that.")
        if await self.push_screen_wait(
            _screen("dialogs.confirm", "ConfirmDialog")("Give up?", text, "Give up", danger=False)
        ):
            view = await self.desk.give_up()
            self._pop_to()
            self.push_screen(_screen("debrief", "DebriefScreen")(view))

    # --- connections and rules ---

    def on_show_self_check(self) -> None:
        self._act(self._self_check())

    async def _self_check(self) -> None:
        await self._show_or_push("connections", "ConnectionsScreen", await self.desk.self_check())

    def on_show_host_keys(self) -> None:
        self._act(self._host_keys())

    async def _host_keys(self) -> None:
        view = await self.desk.host_keys()
        if await self.push_screen_wait(_screen("dialogs.host_keys", "HostKeysDialog")(view)):
            hosts = tuple(item.host for item in view.keys if not item.changed)
            await self._show_or_push("connections", "ConnectionsScreen", await self.desk.accept_host_keys(hosts))

    def on_show_rules(self) -> None:
        self._act(self._rules())

    async def _rules(self) -> None:
        await self._show_or_push("rules_browser", "RulesScreen", await self.desk.rules())

    # --- help and palette ---

    def action_help(self) -> None:
        screen = self.screen
        if type(screen) is _screen("help", "HelpScreen"):
            self.pop_screen()
        elif isinstance(screen, Keyed):
            rows = _screen("help", "rows_of")(screen, self.remapped)
            self.push_screen(
                _screen("help", "HelpScreen")(type(screen).__name__.removesuffix("Screen").removesuffix("Dialog"), rows)
            )

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the screen below can do now, then themes, help and quit."""
        if isinstance(screen, Keyed):
            for binding in screen.key_order:
                name = binding.action.removeprefix("do('").removesuffix("')")
                if binding.action.startswith("do(") and not name.startswith("answer-") and not screen.why_not(name):
                    yield SystemCommand(
                        binding.description,
                        f"key {binding.key_display or binding.key}",
                        lambda name=name: screen.action_do(name),
                    )
        if type(screen) is BoardScreen:
            yield SystemCommand(
                "rules", "browse the rulebook in force", lambda: self.post_message(ask.ShowRules()) and None
            )
        yield SystemCommand(
            "theme", "dark, light, high-contrast, deuteranopia, tritanopia, no-colour", self.action_change_theme
        )
        yield SystemCommand("help", "keys and signs", self.action_help)
        yield SystemCommand("quit", "end this session", self.action_quit)


SCREENS = (
    "board", "walk", "evidence", "diagnosis", "fix_plan", "apply", "sessions", "replay", "connections", "scenarios", "brief",
    "debrief", "pull_plan", "rules_browser", "help", "dialogs.confirm", "dialogs.error", "dialogs.form", "dialogs.host_keys", "dialogs.info", "dialogs.inputs",
    "dialogs.texts", "dialogs.unlock",
)  # fmt: skip
"""Modules of all screens and dialogs below `screens`."""


def _screen(module: str, name: str) -> Any:
    """A screen's class (or builder), imported when first shown so that the first frame need not wait for it."""
    return getattr(import_module(f"screens.{module}"), name)


def binding_ids() -> set[str]:
    """Ids of every binding of every screen, list and pane."""
    found = {binding.id for binding in HarborPilotApp.BINDINGS if isinstance(binding, Binding)}
    for module in (*SCREENS, "widgets.table", "widgets.pane"):
        for item in vars(import_module(f"screens.{module}")).values():
            found |= {binding.id for binding in getattr(item, "BINDINGS", []) if isinstance(binding, Binding)}
    return {name for name in found if name}


def _known_part(path: Any) -> dict[str, str]:
    """The lines of a keymap that name a known binding; empty when the file cannot be read at all."""
    try:
        known = binding_ids()
        return {name: keys for name, keys in read_keymap(path).items() if name in known}
    except UsageError:
        return {}

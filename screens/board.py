"""The board: what fails now, folded into incidents."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import Static

from app.model.view import BoardView, HeaderView, IncidentRow, Mode
from screens import messages as ask
from screens.base import Page, key
from screens.widgets.pane import LongPane
from screens.widgets.table import Line, Table
from screens.widgets.text import (
    FAILING,
    WORKS,
    Column,
    age,
    assemble,
    bad,
    certainty,
    clock_time,
    count,
    good,
    lines,
    muted,
    names,
    one_line,
    plain,
    rule,
    unknown,
    warn,
)

COLUMNS = (
    Column("incident", flex=5),
    Column("registry", flex=3, from_width=90),
    Column("pods", 6, right=True),
    Column("nodes", 9, right=True),
    Column("since", 7, right=True),
    Column("best standing", flex=4),
)


def lock_text(header: HeaderView) -> Content:
    """Context and lock, e.g. `prod-eu · read-only`."""
    if header.mode is Mode.NOTHING:
        return muted("no cluster chosen")
    name = header.context or header.mode.value
    if header.mode is Mode.PRACTICE:
        return assemble(
            ("practice cluster" if name == header.mode.value else f"practice: {name}", "bold $text-success")
        )
    if header.mode is not Mode.LIVE:
        return assemble(f"{header.mode.value} {name} · read-only")
    if header.locked:
        return assemble(f"{name} · read-only")
    return assemble(name, " · ", ("! UNLOCKED", "bold $text-error reverse"))


def harbor_text(header: HeaderView) -> str:
    if not header.harbor:
        return ""
    where = f" in {header.harbor_where}" if header.harbor_where else ""
    return one_line(f"{header.harbor} {header.harbor_version}".strip() + where)


class BoardScreen(Page):
    """Incidents, next to fail, and the chosen incident's first words."""

    BINDINGS = [
        key("enter", "walk", "walk", id="board.walk"),
        key("n", "new", "new (push, other)", id="board.new"),
        key("v", "paste", "paste", id="board.paste"),
        key("o", "open", "open", id="board.open"),
        key("t", "practise", "practise", id="board.practise"),
        key("slash", "filter", "filter", id="page.filter", shown="/"),
        key("r", "refresh", "refresh", id="board.refresh"),
        key("e", "sessions", "sessions", id="board.sessions"),
        key("x", "next", "next to fail", id="board.next_to_fail"),
        key("S", "check", "self-check", id="board.self_check"),
        key("b", "rules", "rules", id="board.rules", show=False),
        key("N", "match_back", "previous match", id="page.match_back", show=False),
        key("escape", "leave", "back", id="page.back", show=False),
        Binding("question_mark,f1", "app.help", "help", key_display="?", id="app.help"),
        Binding("ctrl+q,f10", "app.quit", "quit", key_display="ctrl+q", id="app.quit"),
    ]
    DEFAULT_CSS = """
    BoardScreen #notices { height: auto; max-height: 5; padding: 0 1; display: none; }
    BoardScreen #notices.-on { display: block; }
    BoardScreen #incidents { height: auto; min-height: 5; max-height: 60%; }
    BoardScreen #incidents Rows { height: auto; }
    BoardScreen #next { height: auto; max-height: 2; padding: 0 2; display: none; }
    BoardScreen #next.-on { display: block; }
    BoardScreen #detail { height: 1fr; min-height: 6; }
    """

    def __init__(self, view: BoardView | None = None) -> None:
        super().__init__()
        self.view = view or BoardView(HeaderView(), loading="starting")
        self._selected = ""

    def body(self) -> ComposeResult:
        yield Static("", id="notices", markup=False)
        yield Table(COLUMNS, id="incidents")
        yield Static("", id="next", markup=False)
        detail = LongPane("Selected", id="detail")
        detail.display = False
        yield detail

    def on_screen_resume(self) -> None:
        self.say(ask.BoardShown())

    def show(self, view: BoardView) -> None:
        """Draw another state; the cursor stays on its incident."""
        self.view = view
        self.redraw()

    def filtered(self) -> Table:
        return self.query_one("#incidents", Table)

    def head(self) -> Content:
        header = self.view.header
        parts = [Content("Harbor Pilot"), lock_text(header)]
        if harbor_text(header) and self.app.size.width >= 100:
            parts.append(plain(harbor_text(header)))
        live = f"live {clock_time(header.seen_at)}" if header.mode is Mode.LIVE and header.seen_at else ""
        check = Content("")
        if header.rights_missing:
            check = unknown(f"{count(header.rights_missing, 'right')} missing", denied=True)
        elif header.rights_missing == 0:
            check = good("all rights")
        return self.spread(Content("   ").join(parts), Content("   ").join([plain(live), check]))

    def draw(self) -> None:
        view = self.view
        notices = [warn(text) for text in view.notices]
        if view.problem and view.incidents:
            notices.insert(0, bad(f"{view.problem} {view.problem_next}".strip()))
        if view.loading and view.incidents:
            notices.append(muted(f"… {view.loading}"))
        box = self.query_one("#notices", Static)
        box.update(lines(notices))
        box.set_class(bool(notices), "-on")
        self.query_one("#incidents", Table).fill([self._line(item) for item in view.incidents], self._empty())
        nxt = self.query_one("#next", Static)
        nxt.set_class(view.next_to_fail is not None, "-on")
        if view.next_to_fail is not None:
            nxt.update(
                assemble(
                    ("▪ Next to fail: ", "bold $text-warning"),
                    view.next_to_fail.text,
                    ("  (x)", "$text-muted"),
                )
            )
        self._draw_detail()

    def _line(self, item: IncidentRow) -> Line:
        mark = assemble((WORKS, "$text-success")) if item.healthy else assemble((FAILING, "bold $text-error"))
        title = Content.assemble(mark, " ", plain(one_line(item.title)), plain(" (pasted)") if item.pasted else "")
        nodes = "–" if item.nodes is None else f"{item.nodes}/{item.nodes_all}" if item.nodes_all else str(item.nodes)
        words = plain(one_line(item.best_text))
        if item.best is not None:
            best = Content.assemble(certainty(item.best, word=not item.best_text), " ", words)
        else:
            best = assemble("? ", item.best_text or "not yet walked")
        pods = "–" if item.pods is None else f"{item.pods:,}"
        return Line(item.id, (title, item.registry, pods, nodes, age(item.since, self.view.now), best))

    def _empty(self) -> Content:
        view = self.view
        if view.loading:
            return lines(
                [
                    plain(f"… {view.loading}"),
                    "",
                    muted("You need not wait: v paste an error, o open a bundle, t practise."),
                ]
            )
        if view.problem:
            return lines(
                [
                    bad("The cluster could not be read, so this list says nothing about it."),
                    plain(f"  {view.problem}"),
                    plain(f"  {view.problem_next}"),
                    "",
                    plain(
                        "Without a cluster:  v paste an error text   o open an evidence bundle   n describe a push   t practise"
                    ),
                ]
            )
        if view.header.mode is Mode.NOTHING:
            return lines(
                [
                    plain("No cluster chosen. What do you have?", "bold"),
                    "",
                    plain("v  paste an error line from kubectl, docker or CI"),
                    plain("o  open an evidence bundle"),
                    plain("n  describe a failing push or pull"),
                    plain("t  practise on a simulated cluster"),
                    plain("S  see which connections and rights there are"),
                ]
            )
        return lines(
            [
                good("No pull fails now."),
                plain(f"  {view.rests_on or 'What was read is not known.'}"),
                "",
                muted("n describes a push, v pastes an error seen elsewhere."),
            ]
        )

    def _draw_detail(self) -> None:
        pane = self.query_one("#detail", LongPane)
        selected = self.query_one(Table).current
        item = next((row for row in self.view.incidents if row.id == selected), None)
        pane.display = item is not None
        if item is None:
            return
        detail = self.view.detail(item.id)
        pane.border_title = f"Selected: {one_line(item.title)}"
        out: list[Content | str] = []
        if self.app.size.width < 100 and item.registry:
            out.append(assemble(("registry  ", "$text-muted"), item.registry))
        wordings = len(detail.texts)
        if wordings:
            out.append(rule("First words" if wordings == 1 else f"First words, {wordings} wordings"))
            out += [assemble("“", text, "”") for text in detail.texts]
        if detail.runtimes:
            out.append(assemble(("runtimes  ", "$text-muted"), detail.runtimes))
        if detail.nodes:
            out.append(assemble(("nodes     ", "$text-muted"), names(detail.nodes, 6)))
        out += [assemble(("the failing have, the healthy have not: ", "bold"), text) for text in detail.differences]
        pane.show(
            lines(out or [muted("Nothing more is known yet. enter starts the walk.")]), top=selected != self._selected
        )
        self._selected = selected

    def why_not(self, name: str) -> str:
        rows = bool(self.view.incidents)
        if name in {"walk", "filter"} and not rows:
            return "There is no incident on the board. Paste an error (v), open a bundle (o) or describe a push (n)."
        if name == "refresh":
            if self.view.loading:
                return f"Already reading: {self.view.loading}."
            if self.view.header.mode is not Mode.LIVE and self.view.header.mode is not Mode.PRACTICE:
                return "There is no cluster to read again."
        if name == "next" and self.view.next_to_fail is None:
            return "No node is known to be next to fail."
        return ""

    @on(Table.Moved)
    def _moved(self) -> None:
        self._draw_detail()

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        self.say(ask.OpenIncident(event.row))

    def do_walk(self) -> None:
        self.say(ask.OpenIncident(self.query_one(Table).current))

    def do_new(self) -> None:
        if self.filter_words:
            self.query_one(Table).rows.action_cursor_down()
        else:
            self.say(ask.NewPush())

    def do_match_back(self) -> None:
        if self.filter_words:
            self.query_one(Table).rows.action_cursor_up()

    def do_paste(self) -> None:
        self.say(ask.PasteText())

    def do_open(self) -> None:
        self.say(ask.OpenBundle())

    def do_practise(self) -> None:
        self.say(ask.ShowScenarios())

    def do_refresh(self) -> None:
        self.say(ask.Refresh())

    def do_sessions(self) -> None:
        self.say(ask.ShowSessions())

    def do_next(self) -> None:
        self.say(ask.ShowNextToFail())

    def do_check(self) -> None:
        self.say(ask.ShowSelfCheck())

    def do_rules(self) -> None:
        self.say(ask.ShowRules())

    def leave(self) -> None:
        """The board is the first screen: escape leaves nothing behind."""

"""Saved sessions: replay, go on, report, export."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from app.model.view import SessionRow, SessionsView
from screens import messages as ask
from screens.base import Page, key
from screens.widgets.table import Line, Table
from screens.widgets.text import (
    FAILING,
    MUTED,
    UNKNOWN,
    WORKS,
    Column,
    assemble,
    bad,
    count,
    date_time,
    lines,
    muted,
    one_line,
    plain,
)

COLUMNS = (
    Column("started", 16),
    Column("session", flex=3),
    Column("context", flex=1, from_width=90),
    Column("events", 7, right=True),
    Column("outcome", flex=2),
)


class SessionsScreen(Page):
    """Newest first."""

    BINDINGS = [
        key("enter", "replay", "replay", id="sessions.replay"),
        key("a", "resume", "go on", id="sessions.resume"),
        key("p", "report", "report", id="sessions.report"),
        key("ctrl+s,f2", "export", "export", id="page.save", shown="ctrl+s"),
        key("slash", "filter", "filter", id="page.filter", shown="/"),
        key("escape", "leave", "board", id="page.back"),
    ]
    DEFAULT_CSS = """
    SessionsScreen #folder { dock: bottom; height: auto; max-height: 2; padding: 0 1; }
    """

    def __init__(self, view: SessionsView) -> None:
        super().__init__()
        self.view = view

    def body(self) -> ComposeResult:
        yield Table(COLUMNS, id="sessions")
        yield Static("", id="note", markup=False)

    def show(self, view: SessionsView) -> None:
        self.view = view
        self.redraw()

    def filtered(self) -> Table:
        return self.query_one("#sessions", Table)

    def head(self) -> Content:
        return self.spread(Content("‹ board   Sessions"), plain(count(len(self.view.sessions), "session")))

    def draw(self) -> None:
        empty = lines(
            [
                plain("No session has been saved yet."),
                "",
                muted(f"Every walk is saved as it goes, into {self.view.folder or 'the state folder'}."),
            ]
        )
        self.query_one(Table).fill([self._line(item) for item in self.view.sessions], empty)
        self._note()

    def _line(self, item: SessionRow) -> Line:
        return Line(
            item.id, (date_time(item.started), item.title, item.context, f"{item.events:,}", session_outcome(item))
        )

    def _note(self) -> None:
        item = self._current
        note = (
            bad(item.problem)
            if item and item.problem
            else muted(f"kept in {self.view.folder}")
            if self.view.folder
            else Content("")
        )
        self.query_one("#note", Static).update(note)
        self.keys_changed()

    @property
    def _current(self) -> SessionRow | None:
        chosen = self.query_one(Table).current
        return next((item for item in self.view.sessions if item.id == chosen), None)

    @on(Table.Moved)
    def _moved(self) -> None:
        self._note()

    @on(Table.Chosen)
    def _chosen(self) -> None:
        self.action_do("replay")

    def why_not(self, name: str) -> str:
        if name not in {"replay", "resume", "report", "export", "filter"}:
            return ""
        if not self.view.sessions:
            return "There is no session yet."
        item = self._current
        if item is not None and item.problem and name != "filter":
            return f"This session cannot be read: {item.problem}"
        return ""

    def do_replay(self) -> None:
        self.say(ask.OpenReplay(self.query_one(Table).current))

    def do_resume(self) -> None:
        self.say(ask.Resume(self.query_one(Table).current))

    def do_report(self) -> None:
        self.say(ask.Report(self.query_one(Table).current))

    def do_export(self) -> None:
        self.say(ask.Export(self.query_one(Table).current))


def session_outcome(item: SessionRow) -> Content:
    if item.problem:
        return assemble((FAILING, "bold $text-error"), f" not readable: {one_line(item.problem)}")
    word = {"fault_found": "fault found", "interrupted": "! interrupted"}.get(
        item.outcome, item.outcome or f"{UNKNOWN} not ended"
    )
    mark = f"{WORKS} " if item.outcome == "healthy" or item.fixed else ""
    return assemble((mark, "$text-success"), word, (f", {item.fixed}" if item.fixed else "", MUTED))

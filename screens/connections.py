"""Connections and self-check: what can be reached, which rights there are, and what each missing one costs."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from app.model.view import ConnectionsView, RightRow
from screens import messages as ask
from screens.base import Page, key
from screens.board import lock_text
from screens.widgets.pane import LongPane
from screens.widgets.table import Line, Table
from screens.widgets.text import (
    MUTED,
    Column,
    assemble,
    bad,
    count,
    good,
    lines,
    muted,
    one_line,
    plain,
    rule,
    unknown,
)

COLUMNS = (
    Column("state", 10),
    Column("area", 16, from_width=90),
    Column("right", flex=3),
    Column("costs in answers", flex=4),
)


class ConnectionsScreen(Page):
    """Connections above, rights below, the smallest grant of the chosen right under them."""

    BINDINGS = [
        key("h", "host_keys", "host keys", id="connections.host_keys"),
        key("r", "refresh", "check again", id="connections.refresh"),
        key("c", "copy", "copy the grant", id="page.copy"),
        key("a", "copy_all", "copy all grants", id="connections.copy_all"),
        key("slash", "filter", "filter", id="page.filter", shown="/"),
        key("tab", "pane", "other pane", id="connections.pane"),
        key("escape", "leave", "board", id="page.back"),
    ]
    DEFAULT_CSS = """
    ConnectionsScreen #where { height: auto; max-height: 9; padding: 0 1; margin-bottom: 1; }
    ConnectionsScreen #rights { height: 2fr; min-height: 4; }
    ConnectionsScreen #grant { height: 1fr; min-height: 5; }
    """

    def __init__(self, view: ConnectionsView) -> None:
        super().__init__()
        self.view = view

    def body(self) -> ComposeResult:
        yield Static("", id="where", markup=False)
        yield Table(COLUMNS, id="rights")
        yield LongPane("Smallest grant", id="grant")

    def show(self, view: ConnectionsView) -> None:
        self.view = view
        self.redraw()

    def filtered(self) -> Table:
        return self.query_one("#rights", Table)

    def head(self) -> Content:
        missing = sum(row.have is False for row in self.view.rights)
        open_ = sum(row.have is None for row in self.view.rights)
        if not self.view.rights:
            return self.spread(
                Content.assemble("‹ board   Self-check   ", lock_text(self.view.header)), plain("not checked yet")
            )
        text = f"{count(missing, 'right')} missing" if missing else "no right is missing"
        if open_:
            text += f", {open_} not known"
        return self.spread(Content.assemble("‹ board   Self-check   ", lock_text(self.view.header)), plain(text))

    def draw(self) -> None:
        view = self.view
        out: list[Content | str] = []
        if view.reading:
            out.append(assemble(("… ", "bold $text-accent"), view.reading))
        for item in view.connections:
            text = f"{item.kind}  {item.name}  {item.detail}"
            out.append({"works": good, "failing": bad}.get(item.state, unknown)(f"{item.state}  {one_line(text)}"))
        if view.pending_host_keys:
            out.append(
                unknown(
                    f"{count(view.pending_host_keys, 'host key')} not vouched for: nothing is read from those nodes.  h shows them"
                )
            )
        if view.credentials:
            out += [
                rule("Credentials, one failing try each in a session"),
                *[plain(f"  {one_line(item)}") for item in view.credentials],
            ]
        self.query_one("#where", Static).update(
            lines(out or [muted("No connection is set up. A kubeconfig, an ssh_config or a registry host makes one.")])
        )
        ordered = sorted(enumerate(view.rights), key=lambda pair: {False: 0, None: 1, True: 2}[pair[1].have])
        rows = [
            Line(str(index), (have(row), row.area, row.right, row.costs if row.have is not True else ""))
            for index, row in ordered
        ]
        self.query_one(Table).fill(
            rows,
            muted(
                "The self-check has not run. r runs it; it only asks, it changes nothing."
                if not view.reading
                else f"… {view.reading}"
            ),
        )
        self._draw_grant()

    @property
    def _current(self) -> RightRow | None:
        chosen = self.query_one(Table).current
        return self.view.rights[int(chosen)] if chosen else None

    def _draw_grant(self) -> None:
        row, pane = self._current, self.query_one("#grant", LongPane)
        pane.display = row is not None
        if row is not None:
            if row.have:
                pane.show(good(f"{row.right}: you have it."))
            else:
                body = [plain(line) for line in row.grant.splitlines()] or [muted("No grant is known that gives it.")]
                costs = f"costs: {row.costs}" if row.costs else "costs no answer"
                pane.show(lines([assemble((one_line(row.right), "bold"), (f"   {costs}", MUTED)), *body]), top=True)
        self.keys_changed()

    @on(Table.Moved)
    def _moved(self) -> None:
        self._draw_grant()

    @on(Table.Chosen)
    def _chosen(self) -> None:
        self.query_one("#grant", LongPane).focus()

    def why_not(self, name: str) -> str:
        row = self._current if self.is_mounted else None
        if name == "host_keys" and not self.view.pending_host_keys:
            return "Every host key met so far is known."
        if name == "copy" and (row is None or row.have or not row.grant):
            return "There is no grant to copy for this right."
        if name == "copy_all" and not any(item.have is not True and item.grant for item in self.view.rights):
            return "No right is missing."
        if name == "refresh" and self.view.reading:
            return f"Still {self.view.reading}."
        if name == "filter" and not self.view.rights:
            return "There is nothing to filter."
        return ""

    def do_host_keys(self) -> None:
        self.say(ask.ShowHostKeys())

    def do_refresh(self) -> None:
        self.say(ask.ShowSelfCheck())

    def do_copy(self) -> None:
        row = self._current
        if row is not None:
            self.say(ask.CopyText(row.grant, f"the grant for “{one_line(row.right)}”"))

    def do_copy_all(self) -> None:
        grants = list(dict.fromkeys(row.grant for row in self.view.rights if row.have is not True and row.grant))
        self.say(ask.CopyText("\n---\n".join(grants), count(len(grants), "grant")))

    def do_pane(self) -> None:
        rows = self.query_one(Table).rows
        (self.query_one("#grant", LongPane) if rows.has_focus and self._current else rows).focus()


def have(row: RightRow) -> Content:
    if row.have is None:
        return unknown("unknown")
    return good("have") if row.have else unknown("missing", denied=True)

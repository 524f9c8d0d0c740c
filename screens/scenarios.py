"""Practice: the list of scenarios."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.content import Content

from app.model.view import ScenarioRow, ScenariosView
from screens import messages as ask
from screens.base import Page, key
from screens.widgets.pane import LongPane
from screens.widgets.table import Line, Table
from screens.widgets.text import WORKS, Column, assemble, count, lines, muted, plain, rule, stopwatch

COLUMNS = (
    Column("scenario", flex=4),
    Column("group", flex=2, from_width=90),
    Column("level", 8),
    Column("par", 6, right=True),
    Column("best", 10, right=True),
)


class ScenariosScreen(Page):
    """A simulated cluster in which something is broken: no network, no account, nothing real."""

    BINDINGS = [
        key("enter", "brief", "read the brief", id="scenarios.brief"),
        key("slash", "filter", "filter", id="page.filter", shown="/"),
        key("escape", "leave", "board", id="page.back"),
    ]
    DEFAULT_CSS = """
    ScenariosScreen #list { height: 2fr; }
    ScenariosScreen #pager { height: 1fr; min-height: 6; }
    """

    def __init__(self, view: ScenariosView) -> None:
        super().__init__()
        self.view = view

    def body(self) -> ComposeResult:
        yield Table(COLUMNS, id="list")
        yield LongPane("Pager", id="pager")

    def show(self, view: ScenariosView) -> None:
        self.view = view
        self.redraw()

    def filtered(self) -> Table:
        return self.query_one("#list", Table)

    def head(self) -> Content:
        played = sum(item.played > 0 for item in self.view.scenarios)
        return self.spread(
            Content("‹ board   Practise"), plain(f"{count(len(self.view.scenarios), 'scenario')}, {played} played")
        )

    def draw(self) -> None:
        rows = [
            Line(item.id, (item.title, item.group, item.difficulty, stopwatch(item.par), best(item)))
            for item in self.view.scenarios
        ]
        self.query_one(Table).fill(rows, muted("No scenario is installed."))
        self._draw_pager()

    def _draw_pager(self) -> None:
        chosen = self.query_one(Table).current
        item = next((item for item in self.view.scenarios if item.id == chosen), None)
        pane = self.query_one("#pager", LongPane)
        pane.display = item is not None
        if item is not None:
            pane.show(
                lines(
                    [
                        rule("What the pager says"),
                        plain(item.pager),
                        "",
                        muted("A simulated cluster: nothing you do here touches anything real."),
                    ]
                ),
                top=True,
            )

    @on(Table.Moved)
    def _moved(self) -> None:
        self._draw_pager()

    @on(Table.Chosen)
    def _chosen(self) -> None:
        self.action_do("brief")

    def why_not(self, name: str) -> str:
        return "No scenario is installed." if name in {"brief", "filter"} and not self.view.scenarios else ""

    def do_brief(self) -> None:
        self.say(ask.ShowBrief(self.query_one(Table).current))


def best(item: ScenarioRow) -> Content:
    if not item.played:
        return muted("not played")
    return assemble((WORKS, "$text-success"), f" {item.best_score}") if item.best_score else plain("not solved")

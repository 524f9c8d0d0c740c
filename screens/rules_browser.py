"""The rulebook in force: every symptom and finding, where it comes from, and what is wrong with the files."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from app.model.view import RuleRow, RulesView
from screens import messages as ask
from screens.base import Page, key
from screens.widgets.pane import LongPane
from screens.widgets.table import Line, Table
from screens.widgets.text import MUTED, Column, assemble, bad, count, lines, muted, one_line, plain, warn

COLUMNS = (
    Column("rule", 34),
    Column("kind", 8),
    Column("layer", 6, from_width=100),
    Column("title", flex=2),
    Column("origin", 10, from_width=100),
)


class RulesScreen(Page):
    """List above, the chosen rule as its file has it below."""

    BINDINGS = [
        key("slash", "filter", "filter", id="page.filter", shown="/"),
        key("c", "copy", "copy", id="page.copy"),
        key("tab", "pane", "other pane", id="rules.pane"),
        key("escape", "leave", "board", id="page.back"),
    ]
    DEFAULT_CSS = """
    RulesScreen #problems { height: auto; max-height: 4; padding: 0 1; display: none; }
    RulesScreen #problems.-on { display: block; }
    RulesScreen #list { height: 1fr; min-height: 5; }
    RulesScreen #rule { height: 1fr; min-height: 5; }
    """

    def __init__(self, view: RulesView) -> None:
        super().__init__()
        self.view = view

    def body(self) -> ComposeResult:
        yield Static("", id="problems", markup=False)
        yield Table(COLUMNS, id="list")
        yield LongPane("Rule", id="rule")

    def show(self, view: RulesView) -> None:
        self.view = view
        self.redraw()

    def filtered(self) -> Table:
        return self.query_one("#list", Table)

    def head(self) -> Content:
        symptoms = sum(item.kind == "symptom" for item in self.view.rules)
        digest = f"   digest {self.view.digest[:12]}" if self.view.digest else ""
        return self.spread(
            Content("‹ board   Rules"),
            plain(f"{count(symptoms, 'symptom')}, {count(len(self.view.rules) - symptoms, 'finding')}{digest}"),
        )

    def draw(self) -> None:
        view = self.view
        box = self.query_one("#problems", Static)
        box.set_class(bool(view.problems), "-on")
        box.update(
            lines(
                [bad(one_line(text)) for text in view.problems[:3]]
                + (
                    [muted(f"and {len(view.problems) - 3} more; harborpilot rules check lists all")]
                    if len(view.problems) > 3
                    else []
                )
            )
        )
        rows = [
            Line(
                item.id,
                (item.id, item.kind, item.layer, item.title, origin(item)),
                find=f"{item.id} {item.kind} {item.title} {item.area} {item.layer} {item.origin}",
            )
            for item in view.rules
        ]
        self.query_one(Table).fill(rows, muted("No rule could be loaded."))
        self._draw_rule()

    def _draw_rule(self) -> None:
        chosen = self.query_one(Table).current
        item = next((item for item in self.view.rules if item.id == chosen), None)
        pane = self.query_one("#rule", LongPane)
        pane.display = item is not None
        if item is not None:
            pane.border_title = one_line(item.where or item.id)
            note = [warn(item.note)] if item.note else []
            pane.show(lines([*note, *[plain(line) for line in item.text.splitlines()]]), top=True)

    @on(Table.Moved)
    def _moved(self) -> None:
        self._draw_rule()

    @on(Table.Chosen)
    def _chosen(self) -> None:
        self.query_one("#rule", LongPane).focus()

    def why_not(self, name: str) -> str:
        return "No rule could be loaded." if name in {"copy", "filter"} and not self.view.rules else ""

    def do_copy(self) -> None:
        self.say(ask.CopyText(self.query_one("#rule", LongPane).text, "the rule"))

    def do_pane(self) -> None:
        rows = self.query_one(Table).rows
        (self.query_one("#rule", LongPane) if rows.has_focus and self.view.rules else rows).focus()


def origin(item: RuleRow) -> Content:
    return (
        muted(item.origin)
        if item.origin == "shipped"
        else assemble(("! ", "bold $text-warning"), item.origin, ("", MUTED))
    )

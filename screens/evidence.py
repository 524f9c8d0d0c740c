"""All evidence of an incident: what was asked of whom, when, the excerpt, what was read from it."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.content import Content

from app.model.evidence import Evidence
from app.model.view import EvidenceView
from screens import messages as ask
from screens.base import Page, key
from screens.widgets.pane import LongPane
from screens.widgets.table import Line, Table
from screens.widgets.text import (
    MUTED,
    Column,
    age,
    assemble,
    clock_time,
    count,
    fact_value,
    lines,
    muted,
    one_line,
    outcome,
    plain,
    rule,
    warn,
)

COLUMNS = (
    Column("outcome", 14),
    Column("probe", 22),
    Column("target", flex=2),
    Column("from", flex=1, from_width=100),
    Column("age", 7, right=True),
)


class EvidenceScreen(Page):
    """List above, the chosen record below."""

    BINDINGS = [
        key("x", "object", "object", id="evidence.object"),
        key("c", "copy", "copy", id="page.copy"),
        key("slash", "filter", "filter", id="page.filter", shown="/"),
        key("escape", "leave", "walk", id="page.back"),
    ]
    DEFAULT_CSS = """
    EvidenceScreen #list { height: 1fr; min-height: 5; }
    EvidenceScreen #record { height: 2fr; }
    """

    def __init__(self, view: EvidenceView) -> None:
        super().__init__()
        self.view = view

    def body(self) -> ComposeResult:
        yield Table(COLUMNS, id="list")
        yield LongPane("Record", id="record")

    def show(self, view: EvidenceView) -> None:
        self.view = view
        self.redraw()

    def filtered(self) -> Table:
        return self.query_one("#list", Table)

    def head(self) -> Content:
        view = self.view
        missing = sum(item.outcome.value != "observed" for item in view.evidence)
        right = count(len(view.evidence), "record") + (f", {missing} not observed" if missing else "")
        return self.spread(assemble("‹ walk   Evidence: ", one_line(view.title)), plain(right))

    def draw(self) -> None:
        view = self.view
        empty = (
            assemble(f"… {view.reading}")
            if view.reading
            else muted("Nothing has been read yet. esc goes back to the walk.")
        )
        rows = [
            Line(
                str(index),
                (outcome(item), item.probe, str(item.target), item.vantage, age(item.taken_at, view.now)),
                find=f"{item.probe} {item.target} {item.vantage} {item.outcome} {item.excerpt} {item.detail}",
            )
            for index, item in enumerate(view.evidence)
        ]
        self.query_one(Table).fill(rows, empty)
        self._draw_record()

    @property
    def current(self) -> Evidence | None:
        chosen = self.query_one(Table).current
        return self.view.evidence[int(chosen)] if chosen else None

    def _objection(self, item: Evidence) -> str:
        for probe, target, reason in self.view.objected:
            if probe == item.probe and target == str(item.target):
                return reason
        return ""

    def _draw_record(self) -> None:
        item = self.current
        pane = self.query_one("#record", LongPane)
        pane.display = item is not None
        if item is None:
            return
        pane.border_title = f"{item.probe}  {one_line(str(item.target))}"
        out: list[Content | str] = []
        reason = self._objection(item)
        if reason:
            out.append(warn(f"left out, you objected: {reason}"))
        out += [
            assemble(("asked   ", MUTED), item.command or item.probe),
            assemble(("from    ", MUTED), item.vantage, (f"   at {clock_time(item.taken_at)}", MUTED)),
            Content.assemble(plain("outcome ", MUTED), outcome(item), plain(f": {item.detail}" if item.detail else "")),
        ]
        if item.by_hand:
            out.append(assemble(("by hand ", MUTED), item.by_hand))
        if item.facts:
            out += ["", rule("Read from it")]
            for fact in item.facts:
                part = "   (there may be more)" if fact in item.partial else ""
                out.append(assemble(f"{fact} = {fact_value(item, fact, self.view.units)}", (part, MUTED)))
        if item.excerpt:
            out += ["", rule("Excerpt, redacted"), *[plain(line) for line in item.excerpt.splitlines()]]
        pane.show(lines(out), top=True)

    @on(Table.Moved)
    def _moved(self) -> None:
        self._draw_record()

    @on(Table.Chosen)
    def _chosen(self) -> None:
        self.query_one("#record", LongPane).focus()

    def why_not(self, name: str) -> str:
        if name in {"object", "copy", "filter"} and not self.view.evidence:
            return "There is no evidence yet."
        if name == "object" and self.current and self._objection(self.current):
            return "You have objected to this already."
        return ""

    def do_object(self) -> None:
        if self.current is not None:
            self.say(ask.ObjectTo((self.current,)))

    def do_copy(self) -> None:
        self.say(ask.CopyText(self.query_one("#record", LongPane).text, "the record"))

"""After a scenario: score, own path and shortest proof side by side, what to take away."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from app.model.view import DebriefView
from screens import messages as ask
from screens.base import Page, key
from screens.widgets.pane import LongPane
from screens.widgets.text import (
    MUTED,
    Column,
    assemble,
    bad,
    good,
    layout,
    lines,
    muted,
    one_line,
    plain,
    row,
    stopwatch,
    warn,
)

SCORE = (Column("what", 24), Column("detail", flex=1), Column("points", 7, right=True))


class DebriefScreen(Page):
    """Both paths side by side, also at 80 columns: the comparison is the point."""

    BINDINGS = [
        key("t", "scenarios", "next scenario", id="debrief.scenarios"),
        key("c", "copy", "copy", id="page.copy"),
        key("ctrl+s,f2", "save", "save", id="page.save", shown="ctrl+s"),
        key("escape", "leave", "board", id="page.back"),
    ]
    DEFAULT_CSS = """
    DebriefScreen #result { height: auto; max-height: 40%; padding: 0 1; }
    DebriefScreen Horizontal { height: 1fr; }
    DebriefScreen Pane { width: 1fr; }
    DebriefScreen #lesson { height: auto; max-height: 4; padding: 0 1; }
    """

    def __init__(self, view: DebriefView) -> None:
        super().__init__()
        self.view = view

    def body(self) -> ComposeResult:
        yield Static("", id="result", markup=False)
        with Horizontal():
            yield LongPane("Your path", id="own")
            yield LongPane("Shortest proof", id="shortest")
        yield Static("", id="lesson", markup=False)

    def head(self) -> Content:
        view = self.view
        return self.spread(
            assemble("Debrief: ", one_line(view.title)),
            plain(f"{view.score} of {view.of} points   {stopwatch(view.elapsed)} of par {stopwatch(view.par)}"),
        )

    def draw(self) -> None:
        view = self.view
        out: list[Content | str] = [
            good("Solved: the pull works again.")
            if view.solved
            else warn("Given up.")
            if view.gave_up
            else bad("Not solved.")
        ]
        out.append(assemble(("It was: ", "bold"), view.cause))
        widths = layout(SCORE, self.app.size.width - 2)
        out += [row(SCORE, widths, (what, detail, f"{points:+d}")) for what, detail, points in view.lines]
        self.query_one("#result", Static).update(lines(out))
        self.query_one("#own", LongPane).show(_numbered(view.own_path, "You took no step."))
        self.query_one("#shortest", LongPane).show(_numbered(view.shortest, "No proof is recorded."))
        self.query_one("#lesson", Static).update(assemble(("Take away: ", "bold $text-accent"), view.lesson))

    def _text(self) -> str:
        view = self.view
        out = [f"{view.title}: {view.score} of {view.of}", f"It was: {view.cause}"]
        out += [f"{points:+d} {what}: {detail}" for what, detail, points in view.lines]
        out += ["", "Your path", *view.own_path, "", "Shortest proof", *view.shortest, "", view.lesson]
        return "\n".join(out) + "\n"

    def do_scenarios(self) -> None:
        self.say(ask.ShowScenarios())

    def do_copy(self) -> None:
        self.say(ask.CopyText(self._text(), "the debrief"))

    def do_save(self) -> None:
        self.say(ask.SaveText("debrief.txt", self._text()))


def _numbered(steps: tuple[str, ...], nothing: str) -> Content:
    return lines(
        [assemble((f"{number} ", MUTED), step) for number, step in enumerate(steps, start=1)] or [muted(nothing)]
    )

"""Before a scenario starts: the story, the pager, how it is scored."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content

from app.model.view import BriefView
from screens import messages as ask
from screens.base import Page, key
from screens.widgets.pane import LongPane
from screens.widgets.text import assemble, lines, muted, one_line, plain, rule, stopwatch


class BriefScreen(Page):
    """Enter starts the clock."""

    BINDINGS = [key("enter", "start", "start", id="brief.start"), key("escape", "leave", "scenarios", id="page.back")]

    def __init__(self, view: BriefView) -> None:
        super().__init__()
        self.view = view

    def body(self) -> ComposeResult:
        yield LongPane("Brief", id="brief")

    def head(self) -> Content:
        return self.spread(
            assemble("‹ scenarios   ", one_line(self.view.title)), plain(f"par {stopwatch(self.view.par)}")
        )

    def draw(self) -> None:
        view = self.view
        out: list[Content | str] = [rule("Pager"), plain(view.pager, "bold"), "", rule("Story"), plain(view.story)]
        if view.rules:
            out += ["", rule("How it is scored"), *[plain(f"· {text}") for text in view.rules]]
        out += [
            "",
            muted(
                "The screens, rules and fixes are the real ones; the cluster is simulated. The clock starts with enter."
            ),
        ]
        self.query_one(LongPane).show(lines(out))

    def do_start(self) -> None:
        self.say(ask.StartScenario(self.view.id))

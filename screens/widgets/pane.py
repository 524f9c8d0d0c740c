"""A focusable pane of text that scrolls by keyboard and shows its focus without colour."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static


class Pane(VerticalScroll, can_focus=True):
    """Text in a frame; the frame is heavy while focused."""

    BINDINGS = [
        Binding("j", "scroll_down", "down", show=False, id="pane.down"),
        Binding("k", "scroll_up", "up", show=False, id="pane.up"),
        Binding("ctrl+d", "page_down", "page down", show=False, id="pane.page_down"),
        Binding("ctrl+u", "page_up", "page up", show=False, id="pane.page_up"),
    ]
    DEFAULT_CSS = """
    Pane { border: round $panel-lighten-2; padding: 0 1; scrollbar-size-vertical: 1; height: 1fr; }
    Pane:focus { border: heavy $primary; }
    Pane > Static { height: auto; }
    """

    def __init__(self, title: str = "", *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.border_title = title or None
        self._text = Content("")

    def compose(self) -> ComposeResult:
        yield Static(self._text, markup=False)

    def show(self, text: Content, *, top: bool = False) -> None:
        """Replace the text; `top` scrolls back to its first line."""
        self._text = text
        if self.is_mounted:
            self.query_one(Static).update(text)
            if top:
                self.scroll_home(animate=False)

    @property
    def text(self) -> str:
        """What is shown, for copying."""
        return self._text.plain


class LongPane(Pane):
    """A pane whose screen leaves g and G free for top and bottom."""

    BINDINGS = [
        Binding("g", "scroll_home", "top", show=False, id="pane.top"),
        Binding("G", "scroll_end", "bottom", show=False, id="pane.bottom"),
    ]

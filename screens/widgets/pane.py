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
    Pane { border: round $foreground 35%; padding: 0 1; scrollbar-size-vertical: 1; scrollbar-gutter: stable; height: 1fr;
        border-title-color: $foreground; }
    Pane:focus { border: heavy $primary; border-title-style: bold; }
    Pane > Static { height: auto; }
    """

    def __init__(self, title: str = "", *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.border_title = title or None
        self._text = Content("")
        self._wanted = (0, 0)
        """Lines to have in sight, also at another size."""

    def compose(self) -> ComposeResult:
        yield Static(self._text, markup=False)

    def show(self, text: Content, *, top: bool = False) -> None:
        """Replace the text; `top` scrolls back to its first line."""
        self._text = text
        self._wrap()
        if top:
            self.scroll_home(animate=False)

    def reveal(self, first: int, last: int) -> None:
        """Scroll no further than it takes to have these lines in sight, counted before wrapping; the first one if not all fit."""
        self._wanted = (first, last)
        self._reveal()

    def _reveal(self) -> None:
        first, last = self._wanted
        region = self.scrollable_content_region
        heights = [
            hanging(line, region.width).plain.count("\n") + 1 for line in self._text.split("\n", allow_blank=True)
        ]
        start, end = sum(heights[:first]), sum(heights[:last])
        self.scroll_to(y=min(start, max(0, end - region.height)), animate=False)

    def on_resize(self) -> None:
        self._wrap()
        if self._wanted != (0, 0):
            self.call_after_refresh(self._reveal)

    def _wrap(self) -> None:
        for body in self.query(Static):
            body.update(hanging(self._text, self.scrollable_content_region.width))

    @property
    def text(self) -> str:
        """What is shown, for copying."""
        return self._text.plain


def hanging(text: Content, width: int) -> Content:
    """Lines that are too long go on below their own beginning, two cells further in, so that lists stay readable."""
    if width < 20:
        return text
    out: list[Content] = []
    for line in text.split("\n", allow_blank=True):
        if line.cell_length <= width:
            out.append(line)
            continue
        indent = min(len(line.plain) - len(line.plain.lstrip(" ")) + 2, width // 2)
        first, *_ = line.wrap(width)
        rest = line[len(first.plain) :]
        while rest.plain[:1] == " ":
            rest = rest[1:]
        out.append(first)
        out += [Content(" " * indent) + part for part in rest.wrap(width - indent)] if rest.plain else []
    return Content("\n").join(out)


class LongPane(Pane):
    """A pane whose screen leaves g and G free for top and bottom."""

    BINDINGS = [
        Binding("g", "scroll_home", "top", show=False, id="pane.top"),
        Binding("G", "scroll_end", "bottom", show=False, id="pane.bottom"),
    ]

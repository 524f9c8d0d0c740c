"""A list with columns: cursor sign, vim keys, and widths that follow the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from screens.widgets.text import CURSOR, MUTED, Column, layout, row


@dataclass(frozen=True, slots=True)
class Line:
    """One row: its id and a cell for each column."""

    id: str
    cells: tuple[Content | str, ...]
    find: str = ""
    """Text that a filter looks at; empty: the cells."""

    def matches(self, words: str) -> bool:
        text = self.find or " ".join(cell.plain if isinstance(cell, Content) else cell for cell in self.cells)
        return all(word in text.lower() for word in words.lower().split())


class Rows(OptionList):
    """The body of a table."""

    BINDINGS = [
        Binding("j", "cursor_down", "down", show=False, id="list.down"),
        Binding("k", "cursor_up", "up", show=False, id="list.up"),
        Binding("ctrl+d", "page_down", "page down", show=False, id="list.page_down"),
        Binding("ctrl+u", "page_up", "page up", show=False, id="list.page_up"),
    ]
    DEFAULT_CSS = """
    Rows { border: none; padding: 0; background: $background; height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    Rows:focus { border: none; background: $background; background-tint: $background 0%; }
    Rows > .option-list--option { padding: 0; }
    Rows > .option-list--option-highlighted { color: $foreground; background: $boost; text-style: none; }
    Rows:focus > .option-list--option-highlighted { color: $foreground; background: $primary 35%; text-style: bold; }
    """


class LongRows(Rows):
    """Rows of a screen that leaves g and G free for top and bottom."""

    BINDINGS = [
        Binding("g", "first", "top", show=False, id="list.top"),
        Binding("G", "last", "bottom", show=False, id="list.bottom"),
    ]


class Table(Vertical):
    """Header line and rows. Posts `Chosen` on enter or click and `Moved` when the cursor moves."""

    DEFAULT_CSS = """
    Table { height: 1fr; }
    Table > .table-head { height: 1; color: $text-muted; }
    Table > .table-empty { padding: 1 2; display: none; }
    Table.-empty > .table-empty { display: block; }
    Table.-empty > Rows { display: none; }
    """

    class _About(Message):
        """About one row. `Chosen` and `Moved` are siblings: a handler of one must not run for the other."""

        def __init__(self, table: Table, row: str) -> None:
            super().__init__()
            self.table = table
            self.row = row

        @property
        def control(self) -> Table:
            return self.table

    class Chosen(_About):
        """A row was chosen."""

    class Moved(_About):
        """The cursor stands on another row."""

    def __init__(self, columns: Sequence[Column], *, id: str, head: bool = True, ends: bool = True) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.columns = tuple(columns)
        self.lines: tuple[Line, ...] = ()
        self.words = ""
        self._head = head
        self._ends = ends
        self._at: int | None = None
        self._shown: tuple[Line, ...] = ()
        self._empty: Content = Content("")
        self._width = 0

    def compose(self) -> ComposeResult:
        head = Static("", classes="table-head", markup=False)
        head.display = self._head
        yield head
        yield (LongRows if self._ends else Rows)(markup=False)
        yield Static("", classes="table-empty", markup=False)

    @property
    def rows(self) -> Rows:
        return self.query_one(Rows)

    @property
    def current(self) -> str:
        """Id of the row under the cursor; empty when there is none."""
        if not self._shown:
            return ""
        index = self.rows.highlighted
        return self._shown[index].id if index is not None and index < len(self._shown) else ""

    @property
    def shown(self) -> int:
        return len(self._shown)

    def fill(self, lines: Sequence[Line], empty: Content | str = "") -> None:
        """New rows; the cursor stays on the row it was on. `empty` is drawn when there are none."""
        self.lines = tuple(lines)
        self._empty = empty if isinstance(empty, Content) else Content(empty)
        if self.query(Rows):
            self._draw()

    def filter(self, words: str) -> None:
        """Show only rows that hold every word."""
        self.words = words
        self._draw()

    def select(self, row_id: str) -> None:
        """Put the cursor on a row."""
        for index, line in enumerate(self._shown):
            if line.id == row_id:
                self.rows.highlighted = index

    def on_mount(self) -> None:
        if not self._shown:
            self._draw()

    def on_resize(self, event: Resize) -> None:
        if event.size.width != self._width:
            self._draw()

    def _draw(self) -> None:
        before = self.current
        self._width = self.size.width or self.app.size.width
        self._shown = tuple(line for line in self.lines if not self.words or line.matches(self.words))
        self.set_class(not self._shown, "-empty")
        nothing = Content(f"Nothing here matches “{self.words}”. esc shows all again.") if self.lines else self._empty
        self.query_one(".table-empty", Static).update(nothing)
        self._widths = layout(self.columns, self._width - 3)
        head = row(self.columns, self._widths, [column.title for column in self.columns])
        self.query_one(".table-head", Static).update(Content.assemble("  ", head).stylize(MUTED))
        index = next((i for i, line in enumerate(self._shown) if line.id == before), 0 if self._shown else None)
        rows = self.rows
        rows.set_options([Option(self._prompt(i, i == index)) for i in range(len(self._shown))])
        rows.highlighted = index
        self._at = index

    def _prompt(self, index: int, here: bool) -> Content:
        mark = Content(f"{CURSOR} " if here else "  ")
        return mark + row(self.columns, self._widths, self._shown[index].cells)

    @on(OptionList.OptionHighlighted)
    def _moved(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        before, self._at = self._at, event.option_index
        for index in {before, self._at}:
            if index is not None and index < len(self._shown):
                self.rows.replace_option_prompt_at_index(index, self._prompt(index, index == self._at))
        if self.current:
            self.post_message(self.Moved(self, self.current))

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_index < len(self._shown):
            self.post_message(self.Chosen(self, self._shown[event.option_index].id))

"""What every screen and dialog shares: keys that can say why they do not work, a title line, the footer, a filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Input, Static

from screens.widgets.keybar import KeyBar
from screens.widgets.pane import Pane
from screens.widgets.table import Table
from screens.widgets.text import clean

T = TypeVar("T")
PLAIN_NAMES = {"enter": "enter", "escape": "esc", "space": "space", "tab": "tab"}
"""Keys that are written out in the footer; Textual would draw signs that not every font has."""


def key(keys: str, name: str, text: str, *, id: str, show: bool = True, shown: str | None = None) -> Binding:  # noqa: A002 - Textual's name
    """A key of a screen: it runs `do_<name>` unless `why_not(name)` gives a reason."""
    return Binding(keys, f"do('{name}')", text, show=show, key_display=shown or PLAIN_NAMES.get(keys), id=id)


class Keyed(Screen[T], Generic[T]):
    """A screen whose keys can say why they do not work now."""

    key_order: ClassVar[list[Binding]] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own: list[BindingType] = cls.__dict__.get("BINDINGS", [])
        first = [item for item in own if isinstance(item, Binding)]
        named = {item.action for item in first}
        cls.key_order = [*first, *(item for item in cls.key_order if item.action not in named)]

    def why_not(self, name: str) -> str:
        """Why a key does not work now, in words; empty when it does."""
        return ""

    def why_not_action(self, action: str) -> str:
        """The same for an action string such as `do('fixes')`, or `app.help`, which always works."""
        name = action.removeprefix("do('").removesuffix("')") if action.startswith("do('") else ""
        return self.why_not(name) if name else ""

    def action_do(self, name: str) -> None:
        """Run a key, or say why it does not work."""
        reason = self.why_not(name)
        if reason:
            self.app.notify(reason, title="Not now", severity="warning", markup=False)
            return
        head, _, argument = name.partition("-")
        run: Callable[..., None] | None = getattr(self, f"do_{name}", None)
        if run is not None:
            run()
        else:
            getattr(self, f"do_{head}")(argument)

    def shown_key(self, binding: Binding) -> str:
        """How a key is written in the footer; empty: by its name."""
        return binding.key_display or ""

    def keys_changed(self) -> None:
        """Draw the footer again, after the state has changed."""
        if self.is_mounted:
            for bar in self.query(KeyBar):
                bar.refresh_keys()

    def say(self, message: Message) -> None:
        """Post to the application, which owns the desk."""
        self.app.post_message(message)

    def do_help(self) -> None:
        self.app.run_worker(self.app.run_action("help"), exit_on_error=False)


class Page(Keyed[None]):
    """A full screen. Subclasses write `body`, `head` and `draw`."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (160, "-very-wide")]
    BINDINGS = [
        Binding("question_mark,f1", "app.help", "help", key_display="?", id="app.help"),
        key("escape", "leave", "back", id="page.back"),
        Binding("ctrl+q,f10", "app.quit", "quit", key_display="ctrl+q", show=False, id="app.quit"),
    ]
    DEFAULT_CSS = """
    Page { background: $background; }
    Page > #head { dock: top; height: 1; padding: 0 1; background: $panel; color: $foreground; text-style: bold; }
    Page > #filter { display: none; height: 1; border: none; padding: 0 1; }
    Page.-filtering > #filter { display: block; }
    """
    SUB_TITLE = ""

    def compose(self) -> ComposeResult:
        yield Static(self.head(), id="head", markup=False)
        yield from self.body()
        box = Input(placeholder="filter: words that must all be there, enter keeps, esc clears", id="filter")
        box.cursor_blink = False
        box.disabled = True
        yield box
        yield KeyBar()

    def body(self) -> ComposeResult:
        """The widgets between the title line and the footer."""
        yield from ()

    def head(self) -> Content:
        """The title line."""
        return Content("")

    def draw(self) -> None:
        """Fill the widgets from the state."""

    AUTO_FOCUS = ""

    def on_mount(self) -> None:
        self.redraw()
        self.call_after_refresh(self._focus_first)

    def _focus_first(self) -> None:
        if self.is_attached and self.focused is None:
            widget = self.first_focus()
            if widget is not None:
                widget.focus()

    def first_focus(self) -> Widget | None:
        """Where the keys go first: the list when there is one, else the text."""
        tables = self.query(Table)
        if tables and tables.first().shown:
            return tables.first().rows
        return next((pane for pane in self.query(Pane) if pane.display), None)

    def on_resize(self) -> None:
        self.redraw()

    def redraw(self) -> None:
        """Draw the whole state."""
        if self.is_mounted and self.query("#head"):
            head = self.head()
            self.query_one("#head", Static).update(head)
            self.draw()
            self.keys_changed()

    def spread(self, left: Content, right: Content) -> Content:
        """A title line with something at its right end; the right end gives way on a narrow screen."""
        width = self.app.size.width - 2
        gap = width - left.cell_length - right.cell_length
        if gap < 2:
            return left.truncate(width, ellipsis=True)
        return Content.assemble(left, " " * gap, right)

    def do_leave(self) -> None:
        if self.has_class("-filtering") or self.filter_words:
            self._end_filter(clear=True)
        else:
            self.leave()

    def leave(self) -> None:
        """Escape: back to the screen below."""
        self.app.pop_screen()

    # --- filter ---

    filter_words: str = ""

    def filtered(self) -> Table | None:
        """The table that `/` filters; None: this screen has no filter."""
        return None

    def do_filter(self) -> None:
        box = self.query_one("#filter", Input)
        box.disabled = False
        self.add_class("-filtering")
        box.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        table = self.filtered()
        if event.input.id == "filter" and table is not None:
            self.filter_words = event.value
            table.filter(clean(event.value))
            self.redraw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "filter":
            self._end_filter(clear=False)

    def _end_filter(self, *, clear: bool) -> None:
        box = self.query_one("#filter", Input)
        table = self.filtered()
        if clear:
            box.value = ""
            self.filter_words = ""
            if table is not None:
                table.filter("")
        self.remove_class("-filtering")
        box.disabled = True
        if table is not None:
            table.rows.focus()
        self.redraw()


class Dialog(Keyed[T], ModalScreen[T]):
    """A dialog: title, body, footer of its own. Escape answers with `nothing`."""

    BINDINGS = [key("escape", "cancel", "cancel", id="dialog.cancel")]
    DEFAULT_CSS = """
    Dialog { align: center middle; background: $background 60%; }
    Dialog > #dialog { width: 76; max-width: 100%; height: auto; max-height: 100%; overflow-y: auto;
        border: heavy $primary; background: $surface; padding: 0 1; }
    Dialog.-danger > #dialog { border: heavy $error; }
    Dialog #body { height: auto; max-height: 14; padding: 1 1 0 1; }
    Dialog #body Static { height: auto; }
    Dialog KeyBar { dock: none; background: $surface; margin-top: 1; }
    Dialog Input { margin-top: 1; height: 1; border: none; border-left: thick $panel-lighten-3; background: $panel; }
    Dialog Input:focus { border: none; border-left: thick $primary; background: $panel; }
    Dialog TextArea { height: 7; margin-top: 1; border: none; border-left: thick $panel-lighten-3; background: $panel; }
    Dialog TextArea:focus { border: none; border-left: thick $primary; background: $panel; }
    Dialog OptionList { border: none; border-left: thick $panel-lighten-3; background: $panel; }
    Dialog OptionList:focus { border: none; border-left: thick $primary; background: $panel; }
    Dialog .buttons { height: auto; align-horizontal: right; margin-top: 1; }
    Dialog .buttons Button { margin-left: 2; min-width: 14; }
    Dialog Button:focus { text-style: bold reverse; }
    """
    title_text = ""
    nothing: T | None = None

    def compose(self) -> ComposeResult:
        box = Vertical(id="dialog")
        box.border_title = self.title_text
        with box:
            yield from self.body()
            yield KeyBar()

    def body(self) -> ComposeResult:
        yield from ()

    def do_cancel(self) -> None:
        self.dismiss(self.nothing)

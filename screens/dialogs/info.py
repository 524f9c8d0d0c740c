"""A short text to read and close."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Static

from screens.base import Dialog, key


class InfoDialog(Dialog[None]):
    """Title and text; c copies it."""

    BINDINGS = [key("c", "copy", "copy", id="page.copy"), key("escape", "cancel", "close", id="dialog.cancel")]

    def __init__(self, title: str, text: Content) -> None:
        super().__init__()
        self.title_text = title
        self.text = text

    def body(self) -> ComposeResult:
        with VerticalScroll(id="body"):
            yield Static(self.text, markup=False)
        with Horizontal(classes="buttons"):
            yield Button("Close", id="no", compact=True)

    def on_mount(self) -> None:
        self.query_one(Button).focus()

    @on(Button.Pressed)
    def _pressed(self) -> None:
        self.dismiss(None)

    def do_copy(self) -> None:
        self.app.copy_to_clipboard(self.text.plain)
        self.app.notify("Copied.", markup=False)

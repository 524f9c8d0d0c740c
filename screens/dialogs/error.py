"""Something of our own went wrong: what happened, and what to do next."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Static

from app.errors import HarborPilotError
from screens.base import Dialog, key
from screens.widgets.text import assemble, bad, lines, muted, plain


class ErrorDialog(Dialog[None]):
    """Title, what, next step; c copies it."""

    BINDINGS = [key("c", "copy", "copy", id="page.copy"), key("escape", "cancel", "close", id="dialog.cancel")]

    def __init__(self, title: str, what: str, next_step: str = "") -> None:
        super().__init__()
        self.title_text = title
        self.what = what
        self.next_step = next_step
        self.add_class("-danger")

    @classmethod
    def of(cls, error: BaseException) -> ErrorDialog:
        """From an exception; one that is not ours is a defect and says so."""
        if isinstance(error, HarborPilotError):
            return cls(error.title, error.what, error.next_step)
        return cls(
            "Harbor Pilot has a defect",
            f"{type(error).__name__}: {error}",
            "Nothing was changed by this. The session is kept up to here; please report it with the session exported (sessions, ctrl+s).",
        )

    def body(self) -> ComposeResult:
        out: list[Content | str] = [bad(self.what), ""]
        out.append(
            assemble(("Next: ", "bold"), self.next_step) if self.next_step else muted("There is no known next step.")
        )
        with VerticalScroll(id="body", can_focus=False):
            yield Static(lines(out), markup=False)
        with Horizontal(classes="buttons"):
            yield Button("Close", id="no", compact=True)

    def on_mount(self) -> None:
        self.query_one(Button).focus()

    @on(Button.Pressed)
    def _pressed(self) -> None:
        self.dismiss(None)

    def do_copy(self) -> None:
        self.app.copy_to_clipboard(plain(f"{self.title_text}\n{self.what}\n{self.next_step}").plain)
        self.app.notify("Copied the error.", markup=False)

"""Unlock a context for this session by typing its name."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Button, Input, Static

from screens.base import Dialog, key
from screens.widgets.text import assemble, lines, plain


class UnlockDialog(Dialog[str | None]):
    """Answers with the name typed; nothing is changed by unlocking alone."""

    BINDINGS = [key("escape", "cancel", "cancel", id="dialog.cancel")]
    title_text = "Unlock for changes"

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name_wanted = name
        self.add_class("-danger")

    def body(self) -> ComposeResult:
        yield Static(
            lines(
                [
                    assemble((self.name_wanted, "bold"), " is read-only. Unlocking lasts until you quit."),
                    plain("It changes nothing by itself: each plan is still confirmed on its own."),
                    "",
                    assemble("Type ", (self.name_wanted, "bold"), " to unlock it:"),
                ]
            ),
            id="body",
            markup=False,
        )
        box = Input(placeholder=self.name_wanted, id="name")
        box.cursor_blink = False
        yield box
        with Horizontal(classes="buttons"):
            yield Button("Cancel", id="no", compact=True)
            yield Button("Unlock", id="yes", variant="error", disabled=True, compact=True)

    def on_mount(self) -> None:
        # Typing the name is the safeguard here, so the cursor stands in the box; an empty box unlocks nothing.
        self.query_one(Input).focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self.query_one("#yes", Button).disabled = event.value != self.name_wanted

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        if event.value == self.name_wanted:
            self.dismiss(event.value)
        else:
            self.app.notify(
                f"That is not {self.name_wanted}.", title="Still read-only", severity="warning", markup=False
            )

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(self.query_one(Input).value if event.button.id == "yes" else None)

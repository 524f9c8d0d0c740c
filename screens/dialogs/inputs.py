"""What a fix needs from the operator before it can be planned; secrets are typed unseen and kept in memory only."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, Input, Static, TextArea

from screens.base import Dialog, key
from screens.widgets.pane import hanging
from screens.widgets.text import MUTED, assemble, plain

BODY_WIDTH = 68


class InputsDialog(Dialog[dict[str, str] | None]):
    """One field for each need: (key, question, secret). Answers the texts by key, or None when cancelled."""

    BINDINGS = [
        key("enter,ctrl+s,f2", "take", "plan the fix", id="inputs.take", shown="enter"),
        key("escape", "cancel", "cancel", id="dialog.cancel"),
    ]
    nothing = None

    def __init__(self, needs: Sequence[tuple[str, str, bool]]) -> None:
        super().__init__()
        self.title_text = "The fix needs something from you"
        self.needs = tuple(needs)

    def body(self) -> ComposeResult:
        with VerticalScroll(id="body", can_focus=False):
            for number, (name, question, secret) in enumerate(self.needs):
                yield Static(hanging(plain(question), BODY_WIDTH), markup=False)
                if _is_long(name):
                    area = TextArea(id=f"need-{number}")
                    area.cursor_blink = False
                    area.styles.height = 6
                    yield area
                else:
                    box = Input(id=f"need-{number}", password=secret)
                    box.cursor_blink = False
                    yield box
        yield Static(assemble(("kept in memory only, never written or logged", MUTED)), markup=False)
        with Horizontal(classes="buttons"):
            yield Button("Cancel", id="no", compact=True)
            yield Button("Plan the fix", id="yes", variant="primary", compact=True)

    def on_mount(self) -> None:
        self.query_one("#need-0").focus()

    def _values(self) -> dict[str, str]:
        found = {}
        for number, (name, _, _) in enumerate(self.needs):
            field = self.query_one(f"#need-{number}")
            found[name] = (
                field.text if isinstance(field, TextArea) else field.value.strip() if isinstance(field, Input) else ""
            )
        return found

    def why_not(self, name: str) -> str:
        if name == "take" and self.is_mounted and not all(value.strip() for value in self._values().values()):
            return "A field is empty: the fix cannot be planned without it."
        return ""

    @on(Input.Changed)
    @on(TextArea.Changed)
    def _changed(self) -> None:
        self.keys_changed()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        # The field after the last one is the button Cancel: enter there must not throw away what was typed.
        if event.input.id == f"need-{len(self.needs) - 1}":
            self.action_do("take")
        else:
            self.focus_next()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_do("take")
        else:
            self.dismiss(None)

    def do_take(self) -> None:
        self.dismiss(self._values())


def _is_long(name: str) -> bool:
    """A certificate or a manifest is pasted with its lines."""
    return name in ("ca", "intermediate", "client-cert", "client-key", "manifest")

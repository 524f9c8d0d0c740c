"""What a fix needs from the operator before it can be planned; secrets are typed unseen and kept in memory only."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Input, Static, TextArea

from screens.base import key
from screens.dialogs.form import FormDialog, line_box, text_box
from screens.widgets.pane import hanging
from screens.widgets.text import MUTED, assemble, plain

BODY_WIDTH = 68


class InputsDialog(FormDialog[dict[str, str]]):
    """One field for each need: (key, question, secret). Answers the texts by key, or None when cancelled."""

    BINDINGS = [
        key("enter,ctrl+s,f2", "take", "plan the fix", id="inputs.take", shown="enter"),
        key("escape", "cancel", "cancel", id="dialog.cancel"),
    ]
    yes_text = "Plan the fix"

    def __init__(self, needs: Sequence[tuple[str, str, bool]]) -> None:
        super().__init__()
        self.title_text = "The fix needs something from you"
        self.needs = tuple(needs)

    def fields(self) -> ComposeResult:
        with VerticalScroll(id="body", can_focus=False):
            for number, (name, question, secret) in enumerate(self.needs):
                yield Static(hanging(plain(question), BODY_WIDTH), markup=False)
                if _is_long(name):
                    area = text_box(f"need-{number}")
                    area.styles.height = 6
                    yield area
                else:
                    yield line_box("", f"need-{number}", password=secret)
        yield Static(assemble(("kept in memory only, never written or logged", MUTED)), markup=False)

    def on_mount(self) -> None:
        self.query_one("#need-0").focus()

    def answer(self) -> dict[str, str]:
        found = {}
        for number, (name, _, _) in enumerate(self.needs):
            field = self.query_one(f"#need-{number}")
            found[name] = (
                field.text if isinstance(field, TextArea) else field.value.strip() if isinstance(field, Input) else ""
            )
        return found

    def lacks(self) -> str:
        whole = all(value.strip() for value in self.answer().values())
        return "" if whole else "A field is empty: the fix cannot be planned without it."

    def entered(self, field: Input) -> None:
        # The field after the last one is the button Cancel: enter there must not throw away what was typed.
        if field.id == f"need-{len(self.needs) - 1}":
            self.action_do("take")
        else:
            self.focus_next()


def _is_long(name: str) -> bool:
    """A certificate or a manifest is pasted with its lines."""
    return name in ("ca", "intermediate", "client-cert", "client-key", "manifest")

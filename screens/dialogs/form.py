"""Dialogs with fields: the fields above, cancel and one button that takes them below."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.suggester import Suggester
from textual.widgets import Button, Input, TextArea
from textual.widgets.button import ButtonVariant

from screens.base import Dialog

T = TypeVar("T")


class FormDialog(Dialog[T | None], Generic[T]):
    """Answers with what stands in the fields, or None when cancelled. The binding of the button is `take`."""

    yes_text = ""
    yes_variant: ClassVar[ButtonVariant] = "primary"

    def fields(self) -> ComposeResult:
        """Everything above the buttons."""
        yield from ()

    def lacks(self) -> str:
        """What is still needed before it can be taken; empty when nothing is."""
        return ""

    def answer(self) -> T | None:
        """What the fields say; None where they say nothing yet, and the dialog stays."""
        raise NotImplementedError

    def body(self) -> ComposeResult:
        yield from self.fields()
        with Horizontal(classes="buttons"):
            yield Button("Cancel", id="no", compact=True)
            yield Button(self.yes_text, id="yes", variant=self.yes_variant, compact=True)

    def why_not(self, name: str) -> str:
        return self.lacks() if name == "take" and self.is_mounted else ""

    @on(Input.Changed)
    @on(TextArea.Changed)
    def _changed(self) -> None:
        self.keys_changed()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        self.entered(event.input)

    def entered(self, field: Input) -> None:
        """Enter in a field takes the form; one with several fields may go on to the next."""
        del field
        self.action_do("take")

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_do("take")
        else:
            self.dismiss(None)

    def do_take(self) -> None:
        found = self.answer()
        if found is not None:
            self.dismiss(found)


def text_box(id: str) -> TextArea:  # noqa: A002 - Textual's name
    """A field of several lines; tab leaves it."""
    box = TextArea(id=id, soft_wrap=True, tab_behavior="focus")
    box.cursor_blink = False
    return box


def line_box(placeholder: str, id: str, *, password: bool = False, suggester: Suggester | None = None) -> Input:  # noqa: A002 - Textual's name
    """A field of one line."""
    box = Input(placeholder=placeholder, id=id, password=password, suggester=suggester)
    box.cursor_blink = False
    return box

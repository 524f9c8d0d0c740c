"""Dialogs that take a text: paste, supply by hand, describe a push, open a bundle, object to evidence."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.suggester import Suggester
from textual.widgets import Button, Input, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from app.model.evidence import Evidence
from app.model.view import UnknownRow
from screens.base import Dialog, key
from screens.widgets.text import MUTED, assemble, lines, muted, one_line, outcome, plain, short_target


def _area(id: str) -> TextArea:  # noqa: A002 - Textual's name
    box = TextArea(id=id, soft_wrap=True, tab_behavior="focus")
    box.cursor_blink = False
    return box


def _input(placeholder: str, id: str) -> Input:  # noqa: A002 - Textual's name
    box = Input(placeholder=placeholder, id=id)
    box.cursor_blink = False
    return box


class PasteDialog(Dialog[str | None]):
    """An error text: one line or a whole log. ctrl+s takes it."""

    BINDINGS = [
        key("ctrl+s,f2", "take", "judge it", id="paste.take", shown="ctrl+s"),
        key("escape", "cancel", "cancel", id="dialog.cancel"),
    ]
    title_text = "Paste an error"
    yes_text = "Judge it"
    intro = "From kubectl describe, docker, crictl, a CI log: one line is enough, more is better. Passwords and tokens are masked."

    def __init__(self, given: str = "") -> None:
        super().__init__()
        self.given = given

    def body(self) -> ComposeResult:
        yield Static(lines(self.explain()), id="body", markup=False)
        yield _area("text")
        with Horizontal(classes="buttons"):
            yield Button("Cancel", id="no", compact=True)
            yield Button(self.yes_text, id="yes", variant="primary", compact=True)

    def explain(self) -> list[Content | str]:
        return [plain(self.intro)]

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.text = self.given
        area.focus()

    def why_not(self, name: str) -> str:
        if name == "take" and self.is_mounted and not self.query_one(TextArea).text.strip():
            return "The box is empty."
        return ""

    @on(TextArea.Changed)
    def _changed(self) -> None:
        self.keys_changed()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_do("take")
        else:
            self.dismiss(None)

    def do_take(self) -> None:
        self.dismiss(self.query_one(TextArea).text)


class SupplyDialog(PasteDialog):
    """The output of a command that the operator ran where we could not."""

    BINDINGS = [
        key("ctrl+s,f2", "take", "read it", id="paste.take", shown="ctrl+s"),
        key("ctrl+y,f3", "copy", "copy the command", id="supply.copy", shown="ctrl+y"),
        key("escape", "cancel", "cancel", id="dialog.cancel"),
    ]
    title_text = "Supply by hand"
    yes_text = "Read it"

    def __init__(self, row: UnknownRow) -> None:
        super().__init__()
        self.row = row

    def explain(self) -> list[Content | str]:
        row = self.row
        out: list[Content | str] = [plain(one_line(row.text), "bold")]
        if row.costs:
            out.append(assemble(("costs: ", MUTED), row.costs))
        if row.by_hand:
            out += ["", assemble("Run: ", (row.by_hand, "bold"))]
        if row.targets:
            out.append(assemble(("on ", MUTED), one_line(", ".join(row.targets[:3]))))
        return [*out, muted("Paste its whole output below; it is read as if we had run it, and marked as yours.")]

    def why_not(self, name: str) -> str:
        if name == "copy" and not self.row.by_hand:
            return "There is no command for this."
        return super().why_not(name)

    def do_copy(self) -> None:
        self.app.copy_to_clipboard(self.row.by_hand)
        self.app.notify("Copied the command.", markup=False)


class NewPushDialog(Dialog[tuple[str, str, str] | None]):
    """Image, where it runs, and what it printed. Answers (image, where, text)."""

    BINDINGS = [
        key("ctrl+s,f2", "take", "open it", id="push.take", shown="ctrl+s"),
        key("escape", "cancel", "cancel", id="dialog.cancel"),
    ]
    DEFAULT_CSS = "NewPushDialog Static { margin-top: 1; } NewPushDialog Input, NewPushDialog TextArea { margin-top: 0; } NewPushDialog KeyBar { margin-top: 1; }"
    title_text = "Describe a failing push or pull"

    def body(self) -> ComposeResult:
        yield Static(muted("Image, as the command names it:"), markup=False)
        yield _input("harbor.corp.example/team/app:1.2", "image")
        yield Static(muted("Where it runs: an SSH host, a CI runner, this machine (empty):"), markup=False)
        yield _input("ci-runner-3", "where")
        yield Static(muted("What it printed:"), markup=False)
        yield _area("text")
        with Horizontal(classes="buttons"):
            yield Button("Cancel", id="no", compact=True)
            yield Button("Open it", id="yes", variant="primary", compact=True)

    def on_mount(self) -> None:
        self.query_one("#image", Input).focus()

    def _values(self) -> tuple[str, str, str]:
        return (
            self.query_one("#image", Input).value.strip(),
            self.query_one("#where", Input).value.strip(),
            self.query_one(TextArea).text,
        )

    def why_not(self, name: str) -> str:
        if name == "take" and self.is_mounted and not (self._values()[0] or self._values()[2].strip()):
            return "An image or an error text is needed."
        return ""

    @on(TextArea.Changed)
    @on(Input.Changed)
    def _changed(self) -> None:
        self.keys_changed()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.focus_next()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_do("take")
        else:
            self.dismiss(None)

    def do_take(self) -> None:
        self.dismiss(self._values())


class OpenBundleDialog(Dialog[str | None]):
    """A folder or a .tar.gz. Answers with the path."""

    BINDINGS = [key("enter", "take", "open", id="bundle.take"), key("escape", "cancel", "cancel", id="dialog.cancel")]
    title_text = "Open an evidence bundle"

    def __init__(self, suggester: Suggester | None = None) -> None:
        super().__init__()
        self.suggester = suggester

    def body(self) -> ComposeResult:
        yield Static(
            lines(
                [
                    plain("A folder, or a .tar.gz, as `harborpilot collect` writes it or put together by hand:"),
                    muted("texts as *.txt, kube objects as JSON, files of a node under nodes/<node>/…"),
                ]
            ),
            id="body",
            markup=False,
        )
        box = Input(placeholder="~/incident-42", id="path", suggester=self.suggester)
        box.cursor_blink = False
        yield box
        with Horizontal(classes="buttons"):
            yield Button("Cancel", id="no", compact=True)
            yield Button("Open", id="yes", variant="primary", compact=True)

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def why_not(self, name: str) -> str:
        if name == "take" and self.is_mounted and not self.query_one(Input).value.strip():
            return "Type the path of a folder or a .tar.gz."
        return ""

    @on(Input.Changed)
    def _changed(self) -> None:
        self.keys_changed()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_do("take")

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_do("take")
        else:
            self.dismiss(None)

    def do_take(self) -> None:
        self.dismiss(self.query_one(Input).value.strip())


class ObjectDialog(Dialog[tuple[Evidence, str] | None]):
    """Which evidence is not accepted, and why. Answers (evidence, reason)."""

    BINDINGS = [
        key("ctrl+s,f2", "take", "leave it out", id="object.take", shown="ctrl+s"),
        key("escape", "cancel", "cancel", id="dialog.cancel"),
    ]
    DEFAULT_CSS = "ObjectDialog OptionList { height: auto; max-height: 8; }"
    title_text = "Object to evidence"

    def __init__(self, evidence: tuple[Evidence, ...]) -> None:
        super().__init__()
        self.evidence = evidence

    def body(self) -> ComposeResult:
        yield Static(
            plain("It is left out of every judgement from here on; your reason goes into the session and the report."),
            id="body",
            markup=False,
        )
        yield OptionList(*[Option(_evidence_line(item)) for item in self.evidence], markup=False)
        yield _input("reason: why it cannot be trusted", "reason")
        with Horizontal(classes="buttons"):
            yield Button("Cancel", id="no", compact=True)
            yield Button("Leave it out", id="yes", variant="warning", compact=True)

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = len(self.evidence) - 1 if self.evidence else None
        (self.query_one(OptionList) if len(self.evidence) > 1 else self.query_one(Input)).focus()

    def why_not(self, name: str) -> str:
        if name == "take" and self.is_mounted and not self.query_one(Input).value.strip():
            return "A reason is needed: whoever reads the report will ask."
        return ""

    @on(Input.Changed)
    def _changed(self) -> None:
        self.keys_changed()

    @on(OptionList.OptionSelected)
    def _selected(self) -> None:
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_do("take")

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_do("take")
        else:
            self.dismiss(None)

    def do_take(self) -> None:
        index = self.query_one(OptionList).highlighted
        if index is not None:
            self.dismiss((self.evidence[index], self.query_one(Input).value.strip()))


def _evidence_line(item: Evidence) -> Content:
    target = short_target(item.target)
    seen_from = "" if item.vantage in str(item.target).split() else f"  from {item.vantage}"
    return Content.assemble(outcome(item), plain(f"  {item.probe}  {one_line(target)}"), muted(seen_from))

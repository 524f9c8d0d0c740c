"""Dialogs that take a text: paste, supply by hand, describe a push, open a bundle, object to evidence."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.suggester import Suggester
from textual.widgets import Input, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from app.model.evidence import Evidence
from app.model.view import UnknownRow
from screens.base import key
from screens.dialogs.form import FormDialog, line_box, text_box
from screens.widgets.text import MUTED, assemble, lines, muted, one_line, outcome, plain, short_target


class PasteDialog(FormDialog[str]):
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

    def fields(self) -> ComposeResult:
        yield Static(lines(self.explain()), id="body", markup=False)
        yield text_box("text")

    def explain(self) -> list[Content | str]:
        return [plain(self.intro)]

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.text = self.given
        area.focus()

    def lacks(self) -> str:
        return "" if self.query_one(TextArea).text.strip() else "The box is empty."

    def answer(self) -> str:
        return self.query_one(TextArea).text


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


class NewPushDialog(FormDialog[tuple[str, str, str]]):
    """Image, where it runs, and what it printed. Answers (image, where, text)."""

    BINDINGS = [
        key("ctrl+s,f2", "take", "open it", id="push.take", shown="ctrl+s"),
        key("escape", "cancel", "cancel", id="dialog.cancel"),
    ]
    DEFAULT_CSS = "NewPushDialog Static { margin-top: 1; } NewPushDialog Input, NewPushDialog TextArea { margin-top: 0; } NewPushDialog KeyBar { margin-top: 1; }"
    title_text = "Describe a failing push or pull"
    yes_text = "Open it"

    def fields(self) -> ComposeResult:
        yield Static(muted("Image, as the command names it:"), markup=False)
        yield line_box("harbor.corp.example/team/app:1.2", "image")
        yield Static(muted("Where it runs: an SSH host, a CI runner, this machine (empty):"), markup=False)
        yield line_box("ci-runner-3", "where")
        yield Static(muted("What it printed:"), markup=False)
        yield text_box("text")

    def on_mount(self) -> None:
        self.query_one("#image", Input).focus()

    def answer(self) -> tuple[str, str, str]:
        return (
            self.query_one("#image", Input).value.strip(),
            self.query_one("#where", Input).value.strip(),
            self.query_one(TextArea).text,
        )

    def lacks(self) -> str:
        image, _, text = self.answer()
        return "" if image or text.strip() else "An image or an error text is needed."

    def entered(self, field: Input) -> None:
        del field
        self.focus_next()


class OpenBundleDialog(FormDialog[str]):
    """A folder or a .tar.gz. Answers with the path."""

    BINDINGS = [key("enter", "take", "open", id="bundle.take"), key("escape", "cancel", "cancel", id="dialog.cancel")]
    title_text = "Open an evidence bundle"
    yes_text = "Open"

    def __init__(self, suggester: Suggester | None = None) -> None:
        super().__init__()
        self.suggester = suggester

    def fields(self) -> ComposeResult:
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
        yield line_box("~/incident-42", "path", suggester=self.suggester)

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def lacks(self) -> str:
        return "" if self.answer() else "Type the path of a folder or a .tar.gz."

    def answer(self) -> str:
        return self.query_one(Input).value.strip()


class ObjectDialog(FormDialog[tuple[Evidence, str]]):
    """Which evidence is not accepted, and why. Answers (evidence, reason)."""

    BINDINGS = [
        key("ctrl+s,f2", "take", "leave it out", id="object.take", shown="ctrl+s"),
        key("escape", "cancel", "cancel", id="dialog.cancel"),
    ]
    DEFAULT_CSS = "ObjectDialog OptionList { height: auto; max-height: 8; }"
    title_text = "Object to evidence"
    yes_text = "Leave it out"
    yes_variant = "warning"

    def __init__(self, evidence: tuple[Evidence, ...]) -> None:
        super().__init__()
        self.evidence = evidence

    def fields(self) -> ComposeResult:
        yield Static(
            plain("It is left out of every judgement from here on; your reason goes into the session and the report."),
            id="body",
            markup=False,
        )
        yield OptionList(*[Option(_evidence_line(item)) for item in self.evidence], markup=False)
        yield line_box("reason: why it cannot be trusted", "reason")

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = len(self.evidence) - 1 if self.evidence else None
        (self.query_one(OptionList) if len(self.evidence) > 1 else self.query_one(Input)).focus()

    def lacks(self) -> str:
        reason = self.query_one(Input).value.strip()
        return "" if reason else "A reason is needed: whoever reads the report will ask."

    @on(OptionList.OptionSelected)
    def _selected(self) -> None:
        self.query_one(Input).focus()

    def answer(self) -> tuple[Evidence, str] | None:
        index = self.query_one(OptionList).highlighted
        return None if index is None else (self.evidence[index], self.query_one(Input).value.strip())


def _evidence_line(item: Evidence) -> Content:
    target = short_target(item.target)
    seen_from = "" if item.vantage in str(item.target).split() else f"  from {item.vantage}"
    return Content.assemble(outcome(item), plain(f"  {item.probe}  {one_line(target)}"), muted(seen_from))

"""Confirmation: exactly what will happen, Cancel first. A severe one wants a name typed."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, Static

from app.model.fix import FixPlan
from screens.base import Dialog, key
from screens.widgets.pane import hanging
from screens.widgets.text import MUTED, assemble, count, lines, plain, targets, warn

BODY_WIDTH = 68


class ConfirmDialog(Dialog[bool]):
    """Answers True only for the button, and with `must_type` only when the name is typed."""

    BINDINGS = [key("escape", "cancel", "cancel", id="dialog.cancel")]
    nothing = False

    def __init__(self, title: str, text: Content, yes: str, *, must_type: str = "", danger: bool = True) -> None:
        super().__init__()
        self.title_text = title
        self.text = text
        self.yes = yes
        self.must_type = must_type
        self.set_class(danger, "-danger")

    def body(self) -> ComposeResult:
        with VerticalScroll(id="body", can_focus=False):
            yield Static(hanging(self.text, BODY_WIDTH), markup=False)
        if self.must_type:
            yield Static(assemble("Type ", (self.must_type, "bold"), ", then enter twice, to go on:"), markup=False)
            box = Input(placeholder=self.must_type, id="name")
            box.cursor_blink = False
            yield box
        with Horizontal(classes="buttons"):
            yield Button("Cancel", id="no", compact=True)
            yield Button(self.yes, id="yes", variant="error", disabled=bool(self.must_type), compact=True)

    def on_mount(self) -> None:
        # Where a name has to be typed, that is the safeguard, and the cursor stands in the box.
        self.query_one("#name" if self.must_type else "#no").focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self.query_one("#yes", Button).disabled = event.value != self.must_type

    @on(Input.Submitted)
    def _entered(self) -> None:
        button = self.query_one("#yes", Button)
        if not button.disabled:
            button.focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")


def confirm_plan(plan: FixPlan, retry_pods: bool = False) -> ConfirmDialog:
    """Confirm exactly this plan."""
    if not plan.changed:
        text = "Its owner gets the text and answers at once. Asking for what is not the cure counts as a wrong fix."
        return ConfirmDialog("Hand it over?", lines([plain(plan.title, "bold"), "", text]), "Hand over", danger=False)
    out: list[Content | str] = [plain(plan.title, "bold"), ""]
    out += [
        assemble(("where    ", MUTED), plan.context or "this context", f", {targets(plan.targets, 4)}"),
        assemble(("changes  ", MUTED), count(len(plan.changes), "change"), f" in {count(len(plan.waves), 'wave')}"),
        assemble(("restarts ", MUTED), plan.restarts or "nothing"),
        assemble(("risk     ", MUTED), plan.risk or "none known"),
        assemble(("undo     ", MUTED), plan.undo or "none"),
    ]
    if retry_pods:
        out.append(assemble(("pods     ", MUTED), "failing pods with an owner are recreated at once"))
    if plan.weakens:
        out += ["", warn("This lowers security.")]
    if plan.owner is not None:
        out += ["", warn(f"{plan.owner.kind} {plan.owner.name} owns this and will put it back: first aid only.")]
    out += [
        "",
        *[
            warn(f"{check.text}: {check.detail}" if check.detail else check.text)
            for check in plan.checks
            if check.state in {"warn", "unknown"}
        ],
    ]
    return ConfirmDialog("Apply this plan?", lines(out), "Apply", must_type=plan.confirm_name)


def confirm_undo(plan: FixPlan) -> ConfirmDialog:
    """Confirm that what a plan changed is put back."""
    out = [
        plain(plan.title, "bold"),
        Content(""),
        assemble(("undo     ", MUTED), plan.undo),
        assemble(("where    ", MUTED), targets(plan.targets, 4)),
        assemble(("restarts ", MUTED), plan.restarts or "nothing"),
    ]
    return ConfirmDialog("Undo this fix?", lines(out), "Undo")

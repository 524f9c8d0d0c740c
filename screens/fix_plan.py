"""A fix plan: checks, diff, order, verification; from here it is confirmed, copied, or handed to the owner."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from app.model.fix import Check, FixPlan
from app.model.view import PlanView
from screens import messages as ask
from screens.base import Page, key
from screens.board import lock_text
from screens.diagnosis import CLASSES
from screens.widgets.pane import LongPane
from screens.widgets.text import (
    MUTED,
    assemble,
    bad,
    common_parts,
    count,
    good,
    lines,
    muted,
    one_line,
    plain,
    rule,
    short_target,
    targets,
    unknown,
    warn,
)


class FixPlanScreen(Page):
    """The frozen plan. What is confirmed is this object."""

    BINDINGS = [
        key("A", "apply", "apply", id="plan.apply"),
        key("W", "unlock", "unlock", id="plan.unlock"),
        key("d", "next_diff", "next diff", id="plan.next_diff"),
        key("u", "all_diffs", "one/all diffs", id="plan.all_diffs"),
        key("h", "hand_off", "hand-off text", id="plan.hand_off"),
        key("c", "copy", "copy", id="plan.copy"),
        key("ctrl+s,f2", "save", "save", id="page.save", shown="ctrl+s"),
        key("space", "retry", "retry pods at once", id="plan.retry_pods"),
        key("escape", "leave", "cancel", id="page.back"),
    ]
    DEFAULT_CSS = """
    FixPlanScreen #lock { height: auto; max-height: 2; padding: 0 1; }
    FixPlanScreen #plan { height: 1fr; }
    """

    def __init__(self, view: PlanView) -> None:
        super().__init__()
        self.view = view
        self.diff = 0
        self.all_diffs = False
        self.retry_pods = False
        self.hand_off = view.plan.fix_class == "hand_off" or (bool(view.plan.hand_off) and not view.plan.changed)

    def body(self) -> ComposeResult:
        yield LongPane("Plan", id="plan")
        yield Static("", id="lock", markup=False)

    def show(self, view: PlanView) -> None:
        self.view = view
        self.redraw()

    def head(self) -> Content:
        plan = self.view.plan
        right = f"{CLASSES.get(plan.fix_class, plan.fix_class)} · restarts: {plan.restarts or 'nothing'}"
        return self.spread(assemble("‹ diagnosis   Fix: ", one_line(plan.title)), plain(right))

    def draw(self) -> None:
        pane = self.query_one(LongPane)
        pane.border_title = "Hand-off text" if self.hand_off else "Plan"
        pane.show(self._hand_off() if self.hand_off else self._plan())
        self.query_one("#lock", Static).update(self._lock())

    def _lock(self) -> Content:
        view, plan = self.view, self.view.plan
        if plan.blocked:
            return bad(f"Cannot be applied, a check failed: {failed_checks(plan)}")
        if view.hands_over:
            return assemble(
                "Nothing is changed by this plan.  ", ("A", "bold $text-accent"), " hands it to its owner, who is at hand in practice"
            )  # fmt: skip
        if not plan.changed:
            return assemble(
                "Nothing is changed by this plan." + (f"  Watching: {view.watching}" if view.watching else "")
            )
        if view.header.locked:
            if not view.unlock_name:
                return assemble(lock_text(view.header), ": nothing can be changed from here; copy or save the plan.")
            return assemble(
                lock_text(view.header),
                ":  ",
                ("W", "bold $text-accent"),
                f" unlocks {view.unlock_name} for this session (type its name)",
            )
        return assemble(
            lock_text(view.header), ":  ", ("A", "bold $text-accent"), " asks once more, then applies exactly this plan"
        )

    def _plan(self) -> Content:
        plan = self.view.plan
        out: list[Content | str] = []
        if plan.weakens:
            out.append(warn("This lowers security. It is a workaround, not a cure."))
        if plan.owner is not None:
            where = f" ({plan.owner.where})" if plan.owner.where else ""
            out.append(
                warn(
                    f"Owned by {plan.owner.kind} {plan.owner.name}{where}: the owner reverts a direct change. h shows the change in its terms."
                )
            )
        out += [
            assemble(("Risk     ", "bold"), plan.risk or "none known"),
            assemble(("Restarts ", "bold"), plan.restarts or "nothing"),
            assemble(("Undo     ", "bold"), plan.undo or "none"),
        ]
        out += ["", rule("Checks")]
        out += [check_line(check) for check in plan.checks] or [muted("none")]
        out += ["", *self._diffs()]
        out += ["", rule("Order")]
        for number, wave in enumerate(plan.waves, start=1):
            out.append(assemble(f"{number} {wave.title}", (f"   {targets(wave.targets, 4)}", MUTED)))
        if len(plan.waves) > 1:
            out.append(muted("  Ready between them; stops at the first failure"))
        out += ["", rule("Verify"), plain(plan.verify or "not possible from here")]
        mark = "x" if self.retry_pods else " "
        out.append(plain(f"[{mark}] retry pods at once instead of waiting for their back-off (space)"))
        out += ["", rule("Commands")]
        out += [assemble(("$ ", MUTED), change.command) for change in plan.changes if change.command] or [muted("none")]
        return lines(out)

    def _diffs(self) -> list[Content | str]:
        plan = self.view.plan
        changes = plan.changes
        if not changes:
            return [rule("Diff"), muted("This plan changes nothing itself.")]
        shown = changes if self.all_diffs else changes[self.diff : self.diff + 1]
        note = (
            ""
            if len(changes) == 1
            else f"   {self.diff + 1} of {len(changes)}, d shows the next"
            if not self.all_diffs
            else f"   all {len(changes)}"
        )
        out: list[Content | str] = [assemble(("Diff", "bold $text-primary"), (note, MUTED))]
        for change in shown:
            out.append(
                assemble((short_target(change.target, common_parts(plan.targets)), "bold"), f"   {change.title}")
            )
            out += [diff_line(line) for line in change.diff.splitlines()]
            out.append(assemble(("  undo: ", MUTED), change.undo or "none"))
        return out

    def _hand_off(self) -> Content:
        plan = self.view.plan
        owner = f"{plan.owner.kind} {plan.owner.name}" if plan.owner else "its owner"
        return lines(
            [
                muted(f"For {owner}. c copies it, ctrl+s saves it, h goes back to the plan."),
                "",
                *[plain(line) for line in plan.hand_off.splitlines()],
            ]
        )

    def why_not(self, name: str) -> str:
        view, plan = self.view, self.view.plan
        if name == "apply":
            if plan.blocked:
                return f"A check failed: {failed_checks(plan)}."
            if view.hands_over:
                return ""
            if not plan.changed:
                return "This plan changes nothing; hand it to the owner."
            if view.header.locked:
                return f"{view.header.context or 'This'} is read-only" + (
                    "; W unlocks it." if view.unlock_name else " and cannot be unlocked."
                )
        if name == "unlock":
            if not view.header.locked:
                return "It is unlocked already."
            if not view.unlock_name:
                return "A bundle or a replay has nothing to unlock."
            if not plan.changed:
                return "This plan changes nothing."
        if name in {"next_diff", "all_diffs"} and len(plan.changes) < 2:
            return "There is one diff only." if plan.changes else "There is no diff."
        if name == "hand_off" and not plan.hand_off:
            return "Nobody else owns this, so there is no hand-off text."
        if name == "copy" and not self.hand_off and not any(change.command for change in plan.changes):
            return "There are no commands to copy."
        if name == "retry" and not plan.changed:
            return "This plan changes nothing, so no pod would fare better."
        return ""

    def do_apply(self) -> None:
        self.say(ask.ApplyPlan(self.view.plan, self.retry_pods))

    def do_unlock(self) -> None:
        self.say(ask.Unlock(self.view.unlock_name))

    def do_next_diff(self) -> None:
        self.all_diffs, self.hand_off = False, False
        self.diff = (self.diff + 1) % len(self.view.plan.changes)
        self.redraw()

    def do_all_diffs(self) -> None:
        self.all_diffs, self.hand_off = not self.all_diffs, False
        self.redraw()

    def do_hand_off(self) -> None:
        self.hand_off = not self.hand_off
        self.redraw()

    def do_retry(self) -> None:
        self.retry_pods = not self.retry_pods
        self.redraw()

    def do_copy(self) -> None:
        if self.hand_off:
            self.say(ask.CopyText(self.view.plan.hand_off, "the hand-off text"))
        else:
            commands = [change.command for change in self.view.plan.changes if change.command]
            self.say(ask.CopyText("\n".join(commands), count(len(commands), "command")))

    def do_save(self) -> None:
        plan = self.view.plan
        if self.hand_off:
            self.say(ask.SaveText(f"hand-off-{plan.fix}.txt", plan.hand_off))
        else:
            self.say(ask.SaveText(f"plan-{plan.fix}.txt", self._plan().plain))


def failed_checks(plan: FixPlan) -> str:
    """The checks that stop a plan, with what they found."""
    return "; ".join(
        f"{check.text}: {check.detail}" if check.detail else check.text
        for check in plan.checks
        if check.state == "fail"
    )


def check_line(check: Check) -> Content:
    text = check.text + (f": {check.detail}" if check.detail else "")
    return {"ok": good, "warn": warn, "fail": bad}.get(check.state, unknown)(text)


def diff_line(line: str) -> Content:
    """A line of a unified diff: the sign stays, colour only helps."""
    style = MUTED
    if line.startswith("+") and not line.startswith("+++"):
        style = "$text-success"
    elif line.startswith("-") and not line.startswith("---"):
        style = "$text-error"
    elif line.startswith(" "):
        style = ""
    return plain(f"  {line}", style)

"""Applying a plan, or undoing it: one line for each target, what runs now, how it ended."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from app.model.fix import StepState
from app.model.view import ApplyView
from screens import messages as ask
from screens.base import Page, key
from screens.widgets.table import Line, Table
from screens.widgets.text import (
    FAILING,
    MUTED,
    WORKS,
    Column,
    assemble,
    bad,
    common_parts,
    count,
    good,
    lines,
    muted,
    one_line,
    plain,
    short_target,
    stopwatch,
    warn,
)

COLUMNS = (Column("state", 21), Column("target", flex=1), Column("note", flex=2))
ENDED = {StepState.VERIFIED, StepState.FAILED_KEPT, StepState.FAILED_UNDONE, StepState.SKIPPED, StepState.UNDONE}


class ApplyScreen(Page):
    """Runs until `finished`; escape leaves only then."""

    BINDINGS = [
        key("ctrl+c,f9", "stop", "stop after this step", id="apply.stop", shown="ctrl+c"),
        key("A", "continue", "go on", id="apply.continue"),
        key("R", "retry", "retry target", id="apply.retry"),
        key("K", "skip", "skip target", id="apply.skip"),
        key("X", "stop_here", "stop here", id="apply.stop_here"),
        key("U", "undo", "undo", id="apply.undo"),
        key("c", "copy", "copy", id="page.copy"),
        key("ctrl+s,f2", "report", "save report", id="page.save", shown="ctrl+s"),
        key("escape", "leave", "walk", id="page.back"),
    ]
    DEFAULT_CSS = """
    ApplyScreen #now { height: auto; max-height: 8; padding: 0 1; margin-bottom: 1; }
    """

    def __init__(self, view: ApplyView) -> None:
        super().__init__()
        self.view = view

    def body(self) -> ComposeResult:
        yield Static("", id="now", markup=False)
        yield Table(COLUMNS, id="targets")

    def show(self, view: ApplyView) -> None:
        self.view = view
        self.redraw()

    def head(self) -> Content:
        view = self.view
        done = sum(item.state in ENDED for item in view.progress)
        verb = "Undo" if view.undoing else "Apply"
        return self.spread(
            assemble(f"{verb}: ", one_line(view.plan.title)),
            plain(f"{done}/{len(view.progress)} targets   {stopwatch(view.elapsed)}"),
        )

    def draw(self) -> None:
        self.query_one("#now", Static).update(self._now())
        common = common_parts(self.view.plan.targets)
        self.query_one(Table).fill(
            [
                Line(str(item.target), (state(item.state), short_target(item.target, common), item.note))
                for item in self.view.progress
            ],
            muted("… asking the gateway"),
        )

    def _now(self) -> Content:
        view = self.view
        if view.interrupted:
            done = sum(item.state in ENDED for item in view.progress)
            left = len(view.progress) - done
            head = warn(f"Interrupted in an earlier run: {count(done, 'target')} done, {left} not. Nothing runs now.")
            return lines(
                [
                    head,
                    plain(
                        "  A goes on with the rest"
                        + ("   U puts back what was done" if view.can_undo else "")
                        + "   esc leaves it as it is"
                    ),
                ]
            )
        if view.waiting_on:
            # The row cuts its note off, and whoever decides has to know why it failed.
            why = next((item.note for item in view.progress if str(item.target) == view.waiting_on), "")
            return lines(
                [
                    bad(f"{view.waiting_on} failed{f': {why}' if why else ''}."),
                    plain("  Nothing else is touched until you decide."),
                    plain("  R retry it   K skip it and go on   X stop here"),
                ]
            )
        if not view.finished:
            running = assemble(("… ", "bold $text-accent"), view.now_running or "starting")
            return lines([running, warn("Stopping after this step.")]) if view.stopping else running
        if view.undoing:
            undone = all(item.state in {StepState.UNDONE, StepState.SKIPPED} for item in view.progress)
            return good(view.verdict or "Undone.") if undone else bad(view.verdict or "Not everything could be undone.")
        if view.verified:
            return lines([good(f"Verified: {view.verdict}"), muted("ctrl+s saves the report for the ticket.")])
        tail = (
            "  U puts everything back."
            if view.can_undo
            else "  There is no way back for this plan; what was done stays."
        )
        if not view.plan.changed:
            tail = "  Nothing was changed. esc goes back to the walk."
        return lines([bad(f"Not verified: {view.verdict}"), plain(tail)])

    def why_not(self, name: str) -> str:
        view = self.view
        if name == "stop":
            if view.finished:
                return "It has ended already."
            if view.stopping:
                return "Already stopping after this step."
        if name == "continue" and not view.interrupted:
            return "Nothing was interrupted here."
        if name in {"retry", "skip", "stop_here"} and not view.waiting_on:
            return "No target waits for a decision."
        if name == "undo":
            if not view.finished:
                return "It still runs; ctrl+c stops after the current step."
            if view.undoing:
                return "This is the undo."
            if not view.can_undo:
                return f"There is no undo: {view.plan.undo or 'nothing to put back'}."
        if name in {"leave", "report"} and not view.finished:
            return "It still runs. ctrl+c stops after the current step; what is half done would stay half done."
        return ""

    def do_stop(self) -> None:
        self.say(ask.StopApply())

    def do_continue(self) -> None:
        self.say(ask.ApplyPlan(self.view.plan, False))

    def do_retry(self) -> None:
        self.say(ask.Decide("retry"))

    def do_skip(self) -> None:
        self.say(ask.Decide("skip"))

    def do_stop_here(self) -> None:
        self.say(ask.Decide("stop"))

    def do_undo(self) -> None:
        self.say(ask.UndoPlan(self.view.plan))

    def leave(self) -> None:
        self.say(ask.BackToWalk())

    def do_copy(self) -> None:
        text = "\n".join(f"{item.state.value}\t{item.target}\t{item.note}" for item in self.view.progress)
        self.say(ask.CopyText(text, "the state of every target"))

    def do_report(self) -> None:
        self.say(ask.Report())


def state(value: StepState) -> Content:
    """Sign and word: `✓ verified`, `✖ failed (kept)`, `… restarting`."""
    if value in {StepState.VERIFIED, StepState.UNDONE}:
        return assemble((WORKS, "$text-success"), f" {value.value}")
    if value in {StepState.FAILED_KEPT, StepState.FAILED_UNDONE}:
        return assemble((FAILING, "bold $text-error"), f" {value.value}")
    if value in {StepState.QUEUED, StepState.SKIPPED}:
        return assemble((f"– {value.value}", MUTED))
    return assemble(("…", "bold $text-accent"), f" {value.value}")

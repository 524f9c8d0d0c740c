"""One diagnosis: what, why, why not the others, what is missing, what to do."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget

from app.model.standing import Certainty, Ground
from app.model.view import DiagnosisView, FixOffer, UnknownRow
from screens import messages as ask
from screens.base import Page, key
from screens.board import lock_text
from screens.widgets.pane import Pane
from screens.widgets.table import Line, Table
from screens.widgets.text import (
    FAILING,
    MUTED,
    UNKNOWN,
    WORDS,
    WORKS,
    Column,
    assemble,
    certainty,
    clock_time,
    lines,
    muted,
    one_line,
    plain,
    rule,
    sign,
    targets,
    unknown,
    warn,
)

CLASSES = {"first_aid": "first aid", "cure": "cure", "hand_off": "hand-off", "advice": "advice"}
COLUMNS = (Column("kind", 9), Column("what to do", flex=3), Column("restarts", flex=1, from_width=100))


class DiagnosisScreen(Page):
    """Text above, the list of fixes below."""

    BINDINGS = [
        key("enter", "plan", "plan the fix", id="diagnosis.plan"),
        key("g", "go", "go on", id="diagnosis.go_on"),
        key("e", "evidence", "evidence", id="diagnosis.evidence"),
        key("i", "supply", "supply by hand", id="diagnosis.supply"),
        key("c", "copy", "copy", id="page.copy"),
        key("ctrl+s,f2", "report", "save report", id="page.save", shown="ctrl+s"),
        key("tab", "pane", "other pane", id="diagnosis.pane"),
        key("escape", "leave", "walk", id="page.back"),
    ]
    DEFAULT_CSS = """
    DiagnosisScreen #text { height: 2fr; }
    DiagnosisScreen #fixes { height: 1fr; min-height: 5; border-top: solid $foreground 35%; }
    """

    def __init__(self, view: DiagnosisView, *, at_fixes: bool = False) -> None:
        super().__init__()
        self.view = view
        self._at_fixes = at_fixes

    def body(self) -> ComposeResult:
        yield Pane("Diagnosis", id="text")
        yield Table(COLUMNS, id="fixes", ends=False)

    def first_focus(self) -> Widget | None:
        if self._at_fixes and self.view.fixes:
            return self.query_one("#fixes", Table).rows
        return self.query_one("#text", Pane)

    def show(self, view: DiagnosisView) -> None:
        self.view = view
        self.redraw()

    def head(self) -> Content:
        left = Content.assemble(
            "‹ walk   ", certainty(self.view.standing.certainty), plain(f": {one_line(self.view.standing.title)}")
        )
        return self.spread(left, lock_text(self.view.header))

    def draw(self) -> None:
        self.query_one("#text", Pane).show(self._text())
        fixes = self.query_one("#fixes", Table)
        fixes.fill(
            [self._offer(item) for item in self.view.fixes],
            muted("No fix is known for this. ctrl+s saves the report for whoever can mend it."),
        )

    def _offer(self, item: FixOffer) -> Line:
        note = (
            f"   ! weakens security: {item.text}"
            if item.weakens
            else f"   cannot: {item.why_not}"
            if item.why_not
            else ""
        )
        title = assemble(item.title, (note, "$text-warning" if item.weakens else MUTED))
        return Line(f"{item.id}", (CLASSES.get(item.fix_class, item.fix_class), title, item.restarts or "nothing"))

    def _text(self) -> Content:
        view, best = self.view, self.view.standing
        out: list[Content | str] = [
            assemble(sign(best.certainty), f" {WORDS[best.certainty]}  ", (one_line(best.title), "bold")),
            plain(best.summary),
        ]
        if best.targets:
            out.append(assemble(("on ", MUTED), targets(best.targets, 6)))
        if view.rests_on:
            out.append(assemble(("rests on ", MUTED), view.rests_on))
        if best.certainty is Certainty.CONFLICT:
            out.append(
                warn(
                    f"A full proof and an exclusion are true at once: {best.because}. One of the two readings is wrong; e shows both, x there objects to one."
                )
            )
        elif best.because:
            out.append(assemble(("not more certain because ", MUTED), best.because))
        if view.why_fails:
            out += ["", rule("Why this makes it fail"), plain(view.why_fails)]
        out += ["", rule("Why: what speaks for it")]
        out += [line for ground in best.grounds for line in ground_lines(ground)] or [
            muted("only the text of the error")
        ]
        ruled_out = [item for item in view.others if item.certainty is Certainty.OUT]
        rest = [item for item in view.others if item.certainty is not Certainty.OUT]
        if rest:
            out += ["", rule("Not ruled out")]
            out += [
                assemble(
                    sign(item.certainty),
                    f" {WORDS[item.certainty]}  {one_line(item.title)}",
                    (f"  {item.because}" if item.because else "", MUTED),
                )
                for item in rest
            ]
        if ruled_out:
            out += ["", rule("Why not the others")]
            out += [
                assemble(sign(item.certainty), f" ruled out  {one_line(item.title)}", (f"  {item.because}", MUTED))
                for item in ruled_out
            ]
        missing = [*view.missing, *(item for item in best.missing if item not in view.missing)]
        if missing:
            out += ["", rule("Missing")]
            for item in missing:
                out.append(
                    unknown(f"{item.fact or item.probe} of {item.target}" + (f": {item.why}" if item.why else ""))
                )
                if item.by_hand:
                    out.append(assemble(("  by hand: ", MUTED), item.by_hand))
        if view.also_noticed:
            out += ["", rule("Also noticed, explains nothing here")]
            out += [
                assemble("  ", one_line(item.title), (f"  {targets(item.targets, 2)}", MUTED))
                for item in view.also_noticed
            ]
        return lines(out)

    @property
    def _chosen_offer(self) -> FixOffer | None:
        chosen = self.query_one("#fixes", Table).current
        return next((item for item in self.view.fixes if item.id == chosen), None)

    def why_not(self, name: str) -> str:
        view = self.view
        if name == "plan":
            if not view.fixes:
                return "There is no fix for this finding."
            offer = self._chosen_offer
            if offer is not None and offer.why_not:
                return offer.why_not
        if name == "go" and view.standing.certainty is not Certainty.PROVEN:
            return "Only a proven diagnosis can be left behind; esc goes back to the walk."
        if name == "supply" and not (view.missing or view.standing.missing):
            return "Nothing is missing."
        return ""

    @on(Table.Chosen)
    def _choose(self) -> None:
        self.action_do("plan")

    @on(Table.Moved)
    def _moved(self) -> None:
        self.keys_changed()

    def do_plan(self) -> None:
        offer = self._chosen_offer
        if offer is not None:
            self.say(ask.PlanFix(offer.id, self.view.standing.finding))

    def do_go(self) -> None:
        self.say(ask.GoOn())

    def do_evidence(self) -> None:
        self.say(ask.ShowEvidence())

    def do_supply(self) -> None:

        item = [*self.view.missing, *self.view.standing.missing][0]
        self.say(
            ask.Supply(
                UnknownRow(
                    f"{item.fact or item.probe} of {item.target}", item.why, item.by_hand, targets=(str(item.target),)
                )
            )
        )

    def do_copy(self) -> None:
        self.say(ask.CopyText(self.query_one("#text", Pane).text, "the diagnosis"))

    def do_report(self) -> None:
        self.say(ask.Report())

    def do_pane(self) -> None:
        text, fixes = self.query_one("#text", Pane), self.query_one("#fixes", Table)
        (fixes.rows if text.has_focus and self.view.fixes else text).focus()


def ground_lines(ground: Ground) -> list[Content | str]:
    """A term, what was seen, when and from where."""
    mark = {"true": (WORKS, "$text-success"), "false": (FAILING, "$text-error")}.get(
        ground.value, (UNKNOWN, "$text-warning")
    )
    word = {"true": "true", "false": "not true"}.get(ground.value, "unknown")
    out: list[Content | str] = [
        assemble(mark, f" {word}  {one_line(ground.text)}", (f"   {ground.role}" if ground.role else "", MUTED))
    ]
    if ground.seen or ground.evidence:
        item = ground.evidence
        where = f"   {item.probe} at {item.target}, from {item.vantage} {clock_time(item.taken_at)}" if item else ""
        out.append(assemble(("     seen ", MUTED), one_line(ground.seen) or "–", (where, MUTED)))
    return out

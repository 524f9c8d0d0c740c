"""The walk: questions on the path, the one that is open, its evidence, the standings, what is unknown."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from app.model.evidence import Outcome
from app.model.standing import Asked, Certainty, Collect, Standing
from app.model.target import Target
from app.model.view import UnknownRow, WalkView
from screens import messages as ask
from screens.base import Page, key
from screens.board import lock_text
from screens.widgets.pane import Pane
from screens.widgets.text import (
    CURSOR,
    MUTED,
    UNKNOWN,
    WORDS,
    WORKS,
    assemble,
    bad,
    clock_time,
    count,
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
from screens.widgets.walk_text import (
    answered,
    evidence_lines,
    of_members,
    standing_lines,
    training_strip,
    unknown_lines,
)

EXCERPT_LINES = 8
MOST_POSSIBLE = 8
"""Standings that are only possible: this many are shown, and fewer beside one that is likely or proven."""
MOST_POSSIBLE_BESIDE = 4
MOST_DIFFERENCES = 4


class WalkScreen(Page):
    """One incident. Wide: path and question left, standings right; narrow: two tabs."""

    BINDINGS = [
        key("1", "answer-1", "answer", id="walk.answer_1", shown="1-9"),
        *[key(str(n), f"answer-{n}", f"answer {n}", id=f"walk.answer_{n}", show=False) for n in range(2, 10)],
        key("0", "answer-unknown", "unknown", id="walk.unknown"),
        key("enter", "next", "next step", id="walk.next"),
        key("y", "consent", "yes, at that price", id="walk.consent"),
        key("x", "object", "object", id="walk.object"),
        key("i", "supply", "by hand", id="walk.supply"),
        key("b", "back", "back", id="walk.back"),
        key("s", "auto", "step/auto", id="walk.auto"),
        key("r", "read_again", "read again", id="walk.read_again", show=False),
        key("e", "evidence", "evidence", id="walk.evidence"),
        key("w", "why", "why", id="walk.why"),
        key("l", "plan", "pull plan", id="walk.pull_plan"),
        key("f", "fixes", "fixes", id="walk.fixes"),
        key("g", "go", "go on", id="walk.go_on"),
        key("H", "hint", "hint", id="walk.hint"),
        key("D", "give_up", "give up and debrief", id="walk.give_up"),
        key("c", "copy", "copy", id="page.copy", show=False),
        key("ctrl+s,f2", "report", "save report", id="page.save", show=False),
        key("tab", "pane", "other pane", id="walk.pane", show=False),
        key("escape", "leave", "board", id="page.back"),
    ]
    DEFAULT_CSS = """
    WalkScreen #strip { height: auto; max-height: 4; padding: 0 1; background: $boost; display: none; }
    WalkScreen #strip.-on { display: block; }
    WalkScreen #status { height: auto; max-height: 3; padding: 0 1; display: none; }
    WalkScreen #status.-on { display: block; }
    WalkScreen #tabs { height: 1; padding: 0 1; display: none; }
    WalkScreen.-narrow #tabs { display: block; }
    WalkScreen #columns { height: 1fr; }
    WalkScreen #path { width: 2fr; }
    WalkScreen #side { width: 1fr; }
    WalkScreen.-narrow.-tab-path #side { display: none; }
    WalkScreen.-narrow.-tab-side #path { display: none; }
    """

    PANE: ClassVar[type[Pane]] = Pane

    def __init__(self, view: WalkView) -> None:
        super().__init__()
        self.view = view
        self._place: tuple[int, str] = (-1, "")
        self._turn = (0, 0)
        """Lines of the path between which the open question, the next step or the ending stands."""
        self.add_class("-tab-path")

    def body(self) -> ComposeResult:
        yield Static("", id="strip", markup=False)
        yield from self.above()
        yield Static("", id="tabs", markup=False)
        yield Static("", id="status", markup=False)
        with Horizontal(id="columns"):
            yield self.PANE("Path", id="path")
            yield self.PANE("Standings, × targets", id="side")

    def above(self) -> ComposeResult:
        """What stands above the columns; the replay puts its time line there."""
        yield from ()

    def show(self, view: WalkView) -> None:
        """Draw another state, the open question in sight."""
        self.view = view
        self.redraw()

    # --- drawing ---

    def head(self) -> Content:
        view = self.view
        mode = "auto ▸▸" if view.auto else "step by step"
        right = f"{mode}   step {view.number}   evidence {view.collected}/{view.wanted}   {clock_time(view.now)}"
        left = assemble("‹ board   ", one_line(view.incident.title))
        if view.incident.nodes:
            left += plain(f" · {count(view.incident.nodes, 'node')}")
        if self.app.size.width < 100:
            right = f"{'auto ▸▸' if view.auto else 'step'}  {view.collected}/{view.wanted}"
            left = left.truncate(max(20, self.app.size.width - len(right) - 5), ellipsis=True)
        return self.spread(left, plain(right))

    def draw(self) -> None:
        view = self.view
        strip = self.query_one("#strip", Static)
        strip.set_class(view.training is not None, "-on")
        if view.training is not None:
            strip.update(training_strip(view.training))
        side = self.has_class("-tab-side")
        tab = ("bold reverse", MUTED)
        self.query_one("#tabs", Static).update(
            assemble(
                (" walk ", tab[side]),
                " ",
                (f" standings {len(self._open())} ", tab[not side]),
                ("   tab changes", MUTED),
            )
        )
        notes = self._status()
        status = self.query_one("#status", Static)
        status.update(lines(notes))
        status.set_class(bool(notes), "-on")
        path = self.query_one("#path", Pane)
        path.show(self._path())
        self.query_one("#side", Pane).show(self._side())
        place = (len(view.step.path), view.asks.question.id if view.asks else type(view.step.next).__name__)
        if place != self._place:
            self._place = place  # only a new question moves the text; news while reading leaves the scroll alone
            self.call_after_refresh(self._question_in_sight)

    def _question_in_sight(self) -> None:
        """With a long path the open question, not the oldest answer, is what has to be on screen."""
        if self.is_mounted:
            self.query_one("#path", Pane).reveal(*self._turn)

    def _status(self) -> list[Content]:
        view = self.view
        notes: list[Content] = []
        if view.problem:
            notes.append(bad(view.problem))
        if view.busy:
            notes.append(assemble(("… ", "bold $text-accent"), view.busy))
        elif view.price:
            notes.append(warn("The next step has a price.  y does it, 0 goes on without."))
        old = view.outdated
        if old:
            are = "is" if old == 1 else "are"
            notes.append(warn(f"{count(old, 'reading')} {are} too old to prove anything.  r reads everything again."))
        return notes

    def _path(self) -> Content:
        view = self.view
        out: list[Content | str] = []
        if view.differences:
            out.append(plain("The failing differ from the healthy in:", "bold $text-accent"))
            out += [plain(f"  · {text}") for text in view.differences[:MOST_DIFFERENCES]]
        if len(view.differences) > MOST_DIFFERENCES:
            out.append(muted(f"  and {count(len(view.differences) - MOST_DIFFERENCES, 'more difference')}"))
        asked = view.asks.question if view.asks else None
        for question in view.step.path:
            if asked is None or question.id != asked.id:
                out += answered(question)
        begin = len(lines(out).plain.splitlines())
        if asked is not None:
            out += ["", *self._open_question(asked)]
        elif view.price and not view.busy:
            out += ["", *self._offer()]
        elif isinstance(view.step.next, Collect):
            out += ["", *self._collecting(view.step.next)]
        else:
            out += ["", *self._ending()]
        self._turn = (begin, len(lines(out).plain.splitlines()))
        if not view.step.path and not view.evidence and asked is None and not view.busy and view.timeline is None:
            out.append(muted("Nothing has been read yet. enter takes the first step, s lets it run."))
        if view.blind and not view.busy:
            out += ["", unknown(view.blind)]
        out += self._last_evidence(asked)
        return lines(out)

    def _open_question(self, asked: Asked) -> list[Content | str]:
        out: list[Content | str] = [assemble((f"{CURSOR} ", "bold $text-accent"), (asked.text, "bold"))]
        out += [muted(f"  {line}") for line in asked.why.splitlines()]
        for number, choice in enumerate(asked.choices, start=1):
            says = {"true": "evidence says so", "false": choice.because and f"not so: {choice.because}"}.get(
                choice.value, ""
            )
            if choice.targets:
                says = f"evidence: {of_members(asked, choice)}"
            note = f"   {says}" if says else ""
            out.append(assemble("    ", (str(number), "bold $text-accent"), f"  {choice.label}", (note, MUTED)))
        out.append(assemble("    ", ("0", "bold $text-accent"), "  unknown"))
        if asked.denied:
            out.append(
                unknown(
                    f"could not be read on {count(len(asked.denied), 'target')}: {targets(asked.denied, 3)}",
                    denied=True,
                )
            )
        if asked.by_hand:
            out += ["", muted("  By hand (i pastes its output):"), plain(f"  {asked.by_hand}")]
        return out

    def _offer(self) -> list[Content | str]:
        """What is left to try has a price: what it would settle, what it costs, and how to go round it."""
        best = next((item for item in self._open() if item.certainty is not Certainty.PROVEN), None)
        out: list[Content | str] = [
            assemble(
                (f"{CURSOR} ", "bold $text-accent"), ("The rest can only be told by a step that has a price.", "bold")
            ),
            plain(f"  {self.view.price}"),
        ]
        if best is not None:
            word = WORDS[best.certainty]
            out.append(muted(f"  It can settle what is only {word} now: {one_line(best.title)}."))
        return [
            *out,
            assemble("    ", ("y", "bold $text-accent"), "  do it, this once"),
            assemble("    ", ("0", "bold $text-accent"), "  go on without it"),
        ]

    def _collecting(self, step: Collect) -> list[Content | str]:
        view = self.view
        verb = "Reading" if view.busy else "Next to read"
        out: list[Content | str] = [
            assemble((f"{CURSOR} ", "bold $text-accent"), (f"{verb}: {count(len(step.wanted), 'item')}", "bold"))
        ]
        by_probe: dict[str, list[Target]] = {}
        for probe, target in step.wanted:
            by_probe.setdefault(probe, []).append(target)
        for probe, items in list(by_probe.items())[:6]:
            out.append(assemble(f"    {probe}", (f"   {targets(items, 2)}", MUTED)))
        if len(by_probe) > 6:
            out.append(muted(f"    and {len(by_probe) - 6} more kinds"))
        return out

    def _ending(self) -> list[Content | str]:
        view = self.view
        best = next(iter(self._open()), None)
        reason = view.done.reason if view.done else ""
        if view.step.outcome == "healthy":
            return [assemble((f"{WORKS} Nothing fails here.", "bold $text-success")), plain(f"  {reason}")]
        if best is None or best.certainty not in {Certainty.PROVEN, Certainty.LIKELY}:
            return [
                assemble((f"{UNKNOWN} No finding is likely yet.", "bold")),
                plain(f"  {reason}" if reason else "  Everything that could be read has been read."),
                plain("  What is unknown stands in the standings; i supplies it by hand, b takes a step back."),
            ]
        out: list[Content | str] = [
            assemble(sign(best.certainty), f" {WORDS[best.certainty]}: ", (best.title, "bold")),
            plain(f"  {best.summary}"),
            assemble(("  on ", MUTED), targets(best.targets)) if best.targets else Content(""),
        ]
        others = [item for item in self._open()[1:] if item.certainty in {Certainty.PROVEN, Certainty.LIKELY}]
        out += [
            assemble(
                "  and ", sign(item.certainty), f" {WORDS[item.certainty]}: {item.title} on {targets(item.targets, 2)}"
            )
            for item in others
        ]
        out.append("")
        if best.fixes:
            out.append(plain("  w why and what else   f fixes   g go on with what this does not explain"))
        else:
            out.append(plain("  w why and what else   g go on with what this does not explain"))
        return out

    def _last_evidence(self, asked: Asked | None) -> list[Content | str]:
        """Evidence of the open question; at a diagnosis what speaks for it; else the newest."""
        best = next(iter(self._open()), None)
        if asked and asked.evidence:
            chosen = asked.evidence
        elif (self.view.done or self.view.price) and best and any(ground.evidence for ground in best.grounds):
            chosen = tuple(
                {ground.evidence.key: ground.evidence for ground in best.grounds if ground.evidence}.values()
            )
        else:
            chosen = tuple(item for item in self.view.evidence if item.outcome is not Outcome.SKIPPED)[-2:]
        out: list[Content | str] = []
        for item in chosen[:3]:
            out += ["", *evidence_lines(item, EXCERPT_LINES, self.view.units)]
        return out

    def _open(self) -> list[Standing]:
        return [item for item in self.view.step.standings if item.certainty is not Certainty.OUT]

    def _side(self) -> Content:
        view = self.view
        out: list[Content | str] = []
        if not view.step.standings:
            out.append(muted("No finding stands yet: nothing has been read that could rank one."))
        sure = [item for item in self._open() if item.certainty in {Certainty.PROVEN, Certainty.LIKELY}]
        most = MOST_POSSIBLE_BESIDE if sure else MOST_POSSIBLE
        possible = [item for item in view.step.standings if item.certainty is Certainty.POSSIBLE]
        for item in view.step.standings:
            if item.certainty is not Certainty.POSSIBLE or item in possible[:most]:
                out += standing_lines(item)
            elif item is possible[most]:
                out.append(muted(f"○ and {len(possible) - most} more that are possible"))
        if view.step.also_noticed:
            out += ["", rule("Also noticed, explains nothing here")]
            out += [
                assemble("  ", one_line(item.title), (f"  {targets(item.targets, 1)}", MUTED))
                for item in view.step.also_noticed
            ]
        out += ["", rule("Unknown")]
        if not view.unknowns:
            out.append(muted("nothing that would matter"))
        for row in view.unknowns:
            out += unknown_lines(row)
        out += ["", muted(f"lock: {lock_text(view.header).plain}")]
        return lines(out)

    # --- keys ---

    def why_not(self, name: str) -> str:
        view = self.view
        asks, busy = view.asks, view.busy
        if name == "answer-unknown":
            return "" if asks or view.price else "No question is open."
        if name.startswith("answer-"):
            if asks is None:
                return f"No question is open: {busy or 'the walk waits for the next step'}."
            if int(name.partition("-")[2]) > len(asks.question.choices):
                return f"This question has {count(len(asks.question.choices), 'answer')}; 0 is unknown."
        if name == "next":
            if busy:
                return f"Still {busy}."
            if view.price:
                return "The next step has a price; y pays it."
            if not isinstance(view.step.next, Collect):
                return "Nothing is left to read: answer the question, or look at the standings."
        if name == "consent" and not view.price:
            return "Nothing with a price waits for consent."
        if name == "read_again" and busy:
            return f"Still {busy}."
        if name == "object" and not view.evidence:
            return "There is no evidence to object to yet."
        if name == "supply" and not view.unknowns and not (asks and asks.question.by_hand):
            return "Nothing is unknown that a command by hand could tell."
        if name == "back" and view.number <= 1:
            return "This is the first step; esc goes to the board."
        if name == "evidence" and not view.evidence:
            return "Nothing has been read yet."
        if name == "why" and not view.step.standings:
            return "No finding stands yet."
        if name == "fixes":
            best = next(iter(self._open()), None)
            if best is None or best.certainty not in {Certainty.PROVEN, Certainty.LIKELY}:
                return "No finding is proven or likely yet; a fix without one would be a guess."
            if not best.fixes:
                return f"There is no fix for this finding: {one_line(best.title)}."
        if name == "go" and not any(item.certainty is Certainty.PROVEN for item in view.step.standings):
            return "There is no proven diagnosis to go on from."
        if name == "plan" and not view.incident.registry and not view.incident.nodes:
            return "The pull plan needs an image and a node; neither is known."
        if name == "hint":
            if view.training is None:
                return "Hints belong to practice."
            if not view.training.hints_left:
                return "All hints are used."
        if name == "give_up" and view.training is None:
            return "This is not practice."
        return ""

    def shown_key(self, binding: Binding) -> str:
        if binding.id == "walk.answer_1" and self.view.asks is not None:
            last = min(9, len(self.view.asks.question.choices))
            return f"1-{last}" if last > 1 else "1"
        return super().shown_key(binding)

    def do_answer(self, number: str) -> None:
        if self.view.asks is not None:
            self.say(ask.Answer(self.view.asks.question.id, number))
        elif number == "unknown" and isinstance(self.view.step.next, Collect):
            self.say(ask.Answer("price", "unknown"))

    def do_next(self) -> None:
        self.say(ask.CollectNext())

    def do_consent(self) -> None:
        self.say(ask.CollectNext(consent=True))

    def do_object(self) -> None:
        self.say(ask.ObjectTo(self.view.evidence))

    def do_supply(self) -> None:
        asked = self.view.asks
        if asked is not None and asked.question.by_hand:
            question = asked.question
            self.say(
                ask.Supply(UnknownRow(question.text, by_hand=question.by_hand, paste_as=question.paste_as or "text"))
            )
        else:
            self.say(ask.Supply(next((row for row in self.view.unknowns if row.by_hand), self.view.unknowns[0])))

    def do_back(self) -> None:
        self.say(ask.StepBack())

    def do_read_again(self) -> None:
        self.say(ask.ReadAgain())

    def do_auto(self) -> None:
        self.say(ask.SetAuto(not self.view.auto))

    def do_evidence(self) -> None:
        self.say(ask.ShowEvidence())

    def do_why(self) -> None:
        self.say(ask.ShowDiagnosis())

    def do_plan(self) -> None:
        self.say(ask.ShowPullPlan())

    def do_fixes(self) -> None:
        self.say(ask.ShowDiagnosis("fixes"))

    def do_go(self) -> None:
        self.say(ask.GoOn())

    def do_hint(self) -> None:
        self.say(ask.TakeHint(self.view.training.next_hint_cost if self.view.training else 0))

    def do_give_up(self) -> None:
        self.say(ask.GiveUp())

    def do_copy(self) -> None:
        pane = self.query_one("#side" if self.has_class("-tab-side") and self.has_class("-narrow") else "#path", Pane)
        self.say(ask.CopyText(pane.text, "this pane"))

    def do_report(self) -> None:
        self.say(ask.Report())

    def do_pane(self) -> None:
        """The other pane: on a narrow screen the other tab."""
        side = self.query_one("#side", Pane)
        to_side = not (self.has_class("-tab-side") if self.has_class("-narrow") else side.has_focus)
        self.set_class(to_side, "-tab-side")
        self.set_class(not to_side, "-tab-path")
        (side if to_side else self.query_one("#path", Pane)).focus()
        self.redraw()

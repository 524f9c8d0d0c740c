"""Lines of the walk: the strip of practice, a question with its answer, evidence, standings, what is unknown."""

from __future__ import annotations

from collections.abc import Mapping

from textual.content import Content

from app.model.evidence import OPERATOR_ANSWER, Evidence, Outcome
from app.model.standing import Asked, Certainty, Choice, Standing
from app.model.view import TrainingStrip, UnknownRow
from screens.widgets.text import (
    FAILING,
    MUTED,
    NEEDS_RIGHT,
    UNKNOWN,
    WORDS,
    WORKS,
    assemble,
    clock_time,
    count,
    fact_value,
    lines,
    muted,
    one_line,
    outcome,
    plain,
    short_target,
    sign,
    stopwatch,
    targets,
    unknown,
)


def training_strip(strip: TrainingStrip) -> Content:
    """Pager text, time and price of a practice run."""
    late = strip.elapsed > strip.par
    clock = assemble(
        (f"{stopwatch(strip.elapsed)} of par {stopwatch(strip.par)}", "bold $text-warning" if late else "bold")
    )
    rest = f"   price {strip.price}   hints {strip.hints_used} used, {strip.hints_left} left"
    out = [
        assemble(("practice  ", "bold $text-success"), clock, rest),
        assemble(("pager  ", MUTED), one_line(strip.pager)),
    ]
    if strip.hint:
        out.append(assemble(("hint  ", "bold $text-accent"), one_line(strip.hint)))
    return lines(out)


def answered(question: Asked) -> list[Content | str]:
    """A question on the path: its answer beside it, why the others were not taken below."""
    if question.taken is None:
        return [assemble(f"{UNKNOWN} ", question.text, ("   open", MUTED))]
    choice = question.choices[question.taken]
    mark = {"yes": (WORKS, "$text-success"), "no": (FAILING, "bold $text-error")}.get(
        choice.label.split(",")[0].strip().lower(), ("·", "")
    )
    by = {"operator": "   you said so", OPERATOR_ANSWER: "   you said so", "otherwise": "   not known, so on"}.get(
        question.by, ""
    )
    if question.by == "otherwise":
        mark = (UNKNOWN, "$text-warning")
    here = f", {of_members(question, choice)}" if 0 < len(choice.targets) < question.members else ""
    out: list[Content | str] = [assemble(mark, f" {question.text}  ", (f"{choice.label}{here}", "bold"), (by, MUTED))]
    others = [item for item in question.choices if item is not choice and item.targets]
    if others and here:
        words = "; ".join(f"{item.label} on {targets(item.targets, 2)}" for item in others)
        refused = f"; {NEEDS_RIGHT} denied on {len(question.denied)}" if question.denied else ""
        out.append(muted(f"    {words}{refused}"))
    return out


def of_members(question: Asked, choice: Choice) -> str:
    """`on 2 of 3 nodes`."""
    kind = choice.targets[0].parts[0][0].replace("-", " ") if choice.targets and choice.targets[0].parts else "target"
    return f"on {len(choice.targets)} of {count(question.members, kind)}"


def evidence_lines(item: Evidence, most: int, units: Mapping[str, str]) -> list[Content | str]:
    """What was asked of whom, when, the excerpt, what was read from it."""
    where = str(item.target)
    seen_from = "" if item.vantage in where.split() else f"   from {item.vantage}"
    out: list[Content | str] = [
        assemble(
            (item.command or item.probe, "bold"),
            (f"   {where}{seen_from}   {clock_time(item.taken_at)}", MUTED),
        )
    ]
    if item.outcome is not Outcome.OBSERVED:
        out.append(Content.assemble("  ", outcome(item), plain(f": {item.detail}" if item.detail else "")))
    shown = item.excerpt.splitlines()
    out += [plain(f"  │ {line}") for line in shown[:most]]
    if len(shown) > most:
        out.append(muted(f"  │ … {count(len(shown) - most, 'more line')}; e shows all"))
    for fact in list(item.facts)[:most]:
        out.append(assemble((f"  {fact} = ", MUTED), fact_value(item, fact, units)))
    return out


def standing_lines(item: Standing) -> list[Content | str]:
    word = WORDS[item.certainty]
    if item.certainty is Certainty.OUT:
        return [
            assemble(
                sign(item.certainty),
                (f" {word}  {one_line(item.title)}", MUTED),
                (f"  {item.because}" if item.because else "", MUTED),
            )
        ]
    many = f"  ×{len(item.targets)}" if len(item.targets) > 1 else ""
    if len(item.targets) == 1 and item.certainty is not Certainty.POSSIBLE:
        many = f"  {short_target(item.targets[0])}"
    out: list[Content | str] = [
        assemble(sign(item.certainty), f" {word}  ", (one_line(item.title), "bold"), (many, MUTED))
    ]
    if item.certainty is Certainty.CONFLICT:
        out.append(
            plain(
                f"  proved and ruled out at once: {item.because or 'x objects to the evidence you do not trust'}",
                "$text-warning",
            )
        )
    return out


def unknown_lines(row: UnknownRow) -> list[Content | str]:
    out: list[Content | str] = [unknown(row.text, denied=row.denied)]
    if row.by_hand:
        out.append(assemble("  ", ("i", "bold $text-accent"), " pastes the output of: ", row.by_hand))
    if row.costs:
        out.append(assemble(("  costs: ", MUTED), row.costs))
    return out

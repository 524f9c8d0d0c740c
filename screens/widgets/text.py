"""Text for the screens: foreign text made harmless, signs, ages, columns. Returns `Content`, which is never markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from textual.content import Content

from app.model.evidence import Evidence, Outcome
from app.model.spelling import spelled
from app.model.standing import Certainty, Standing
from app.model.target import Target

# Bidirectional controls can show a text in another order than the one it is read in; zero-width ones hide parts of it.
_HIDDEN: Final = frozenset(
    [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x061C, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF]
)

FAILING: Final = "✖"
WORKS: Final = "✓"
UNKNOWN: Final = "?"
NEEDS_RIGHT: Final = "⚷"
CURSOR: Final = "▸"

_CERTAINTY: Final = {
    Certainty.PROVEN: ("●", "bold $text-error"),
    Certainty.LIKELY: ("◐", "$text-warning"),
    Certainty.POSSIBLE: ("○", ""),
    Certainty.CONFLICT: ("!", "bold $text-warning"),
    Certainty.OUT: ("–", "$text-muted"),
}
WORDS: Final = {
    Certainty.PROVEN: "proven",
    Certainty.LIKELY: "likely",
    Certainty.POSSIBLE: "possible",
    Certainty.CONFLICT: "conflict",
    Certainty.OUT: "ruled out",
}
MUTED: Final = "$text-muted"


def clean(text: str) -> str:
    """Foreign text without control, bidirectional and zero-width characters; tabs become blanks, lines stay lines."""
    kept = []
    for char in text.expandtabs(4):
        code = ord(char)
        if char == "\n":
            kept.append(char)
        elif code < 0x20 or 0x7F <= code < 0xA0 or code in _HIDDEN or 0xE000 <= code < 0xF900:
            kept.append("·")
        else:
            kept.append(char)
    return "".join(kept)


def one_line(text: str) -> str:
    """Clean, with white space folded to single blanks."""
    return " ".join(clean(text).split())


def plain(text: str, style: str = "") -> Content:
    """Foreign text as content, drawn as it stands."""
    return Content.styled(clean(text), style)


def muted(text: str) -> Content:
    return plain(text, MUTED)


def strong(text: str) -> Content:
    return plain(text, "bold")


def assemble(*parts: str | Content | tuple[str, str]) -> Content:
    """Parts one after the other; strings are cleaned, never markup."""
    return Content.assemble(
        *(
            part if isinstance(part, Content) else plain(*part) if isinstance(part, tuple) else plain(part)
            for part in parts
        )
    )


def lines(parts: Iterable[Content | str]) -> Content:
    return Content("\n").join([part if isinstance(part, Content) else plain(part) for part in parts])


def sign(certainty: Certainty | None) -> Content:
    """The sign alone; the caller sets the word beside it."""
    if certainty is None:
        return Content(UNKNOWN)
    mark, style = _CERTAINTY[certainty]
    return Content.styled(mark, style)


def certainty(value: Certainty | None, *, word: bool = True) -> Content:
    """`● proven`."""
    if value is None:
        return Content(f"{UNKNOWN} not yet walked")
    return Content.assemble(sign(value), f" {WORDS[value]}") if word else sign(value)


def good(text: str) -> Content:
    return assemble((WORKS, "$text-success"), f" {text}")


def bad(text: str) -> Content:
    return assemble((FAILING, "bold $text-error"), f" {text}")


def warn(text: str) -> Content:
    return assemble(("!", "bold $text-warning"), f" {text}")


def unknown(text: str, *, denied: bool = False) -> Content:
    return assemble((NEEDS_RIGHT if denied else UNKNOWN, "$text-warning"), f" {text}")


def outcome(evidence: Evidence) -> Content:
    """Sign and word of an outcome: `✓ observed`, `⚷ denied`, `? timed out`."""
    word = evidence.outcome.value.replace("_", " ")
    if evidence.outcome is Outcome.OBSERVED:
        return good(word)
    return unknown(word, denied=evidence.outcome is Outcome.DENIED)


def clock_time(at: float | None) -> str:
    """`14:02:31`, in the zone of the terminal."""
    if at is None:
        return "time not known"
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%H:%M:%S")


def date_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h`, `2 d`: two digits are enough to act on."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} d"


def stopwatch(seconds: float) -> str:
    """`4:07`."""
    whole = int(max(0.0, seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def age(at: float | None, now: float) -> str:
    return "–" if at is None else duration(now - at)


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 node`, `3 nodes`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def fact_value(item: Evidence, fact: str, units: Mapping[str, str]) -> str:
    """One fact of this record in words; observed and empty says so. `units`: see `Rulebook.units`."""
    return spelled(item.facts[fact], units.get(fact, ""), item.bounds.get(fact, 0.0), empty="(empty)")


def common_parts(items: Sequence[Target]) -> tuple[tuple[str, str], ...]:
    """Scopes in which several targets all name the same thing; said once instead of for each."""
    if len(items) < 2:
        return ()
    return tuple(part for part in items[0].parts if all(item.get(part[0]) == part[1] for item in items))


def short_target(item: Target, common: Sequence[tuple[str, str]] = ()) -> str:
    """A target without what is said once; a node alone is only its name."""
    rest = [part for part in item.parts if part not in common]
    if len(rest) == 1:
        return rest[0][1] if rest[0][0] == "node" else "/".join(rest[0])
    return " ".join("/".join(part) for part in rest) or str(item)


def targets(items: Sequence[Target], most: int = 3) -> str:
    """`edge-a-01, edge-a-02 and 38 more · registry harbor.corp.example:443`."""
    common = common_parts(items)
    shown = ", ".join(short_target(item, common) for item in items[:most])
    rest = len(items) - most
    said_once = "".join(f" · {scope} {name}" for scope, name in common)
    return one_line(shown + (f" and {rest} more" if rest > 0 else "") + said_once)


def names(items: Sequence[str], most: int = 3) -> str:
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")


def standing_line(standing: Standing) -> Content:
    """`● proven   old CA in hosts.toml`."""
    return Content.assemble(certainty(standing.certainty), "  ", plain(one_line(standing.title)))


def rule(title: str) -> Content:
    """A heading inside a pane."""
    return Content.styled(clean(title), "bold $text-primary")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `width` 0 takes what is left, shared by `flex`; hidden on screens narrower than `from_width`."""

    title: str
    width: int = 0
    flex: int = 1
    right: bool = False
    from_width: int = 0


def layout(columns: Sequence[Column], width: int) -> list[int]:
    """Widths for a table `width` cells wide, two blanks between columns; 0 for a hidden one."""
    shown = [column for column in columns if width >= column.from_width]
    fixed = sum(column.width for column in shown) + 2 * (len(shown) - 1)
    flex = sum(column.flex for column in shown if not column.width) or 1
    left = max(0, width - fixed)
    widths, used, last = [], 0, -1
    for index, column in enumerate(columns):
        if column not in shown:
            widths.append(0)
        elif column.width:
            widths.append(column.width)
        else:
            share = left * column.flex // flex
            widths.append(max(4, share))
            used, last = used + share, index
    if last >= 0:
        widths[last] += max(0, left - used)
    return widths


def row(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[Content | str]) -> Content:
    """One line of a table, cells cut with an ellipsis."""
    parts: list[Content] = []
    for column, width, cell in zip(columns, widths, cells, strict=True):
        if not width:
            continue
        content = cell if isinstance(cell, Content) else plain(one_line(cell))
        content = content.truncate(width, ellipsis=True)
        gap = max(0, width - content.cell_length)
        parts.append(content.pad_left(gap) if column.right else content.pad_right(gap))
    return Content("  ").join(parts)

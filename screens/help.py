"""Help: the signs, the keys of the screen below, those that do not work now and why, and the keys that hold everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.content import Content

from screens.base import Keyed, Page, key
from screens.widgets.pane import LongPane
from screens.widgets.text import MUTED, assemble, lines, rule

SIGNS = (
    ("✖", "failing"),
    ("✓", "works"),
    ("●", "proven"),
    ("◐", "likely"),
    ("○", "possible"),
    ("–", "ruled out"),
    ("?", "unknown: nobody could look"),
    ("⚷", "needs a right"),
    ("!", "take care: conflict, owner, risk"),
    ("▸", "cursor, or the open question"),
)
EVERYWHERE = (
    ("? f1", "this help"),
    ("ctrl+p :", "palette: every command by name, themes too"),
    ("esc", "back, or cancel"),
    ("/", "filter a list; n and N move inside it"),
    ("j k g G", "down, up, top, bottom; in the walk g goes on, home and end move"),
    ("ctrl+d ctrl+u", "a page down, up (also pagedown, pageup)"),
    ("enter", "choose"),
    ("tab", "next pane"),
    ("c", "copy what is shown"),
    ("ctrl+s f2", "save or export"),
    ("ctrl+q f10", "quit"),
)


@dataclass(frozen=True, slots=True)
class HelpRow:
    """A key of the screen below."""

    keys: str
    text: str
    why_not: str = ""
    id: str = ""


def rows_of(screen: Keyed[None], remapped: dict[str, str] | None = None) -> tuple[HelpRow, ...]:
    """Keys of a screen with the reason why one does not work now."""
    found = []
    for binding in screen.key_order:
        if binding.description and (binding.show or not binding.action.startswith("do('answer-")):
            keys = (remapped or {}).get(binding.id or "", "") or binding.key_display or binding.key.replace(",", " ")
            found.append(HelpRow(keys, binding.description, screen.why_not_action(binding.action), binding.id or ""))
    return tuple(found)


class HelpScreen(Page):
    """Built from literal rows, so that it draws the same anywhere."""

    BINDINGS = [key("escape", "leave", "back", id="page.back")]

    def __init__(self, title: str, rows: Sequence[HelpRow]) -> None:
        super().__init__()
        self.help_title = title
        self.rows = tuple(rows)

    def body(self) -> ComposeResult:
        yield LongPane("Help", id="help")

    def head(self) -> Content:
        return assemble("‹ back   Help: ", self.help_title)

    def draw(self) -> None:
        out: list[Content | str] = [rule("Keys of this screen")]
        for item in self.rows:
            why = f"   not now: {item.why_not}" if item.why_not else ""
            out.append(
                assemble((f"{item.keys:<14}", MUTED if item.why_not else "bold $text-accent"), item.text, (why, MUTED))
            )
        out += ["", rule("Keys that hold everywhere")]
        out += [assemble((f"{keys:<14}", "bold $text-accent"), text) for keys, text in EVERYWHERE]
        out += ["", rule("Signs")]
        out += [assemble((f"{mark:<14}", "bold"), word) for mark, word in SIGNS]
        out += ["", rule("Manners")]
        out += [
            "A lower-case letter only shows or asks. What changes the world needs an upper-case letter and a confirmation.",
            "Unknown is never no: what could not be read is said, with the command to run by hand.",
            "Keys are set in keymap.yaml by binding id:",
        ]
        out += [assemble((f"  {item.id:<26}", MUTED), item.text) for item in self.rows if item.id]
        self.query_one(LongPane).show(lines(out))

"""Unknown host keys, asked about once for the batch. A changed key is evidence and cannot be accepted here."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Static

from app.model.view import HostKeysView
from screens.base import Dialog, key
from screens.widgets.text import MUTED, assemble, bad, count, lines, muted, one_line, plain, rule, unknown


class HostKeysDialog(Dialog[bool]):
    """Answers True when the unknown keys are vouched for."""

    BINDINGS = [
        key("c", "copy", "copy fingerprints", id="page.copy"),
        key("escape", "cancel", "not now", id="dialog.cancel"),
    ]
    DEFAULT_CSS = "HostKeysDialog > #dialog { width: 100; } HostKeysDialog #body { max-height: 14; }"
    title_text = "Host keys"
    nothing = False

    def __init__(self, view: HostKeysView) -> None:
        super().__init__()
        self.view = view
        self.set_class(any(item.changed for item in view.keys), "-danger")

    def body(self) -> ComposeResult:
        changed = [item for item in self.view.keys if item.changed]
        new = [item for item in self.view.keys if not item.changed]
        out: list[Content | str] = []
        if changed:
            out.append(rule("Changed: never accepted here"))
            for item in changed:
                out += [
                    bad(f"changed  {one_line(item.host)}  {item.algorithm}"),
                    assemble(("    known ", MUTED), item.known or "?"),
                    assemble(("    shown ", MUTED), item.fingerprint),
                ]
            out += [
                muted(
                    "A reinstalled node, or somebody in between. Nothing is read from it; settle it with ssh-keygen -R outside."
                ),
                "",
            ]
        if new:
            out.append(rule(f"Unknown: {count(len(new), 'key')}"))
            for item in new:
                out += [unknown(f"unknown  {one_line(item.host)}  {item.algorithm}"), plain(f"    {item.fingerprint}")]
            out += [
                "",
                plain(
                    "Compare them with a list you trust (the node's console, your inventory). Without that, leave them: the nodes stay unknown."
                ),
            ]
            if self.view.file:
                out.append(muted(f"Accepted keys are written to {self.view.file}."))
        if not self.view.keys:
            out.append(plain("Every host key met so far is known."))
        with VerticalScroll(id="body"):
            yield Static(lines(out), markup=False)
        with Horizontal(classes="buttons"):
            yield Button("Not now", id="no", compact=True)
            if new:
                yield Button(f"Accept {len(new)}", id="yes", variant="warning", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def why_not(self, name: str) -> str:
        return "There is no fingerprint to copy." if name == "copy" and not self.view.keys else ""

    def do_copy(self) -> None:
        self.app.copy_to_clipboard(
            "\n".join(f"{item.host} {item.algorithm} {item.fingerprint}" for item in self.view.keys)
        )
        self.app.notify("Copied the fingerprints.", markup=False)

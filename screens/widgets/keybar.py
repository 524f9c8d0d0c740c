"""The footer: the keys that work now, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

from textual.binding import Binding
from textual.content import Content
from textual.style import Style
from textual.widgets import Static


@runtime_checkable
class HasKeys(Protocol):
    """A screen that can say why a key does not work now."""

    def why_not_action(self, action: str) -> str:
        """Reason in words; empty when the key works."""

    def shown_key(self, binding: Binding) -> str:
        """How a key is written; empty: by its name."""


class KeyBar(Static):
    """Keys of the screen that work now. Each is clickable too."""

    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: auto; max-height: 3; padding: 0 1; background: $panel; color: $foreground; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.auto_links = False  # keys stay clickable, without being drawn as links

    def on_mount(self) -> None:
        self.refresh_keys()
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.refresh_keys())

    def on_resize(self) -> None:
        self.refresh_keys()

    def refresh_keys(self) -> None:
        """Draw again; called whenever what works may have changed."""
        if self.is_attached:
            self.update(self._content())

    def _content(self) -> Content:
        screen = self.screen
        remapped: dict[str, str] = getattr(self.app, "remapped", {})
        rows: list[list[Content]] = [[]]
        used, width = 0, max(20, (self.size.width or self.app.size.width) - 2)
        for binding in getattr(screen, "key_order", []):
            if not binding.show or not isinstance(screen, HasKeys) or screen.why_not_action(binding.action):
                continue
            shown = screen.shown_key(binding)
            keys = remapped.get(binding.id or "", binding.key)
            if not shown or keys != binding.key:
                shown = self.app.get_key_display(replace(binding, key=keys.split(",")[0], key_display=None))
            click = Style.from_meta({"@click": self._click(binding.action)})
            label = Content.assemble((shown, "bold $text-accent"), " ", binding.description).stylize(click)
            if used and used + label.cell_length > width:
                rows.append([])
                used = 0
            rows[-1].append(label)
            used += label.cell_length + 2
        return Content("\n").join([Content("  ").join(line) for line in rows])

    @staticmethod
    def _click(action: str) -> str:
        return action if "." in action.partition("(")[0] else f"screen.{action}"

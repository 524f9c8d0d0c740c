"""The footer: the keys that work now, and nothing else."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from textual.content import Content
from textual.style import Style
from textual.widgets import Static


@runtime_checkable
class HasKeys(Protocol):
    """A screen that can say why a key does not work now."""

    def why_not_action(self, action: str) -> str:
        """Reason in words; empty when the key works."""


class KeyBar(Static):
    """Keys of the screen that work now. Each is clickable too."""

    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: auto; max-height: 3; padding: 0 1; background: $panel; color: $foreground; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)

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
        seen: set[str] = set()
        rows: list[list[Content]] = [[]]
        used, width = 0, max(20, self.size.width - 2 if self.size.width else self.app.size.width - 2)
        order = {str(binding.action): index for index, binding in enumerate(getattr(screen, "key_order", []))}
        active = [item for item in screen.active_bindings.values() if item.node in (screen, self.app)]
        active.sort(key=lambda item: order.get(item.binding.action, 999))
        for item in active:
            binding = item.binding
            if not binding.show or not binding.description or binding.action in seen:
                continue
            if isinstance(screen, HasKeys) and screen.why_not_action(binding.action):
                continue
            seen.add(binding.action)
            key = binding.key_display or self.app.get_key_display(binding)
            click = Style.from_meta({"@click": self._click(binding.action)})
            label = Content.assemble((key, "bold $text-accent"), " ", binding.description).stylize(click)
            if used and used + label.cell_length > width:
                rows.append([])
                used = 0
            rows[-1].append(label)
            used += label.cell_length + 2
        return Content("\n").join([Content("  ").join(line) for line in rows])

    @staticmethod
    def _click(action: str) -> str:
        return action if "." in action.partition("(")[0] else f"screen.{action}"

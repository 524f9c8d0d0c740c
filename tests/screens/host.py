"""An app that shows one screen and keeps what it asks for."""

from __future__ import annotations

from typing import Any

from textual.app import App
from textual.message import Message
from textual.screen import Screen

from app.theme import THEMES
from screens import messages as ask

REQUESTS = tuple(
    item
    for item in vars(ask).values()
    if isinstance(item, type) and issubclass(item, Message) and item not in {Message, ask.Ask, ask.About}
)


class Host(App[None]):
    """No desk, no clients: the screen alone, with the product's themes."""

    def __init__(self, screen: Screen[Any], *, theme: str = "dark") -> None:
        super().__init__()
        self.shown = screen
        self.asked: list[Message] = []
        self.answers: list[Any] = []
        self.copied: list[str] = []
        self.animation_level = "none"
        for item in THEMES:
            self.register_theme(item)
        self.theme = theme

    def on_mount(self) -> None:
        self.push_screen(self.shown, self.answers.append)

    async def on_event(self, event: Any) -> None:
        await super().on_event(event)

    async def _on_message(self, message: Message) -> None:
        if isinstance(message, REQUESTS) and not isinstance(message, ask.BoardShown):
            self.asked.append(message)
        await super()._on_message(message)

    def copy_to_clipboard(self, text: str) -> None:
        self.copied.append(text)

    def action_help(self) -> None:
        self.asked.append(ask.Ask())

"""Colours. Every state has a sign and a word beside its colour, so that each of these can be used."""

from __future__ import annotations

from typing import Final

from textual.theme import Theme

# Okabe and Ito's palette is told apart by people with red-green and blue-yellow deficiency alike; each of the two
# themes uses the pair that is furthest apart for it: blue and orange, and red and teal.
THEMES: Final = (
    Theme(
        name="dark", primary="#5fa8e8", secondary="#2f5f8f", accent="#e8b45f", warning="#e8a33d", error="#f07178",
        success="#7fc98a", foreground="#e6e6e6", background="#14171c", surface="#1b1f26", panel="#252b34", dark=True,
        variables={"text-muted": "#9aa4b0"},
    ),
    Theme(
        name="light", primary="#1f5f9f", secondary="#9fbfdf", accent="#7a4a00", warning="#8a5a00", error="#a8202a",
        success="#1f6f33", foreground="#1a1a1a", background="#fbfbf8", surface="#f1f1ec", panel="#e2e3de", dark=False,
        variables={"text-muted": "#5a5f66"},
    ),
    Theme(
        name="high-contrast", primary="#ffff00", secondary="#00ffff", accent="#00ffff", warning="#ffd000",
        error="#ff8080", success="#80ff80", foreground="#ffffff", background="#000000", surface="#000000",
        panel="#1c1c1c", dark=True, text_alpha=1.0,
        variables={"text-muted": "#ffffff", "text-error": "#ff8080", "text-warning": "#ffd000", "text-success": "#80ff80"},
    ),
    Theme(
        name="deuteranopia", primary="#56b4e9", secondary="#0072b2", accent="#f0e442", warning="#f0e442",
        error="#e69f00", success="#56b4e9", foreground="#e6e6e6", background="#14171c", surface="#1b1f26",
        panel="#252b34", dark=True,
        variables={"text-muted": "#9aa4b0"},
    ),
    Theme(
        name="tritanopia", primary="#4fc4b8", secondary="#1f7a72", accent="#f4a6c0", warning="#f4a6c0",
        error="#ff6b6b", success="#4fc4b8", foreground="#e6e6e6", background="#14171c", surface="#1b1f26",
        panel="#252b34", dark=True,
        variables={"text-muted": "#9aa4b0"},
    ),
    Theme(
        name="no-colour", primary="#e6e6e6", secondary="#9a9a9a", accent="#ffffff", warning="#ffffff", error="#ffffff",
        success="#ffffff", foreground="#e6e6e6", background="#101010", surface="#181818", panel="#262626", dark=True,
        variables={"text-muted": "#a0a0a0"},
    ),
)  # fmt: skip

DEFAULT: Final = "dark"
NO_COLOUR: Final = "no-colour"

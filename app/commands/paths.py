"""`harborpilot paths`: where files are kept."""

from __future__ import annotations

from collections.abc import Sequence

from app.commands.flags import parser
from app.files import cache_dir, config_dir, state_dir


def run(words: Sequence[str]) -> int:
    """Print the folders, one a line."""
    parser("paths", "Where files are kept.").parse_args(words)
    state = state_dir()
    for name, path in (
        ("config", config_dir() / "config.yaml"),
        ("site rules", config_dir() / "rules.d"),
        ("keymap", config_dir() / "keymap.yaml"),
        ("sessions", state / "sessions"),
        ("audit", state / "audit"),
        ("undo", state / "undo"),
        ("log", state / "log"),
        ("cache", cache_dir()),
    ):
        print(f"{name:11} {path}")
    return 0

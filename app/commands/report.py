"""`harborpilot report SESSION`: the page for the ticket, as Markdown or HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.commands.flags import parser
from app.errors import UsageError
from app.files import state_dir


def run(words: Sequence[str]) -> int:
    """Print the report, or write it to a file."""
    flags = parser("report", "Write what was seen, what it was, the evidence, the change and the proof that it works.")
    flags.add_argument(
        "session", nargs="?", default="last", help="a file, an id (or its beginning), or `last` (default)"
    )
    flags.add_argument("-o", "--output", choices=("markdown", "html"), default="markdown")
    flags.add_argument("--to", metavar="FILE", help="write to a new file instead of the terminal")
    options = flags.parse_args(words)
    from app.session.replay import read_session
    from app.session.report import html, markdown
    from app.session.store import find_session

    replay = read_session(find_session(state_dir() / "sessions", options.session))
    state = replay.seek(len(replay))
    text = html(state, replay.header) if options.output == "html" else markdown(state, replay.header)
    if options.to is None:
        print(text)
        return 0
    path = Path(options.to)
    if path.exists():
        raise UsageError(f"{path} exists", "Choose a new name.")
    path.write_text(text, encoding="utf-8")
    print(path)
    return 0

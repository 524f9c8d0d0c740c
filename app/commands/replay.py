"""`harborpilot replay SESSION`: step through a saved session; without a terminal, or with --judge, in plain lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from app.commands.flags import parser
from app.files import load_rulebook, state_dir


def run(words: Sequence[str]) -> int:
    """Opens the replay screen on a terminal; prints the events otherwise."""
    flags = parser("replay", "Step forward and back through a saved session. Nothing is asked of any cluster.")
    flags.add_argument(
        "session", nargs="?", help="a file, an id (or its beginning), or `last`; without it the sessions are listed"
    )
    flags.add_argument(
        "--judge", action="store_true", help="judge it again with today's rules and list the verdicts that change"
    )
    flags.add_argument("--plain", action="store_true", help="print the events instead of opening the screen")
    options = flags.parse_args(words)
    if options.session is None:
        from app.commands import sessions

        return sessions.run([])
    if sys.stdout.isatty() and not options.plain and not options.judge:
        from app.commands.screens import open_app

        return open_app("replay", options.session)
    from app.runner.sessions import ReplayDesk

    rulebook, _ = load_rulebook()
    desk = ReplayDesk.open(state_dir() / "sessions", options.session, rulebook)
    view = desk.judge_again() if options.judge else desk.view()
    if desk.replay.problem:
        print(f"harborpilot: {desk.replay.problem}", file=sys.stderr)
    if options.judge:
        print("\n".join(view.timeline.changed or ()) or "no verdict changes under today's rules")
        return 3 if view.timeline.changed else 0
    for number, mark in enumerate(desk.marks, 1):
        print(f"{number:5} {mark.kind:9} {mark.text}")
    return 0

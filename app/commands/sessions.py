"""`harborpilot sessions`: list saved sessions, or export one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from app.commands.flags import parser
from app.errors import UsageError
from app.files import state_dir


def run(words: Sequence[str]) -> int:
    """Newest first; a damaged one says why it cannot be read."""
    flags = parser("sessions", "List saved sessions, newest first.")
    flags.add_argument(
        "--export",
        nargs=2,
        metavar=("SESSION", "FILE"),
        help="copy one session to a file to hand over; it holds no secret",
    )
    options = flags.parse_args(words)
    from app.session.store import find_session, list_sessions

    folder = state_dir() / "sessions"
    if options.export:
        target = Path(options.export[1])
        if target.exists():
            raise UsageError(f"{target} exists", "Choose a new name.")
        shutil.copyfile(find_session(folder, options.export[0]), target)
        target.chmod(0o600)
        print(target)
        return 0
    found = list_sessions(folder)
    for info in found:
        when = (
            datetime.fromtimestamp(info.started, UTC).strftime("%Y-%m-%d %H:%M") if info.started else "at no known time"
        )
        print(
            f"{info.id:10} {when}  {info.events:5} events  {info.outcome or '-':13} {info.title or info.target}"
            + (f"  ! {info.problem}" if info.problem else "")
        )
    if not found:
        print(f"no session in {folder}", file=sys.stderr)
    return 0

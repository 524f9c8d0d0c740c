"""The folder of sessions: list, find, keep for so long."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from app.errors import SessionError
from app.model.events import Applied, Closed, Judged, Opened
from app.session.codec import EventLine, decode_event, decode_line
from app.session.replay import read_header

_TAIL: Final = 262_144
"""Bytes read at the end of a recording for its outcome: a list of hundreds stays quick."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One recording, as a list shows it."""

    path: Path
    id: str
    started: float = 0.0
    target: str = ""
    title: str = ""
    source: str = ""
    product: str = ""
    rulebook: str = ""
    events: int = 0
    """As far as numbered; the last whole line tells."""
    outcome: str = ""
    """`fault_found`, `inconclusive`, `healthy`, `interrupted`."""
    fixed: str = ""
    """`verified`, `not verified`, `undone`; empty without an apply."""
    whole: bool = False
    """Ended as it should, not cut off."""
    problem: str = ""
    """Why it cannot be read; empty when it can."""


def list_sessions(folder: Path) -> list[SessionInfo]:
    """All recordings, newest first. One that is damaged is listed with what is wrong."""
    found = [_info(path) for path in _files(folder)]
    return sorted(found, key=lambda info: (info.started, info.path.name), reverse=True)


def find_session(folder: Path, name: str) -> Path:
    """A path as given, else the only recording whose id or file name begins like that; `last` is the newest. Raises SessionError."""
    direct = Path(name)
    if direct.is_file():
        return direct
    paths = sorted(_files(folder), key=lambda path: path.name)
    if name == "last":
        readable = [info.path for info in list_sessions(folder) if not info.problem]
        if readable:
            return readable[0]
    fitting = [
        path
        for path in paths
        if path.stem == name or path.stem.partition("-")[2].startswith(name) or path.name.startswith(name)
    ]
    if len(fitting) == 1 and name:
        return fitting[0]
    if len(fitting) > 1 and name:
        raise SessionError(
            f"{name!r} fits {len(fitting)} sessions",
            "Give more of the id: " + ", ".join(path.stem for path in fitting[:5]),
        )
    raise SessionError(
        f"there is no session {name!r} in {folder}", "`harborpilot replay` without a name lists the sessions there are."
    )


def forget_old(folder: Path, *, now: float, keep_days: float) -> list[Path]:
    """Remove what was last written so many days ago. Returns what went.

    What was cut off or is damaged may still be wanted, and what is being written is in use: these stay.
    """
    gone = []
    for path in sorted(_files(folder)):
        try:
            # The time of the file first: at a usual start nothing is old, and then no recording is opened.
            if now - path.stat().st_mtime < keep_days * 86_400 or not _info(path).whole or _in_use(path):
                continue
            path.unlink()
            path.with_suffix(".torn").unlink(missing_ok=True)
        except OSError:
            continue  # tidying up is no reason to fail; the next start tries again
        gone.append(path)
    return gone


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.glob("*.jsonl") if path.is_file() and not path.is_symlink())


def _in_use(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _info(path: Path) -> SessionInfo:
    try:
        header = read_header(path)
        lines = _last_lines(path)
    except (SessionError, OSError) as error:
        what = error.what if isinstance(error, SessionError) else str(error)
        return SessionInfo(path, path.stem.partition("-")[2] or path.stem, problem=what)
    outcome, fixed, title = "", "", header.title
    for line in reversed(lines):
        try:
            event = decode_event(line).event if line.type in ("closed", "step", "applied", "opened") else None
        except (msgspec.DecodeError, ValueError, KeyError):
            continue
        if isinstance(event, Closed | Judged) and not outcome:
            outcome = event.outcome
        elif isinstance(event, Applied) and not fixed:
            fixed = "undone" if event.undone else "verified" if event.verified else "not verified"
        elif isinstance(event, Opened) and not title:
            title = event.incident.image or event.incident.registry or ""
    return SessionInfo(
        path,
        header.id or path.stem,
        header.started,
        header.target,
        title,
        header.source,
        header.product,
        header.rulebook,
        lines[-1].n if lines else 0,
        outcome or ("interrupted" if lines else ""),
        fixed,
        whole=bool(lines) and lines[-1].type == "closed",
    )


def _last_lines(path: Path) -> list[EventLine]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - _TAIL)
        file.seek(start)
        chunk = file.read()
    # The first piece is the header or half a line, the last one is empty or torn.
    found = []
    for line in chunk.split(b"\n")[1:-1]:
        try:
            found.append(decode_line(line))
        except (msgspec.DecodeError, ValueError):
            continue
    return found

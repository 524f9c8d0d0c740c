"""Recording a session: append-only JSON Lines, owner-only, flushed with every event (design.md 7)."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec

from app.errors import SessionError
from app.model.events import Event, Stamped
from app.ports import Clock, Ids
from app.session.codec import Header, encode_event, known_types, scrubbed
from app.session.replay import Replay, read_session

SCHEMA: Final = 1


class Recorder:
    """One open session. Every event is on its way to the disk when `append` returns."""

    def __init__(self, path: Path, file: BinaryIO, header: Header, clock: Clock, *, last: int = 0) -> None:
        self.path = path
        self.header = header
        self._file = file
        self._clock = clock
        self._last = last

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        product: str,
        rulebook: str,
        target: str,
        clock: Clock,
        ids: Ids,
        source: str = "live",
        title: str = "",
    ) -> Recorder:
        """A new session. The folder is made owner-only. Raises SessionError when it cannot be written."""
        started = clock.now()
        header = Header(
            schema=SCHEMA,
            product=product,
            rulebook=rulebook,
            target=scrubbed(target),
            id=ids.new(),
            started=started,
            source=source,
            title=scrubbed(title),
        )
        stamp = datetime.fromtimestamp(started, UTC).strftime("%Y%m%dT%H%M%SZ")
        path = folder / f"{stamp}-{header.id}.jsonl"
        try:
            owner_only(folder)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as error:
            raise SessionError(
                f"no session can be written to {folder}: {error.strerror or error}",
                "Check the folder, its rights and the free space, or set HARBORPILOT_STATE_DIR.",
            ) from error
        file = os.fdopen(handle, "wb")
        _lock(file, path)
        file.write(msgspec.json.encode(header) + b"\n")
        file.flush()
        return cls(path, file, header, clock)

    @classmethod
    def resume(cls, path: Path, clock: Clock) -> tuple[Recorder, Replay]:
        """Go on with a session; a torn last line is moved aside first. Raises SessionError."""
        try:
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)), "r+b")
        except OSError as error:
            raise SessionError(f"{path.name} cannot be opened: {error.strerror or error}") from error
        try:
            _lock(file, path)
            replay = read_session(path)
            if replay.torn:
                _set_aside(path, file, replay)
            path.chmod(0o600)
        except BaseException:
            file.close()
            raise
        return cls(path, file, replay.header, clock, last=len(replay)), replay

    def append(self, event: Event) -> Stamped:
        """Write one event, redacted. Raises SessionError when the disk refuses; what was written before stays."""
        if event.name not in known_types():
            raise SessionError(f"an event of the unknown type {event.name!r} cannot be recorded")
        stamped = Stamped(self._last + 1, self._clock.now(), event)
        line = encode_event(stamped)
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise SessionError(
                f"{self.path.name} cannot be written: {error.strerror or error}",
                "Free some space; the session stays readable up to the event before.",
            ) from error
        self._last = stamped.number
        return stamped

    @property
    def count(self) -> int:
        return self._last

    def close(self) -> None:
        """Let the file go; may be called again."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def owner_only(folder: Path) -> None:
    """Make a folder (and what is missing above it) that only its owner enters."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise SessionError(
            f"{path.name} is being recorded by another run", "Open it with `harborpilot replay`, or end that run first."
        ) from error


def _set_aside(path: Path, file: BinaryIO, replay: Replay) -> None:
    """The torn line goes into a file beside the session, so that nothing is lost; the session ends with its last whole line."""
    handle = os.open(path.with_suffix(".torn"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "wb") as aside:
        aside.write(replay.torn + b"\n")
    file.truncate(replay.whole_bytes)
    file.seek(0, os.SEEK_END)

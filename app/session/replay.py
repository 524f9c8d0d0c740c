"""Opening a session again: read, seek both ways, judge with today's rules, export (design.md 7)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from app.errors import SessionError
from app.model.case import Case
from app.model.events import Event, Judged, Stamped
from app.model.state import EMPTY, SessionState, reduce
from app.session.codec import HEADERS, EventLine, Header, decode_brief, decode_event, decode_line, known_types

SCHEMA: Final = 1
_EVERY: Final = 128
"""A state is kept after so many events: a step back reduces at most that many again."""
_LIMIT: Final = 512 * 2**20


class Replay:
    """A recorded session with a position in it. Positions run from 0 (nothing yet) to `len`."""

    def __init__(
        self, path: Path, header: Header, lines: list[EventLine], torn: bytes = b"", whole_bytes: int = 0
    ) -> None:
        self.path = path
        self.header = header
        self.torn = torn
        """A last line that was cut off while it was written; it is not part of the session."""
        self.whole_bytes = whole_bytes
        self._lines = lines
        self._kept: dict[int, SessionState] = {0: EMPTY}
        self._state = EMPTY
        self._position = 0

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def position(self) -> int:
        return self._position

    @property
    def state(self) -> SessionState:
        """The state at the position."""
        return self._state

    @property
    def problem(self) -> str:
        """What to tell the operator about this recording; empty when it is whole."""
        if not self.torn:
            return ""
        return f"the last line was cut off ({len(self.torn)} bytes) and is left out; the run was interrupted while it wrote event {len(self) + 1}"

    def event(self, number: int) -> Stamped:
        """One event by its number. Raises SessionError with the line, where its data are damaged."""
        return self._decoded(number)

    def _decoded(self, number: int, *, brief: bool = False) -> Stamped:
        line = self._lines[number - 1]
        try:
            return decode_brief(line) if brief else decode_event(line)
        except (msgspec.DecodeError, ValueError) as error:
            raise _damaged(self.path, number + 1, str(error)) from error

    def events(self) -> Iterator[Stamped]:
        """All of them, from the first."""
        for number in range(1, len(self) + 1):
            yield self.event(number)

    def kinds(self) -> tuple[str, ...]:
        """Type of each event, without decoding them: for a time line."""
        return tuple(line.type for line in self._lines)

    def times(self) -> tuple[float, ...]:
        """When each was recorded."""
        return tuple(line.at for line in self._lines)

    def seek(self, position: int) -> SessionState:
        """Go to a position, clamped to what there is."""
        wanted = max(0, min(position, len(self)))
        if wanted < self._position or wanted - self._position > _EVERY:
            nearest = wanted - wanted % _EVERY
            while nearest not in self._kept:
                nearest -= _EVERY
            if wanted < self._position or nearest > self._position:
                self._state, self._position = self._kept[nearest], nearest
        while self._position < wanted:
            stop = min(wanted, self._position - self._position % _EVERY + _EVERY)
            self._walk(stop)
            if stop % _EVERY == 0:
                self._kept[stop] = self._state
        return self._state

    def _walk(self, stop: int) -> None:
        """Reduce up to a position. Of the judgements on the way only the last one shows, the others are read in brief."""
        numbers = range(self._position + 1, stop + 1)
        last = max((number for number in numbers if self._lines[number - 1].type == Judged.name), default=0)
        for number in numbers:
            line = self._lines[number - 1]
            brief = line.type == Judged.name and number < last
            stamped = self._decoded(number, brief=True) if brief else self.event(number)
            self._state = reduce(self._state, stamped)
            self._position = number

    def step(self, by: int = 1) -> SessionState:
        """Some events on, or back."""
        return self.seek(self._position + by)

    def to_next(self, kind: type[Event], *, back: bool = False) -> SessionState:
        """To just after the next (or the previous) event of a kind; stays where there is none."""
        numbers = range(self._position - 1, 0, -1) if back else range(self._position + 1, len(self) + 1)
        for number in numbers:
            if self._lines[number - 1].type == kind.name:
                return self.seek(number)
        return self._state

    def case(self) -> Case:
        """The case at the position, to judge it again."""
        return self._state.case()


def read_session(path: Path) -> Replay:
    """Open a recording at its start. Raises SessionError with the line number for anything damaged but the last line."""
    raw = _read(path)
    first, separator, rest = raw.partition(b"\n")
    if not separator:
        raise SessionError(
            f"{path.name} has no whole header: the run was interrupted as it began",
            "There is nothing in it to replay; remove it.",
        )
    header = _header(path, first)
    body = rest.split(b"\n")
    torn = body.pop()
    lines: list[EventLine] = []
    kinds = known_types()
    for number, line in enumerate(body, 2):
        found = _line(path, number, line, kinds)
        if found.n != len(lines) + 1:
            raise _damaged(path, number, f"event {found.n} stands where event {len(lines) + 1} belongs")
        lines.append(found)
    return Replay(path, header, lines, torn, len(raw) - len(torn))


def read_header(path: Path) -> Header:
    """Only the first line: for a list of sessions. Raises SessionError."""
    try:
        with path.open("rb") as file:
            first = file.readline(65_536)
    except OSError as error:
        raise SessionError(f"{path.name} cannot be read: {error.strerror or error}") from error
    if not first.endswith(b"\n"):
        raise SessionError(f"{path.name} has no whole header: the run was interrupted as it began")
    return _header(path, first)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LIMIT:
            raise SessionError(
                f"{path.name} is larger than {_LIMIT} bytes", "It was not written by a walk; check where it comes from."
            )
        return path.read_bytes()
    except OSError as error:
        raise SessionError(
            f"{path} cannot be read: {error.strerror or error}",
            "`harborpilot replay` without a name lists the sessions there are.",
        ) from error


def _header(path: Path, line: bytes) -> Header:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, 1, str(error)) from error
    if not isinstance(value, dict) or value.get("type") != "session":
        raise SessionError(
            f"{path.name} is not a session of harborpilot (line 1)",
            "Sessions lie below the state folder; see `harborpilot paths`.",
        )
    if value.get("schema") != SCHEMA:
        raise SessionError(
            f"{path.name} has schema {value.get('schema')!r}; this release reads schema {SCHEMA} (line 1)",
            f"It was written by harborpilot {value.get('product', 'of unknown version')}; use that release or a newer one.",
        )
    try:
        return HEADERS.decode(line)
    except msgspec.DecodeError as error:
        raise _damaged(path, 1, str(error)) from error


def _line(path: Path, number: int, line: bytes, kinds: frozenset[str]) -> EventLine:
    try:
        found = decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, number, str(error)) from error
    if found.type not in kinds:
        raise SessionError(
            f"{path.name}, line {number}: an event of the unknown type {found.type!r}",
            "A newer release wrote it; use that release to open the session.",
        )
    return found


def _damaged(path: Path, number: int, why: str) -> SessionError:
    return SessionError(
        f"{path.name}, line {number}: damaged ({why})",
        f"Events before it can be kept: head -n {number - 1} {path.name} > part.jsonl, then replay that file."
        if number > 2  # the first line is the header
        else "No event stands before it, so nothing can be kept.",
    )


def export(replay: Replay, path: Path) -> None:
    """Write the whole events to a new file that only its owner reads, to hand on. Raises SessionError; never overwrites."""
    try:
        raw = replay.path.read_bytes()[: replay.whole_bytes]
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
    except FileExistsError as error:
        raise SessionError(f"{path} is there already", "Give a new name; nothing is overwritten.") from error
    except OSError as error:
        raise SessionError(f"{path} cannot be written: {error.strerror or error}") from error

"""Lines of Harbor core's log: where each came from, when, and what it says.

Shapes (observed-harbor.md, section 9): `2026-11-21T09:32:10Z [LEVEL] [/path/file.go:NN][key="value"]: text`, Go's plain
`2026/11/21 09:58:38 text` and `redis: 2026/11/21 …`, each possibly behind the prefix of `kubectl logs --prefix`,
`kubectl logs --timestamps`, compose or syslog. What a line means is `app.parsers.core_log_tags`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line without its prefixes."""

    text: str
    """The message; the whole rest of the line where its shape is not known."""
    pod: str = ""
    """Pod of a `[pod/<name>/<container>]` prefix."""
    process: str = ""
    """`name[pid]` of a syslog prefix, or a compose service: tells processes apart, names no pod."""
    stamp: float | None = None
    """Seconds since the epoch by the writer's own clock; None where no full date stands in the line."""
    level: str = ""
    place: str = ""
    """`/server/middleware/security/robot.go`, without the line number."""
    fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """`requestID`, `client IP`, `user agent`, … of the line."""
    number: int = 0
    """Line number from 1."""
    written: float | None = None
    """Seconds since the epoch by the clock of the kubelet, where `kubectl logs --timestamps` put it before the line."""


_POD: Final = re.compile(r"\[pod/(?P<pod>[^/\]\s]+)(?:/[^\]\s]+)?\]\s?")
_COMPOSE: Final = re.compile(r"(?P<name>[a-z][\w.-]{0,60})\s+\|\s?")
_SYSLOG: Final = re.compile(
    r"(?:<\d+>)?(?:[A-Z][a-z]{2}\s+\d{1,2} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*)\s+\S+\s+(?P<tag>[\w./-]+(?:\[\d+\])?):\s?"
)
_ISO: Final = re.compile(r"(?P<stamp>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))\s+")
_GO: Final = re.compile(r"(?P<head>[a-z]+: )?(?P<stamp>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d)(?:\.\d+)?\s+")
_LEVEL: Final = re.compile(r"\[(?P<level>DEBUG|INFO|WARNING|WARN|ERROR|FATAL)\]\s*")
_PLACE: Final = re.compile(r"\[(?P<place>[\w./@+-]+\.go):\d+\]")
_FIELD: Final = re.compile(r'(?P<key>[\w ]+)="(?P<value>(?:[^"\\]|\\.)*)"\s?')


def stamp_of(text: str) -> float | None:
    """Seconds since the epoch of an RFC 3339 or Go standard-log stamp (read as UTC); None where it is neither."""
    text = text.strip()
    if re.match(r"\d{4}/\d\d/\d\d ", text):
        text = text.replace("/", "-", 2)
    # Python reads at most six digits of a fraction; Go prints nine.
    text = re.sub(r"(\.\d{6})\d+", r"\1", text.replace("Z", "+00:00"))
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def parse_lines(text: str) -> Iterator[LogLine]:
    """Every line that is not blank. Never raises: a line of unknown shape comes whole."""
    last: LogLine | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        if not raw.strip():
            continue
        line = _parse(raw, number)
        if last is not None and last.place and last.text.endswith(",") and not (line.place or line.stamp or line.level):
            # Wrapped on its way here: core ends no line with a comma.
            last = replace(last, text=f"{last.text} {line.text}")
            continue
        if last is not None:
            yield last
        last = line
    if last is not None:
        yield last


def _parse(raw: str, number: int) -> LogLine:
    rest = raw.strip()
    pod = process = ""
    found = _POD.match(rest)
    if found:
        pod, rest = found["pod"], rest[found.end() :]
    found = _COMPOSE.match(rest)
    if found:
        process, rest = found["name"], rest[found.end() :]
    found = _SYSLOG.match(rest)
    if found:
        process, rest = found["tag"], rest[found.end() :]
    stamp: float | None = None
    written: float | None = None
    # Twice: `kubectl logs --timestamps` puts the kubelet's stamp before the one that core writes.
    for _ in range(2):
        found = _ISO.match(rest)
        if not found:
            break
        written = stamp
        stamp, rest = stamp_of(found["stamp"]), rest[found.end() :]
    found = _GO.match(rest)
    if found:
        written = stamp if stamp is not None else written
        stamp, rest = stamp_of(found["stamp"]), (found["head"] or "") + rest[found.end() :]
    level = place = ""
    found = _LEVEL.match(rest)
    if found:
        level, rest = found["level"], rest[found.end() :]
    found = _PLACE.match(rest)
    fields: dict[str, str] = {}
    if found:
        place, rest = found["place"], rest[found.end() :]
        fields, rest = _fields(rest)
        rest = rest.removeprefix(":").strip()
    return LogLine(rest, pod, process, stamp, level, place, MappingProxyType(fields), number, written)


def _fields(rest: str) -> tuple[dict[str, str], str]:
    """The `[key="value" key="value"]` block behind the place. A value may hold brackets and quotes of its own."""
    if not rest.startswith("["):
        return {}, rest
    fields: dict[str, str] = {}
    at = 1
    while found := _FIELD.match(rest, at):
        fields[found["key"].strip()] = found["value"].replace('\\"', '"')
        at = found.end()
        if rest.startswith("]", at):
            return fields, rest[at + 1 :]
    end = rest.find("]:", at)
    return fields, rest[end + 1 :] if end >= 0 else rest

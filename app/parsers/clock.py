"""Times as they are printed by HTTP, JSON, openssl, Go and `date`, and clock offsets with their bounds (node.md 6)."""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

_OPENSSL: Final = re.compile(
    r"^([A-Z][a-z]{2})\s+(\d{1,2})\s+(\d\d):(\d\d):(\d\d)(?:\.\d+)?\s+(\d{4})(?:\s+(?:GMT|UTC))?$"
)
_GO: Final = re.compile(r"^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?) ([+-]\d{4})(?: \S+)?$")
_MONTHS: Final = {name: number for number, name in enumerate(calendar.month_abbr) if name}
_UNSTATED_BOUND: Final = 2.0
"""For a comparison that somebody made by hand and gave no bound for: two commands, whole seconds."""


def parse_time(value: object) -> float | None:
    """Seconds since the epoch of any usual form (number, ISO 8601, RFC 1123, openssl, Go); None when it is no time."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip()
    for parse in (_number, _iso, _openssl, _go, _rfc1123):
        found = parse(text)
        if found is not None:
            return found
    return None


def whole_seconds(value: object) -> bool:
    """Whether a printed time has no fraction, so that the real one may be up to a second later."""
    if isinstance(value, int):
        return True
    if isinstance(value, float):
        return value.is_integer()
    return not re.search(r":\d\d[.,]\d|^\d+\.\d", str(value))


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{9,11}(\.\d+)?", text) else None


def _iso(text: str) -> float | None:
    # Go and Kubernetes print up to nine digits; Python reads six.
    cut = re.sub(r"([.,]\d{6})\d+", r"\1", text).replace(",", ".")
    try:
        moment = datetime.fromisoformat(cut)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _openssl(text: str) -> float | None:
    found = _OPENSSL.match(text)
    if not found or found[1] not in _MONTHS:
        return None
    try:
        moment = datetime(
            int(found[6]), _MONTHS[found[1]], int(found[2]), int(found[3]), int(found[4]), int(found[5]), tzinfo=UTC
        )
    except ValueError:
        return None
    return moment.timestamp()


def _go(text: str) -> float | None:
    found = _GO.match(text)
    return _iso(f"{found[1]}T{found[2]}{found[3]}") if found else None


def _rfc1123(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True, slots=True)
class Offset:
    """A clock against a trusted one: seconds ahead (negative: behind), and how wrong that may be."""

    seconds: float
    bound: float
    synced: bool | None = None
    """What its own time service says; None: not seen."""


def parse_time_json(text: str) -> Offset:
    """`time.json` of a node: `node_time`, `reference_time`, `error_bound_s`. Raises ValueError saying what is wrong."""
    data = _mapping(text)
    there, here = parse_time(data.get("node_time")), parse_time(data.get("reference_time"))
    if there is None or here is None:
        raise ValueError("node_time or reference_time is missing or no time")
    given, synced = data.get("error_bound_s"), data.get("synced")
    bound = (
        float(given)
        if isinstance(given, int | float) and not isinstance(given, bool) and given >= 0
        else _UNSTATED_BOUND
    )
    return Offset(there - here, bound, synced if isinstance(synced, bool) else None)


def parse_ping_json(text: str) -> Offset:
    """`{"remote", "sent", "received"}` in epoch seconds: one clock ping. Raises ValueError saying what is wrong.

    The remote clock was read between sent and received; a whole second means it stood up to one second later.
    """
    data = _mapping(text)
    remote, sent, received = (parse_time(data.get(key)) for key in ("remote", "sent", "received"))
    if remote is None or sent is None or received is None or received < sent:
        raise ValueError("remote, sent or received is missing, or received is before sent")
    half = (received - sent) / 2
    blur = 0.5 if whole_seconds(data.get("remote")) else 0.0
    return Offset(remote + blur - (sent + half), half + blur)


def parse_timedatectl(text: str) -> bool | None:
    """Whether the host's time service says it is synchronised (`timedatectl`, `chronyc tracking`); None: not told."""
    found = re.search(r"(?:NTPSynchronized=|System clock synchronized:\s*|NTP synchronized:\s*)(yes|no)", text)
    if found:
        return found[1] == "yes"
    leap = re.search(r"Leap status\s*:\s*(.+)", text)
    return leap[1].strip() == "Normal" if leap else None


def _mapping(text: str) -> Mapping[str, Any]:
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    return data

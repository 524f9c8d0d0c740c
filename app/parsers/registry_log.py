"""Lines of the inner registry's log (distribution's logfmt) as tags of MODES.md section 2 (`registry.log`).

Strings: observed-harbor.md 1.4, 3.2, 3.3, 6.5 and harbor-and-kubernetes.md E.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from app.parsers.core_log import LogLine, stamp_of
from app.parsers.core_log_tags import INTERNAL_USER


@dataclass(frozen=True, slots=True)
class RegistrySaid:
    """One tag from one line. `gap`: token time minus registry clock in seconds, where the line prints both."""

    tag: str
    line: LogLine
    name: str = ""
    gap: float | None = None

    def __str__(self) -> str:
        return f"{self.tag}({self.name})" if self.name else self.tag


_USER: Final = re.compile(
    r'error authenticating user \\?"(?P<name>[^"\\]+)\\?": (?:authentication failure|invalid authorization credential)'
)
# Without `authentication failure` the challenge is only the first request of a client that sent nothing yet.
_CHALLENGE: Final = re.compile(r"basic authentication challenge for realm .*: authentication failure")
_PLAIN: Final = tuple(
    (re.compile(pattern), tag)
    for pattern, tag in (
        (r"\binvalid secret\b", "upload-secret"),
        (r"token signed by untrusted key", "untrusted-key"),
        (r"no space left on device|disk quota exceeded|AccountSizeOverQuota|XMinioStorageFull", "enospc"),
        (r"(?:filesystem:|/_uploads/|/blobs/|mkdir |open |write |stat |unlinkat ).*permission denied", "eacces"),
        (r"read-only file system", "erofs"),
        (r"SignatureDoesNotMatch|InvalidAccessKeyId|\bAccessDenied\b", "s3-login"),
        (r"RequestTimeTooSkewed", "s3-clock"),
        (
            r"panic: (?i:no \w+ parameter provided|invalid region provided)|StorageDriver not registered",
            "storage-config",
        ),
        (r"redis: error connecting|\bNOAUTH\b|\bWRONGPASS\b|\bERR AUTH\b", "redis"),
        (r"client disconnected during blob (?:PATCH|PUT)", "disconnect"),
    )
)
_LOGFMT_TIME: Final = re.compile(r'^time="(?P<stamp>[^"]+)"\s')
_CLF_TIME: Final = re.compile(r"\[(?P<stamp>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\]")


def registry_stamp(line: LogLine) -> float | None:
    """When a line was written: its logfmt `time=`, else the stamp of an access line, else that of its prefix."""
    found = _LOGFMT_TIME.match(line.text)
    if found:
        return stamp_of(found["stamp"])
    found = _CLF_TIME.search(line.text)
    return clf_stamp(found["stamp"]) if found else line.stamp


def clf_stamp(text: str) -> float | None:
    """Seconds since the epoch of `21/Nov/2026:09:34:33 +0000`."""
    try:
        return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").timestamp()
    except ValueError:
        return None


def what_registry_says(lines: Iterable[LogLine], internal_user: str = INTERNAL_USER) -> Iterator[RegistrySaid]:
    """Tags of all lines, in order."""
    seen = list(lines)
    # A panic over the settings bears no time; one before the registry came up for good is past.
    up = {line.pod: at for at, line in enumerate(seen) if "listening on " in line.text}
    for at, line in enumerate(seen):
        text = line.text
        user = _USER.search(text)
        if user:
            yield RegistrySaid("login-refused", line, user["name"])
            if user["name"] in (internal_user, INTERNAL_USER):
                yield RegistrySaid("login-refused-internal", line)
        elif _CHALLENGE.search(text):
            yield RegistrySaid("login-refused", line)
        for pattern, tag in _PLAIN:
            if pattern.search(text) and not (tag == "storage-config" and at < up.get(line.pod, -1)):
                yield RegistrySaid(tag, line)
        if "token not to be used" in text:
            yield from _window(line)


def _window(line: LogLine) -> Iterator[RegistrySaid]:
    """`token not to be used before A - currently C`, `… after B - …`, or both in one line (distribution 2.0 to 2.2)."""
    text = line.text
    now = _time_after(text, "currently ")
    before = _time_after(text, "not to be used before ")
    after = _time_after(text, " after ")
    early = before is not None and now is not None and now < before
    if "not to be used before" in text and (early or after is None):
        yield RegistrySaid(
            "token-too-early", line, gap=before - now if before is not None and now is not None else None
        )
    elif "after" in text:
        yield RegistrySaid("token-too-late", line)


def _time_after(text: str, words: str) -> float | None:
    """Unix seconds or Go's `2026-11-21 09:45:08 +0000 UTC` right behind some words."""
    at = text.find(words)
    if at < 0:
        return None
    rest = text[at + len(words) :]
    number = re.match(r"\d{9,11}\b", rest)
    if number:
        return float(number.group())
    stamp = re.match(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)? ([+-]\d{4})", rest)
    if not stamp:
        return None
    try:
        return datetime.strptime(f"{stamp[1]} {stamp[2]}", "%Y-%m-%d %H:%M:%S %z").astimezone(UTC).timestamp()
    except ValueError:
        return None

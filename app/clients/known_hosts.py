"""known_hosts, read tolerantly: hashed names, wildcards, negation, ports; lines of a kind we do not speak are counted, not fatal.

`@revoked` keys are refused. `@cert-authority` lines cannot be judged here (host certificates): the hosts they name are
reached through the system's `ssh`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path


class Verdict(StrEnum):
    """What known_hosts says about a key."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key: type as SSH names it, and its blob."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as `ssh-keygen -l` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def text(self) -> str:
        """`ssh-ed25519 AAAA…`."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line that could be read."""

    patterns: str
    key: HostKey
    marker: str = ""
    where: str = ""

    def names(self, host: str) -> bool:
        """Whether the line is about a host, written as known_hosts writes it (`h` or `[h]:2222`)."""
        if self.patterns.startswith("|1|"):
            return _hashed(self.patterns, host)
        found = False
        for pattern in self.patterns.split(","):
            wanted = pattern.removeprefix("!")
            # Only * and ? are wildcards here; a bracket is part of "[host]:port".
            if fnmatchcase(host.lower(), wanted.lower().replace("[", "[[]")):
                if pattern.startswith("!"):
                    return False
                found = True
        return found


def known_name(host: str, port: int) -> str:
    """How known_hosts writes a host."""
    return host if port == 22 else f"[{host}]:{port}"


def parse(text: str, where: str = "") -> list[Entry]:
    """All lines that can be read; the rest is passed over."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        if len(words) < 3:
            continue
        try:
            blob = base64.b64decode(words[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        entries.append(Entry(words[0], HostKey(words[1], blob), marker, f"{where}:{number}"))
    return entries


def read(paths: Iterable[str]) -> list[Entry]:
    """Entries of several files; one that is not there or not readable counts as empty."""
    entries: list[Entry] = []
    for path in paths:
        try:
            entries += parse(Path(path).read_text(encoding="utf-8", errors="replace"), path)
        except OSError:
            continue
    return entries


def about(entries: Sequence[Entry], hosts: Iterable[str]) -> list[Entry]:
    """Entries that name one of the hosts."""
    return [entry for host in hosts for entry in entries if entry.names(host)]


def check(entries: Sequence[Entry], hosts: Sequence[str], key: HostKey) -> tuple[Verdict, tuple[HostKey, ...]]:
    """The verdict on a key, and the keys that are known for these hosts."""
    mine = about(entries, hosts)
    if any(entry.marker == "@revoked" and entry.key == key for entry in mine):
        return Verdict.REVOKED, ()
    known = tuple(dict.fromkeys(entry.key for entry in mine if not entry.marker))
    if key in known:
        return Verdict.KNOWN, known
    return (Verdict.CHANGED if any(one.kind == key.kind for one in known) else Verdict.UNKNOWN), known


def append(path: str, host: str, key: HostKey) -> None:
    """Add one line; makes the folder (0700) and the file (0600) where they are missing."""
    file = Path(path).expanduser()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(f"{host} {key.text}\n".encode())


def _hashed(pattern: str, host: str) -> bool:
    parts = pattern.split("|")
    if len(parts) != 4:
        return False
    try:
        salt, wanted = base64.b64decode(parts[2]), base64.b64decode(parts[3])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, host.encode(), hashlib.sha1).digest(), wanted)

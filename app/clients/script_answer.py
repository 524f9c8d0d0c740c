"""A node's answer to a script, read back into documents of the bundle layout (`nodes/<node>/…`).

Derived documents:

- `units.json`: unit to `{"active", "state", "since", "pid", "exe", "cmdline", "fragment", "drop_ins", "need_reload", "restarts"}`; `since` in
  epoch seconds by the node's clock. Units that the node does not have are left out; `exe` is null where it may not be read.
- `environ-<unit>.txt`: the main process's environment, one variable a line; variables that hold a secret by their name are dropped.
- `stat.json`: absolute path to `{"mtime", "size", "mode", "owner", "sha256"}`, `{"absent": true}` or `{"denied": true}`; folders have
  `"directory": true`, the root of a listing also `"listed"`, and `"complete": false` where something below it could not be seen.
- `os-ca.json`: `{"path", "sha256", "mtime", "size"}` of the CA bundle in use.
- `getent.txt`: for each name `$ getent ahosts <name>`, its lines, and `exit <code>` when it failed.
- `time.json`: `{"node_time", "reference_time", "error_bound_s"}`, ISO 8601.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from app.clients.script import OS_CA, UNITS
from app.clients.script_units import environment, units
from app.model.evidence import Outcome
from app.model.material import Document
from app.ports import Command, File, Item, Journal, Ping, Tree

NAMES: Final = {
    "containerd-config-dump": "containerd-config-dump.toml",
    "crictl-info": "crictl-info.json",
    "versions": "versions.txt",
    "df": "df.txt",
    "unit": "units.json",
    "processes": "processes.txt",
    "getent": "getent.txt",
    "arch": "arch.txt",
    "images": "images.json",
    "plugins": "plugins.txt",
    "sudo": "sudo.txt",
    "mtu": "mtu.txt",
    "timesync": "timesync.txt",
}
"""Command id to document name."""

_REFUSED = (
    "ermission denied",
    "a password is required",
    "is not allowed to",
    "not in the sudoers",
    "may not run sudo",
    "peration not permitted",
    "must be root",
)
_MISSING = ("not found", "o such file or directory")


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `code` None: the answer ended before the frame did."""

    head: str
    body: bytes
    code: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """All frames; `complete` when the end mark came. `sudo`: whether the user may run something by `sudo -n`."""

    frames: tuple[Frame, ...]
    complete: bool
    sudo: bool | None = None


def frames(data: bytes, nonce: str) -> Answer:
    """Cut an answer at its marks. Whatever stands outside of frames (a login shell's greetings) is dropped."""
    mark = f"\n{nonce} ".encode()
    found: list[Frame] = []
    complete, sudo = False, None
    head: str | None = None
    body = b""
    for part in data.split(mark)[1:]:
        line, _, rest = part.partition(b"\n")
        word = line.decode("utf-8", "surrogateescape")
        if word.startswith("B "):
            if head is not None:
                found.append(Frame(head, body, None))
            head, body = word[2:], rest
        elif word.startswith("E ") and head is not None:
            found.append(Frame(head, body, int(word[2:]) if word[2:].isdigit() else 1))
            head, body = None, b""
        elif word.startswith("Z "):
            complete, sudo = True, word[2:] == "y"
    if head is not None:
        found.append(Frame(head, body, None))
    return Answer(tuple(found), complete, sudo)


@dataclass(slots=True)
class Before:
    """What earlier rounds of the same node put into documents that later rounds write again."""

    stat: dict[str, dict[str, Any]] = field(default_factory=dict)
    getent: dict[str, str] = field(default_factory=dict)


class Reader:
    """Documents of one round; `stat.json` and `getent.txt` hold those of the rounds before too."""

    def __init__(
        self, node: str, items: Sequence[Item], answer: Answer, taken_at: float, user: str, before: Before | None = None
    ) -> None:
        self._node = node
        self._items = items
        self._answer = answer
        self._taken_at = taken_at
        self._user = user
        self._documents: dict[str, Document] = {}
        self._before = before if before is not None else Before()
        self._stat = self._before.stat
        self._seen: set[int] = set()

    def documents(self) -> tuple[Document, ...]:
        """Everything that the answer tells; an item without an answer is told as not observed."""
        errors: dict[int, str] = {}
        for frame in self._answer.frames:
            if frame.head.startswith("e|"):
                errors[_number(frame.head.split("|")[1])] = _text(frame.body)
        for place, frame in enumerate(self._answer.frames):
            kind, _, rest = frame.head.partition("|")
            number = _number(rest.partition("|")[0])
            if not 0 <= number < len(self._items) or kind == "e":
                continue
            self._seen.add(number)
            after = self._answer.frames[place + 1] if place + 1 < len(self._answer.frames) else None
            error = _text(after.body) if after is not None and after.head == f"e|{number}" else ""
            match kind:
                case "f" | "d" | "s":
                    self._file(kind, self._items[number], rest.split("|", 4)[1:], frame)
                case "t":
                    self._tree(rest.split("|", 4)[1:], frame)
                case "c":
                    self._command(rest.split("|", 3)[1:], frame, error)
                case "j":
                    self._journal(self._items[number], rest.split("|", 3)[1:], frame)
        self._unanswered()
        if self._stat:
            self._add("stat.json", json.dumps(self._stat, indent=1, sort_keys=True), source="stat, sha256sum")
        return tuple(self._documents.values())

    # --- kinds of frames ---

    def _file(self, kind: str, item: Item, head: Sequence[str], frame: Frame) -> None:
        state, how, facts, path = [*head, "", "", "", ""][:4]
        source = f"{'sudo -n ' if how == 'sudo' else ''}cat {path}"
        if state == "absent":
            self._stat[path] = {"absent": True}
            if kind != "d" and not _digest_only(item):
                self._add(path, absent=True, source=source)
            return
        if state == "denied":
            self._stat[path] = {"denied": True}
            if not _digest_only(item):
                self._add(path, outcome=Outcome.DENIED, detail=self._denied(f"cat {path}"), source=source)
            return
        stat = _stat(facts)
        if state == "directory":
            self._stat[path] = {**stat, "directory": True}
            self._add(path, outcome=Outcome.UNPARSABLE, detail=f"{path} is a folder, not a file", source=source)
            return
        if kind in ("d", "s"):
            digest = _text(frame.body).split()
            if frame.code == 0 and digest:
                self._stat[path] = {**stat, "sha256": digest[0].lstrip("\\")}
                if kind == "d" and path in OS_CA and "os-ca.json" not in self._documents:
                    self._add(
                        "os-ca.json",
                        json.dumps(
                            {"path": path, "sha256": digest[0], **{key: stat[key] for key in ("mtime", "size")}}
                        ),
                        source=f"sha256sum {path}",
                    )
            return
        # A limit belongs to the item; a tree's files have the tree's.
        limit = item.limit if isinstance(item, File | Tree) else 16384
        cut = stat["size"] > limit
        if not cut and frame.code == 0:
            stat["sha256"] = hashlib.sha256(frame.body).hexdigest()
        self._stat[path] = stat
        if frame.code is None:
            self._add(path, outcome=Outcome.TIMED_OUT, detail=f"reading {path} did not end in time", source=source)
            return
        if frame.code:
            self._add(path, outcome=Outcome.DENIED, detail=self._denied(f"cat {path}"), source=source)
            return
        detail = f"cut: {len(frame.body)} of {stat['size']} bytes" if cut else ""
        self._add(path, _text(frame.body), mtime=stat["mtime"], detail=detail, source=source)

    def _tree(self, head: Sequence[str], frame: Frame) -> None:
        state, how, complete, path = [*head, "", "", "", ""][:4]
        source = f"{'sudo -n ' if how == 'sudo' else ''}find -L {path}"
        if state == "absent":
            self._stat[path] = {"absent": True}
            self._add(path, absent=True, source=source)
            return
        if state == "denied":
            self._stat[path] = {"denied": True}
            self._add(path, outcome=Outcome.DENIED, detail=self._denied(f"ls -lR {path}"), source=source)
            return
        for line in _text(frame.body).splitlines():
            facts, _, name = line.partition("|")
            stat = _stat(facts)
            if stat:
                self._stat[name] = {**stat, "directory": True} if facts.endswith("directory") else stat
        self._stat.setdefault(path, {"directory": True})
        self._stat[path] |= {"listed": True, "complete": complete == "y" and frame.code == 0}

    def _command(self, head: Sequence[str], frame: Frame, error: str) -> None:
        command, argument, how = [*head, "", "", ""][:3]
        name = f"environ-{argument}.txt" if command == "environ" else NAMES.get(command, f"{command}.txt")
        by_hand = _BY_HAND.get(command, command).replace("{}", argument)
        source = f"{'sudo -n ' if how == 'sudo' else ''}{by_hand}"
        if how == "absent":
            self._add(name, absent=True, detail=f"{argument} does not run", source=source)
            return
        if how == "denied":
            self._add(name, outcome=Outcome.DENIED, detail=self._denied(by_hand), source=source)
            return
        if frame.code is None or frame.code == 124:
            self._add(name, outcome=Outcome.TIMED_OUT, detail=f"{by_hand} did not end in time", source=source)
            return
        text = _text(frame.body)
        if frame.code and command not in ("getent", "df", "processes"):
            if any(word in error for word in _REFUSED) and not text.strip():
                self._add(name, outcome=Outcome.DENIED, detail=self._denied(by_hand, error), source=source)
                return
            if frame.code == 127 or (
                frame.code == 1 and not text and "sudo" in error and any(word in error for word in _MISSING)
            ):
                self._add(
                    name,
                    outcome=Outcome.UNSUPPORTED,
                    detail=f"{by_hand}: {error.strip() or 'the node does not have it'}",
                    source=source,
                )
                return
            text += error
        match command:
            case "unit":
                if not text.strip():
                    self._add(
                        name,
                        outcome=Outcome.UNSUPPORTED,
                        detail="systemctl told nothing about the units",
                        source=source,
                    )
                    return
                text = json.dumps(units(text), indent=1)
            case "environ":
                text = environment(text)
            case "getent":
                self._before.getent[argument] = f"$ getent ahosts {argument}\n{text}" + (
                    f"exit {frame.code}\n" if frame.code else ""
                )
                text = "".join(self._before.getent.values())
        self._add(name, text, source=source)

    def _journal(self, item: Item, head: Sequence[str], frame: Frame) -> None:
        if not isinstance(item, Journal):
            return
        how, kind, origin = [*head, "", "", ""][:3]
        by_hand = f"tail -n 20000 {origin}" if kind == "file" else f"journalctl -u {origin or item.unit}"
        source = f"{'sudo -n ' if how == 'sudo' else ''}{by_hand}"
        name = f"{item.unit}.log"
        if how == "denied":
            self._add(name, outcome=Outcome.DENIED, detail=self._denied(by_hand), source=source)
        elif frame.code == 127:
            self._add(name, outcome=Outcome.UNSUPPORTED, detail="the node has no journalctl", source=source)
        elif frame.code is None:
            self._add(name, outcome=Outcome.TIMED_OUT, detail=f"{by_hand} did not end in time", source=source)
        else:
            text = _text(frame.body)
            if any(word in text[:300] for word in _REFUSED):
                self._add(name, outcome=Outcome.DENIED, detail=self._denied(by_hand, text[:300]), source=source)
                return
            self._add(name, text, source=source)

    # --- helpers ---

    def _unanswered(self) -> None:
        for number, item in enumerate(self._items):
            if number in self._seen:
                continue
            outcome = Outcome.UNSUPPORTED if self._answer.complete else Outcome.TIMED_OUT
            detail = "the node gave no answer" if self._answer.complete else "the node's answer ended before this"
            match item:
                case File(path=path) | Tree(path=path):
                    self._add(path, outcome=outcome, detail=detail)
                case Journal(unit=unit):
                    self._add(f"{unit}.log", outcome=outcome, detail=detail)
                case Command(id="environ", arguments=arguments):
                    for unit in arguments:
                        self._add(f"environ-{unit}.txt", outcome=outcome, detail=detail)
                case Command(id="os-ca"):
                    # No frame at all: none of the known places has a bundle.
                    self._add("os-ca.json", outcome=outcome, detail=detail, absent=self._answer.complete)
                case Command(id=name):
                    self._add(NAMES.get(name, f"{name}.txt"), outcome=outcome, detail=detail)

    def _path(self, name: str) -> str:
        return f"nodes/{self._node}/{name.lstrip('/')}"

    def _denied(self, by_hand: str, error: str = "") -> str:
        said = f" ({' '.join(error.split())[:200]})" if error.strip() else ""
        return f"user {self._user or '?'} may not: sudo -n {by_hand.removeprefix('sudo -n ')}{said}"

    def _add(
        self,
        name: str,
        text: str = "",
        *,
        outcome: Outcome = Outcome.OBSERVED,
        absent: bool = False,
        mtime: float | None = None,
        detail: str = "",
        source: str = "",
    ) -> None:
        path = self._path(name)
        self._documents[path] = Document(
            path,
            text,
            Outcome.OBSERVED if absent else outcome,
            absent=absent,
            taken_at=self._taken_at,
            mtime=mtime,
            detail=detail,
            source=source,
        )


def best(pings: Iterable[Ping]) -> tuple[float, float, float] | None:
    """Offset of the node's clock against ours, its bound, and the moment on our clock; None without a ping.

    Offset = remote − midpoint of the ping with the shortest way, bound = half of that way. With whole seconds each ping says only
    that the node's clock is within [s, s+1); the pings together narrow it.
    """
    listed = list(pings)
    if not listed:
        return None
    quickest = min(listed, key=lambda ping: ping.received - ping.sent)
    middle = (quickest.sent + quickest.received) / 2
    if not any(ping.whole_seconds for ping in listed):
        return quickest.remote - middle, (quickest.received - quickest.sent) / 2, middle
    low = max(ping.remote - ping.received for ping in listed)
    high = min(ping.remote + 1 - ping.sent for ping in listed)
    if low > high:
        low, high = quickest.remote - quickest.received, quickest.remote + 1 - quickest.sent
    return (low + high) / 2, (high - low) / 2, middle


def time_document(node: str, pings: Sequence[Ping], taken_at: float) -> Document | None:
    """`time.json`; None without a ping."""
    found = best(pings)
    if found is None:
        return None
    offset, bound, moment = found
    body = {"node_time": _iso(moment + offset), "reference_time": _iso(moment), "error_bound_s": round(bound, 6)}
    return Document(
        f"nodes/{node}/time.json",
        json.dumps(body),
        taken_at=taken_at,
        source=f"{len(pings)} × date -u +%s.%N in one SSH channel",
    )


def with_note(documents: Iterable[Document], note: str) -> tuple[Document, ...]:
    """The same documents with a note in their detail."""
    return tuple(
        replace(document, detail="; ".join(part for part in (document.detail, note) if part)) for document in documents
    )


_BY_HAND: Final = {
    "containerd-config-dump": "containerd -c {} config dump",
    "crictl-info": "crictl info",
    "images": "crictl images -o json",
    "plugins": "ctr plugins ls",
    "versions": "containerd --version; kubelet --version; uname -sr",
    "df": "df -hT; df -i",
    "unit": f"systemctl show {' '.join(UNITS)}",
    "environ": 'sh -c \'tr "\\0" "\\n" </proc/$(systemctl show -p MainPID --value {})/environ\'',
    "processes": "ps -eo pid,lstart,args",
    "getent": "getent ahosts {}",
    "arch": "uname -m",
    "sudo": "sudo -n -l",
    "mtu": "cat /sys/class/net/*/mtu",
    "timesync": "timedatectl show",
}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def _digest_only(item: Item) -> bool:
    return isinstance(item, File) and item.digest_only


def _stat(facts: str) -> dict[str, Any]:
    words = facts.split(" ", 4)
    try:
        return {"size": int(words[0]), "mtime": float(words[1]), "mode": words[2].zfill(4), "owner": words[3]}
    except (IndexError, ValueError):
        return {}


def _number(word: str) -> int:
    return int(word) if word.isdigit() else -1


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")

"""Slices of the runtime's log: pulls host by host, and what was said at start (node.md 1.4, 2.2, 2.7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.parsers.split_url import urlsplit

_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)')
_STAMP = re.compile(r'time="?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)')
_ISO = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)")
_START = re.compile(r'^PullImage "([^"]+)"(?: with auth config.*)?$')
_END = re.compile(r'^PullImage "([^"]+)" (failed|returns image reference)')
_PULLED = re.compile(r'^Pulled image "([^"]+)"')
_STATUS = re.compile(
    r"\b([1-5]\d\d) (?:Unauthorized|Forbidden|Not Found|Too Many Requests|Internal Server Error|Bad Gateway|Service Unavailable|Gateway Time-?out|[A-Z][\w ]+)"
)
_URL = re.compile(r'https?://[^\s"\\]+')
_AFTER_STATUS = re.compile(r"after status: (\d{3})")


@dataclass(frozen=True, slots=True)
class LogLine:
    text: str
    time: float | None = None
    """Seconds since the epoch, None where the line has no full stamp."""
    level: str = ""
    msg: str = ""
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostTry:
    """What one host of an attempt answered."""

    host: str
    status: int | None = None
    error: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One `PullImage` call. `finished` is false while the log ends before the call does."""

    image: str
    started: float | None
    tries: tuple[HostTry, ...] = ()
    error: str = ""
    finished: bool = False
    succeeded: bool = False
    decode_errors: tuple[str, ...] = ()
    dir_loaded: tuple[str, ...] = ()
    no_progress: bool = False
    others_open: tuple[str, ...] = ()
    """Other images whose pull had begun and not ended when this one began."""

    @property
    def canceled(self) -> bool:
        return "context canceled" in self.error


def parse_time(text: str) -> float | None:
    """RFC 3339, nanoseconds allowed; without a zone it is taken as UTC. None where it is none."""
    value = re.sub(r"(\.\d{6})\d+", r"\1", text.strip().replace(",", ".")).replace("Z", "+00:00")
    try:
        stamp = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()


def parse_log(text: str) -> tuple[LogLine, ...]:
    """logfmt lines with or without a journal prefix; other lines are kept as text."""
    return tuple(_line(line) for line in text.splitlines() if line.strip())


def _line(line: str) -> LogLine:
    fields = {name: _unquote(value) for name, value in _FIELD.findall(line)} if "msg=" in line else {}
    stamp = _STAMP.search(line) or _ISO.match(line)
    return LogLine(
        line, parse_time(stamp[1]) if stamp else None, fields.get("level", ""), fields.get("msg", ""), fields
    )


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == '"' and value[-1] == '"':
        return value[1:-1].replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
    return value


def attempts(lines: Iterable[LogLine]) -> tuple[Attempt, ...]:
    """Every pull in the log, in the order of their starts."""
    done: list[Attempt] = []
    running: dict[str, _Running] = {}
    for line in lines:
        msg = line.msg
        if start := _START.match(msg):
            image = start[1]
            if image in running:
                done.append(running.pop(image).close(finished=False))
            running[image] = _Running(image, line.time, tuple(running))
        elif end := _END.match(msg):
            if end[1] in running:
                done.append(
                    running.pop(end[1]).close(line.fields.get("error", ""), finished=True, succeeded=end[2] != "failed")
                )
        elif pulled := _PULLED.match(msg):
            if pulled[1] in running:
                done.append(running.pop(pulled[1]).close(finished=True, succeeded=True))
        else:
            for pull in _concerned(line, running):
                pull.take(line)
    done += [pull.close(finished=False) for pull in running.values()]
    return tuple(sorted(done, key=lambda attempt: attempt.started or 0.0))


def _concerned(line: LogLine, running: dict[str, _Running]) -> Iterator[_Running]:
    """A line without an image belongs to the only running pull, or to those whose host it names."""
    if len(running) == 1:
        yield from running.values()
        return
    host = line.fields.get("host", "")
    for pull in running.values():
        if (
            pull.image in line.text
            or (host and pull.image.startswith(host + "/"))
            or (pull.path and pull.path in line.text)
        ):
            yield pull


class _Running:
    def __init__(self, image: str, started: float | None, others: tuple[str, ...]) -> None:
        self.image, self.started, self.others = image, started, others
        self.path = f"/{image.partition('/')[2].partition('@')[0].rpartition(':')[0]}/manifests/"
        self.tries: list[HostTry] = []
        self.decode: list[str] = []
        self.dirs: list[str] = []
        self.no_progress = False

    def take(self, line: LogLine) -> None:
        msg, host = line.msg, line.fields.get("host", "")
        if msg.startswith(("trying next host", "fetch failed")):
            error = line.fields.get("error", "")
            status = 404 if "StatusNotFound" in msg else None
            if found := _AFTER_STATUS.search(msg):
                status = int(found[1])
            url = _URL.search(error)
            self.tries.append(
                HostTry(
                    host,
                    status if status is not None else status_of(error),
                    error,
                    line.fields.get("url") or (url[0] if url else ""),
                )
            )
        elif msg.startswith("failed to decode"):
            self.decode.append(line.fields.get("error", "") or msg)
        elif msg.startswith("loading host directory"):
            self.dirs.append(line.fields.get("dir", ""))
        elif "no progress in" in msg:
            self.no_progress = True

    def close(self, error: str = "", *, finished: bool, succeeded: bool = False) -> Attempt:
        tries = list(self.tries)
        shown = _URL.search(error)
        if shown and not succeeded:
            host = urlsplit(shown[0].rstrip(":")).netloc
            # 1.x and 2.x log no line for a status other than 404 that ends the pull: the shown error tells of that host.
            status = status_of(error)
            registry_call = "/v2/" in shown[0] and "token" not in shown[0]
            if (
                registry_call
                and status is not None
                and all(attempt.host != host or attempt.status != status for attempt in tries)
            ):
                tries.insert(0, HostTry(host, status, error, shown[0].rstrip(":")))
        return Attempt(
            self.image, self.started, tuple(tries), error, finished, succeeded, tuple(self.decode), tuple(self.dirs), self.no_progress or "no progress in" in error, self.others
        )  # fmt: skip


def status_of(error: str) -> int | None:
    """The registry's HTTP status as an error text tells it."""
    if "no basic auth credentials" in error or "pull access denied" in error:
        return 401
    found = _STATUS.search(error.partition("\n")[0])
    return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Boot:
    """What the daemon said at its last start. `seen` is false when the slice does not reach back to it."""

    seen: bool = False
    time: float | None = None
    version: str = ""
    plugin_error: str = ""
    """`mirrors-clash`, `disabled`, `other`; empty: no such line."""
    plugin_text: str = ""
    ignored: tuple[str, ...] = ()
    """Keys of the CRI plugins' sections that were not known, as the log has them."""
    local_pull: bool = False
    dropin_error: bool = False
    load_error: str = ""
    """Text with which the daemon gave up."""
    booted: bool = False


def boot(lines: Iterable[LogLine]) -> Boot:
    """Only lines after the last `starting containerd` count, all lines where there is none."""
    every = list(lines)
    starts = [index for index, line in enumerate(every) if line.msg.startswith("starting containerd")]
    since = every[starts[-1] :] if starts else every
    plugin_error = plugin_text = load_error = ""
    ignored: list[str] = []
    local = dropin = booted = False
    for line in since:
        text = line.text
        if (
            "failed to load plugin" in text
            or "skip loading plugin" in text
            or ("cannot be set when" in text and "config_path" in text)
        ):
            kind, words = _plugin(line)
            if kind and plugin_error != "mirrors-clash":
                plugin_error, plugin_text = kind, words
        if line.msg.startswith("Ignoring unknown key") and "cri" in line.fields.get("plugin", ""):
            ignored.append(line.fields.get("key", ""))
        local = local or "Falling back to local image pull" in text
        dropin = dropin or "drop-in config version" in text
        booted = booted or "containerd successfully booted" in text
        if (
            "failed to load TOML" in text
            or "unsupported config version" in text
            or "expected containerd config version" in text
        ):
            load_error = text
    first = every[starts[-1]] if starts else None
    return Boot(bool(starts) or booted, first.time if first else None, first.fields.get("version", "") if first else "", plugin_error, plugin_text, tuple(ignored), local, dropin, load_error, booted)  # fmt: skip


def _plugin(line: LogLine) -> tuple[str, str]:
    text = line.text
    if "cannot be set when" in text and "config_path" in text:
        return "mirrors-clash", line.fields.get("error") or text
    if "io.containerd.grpc.v1.cri" not in text and "io.containerd.cri.v1" not in text and "cri image" not in text:
        return "", ""
    if "skip loading plugin" in text:
        return "disabled", text
    return "other", line.fields.get("error") or text

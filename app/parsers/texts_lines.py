"""Single lines of what somebody saw: stamps, structured logs, rows of kubectl's tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_STAMP = re.compile(
    r"^\s*(?:\[?(?P<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)\]?|"
    r"(?P<slash>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)?)|"
    r"(?P<sys>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?P<host>\S+) (?P<unit>[\w@.-]+)\[\d+\]:|#\d+ (?P<rel>\d+\.\d+)(?= ))\s*(?:[|\]]\s*)?"
)
_KLOG = re.compile(r"^(?P<level>[IWEF])\d{4} \d\d:\d\d:\d\d\.\d+\s+\d+ \S+?:\d+\] ?")
_LOGFMT = re.compile(r'(?<![\w.])(?P<key>time|level|msg|error|err|host|image|pod)=(?P<value>"(?:[^"\\]|\\.)*"?|\S+)')
_DESCRIBE = re.compile(r"^\s*(?P<type>Warning|Normal)\s+(?P<reason>[A-Z]\w+)\s+(?P<age>.+?)\s{2,}(?P<source>\S+(?:, \S+)?)\s{2,}(?P<message>\S.*)$")  # fmt: skip
_GET_EVENTS = re.compile(r"^\s*(?:\S+\s+)?(?:<\w+>|\d+\S*)\s+(?P<type>Warning|Normal)\s+(?P<reason>[A-Z]\w+)\s+(?P<object>\S+/\S+)\s+(?P<message>\S.*)$")  # fmt: skip
_GET_PODS = re.compile(
    r"^\s*(?:(?P<namespace>[\w.-]+)\s+)?(?P<pod>[\w.-]+)\s+\d+/\d+\s+(?:Init:)?(?P<reason>ErrImagePull|ImagePullBackOff|InvalidImageName|ErrImageNeverPull|RegistryUnavailable|ImageInspectError|SignatureValidationFailed)\b"
)
_PULL_REASONS: Final = frozenset(
    [
        "Failed",
        "FailedCreatePodSandBox",
        "InspectFailed",
        "FailedToRetrieveImagePullSecret",
        "ErrImageNeverPull",
        "BackOff",
        "InvalidImageName",
    ]
)


@dataclass(frozen=True, slots=True)
class Failure:
    """One failing message as it was printed, prefixes of logs taken off."""

    message: str
    time: float | None = None
    reason: str = ""
    """The event's or waiting state's reason, where it comes from a table."""
    pod: str = ""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of a structured log."""

    message: str
    level: str = ""
    time: float | None = None
    image: str = ""
    host: str = ""
    pod: str = ""
    text: str = ""
    """The `msg` alone."""


def log_entry(line: str) -> LogEntry | None:
    """A logfmt line (containerd, docker, skopeo) or a klog line (kubelet) taken apart; None for any other line."""
    klog = _KLOG.match(line)
    if klog:
        rest = line[klog.end() :]
        fields = {found["key"]: _unquote(found["value"]) for found in _LOGFMT.finditer(rest)}
        error = fields.get("err", "")
        text = rest[1 : rest.find('"', 1)] if rest.startswith('"') else rest
        inner = _inner_kubelet(error)
        return LogEntry(
            inner or error or text, klog["level"], None, fields.get("image", ""), "", fields.get("pod", ""), text
        )
    if "level=" not in line and "msg=" not in line:
        return None
    fields = {}
    for found in _LOGFMT.finditer(line):
        fields.setdefault(found["key"], _unquote(found["value"]))
    if "msg" not in fields:
        return None
    message, error = fields["msg"], fields.get("error", "")
    told = (
        f"{message}: {error}"
        if error and not message.startswith(("PullImage", "trying next host", "fetch failed"))
        else error or message
    )
    image = re.search(r'PullImage "([^"]+)"', message)
    return LogEntry(
        told, fields.get("level", ""), read_time(fields.get("time", "")), image.group(1) if image else fields.get("image", ""),
        fields.get("host", ""), fields.get("pod", ""), message,
    )  # fmt: skip


def _inner_kubelet(error: str) -> str:
    """What `failed to "StartContainer" for "app" with ErrImagePull: "…"` holds; empty where it is another text."""
    found = re.search(r'with (?:ErrImagePull|ImagePullBackOff|[\w ]+): "(?P<inner>.*)"$', error, re.S)
    text = found["inner"].replace('\\"', '"') if found else error
    if found is None:
        start = re.search(r"start failed in pod \S+: (?:ErrImagePull|[\w ]+?): (?P<inner>.+)$", error, re.S)
        return start["inner"] if start else ""
    back = re.match(r'Back-off pulling image "[^"]*": \w+: (?P<cause>.+)$', text, re.S)
    return back["cause"] if back else text


def _unquote(value: str) -> str:
    if not value.startswith('"'):
        return value
    return re.sub(
        r"\\(.)", lambda m: {"n": "\n", "t": " ", "r": ""}.get(m.group(1), m.group(1)), value[1:].removesuffix('"')
    )


def table_row(line: str) -> Failure | None:
    """A row of `kubectl describe`, `kubectl get events` or `kubectl get pods`. An empty message: a row without a failure."""
    found = _DESCRIBE.match(line) or _GET_EVENTS.match(line)
    if found:
        wanted = found["reason"] in _PULL_REASONS and not (found["type"] == "Normal" and found["reason"] != "BackOff")
        return Failure(found["message"].strip() if wanted else "", None, found["reason"])
    found = _GET_PODS.match(line)
    if found:
        pod = "/".join(part for part in (found["namespace"], found["pod"]) if part)
        return Failure(found["reason"], None, found["reason"], pod)
    if re.match(r"^\s*(NAMESPACE|NAME|LAST SEEN|TYPE)\s+[A-Z]", line):
        return Failure("")
    waiting = re.match(r"^\s+(Reason|Message):\s+(?P<value>\S.*)$", line)
    if waiting and waiting.group(1) == "Reason":
        value = waiting["value"].strip()
        return Failure(
            value if value in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull") else "",
            None,
            value,
        )
    return None


def strip_stamp(line: str) -> str:
    return _STAMP.sub("", line, count=1)


# A syslog head has no year; the line that it wraps often has a stamp of its own.
_WRAPPED = re.compile(r"[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d \S+ [^\s:]+: (\d{4}-\d\d-\d\dT\S+)")


def stamp_of(line: str) -> float | None:
    """Seconds since the epoch at the head of a log line; None without a full date."""
    found = _STAMP.match(line)
    if found and found["iso"]:
        return read_time(found["iso"])
    if found and found["slash"]:
        return read_time(found["slash"].replace("/", "-"))
    inner = re.search(r'\btime="?([^"\s]+)"?', line) or _WRAPPED.match(line)
    return read_time(inner.group(1)) if inner else None


def read_time(text: str) -> float | None:
    """An ISO 8601 time as seconds since the epoch, without a zone as UTC; None where it is none."""
    value = re.sub(r"(\.\d{1,6})\d*", r"\1", text.strip().replace(",", ".").replace("Z", "+00:00"))
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

"""Proxy variables as Go's `httpproxy` reads them (node.md 5.2), and the places where people put them."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from app.parsers.split_url import urlsplit

NAMES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_ENVIRONMENT = re.compile(r"^\s*Environment\s*=\s*(.*)$")
_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$")


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """What one process has. Values may hold credentials: show them through `redact`."""

    https: str = field(default="", repr=False)
    http: str = field(default="", repr=False)
    no_proxy: str = ""

    @property
    def any(self) -> bool:
        return bool(self.https or self.http)

    def proxy_for(self, url: str) -> str:
        """The proxy that a request goes to; empty for a direct connection."""
        parts = urlsplit(url if "://" in url else f"https://{url}")
        proxy = self.https if parts.scheme == "https" else self.http if parts.scheme == "http" else ""
        if not proxy or exempt(
            self.no_proxy, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        ):
            return ""
        return proxy


def parse_environ(text: str) -> Mapping[str, str]:
    """`/proc/<pid>/environ` (NUL or line ends), an env file or `systemctl show -p Environment`: name to value."""
    found: dict[str, str] = {}
    for line in re.split(r"[\0\n]", text):
        stripped = line.strip().removesuffix("\r")
        if not stripped or stripped.startswith("#"):
            continue
        if unit := _ENVIRONMENT.match(stripped):
            found.update(_words(unit[1]))
        elif assignment := _ASSIGNMENT.match(stripped):
            found[assignment[1]] = _unquote(assignment[2])
    return MappingProxyType(found)


def parse_unit(text: str) -> Mapping[str, str]:
    """`Environment=` lines of a systemd unit or drop-in; an empty assignment clears what stood before."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        unit = _ENVIRONMENT.match(line)
        if not unit:
            continue
        if not unit[1].strip():
            found.clear()
        found.update({name: value.replace("%%", "%") for name, value in _words(unit[1]).items()})
    return MappingProxyType(found)


def _words(text: str) -> dict[str, str]:
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    return {name: value for name, sign, value in (word.partition("=") for word in words) if sign}


def _unquote(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def settings(environ: Mapping[str, str], prefix: str = "") -> ProxySettings:
    """Go looks at the upper-case name first. `prefix` is `CONTAINERD_` for what k3s hands to containerd alone."""

    def get(name: str) -> str:
        for key in (prefix + name, name) if prefix else (name,):
            if value := environ.get(key) or environ.get(key.lower()):
                return value
        return ""

    return ProxySettings(get("HTTPS_PROXY"), get("HTTP_PROXY"), get("NO_PROXY"))


def exempt(no_proxy: str, host: str, port: int) -> bool:
    """Whether a host is reached directly by Go's rules: exact, suffix, `*`, host:port; ranges match addresses only."""
    host = host.strip("[]").rstrip(".").lower()
    if not host:
        return False
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_entry_covers(entry, host, address, port) for entry in _entries(no_proxy))


def _entries(no_proxy: str) -> Iterable[str]:
    for raw in no_proxy.split(","):
        entry = raw.strip().lower()
        if entry:
            yield entry


def _entry_covers(
    entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int
) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
        return address is not None and address in network
    name, wanted = _split_port(entry)
    if wanted is not None and wanted != port:
        return False
    literal = _address(name.strip("[]"))
    if literal is not None:
        return address == literal
    if name.startswith("*."):
        name = name[1:]
    if name.startswith("."):
        return host.endswith(name)
    return host == name or host.endswith(f".{name}")


def _split_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, int(rest[1:]) if rest.startswith(":") and rest[1:].isdigit() else None
    name, colon, port = entry.rpartition(":")
    if colon and ":" not in name and port.isdigit():
        return name, int(port)
    return entry, None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

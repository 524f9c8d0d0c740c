"""docker's `daemon.json`."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DaemonJson:
    insecure: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    error: str = ""

    def lists(self, registry: str, addresses: tuple[str, ...] = ()) -> bool:
        """Whether `insecure-registries` covers a host[:port]; an entry may be a range, loopback always is."""
        host = registry.partition(":")[0].strip("[]")
        candidates = [host, *addresses]
        if any(_loopback(candidate) for candidate in candidates) or host == "localhost":
            return True
        for entry in self.insecure:
            bare = entry.partition("://")[2] or entry
            if bare.rstrip("/") == registry:
                return True
            if any(_inside(candidate, entry) for candidate in candidates):
                return True
        return False


def parse_daemon_json(text: str) -> DaemonJson:
    """Never raises; a broken file keeps docker from starting and has `error`."""
    try:
        data = json.loads(text) if text.strip() else {}
    except ValueError as error:
        return DaemonJson(error=f"not JSON: {error}")
    if not isinstance(data, dict):
        return DaemonJson(error="the document is not an object")
    return DaemonJson(_texts(data.get("insecure-registries")), _texts(data.get("registry-mirrors")))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


def _inside(address: str, network: str) -> bool:
    try:
        return "/" in network and ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False

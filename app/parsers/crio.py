"""CRI-O: `registries.conf` (both formats), `policy.json`, `crio.conf`."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RegistriesConf:
    """Entries of `[[registry]]`; the old `[registries.insecure]` list is folded in."""

    insecure: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    mirrors: tuple[tuple[str, str], ...] = ()
    """Prefix to mirror location."""
    prefixes: tuple[str, ...] = ()
    error: str = ""

    def is_insecure(self, name: str) -> bool:
        """Whether the entry that serves `host[:port]/repository` says insecure; longest prefix decides."""
        fitting = [prefix for prefix in self.prefixes if _covers(prefix, name)]
        if not fitting:
            return False
        return max(fitting, key=len) in self.insecure


def parse_registries_conf(text: str) -> RegistriesConf:
    """Never raises; a broken file has `error`."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return RegistriesConf(error=f"not TOML: {error}")
    insecure: list[str] = []
    blocked: list[str] = []
    mirrors: list[tuple[str, str]] = []
    prefixes: list[str] = []
    entries = data.get("registry")
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict):
            continue
        prefix = str(entry.get("prefix") or entry.get("location") or "")
        prefixes.append(prefix)
        if entry.get("insecure") is True:
            insecure.append(prefix)
        if entry.get("blocked") is True:
            blocked.append(prefix)
        mirrors += [
            (prefix, str(mirror.get("location"))) for mirror in entry.get("mirror") or () if isinstance(mirror, dict)
        ]
    old = data.get("registries")
    if isinstance(old, dict):
        for name, target in (("insecure", insecure), ("block", blocked)):
            table = old.get(name)
            listed = table.get("registries") if isinstance(table, dict) else None
            for host in listed if isinstance(listed, list) else ():
                target.append(str(host))
                prefixes.append(str(host))
    return RegistriesConf(tuple(insecure), tuple(blocked), tuple(mirrors), tuple(prefixes))


def _covers(prefix: str, name: str) -> bool:
    if prefix.startswith("*."):
        return name.partition("/")[0].partition(":")[0].endswith(prefix[1:])
    return name == prefix or name.startswith((prefix + "/", prefix + ":", prefix + "@"))


def insecure_option(text: str) -> bool | None:
    """Whether `crio.conf` still has a filled `insecure_registries`; None when it cannot be read."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    return bool(_find(data, "insecure_registries"))


def _find(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        if value.get(key):
            return value[key]
        for item in value.values():
            if found := _find(item, key):
                return found
    return None


def signature_required(text: str, name: str) -> bool | None:
    """Whether `policy.json` asks a signature (or rejects) for `host/repository`; None when it cannot be read."""
    try:
        data = json.loads(text)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    transports = data.get("transports")
    scopes = transports.get("docker") if isinstance(transports, dict) else None
    rules: Any = data.get("default")
    if isinstance(scopes, dict):
        fitting = [scope for scope in scopes if scope == "" or _covers(scope, name)]
        if fitting:
            rules = scopes[max(fitting, key=len)]
    if not isinstance(rules, list):
        return None
    return any(
        isinstance(rule, dict) and rule.get("type") in ("signedBy", "sigstoreSigned", "reject") for rule in rules
    )

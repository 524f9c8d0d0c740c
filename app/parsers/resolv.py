"""Name resolution on a node: `resolv.conf`, `hosts`, output of `getent ahosts`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResolvConf:
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> ResolvConf:
    """`/etc/resolv.conf`; comments and unknown words are passed over."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = re.split(r"[#;]", line, maxsplit=1)[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(words[1:])
        elif words[0] == "options":
            options.extend(words[1:])
    return ResolvConf(tuple(servers), search, tuple(options))


def hosts_addresses(text: str, name: str) -> tuple[str, ...]:
    """Addresses of a name in `/etc/hosts`, in file order."""
    found = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) > 1 and name.lower() in (word.lower() for word in words[1:]):
            found.append(words[0])
    return tuple(found)


def getent_addresses(text: str) -> tuple[str, ...]:
    """Distinct addresses of `getent ahosts`/`hosts` output, in order."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        words = line.split()
        if words and is_address(words[0]):
            found[words[0]] = None
    return tuple(found)


def is_address(text: str) -> bool:
    """True for an IPv4 or IPv6 literal, brackets allowed."""
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def cluster_internal(name: str) -> bool:
    """A name that only cluster DNS knows: `svc`, `svc.cluster.local`, `….svc.…`."""
    labels = name.lower().rstrip(".").split(".")
    return (
        labels[-1] == "svc"
        or labels[-2:] == ["cluster", "local"]
        or (len(labels) > 2 and "svc" in labels[1:-1] and labels[-1] == "local")
    )

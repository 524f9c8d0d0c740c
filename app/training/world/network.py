"""From a place to a server: name, address, TLS. What Go's clients say when a layer fails (node.md 1.3, 4.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from app.model.exchange import TlsSeen
from app.parsers.proxy_env import settings
from app.parsers.x509 import Certificate, covers, read_bundle
from app.parsers.x509_verify import issued_by, may_sign, verify
from app.training.world.clock import iso
from app.training.world.state import OS_BUNDLE, Node, Server, State

RESOLVER: Final = "10.20.0.2"
"""The company's own: it knows every name."""
PUBLIC_RESOLVER: Final = "198.51.100.53"
"""On the internet: it knows nothing of the company's own names."""


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a connection came. `said` is what Go's client says where it came no further than TCP."""

    dns: str = ""
    address: str = ""
    tcp: str = ""
    server: Server | None = None
    said: str = ""
    tunnel: str = ""
    """What a proxy on the way answered: `tunnel`, `403`, `5xx`, `unreachable`."""


def reach(state: State, node: Node | None, host: str, port: int) -> Reached:
    """Resolve and connect from a node, or from the operator's desk."""
    address = address_of(state, node, host)
    if not address:
        return Reached("nxdomain", said=f"dial tcp: lookup {host} on {resolver_of(node)}:53: no such host")
    if node is not None and (node.name, address) in state.dropped:
        return Reached("ok", address, "timeout", said=f"dial tcp {address}:{port}: i/o timeout")
    server = state.servers.get((host, port))
    if server is None or server.address != address:
        # The address decides, not the name: another server may stand there.
        server = next((one for one in state.servers.values() if (one.address, one.port) == (address, port)), None)
    if server is None and all(one.address != address for one in state.servers.values()):
        return Reached("ok", address, "timeout", said=f"dial tcp {address}:{port}: i/o timeout")
    if server is None or server.down:
        return Reached("ok", address, "refused", said=f"dial tcp {address}:{port}: connect: connection refused")
    return Reached("ok", address, "open", server)


def reach_by(state: State, node: Node, proxy: str, host: str, port: int) -> Reached:
    """Through a proxy: it resolves and connects itself, and lets nobody into the company's own network."""
    parts = urlsplit(proxy)
    first = reach(state, node, parts.hostname or "", parts.port or 80)
    if first.server is None:
        return replace(first, said=f"proxyconnect tcp: {first.said}", tunnel="unreachable")
    if host not in state.resolvers[PUBLIC_RESOLVER]:
        return Reached(first.dns, first.address, "open", said="Forbidden", tunnel="403")
    beyond = reach(state, None, host, port)
    if beyond.server is None:
        return Reached(first.dns, first.address, "open", said="Bad Gateway", tunnel="5xx")
    return replace(beyond, tunnel="tunnel")


def runtime_proxy(node: Node, url: str) -> str:
    """The proxy that the running runtime takes for a URL; empty: none (node.md 5.2)."""
    unit = node.units.get(node.service)
    return settings(unit.environ, "CONTAINERD_" if node.rancher else "").proxy_for(url) if unit is not None else ""


def address_of(state: State, node: Node | None, host: str) -> str:
    """What the hosts file says, or the first resolver that is named; empty: no such host."""
    found = _hosts_file(node, host)
    if not found and host in state.resolvers.get(resolver_of(node), state.names):
        found = state.names.get(host, "")
    return found


def resolver_of(node: Node | None) -> str:
    """The first nameserver of resolv.conf; the company's own at the desk."""
    for line in (node.text("/etc/resolv.conf") or "").splitlines() if node is not None else ():
        words = line.split()
        if words[:1] == ["nameserver"] and len(words) > 1:
            return words[1]
    return RESOLVER


def _hosts_file(node: Node | None, host: str) -> str:
    for line in (node.text("/etc/hosts") or "").splitlines() if node is not None else ():
        words = line.partition("#")[0].split()
        if host in words[1:]:
            return words[0]
    return ""


@lru_cache(maxsize=256)
def certificates(pem: str) -> tuple[Certificate, ...]:
    """All certificates of a PEM text."""
    return tuple(read_bundle(pem))


def handshake(server: Server, host: str, anchors: str, anchors_name: str, now: float) -> tuple[TlsSeen, str]:
    """What the handshake shows, and Go's words for its failure (empty: it stands)."""
    seen = TlsSeen(server_name=host, anchors=anchors_name)
    if server.scheme == "http":
        return replace(seen, state="plain-http"), "http: server gave HTTP response to HTTPS client"
    chain = certificates("".join(server.chain))
    leaf = chain[0]
    seen = replace(
        seen, chain=server.chain, version="TLSv1.3", names=leaf.names, subject=leaf.subject, issuer=leaf.issuer,
        not_before=leaf.not_before, not_after=leaf.not_after,
    )  # fmt: skip
    trusted = certificates(anchors)
    verdict = verify(chain, trusted, now)
    if not verdict.accepts:
        said = _time_words(leaf, now) if verdict.reason == "time" else _authority_words(chain, trusted)
        return replace(seen, verified=False, verify_error=_openssl_words(verdict.reason, leaf, now)), said
    if not covers(leaf.names, host):
        said = f"x509: certificate is valid for {', '.join(leaf.names)}, not {host}"
        return replace(
            seen, verified=True, verify_error=f"hostname mismatch, certificate is not valid for '{host}'"
        ), said
    return replace(seen, verified=True), ""


def _time_words(leaf: Certificate, now: float) -> str:
    said = "x509: certificate has expired or is not yet valid: current time "
    if leaf.not_before is not None and now < leaf.not_before:
        return f"{said}{iso(now)} is before {iso(leaf.not_before)}"
    return f"{said}{iso(now)} is after {iso(leaf.not_after or 0.0)}"


def _openssl_words(reason: str, leaf: Certificate, now: float) -> str:
    """What our own client's TLS says of it."""
    if reason == "time":
        early = leaf.not_before is not None and now < leaf.not_before
        return "certificate is not yet valid" if early else "certificate has expired"
    return "unable to get local issuer certificate"


def _authority_words(chain: Iterable[Certificate], anchors: Iterable[Certificate]) -> str:
    """Go names an anchor that has the issuer's name and another key."""
    said = "x509: certificate signed by unknown authority"
    for child in chain:
        for anchor in anchors:
            if child.issuer == anchor.subject and may_sign(anchor) and issued_by(child, anchor) is False:
                name = next(
                    (part[3:] for part in anchor.subject.split(",") if part.strip().upper().startswith("CN=")), ""
                )
                return f'{said} (possibly because of "x509: Ed25519 verification failure" while trying to verify candidate authority certificate "{name or anchor.subject}")'
    return said


def os_trust(node: Node, *, loaded: bool = False) -> str:
    """PEM of the system's CA bundle: on disk, or as the runtime loaded it at its start."""
    return node.text(OS_BUNDLE, loaded=loaded) or ""

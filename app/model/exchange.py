"""One attempt to talk to a host: resolve, connect, TLS, HTTP; each layer with what was seen. Written as JSON documents

`registry/exchanges.json` (from the operator) and `nodes/<node>/exchanges.json` (through the node), a list of objects
with the fields below. No credential stands in it: `login` is only the name of where it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class TlsSeen:
    """What the handshake showed. `chain` is PEM, leaf first, as served."""

    state: str = "ok"
    """`ok`, `plain-http`, `alert`, `stalled`, `reset`."""
    chain: tuple[str, ...] = ()
    server_name: str = ""
    version: str = ""
    verified: bool | None = None
    """Whether the anchors in use accept the chain; None: not judged."""
    verify_error: str = ""
    anchors: str = ""
    """Which anchors: `os-bundle`, `hosts.toml ca …`, `none`."""
    names: tuple[str, ...] = ()
    """DNS names and addresses of the leaf's subjectAltName, where only a transcript is known."""
    subject: str = ""
    issuer: str = ""
    not_before: float | None = None
    not_after: float | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it. Later layers are empty where an earlier one failed."""

    url: str
    """With the host as dialled. In a hand-made transcript the scheme (`//host/path`) or the host (`/path`) may be unknown."""
    method: str = "GET"
    vantage: str = "operator"
    purpose: str = ""
    """`ping`, `ping-login`, `bearer`, `token`, `token-login`, `manifest`, `manifest-login`, `blob`, `upload`, `realm`, `api`,
    `tls`, `proxy` (what a node's proxy answers for this host), `other`. With `manifest-anon` and `upstream` the client itself fetches an anonymous token from the Bearer challenge
    and asks once more; the exchange is then the last one, with `bearer` set."""
    addresses: tuple[str, ...] = ()
    dns: str = ""
    """`ok`, `nxdomain`, `servfail`, `timeout`; empty: not seen."""
    address: str = ""
    tcp: str = ""
    """`open`, `refused`, `timeout`, `unreachable`, `reset`; empty: not seen."""
    proxy: str = ""
    """The proxy spoken to, empty for a direct connection."""
    proxy_answer: str = ""
    """`tunnel`, `407`, `403`, `5xx`, `unreachable`."""
    tls: TlsSeen | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Lower-case names; Set-Cookie and Authorization are never kept."""
    body: str = ""
    """Cut to 16 KiB; tokens in it are replaced before it is stored."""
    token: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """For a token answer: `kid`, `claims`, `issued_at`, `expires_in`, `empty` (200 without a token); never the token."""
    ms: float | None = None
    """From sending the request to the last byte of the answer."""
    login: str = ""
    """Where the credential came from (`secret apps/harbor-pull`), empty for an anonymous request."""
    login_variant: str = ""
    """`exact`, `trimmed` (white space at its edges removed), `fields` (user and password fields in place of `auth`)."""
    backend: str = ""
    """The core pod that answered, where it was addressed or said so."""
    connection: str = ""
    """Id of the connection; equal ids shared one."""
    error: str = ""
    """What the failing layer said, as its library words it."""
    taken_at: float | None = None
    partial: bool = False
    """Taken from a hand-made excerpt: headers and a login may be left out of it."""
    bearer: bool = False
    """A Bearer token was sent."""
    body_seen: bool = True
    """False where the answer's body was not kept: an empty `body` then says nothing."""
    body_sha256: str = ""
    """SHA-256 of the whole body (hex), where it was read to its end."""

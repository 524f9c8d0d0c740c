"""What the core asks of the world. Live clients, the recorded bundle and the simulated world implement these.

Everything here is read-only but the three `…Writer` protocols, which only `app.fixes.gateway` calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from app.model.evidence import Outcome
from app.model.exchange import Exchange
from app.model.material import Document


class Clock(Protocol):
    """Time as a parameter."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds of a clock that never steps."""


class Ids(Protocol):
    """Identifiers as a parameter."""

    def new(self) -> str:
        """A short id, unique within the user's state directory."""


# --- Kubernetes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KubeReply:
    """Answer of the API server. `outcome` is OBSERVED for 200 and 404, DENIED for 401 and 403."""

    outcome: Outcome
    status: int = 0
    body: str = ""
    """JSON or text, as sent."""
    date: float | None = None
    """The `Date` header, seconds since the epoch: a trusted clock."""
    detail: str = ""
    source: str = ""
    """`GET /api/v1/…`."""
    continue_token: str = ""


class KubeApi(Protocol):
    """Reading from one context. Never creates a pod; `exec` runs only commands of the closed set below."""

    context: str
    server: str

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> KubeReply:
        """One GET of an API path such as `/api/v1/namespaces/apps/pods/web`; lists are paged by the caller."""

    async def exec(self, namespace: str, pod: str, container: str, command: str, *arguments: str) -> KubeReply:
        """Run `sha256sum`, `date`, `stat` or `printenv-sha256` (digest of one variable) with plain arguments in a container."""

    async def allowed(
        self, verb: str, resource: str, namespace: str = "", name: str = "", subresource: str = "", group: str = ""
    ) -> bool | None:
        """SelfSubjectAccessReview; None when that itself could not be asked."""


class KubeWriter(Protocol):
    """Changing one context. Only the gateway holds one."""

    async def write(
        self,
        method: Literal["POST", "PUT", "PATCH", "DELETE"],
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        dry_run: bool = False,
    ) -> KubeReply:
        """One write; `dry_run` asks the server to check and not keep it."""


# --- Nodes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class File:
    """A file up to a size in bytes; longer ones come cut and marked in `detail`."""

    path: str
    limit: int = 262_144
    digest_only: bool = False
    """Only size, mtime and sha256 (for CA bundles)."""


@dataclass(frozen=True, slots=True)
class Tree:
    """All regular files below a folder, each up to a limit, and the listing itself."""

    path: str
    limit: int = 65_536
    count: int = 200


@dataclass(frozen=True, slots=True)
class Command:
    """One of a closed set of read-only commands, by id.

    `containerd-config-dump, crictl-info, versions, df, unit, environ, processes, getent, arch, os-release, images, plugins, sudo, docker-ps`;
    arguments are checked by the renderer (names and paths, no shell).
    """

    id: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Journal:
    """A slice of a unit's journal: since (epoch seconds), at most `lines`, only lines that hold one of `grep`."""

    unit: str
    since: float | None = None
    lines: int = 400
    grep: tuple[str, ...] = ()


Item = File | Tree | Command | Journal


@dataclass(frozen=True, slots=True)
class Ping:
    """One clock ping: when we sent and received (our clock) and what the node said, seconds since the epoch."""

    sent: float
    received: float
    remote: float
    whole_seconds: bool = False


@dataclass(frozen=True, slots=True)
class NodeRound:
    """Answer to all items of one round from one node, over one connection."""

    outcome: Outcome
    documents: tuple[Document, ...] = ()
    """Paths are `nodes/<node>/…` of the bundle layout: a file at its own path, a command at its layout name."""
    pings: tuple[Ping, ...] = ()
    sudo: bool | None = None
    user: str = ""
    detail: str = ""


class Nodes(Protocol):
    """Reading from nodes over SSH: one connection and one command a round, items in place of shell text."""

    async def read(self, node: str, items: Sequence[Item]) -> NodeRound:
        """Never raises for trouble at the node: the outcome says it."""


class NodeWriter(Protocol):
    """Changing files of a node and restarting its units. Only the gateway holds one."""

    async def replace(
        self, node: str, path: str, text: str, *, expect_sha256: str | None, mode: str = "0644", backup: str
    ) -> str:
        """Write beside, sync, rename; keep the old one as `backup` with its mode and owner. Returns the new sha256.

        `expect_sha256` None: the file must not exist. Raises RefusedError when the file is not what was expected.
        """

    async def restore(self, node: str, path: str, *, backup: str | None, expect_sha256: str) -> None:
        """Put the backup back to the byte with mode and owner; without one remove the file that we made."""

    async def restart(self, node: str, unit: str) -> None:
        """Restart a unit and wait until it is active. Raises VerifyFailedError when it is not."""

    async def run_trust_update(self, node: str) -> None:
        """`update-ca-certificates` or `update-ca-trust`, whichever the node has."""

    async def check_runtime_config(self, node: str) -> str:
        """Empty when the node's own `containerd config dump` accepts the files on disk, else what it says."""


# --- HTTP ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name and password that is never shown. `origin` is what may be shown."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    origin: str = ""

    def __repr__(self) -> str:
        return f"Credential({self.origin!r})"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request from a vantage: `operator` or `node/<name>` (through its forwarded channel)."""

    url: str
    method: Literal["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"] = "GET"
    vantage: str = "operator"
    purpose: str = "other"
    headers: Mapping[str, str] = field(default_factory=dict)
    credential: Credential | None = None
    login_variant: str = ""
    fresh: bool = True
    """Over a connection of its own."""
    anchors_pem: str | None = None
    """CA certificates to verify with; None: the operating system's. A failed check is reported, and nothing is sent after it."""
    anchors_name: str = "os-bundle"
    proxy: str = ""
    address: str = ""
    """Dial this address in place of resolving the host's name, as `curl --resolve` does; the name stays in TLS and in the request."""
    timeout: float = 10.0


class Http(Protocol):
    """HTTP with a vantage. TLS is always verified; what fails is told in the Exchange, never skipped."""

    async def exchange(self, request: HttpRequest) -> Exchange:
        """Never raises for trouble on the way: the Exchange says which layer failed. Redirects are not followed."""


class HarborWriter(Protocol):
    """Changing Harbor through its API. Only the gateway holds one."""

    async def write(
        self, method: Literal["POST", "PUT", "PATCH", "DELETE"], path: str, body: Any = None
    ) -> tuple[int, str]:
        """Status and body of one call below `/api/v2.0`."""

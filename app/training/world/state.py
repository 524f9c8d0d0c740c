"""State of the practice world. Everything that happens in it follows from these records and from the cluster's objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.training.world.clock import SimClock

if TYPE_CHECKING:
    from app.training.world.cluster import Cluster

OS_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
OS_CA_FOLDER = "/usr/local/share/ca-certificates"


@dataclass(slots=True)
class NodeFile:
    """One file. `mtime` is by the node's own clock."""

    text: str
    mtime: float
    mode: str = "0644"
    owner: str = "root:root"


@dataclass(slots=True)
class Unit:
    """A systemd unit. `since` is the start of its main process by the node's clock."""

    name: str
    since: float
    pid: int
    exe: str = ""
    cmdline: tuple[str, ...] = ()
    fragment: str = ""
    environ: dict[str, str] = field(default_factory=dict)
    active: bool = True
    said: str = ""
    """Last line of its journal when it did not start."""


@dataclass(slots=True)
class Node:
    """One machine. `loaded` holds the files as its runtime read them at its last start."""

    name: str
    address: str
    runtime: str
    """Release of containerd, `1.7.24`."""
    kubelet: str = "v1.34.4"
    distro: str = "kubeadm"
    files: dict[str, NodeFile] = field(default_factory=dict)
    loaded: dict[str, NodeFile] = field(default_factory=dict)
    units: dict[str, Unit] = field(default_factory=dict)
    clock_offset: float = 0.0
    clock_synced: bool = True
    sudo: bool = True
    reachable: bool = True
    images: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    kubelet_log: list[str] = field(default_factory=list)
    arch: str = "x86_64"
    disk_used: int = 22
    """Percent of the one file system."""

    @property
    def rancher(self) -> str:
        """`k3s` or `rke2` where it is one."""
        return self.distro if self.distro in ("k3s", "rke2") else ""

    @property
    def service(self) -> str:
        """The unit that starts the runtime."""
        return {"k3s": "k3s-agent", "rke2": "rke2-agent"}.get(self.distro, "containerd")

    def text(self, path: str, *, loaded: bool = False) -> str | None:
        """Text of a file now, or as the runtime has read it."""
        found = (self.loaded if loaded else self.files).get(path)
        return found.text if found is not None else None


@dataclass(slots=True)
class Server:
    """What listens on host:port. `backend`: `harbor`, `plain` (a registry without a login), `upstream`, `proxy`."""

    host: str
    port: int
    scheme: str
    backend: str
    address: str = ""
    chain: tuple[str, ...] = ()
    """PEM, leaf first, as it is sent."""
    clock_offset: float = 0.0
    down: bool = False
    anonymous: bool = False
    """An upstream that serves without a login too."""
    limit: int = 0
    """Manifests that all callers without a login get together in six hours; 0: no limit."""
    asked: list[float] = field(default_factory=list)
    """When they were given."""


@dataclass(slots=True)
class Robot:
    """A robot account of Harbor. `grants`: project name or `*` to actions on repositories."""

    id: int
    name: str
    secret: str = field(repr=False)
    disabled: bool = False
    expires_at: int = -1
    duration: int = -1
    """Days from its creation; -1: for ever."""
    created: float = 1_748_851_200.0
    level: str = "system"
    project: str = ""
    grants: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class User:
    """A person's account."""

    id: int
    name: str
    password: str = field(repr=False)
    admin: bool = False


@dataclass(slots=True)
class Project:
    """A project; `upstream` names an endpoint where it is a proxy cache."""

    id: int
    name: str
    public: bool = False
    upstream: str = ""
    images: dict[str, str] = field(default_factory=dict)
    """`repository:tag` (without the project) to digest: what is stored or cached here."""
    members: dict[str, str] = field(default_factory=dict)
    """User to role: `projectAdmin`, `maintainer`, `developer`, `guest`, `limitedGuest`."""
    created: float = 0.0
    quota: int = -1
    """Bytes; -1: no limit."""
    used: int = 73_400_320
    prevent: str = ""
    """Severity from which on images are held back, and those that were not scanned; empty: none is."""
    scanned: set[str] = field(default_factory=set)
    """`repository:tag` that the scanner has passed."""


@dataclass(slots=True)
class Endpoint:
    """A registry endpoint of Harbor, the upstream of proxy projects."""

    id: int
    name: str
    url: str
    kind: str = "docker-registry"
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(slots=True)
class Offender:
    """A job of somebody else that tries one login without a pause, with several workers."""

    account: str
    password: str = field(repr=False)
    client: str
    agent: str
    next: float
    """When its next try that reaches the password is due: one for each core every 1.5 s."""


@dataclass(slots=True)
class CorePod:
    """What one core process holds in memory, read at its start."""

    pod: str
    key: str = field(repr=False)
    """PEM of the token key."""
    registry_password: str = field(repr=False, default="")
    """With which it logs in at the inner registry."""
    database_password: str = field(repr=False, default="")
    strange_database: bool = False
    """It was started with the address of another, nearly empty database."""
    locks: dict[str, float] = field(default_factory=dict)
    """Account to the time until which it is locked after a refused login (1.5 s)."""
    log: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Harbor:
    """Harbor's own data, shared by all core pods through the database."""

    host: str
    namespace: str = "harbor"
    release: str = "harbor"
    version: str = "v2.10.2"
    admin: str = "admin"
    read_only: bool = False
    external_url: str = ""
    """What it tells clients of itself: up to 2.13 the realm of the token service is below it."""
    robots: dict[str, Robot] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    projects: dict[str, Project] = field(default_factory=dict)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    offenders: list[Offender] = field(default_factory=list)
    cores: dict[str, CorePod] = field(default_factory=dict)
    """By pod name; only the ready ones answer."""
    turn: int = 0
    """Requests that the front has passed on."""
    runs: dict[str, int] = field(default_factory=dict)
    """Requests by the client's connection."""
    registry_log: list[str] = field(default_factory=list)
    registry_password: str = field(repr=False, default="")
    """What the inner registry takes; a core knows what it was when the core started."""
    database_password: str = field(repr=False, default="")

    @property
    def token_secret(self) -> str:
        """Name of the Secret that holds the token key."""
        return f"{self.release}-core"


@dataclass(slots=True)
class Written:
    """One write, for the score: where and what."""

    at: float
    place: str
    """`node/edge-1 /etc/…`, `kube /api/v1/…`, `harbor /robots/3`."""
    what: str


@dataclass(slots=True)
class Counts:
    """What looking has cost so far."""

    logins: int = 0
    execs: int = 0
    node_rounds: int = 0
    requests: int = 0


@dataclass(slots=True, repr=False)
class State:
    """The whole world."""

    seed: str
    clock: SimClock
    nodes: dict[str, Node]
    harbor: Harbor
    cluster: Cluster
    servers: dict[tuple[str, int], Server] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """The company's DNS: name to address."""
    resolvers: dict[str, frozenset[str]] = field(default_factory=dict)
    """Other resolvers, by address: the names that each knows."""
    dropped: set[tuple[str, str]] = field(default_factory=set)
    """(node, address) between which a firewall drops what is sent."""
    upstream_logins: dict[str, str] = field(default_factory=dict)
    """User to password at the upstream registry."""
    client_logins: dict[str, str] = field(default_factory=dict)
    """What a machine that pushes has stored for an account, where it is not the right password."""
    upstream_images: dict[str, str] = field(default_factory=dict)
    """`repository:tag` to digest at the upstream registry."""
    refused: set[tuple[str, str]] = field(default_factory=set)
    """(verb, resource) that the operator's user may not do."""
    writes: list[Written] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    certificates: dict[str, str] = field(default_factory=dict)
    """PEM by name, for scenarios: `${ca:current}`."""
    serial: int = 0

    def now(self) -> float:
        return self.clock.now()

    def next_id(self) -> int:
        self.serial += 1
        return self.serial

    def wrote(self, place: str, what: str) -> None:
        """Note a write for the score."""
        self.writes.append(Written(self.now(), place, what))


def as_dict(items: Iterable[Any], key: str = "name") -> dict[str, Any]:
    """Records by one of their fields."""
    return {getattr(item, key): item for item in items}

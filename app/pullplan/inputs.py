"""What a pull plan is computed from. Plain frozen data: real nodes, bundles and the simulated world fill it alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from app.parsers.containerd_config import ConfigFile, Registry
from app.parsers.dockerconfig import LoginEntry
from app.parsers.hosts_toml import HostsFile
from app.parsers.k3s_registries import K3sRegistries
from app.parsers.proxy_env import ProxySettings


@dataclass(frozen=True, slots=True)
class View:
    """What is known of one host:port (default ports spelled out: `harbor.example.com:443`)."""

    speaks: frozenset[str] = frozenset()
    """`http`, `https`: seen to be served."""
    silent: frozenset[str] = frozenset()
    """`http`, `https`: seen not to be served."""
    trusted_by: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    """Anchor file on the node (or `os`) to whether it accepts the chain that is served."""
    unreachable: bool | None = None
    """No name, no route, nothing listening. None: not known."""
    harbor: bool = False
    """Answers as Harbor does, so that `/v2/<project>/…` is the shape of its paths."""


def there(node: str, path: str) -> str:
    """Name of an anchor file of another node in `View.trusted_by`."""
    return f"{node}:{path}"


@dataclass(frozen=True, slots=True)
class Failure:
    """The attempt that failed, as its text tells it."""

    stage: str = ""
    """`resolve` (name), `connect`, `proxy`, `scheme` (HTTP answer to TLS), `trust`, `tls`, `credential`, `not-found`,
    `hosts-file`, `image-service`, `answer` (any other answer of the registry); empty: not told."""
    url: str = ""
    client: str = ""
    """`ctr` and so on, where another tool than the kubelet failed."""


@dataclass(frozen=True, slots=True)
class HostsDir:
    """One directory below certs.d by its name there (`harbor.example.com:8443`; nested names keep their slash)."""

    name: str
    file: HostsFile | None = None
    """hosts.toml, None when there is none."""
    text: str = field(default="", repr=False)
    """Its text, to ask what it would do were it readable."""
    certificates: tuple[str, ...] = ()
    """Absolute paths of `*.crt`."""
    others: tuple[str, ...] = ()
    """Names of the other files."""

    @property
    def bare(self) -> bool:
        """Nothing in it sets anything: containerd uses its defaults, as if the folder were not there."""
        return self.file is None and not self.text and not self.certificates


@dataclass(frozen=True, slots=True)
class CertsDir:
    """A certs.d tree. `complete`: a name that is not listed is not there."""

    root: str
    dirs: tuple[HostsDir, ...] = ()
    complete: bool = False


@dataclass(frozen=True, slots=True)
class K3sSetup:
    """k3s's or RKE2's own files."""

    registries: K3sRegistries | None = None
    """None: not read; an empty one where the file does not exist."""
    text: str = field(default="", repr=False)
    path: str = ""
    exists: bool | None = None
    near_file: str = ""
    template: str = ""
    """`none`, `base`, `full`; empty: not known."""
    newer_than_process: bool | None = None
    default_endpoint: bool = True
    embedded: bool | None = None
    release: str = ""


@dataclass(frozen=True, slots=True)
class NodeSetup:
    """One node's settings as its files have them."""

    name: str = ""
    runtime: str = "containerd"
    version: str = ""
    distro: str = ""
    """`k3s`, `rke2`, `kubeadm`; empty: not known (judged as a plain containerd)."""
    main: ConfigFile | None = None
    """The main file; None: not read. `absent_main` where it does not exist."""
    absent_main: bool = False
    dropins: tuple[ConfigFile, ...] = ()
    """Imported files, in order."""
    stray: tuple[ConfigFile, ...] = ()
    """Files that look like settings and that the process does not read."""
    dump: ConfigFile | None = None
    """`containerd config dump` of the node's own release."""
    running: Registry | None = None
    """`crictl info`: the registry settings of the running process (1.x only)."""
    ignored_keys: tuple[str, ...] = ()
    """From the log since the start."""
    local_pull_seen: bool = False
    certs: tuple[CertsDir, ...] = ()
    newer_than_process: bool | None = None
    k3s: K3sSetup | None = None
    proxy: ProxySettings | None = None


@dataclass(frozen=True, slots=True)
class PullSecret:
    """One secret of the pod's list. `entries` is empty where the kubelet does not read it."""

    name: str
    entries: tuple[LoginEntry, ...] = ()
    exists: bool = True
    parse_error: str = ""
    note: str = ""
    """Why it gives nothing: wrong type, not JSON, …"""


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """One image on one node."""

    image: str
    node: NodeSetup = field(default_factory=NodeSetup)
    secrets: tuple[PullSecret, ...] | None = None
    """In the order of the pod's list (the service account's where the pod has none); None: not read."""
    node_logins: tuple[LoginEntry, ...] | None = None
    """Of the docker-style file that the kubelet reads; None: not read."""
    node_login_file: str = ""
    plugin_images: tuple[str, ...] = ()
    """`matchImages` patterns of credential plugins."""
    views: Mapping[str, View] = field(default_factory=lambda: MappingProxyType({}))
    failure: Failure = field(default_factory=Failure)
    healthy: tuple[NodeSetup, ...] = ()
    """Nodes where the same image works."""

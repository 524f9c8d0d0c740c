"""What a probe is: the documents it wants, and a pure reading of them into evidence.

Live, bundle and practice share `read`; only a live or simulated world is asked for `wants`. The runner unites the wants
of all probes of a round, so that a node is asked once, over one connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from app.model.case import Incident
from app.model.evidence import Evidence, Price, Value
from app.model.material import Material
from app.ports import HttpRequest, Item


@dataclass(frozen=True, slots=True)
class HarborPlace:
    """Where Harbor itself runs, as far as it is known."""

    namespace: str = ""
    kube: bool = False
    """Its kube API is at hand (context `harbor` of the wants)."""
    ssh_host: str = ""
    """Host with the compose installer, reachable over SSH."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What every probe knows before it reads."""

    incident: Incident
    now: float
    vantage: str = "bundle"
    """`bundle`, `operator` (live) or `world` (practice)."""
    harbor: HarborPlace | None = None
    variables: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    """The case's variables as far as they are known before probing."""
    try_credentials: bool = False
    """Consent to use each pull secret once against its registry."""
    push_login: bool = False
    """The operator named the login of the failing push for this run: it may be used once."""
    try_upload: bool = False
    """Consent to start a blob upload with that login and to cancel it."""


@dataclass(frozen=True, slots=True)
class KubeGet:
    """GET an API path and keep the body as a document. Lists are paged by the runner and merged into one List."""

    path: str
    document: str
    query: Mapping[str, str] = field(default_factory=dict)
    cluster: str = "workload"
    """`workload` or `harbor`."""


@dataclass(frozen=True, slots=True)
class KubeExec:
    """One command of the closed set of `KubeApi.exec`; its output is kept as a document."""

    namespace: str
    pod: str
    container: str
    command: str
    arguments: tuple[str, ...]
    document: str
    cluster: str = "harbor"


@dataclass(frozen=True, slots=True)
class NodeItem:
    """One item of a node; its documents land under `nodes/<node>/`."""

    node: str
    item: Item


@dataclass(frozen=True, slots=True)
class Fetch:
    """One HTTP request; its Exchange is appended to `registry/exchanges.json` or `nodes/<node>/exchanges.json`.

    `secret` names the pull secret (`namespace/name`) whose login for the host is used; the runner resolves it within its budget.
    """

    request: HttpRequest
    secret: str = ""
    image: str = ""
    """Image reference by which the secret's login is chosen; empty: any image of the request's host."""
    variant: str = "exact"
    times: int = 1
    price: Price = Price.FREE


Want = KubeGet | KubeExec | NodeItem | Fetch

PUSH_LOGIN: Final = "push-login"
"""In place of a Secret's name in a Fetch: the login with which the operator pushes, by flag or docker's configuration."""


def nothing(material: Material, scene: Scene) -> Iterable[Want]:
    """A probe that only reads what others fetched."""
    del material, scene
    return ()


@dataclass(frozen=True, slots=True)
class Probe:
    """One named read-only collection step."""

    id: str
    produces: tuple[str, ...]
    """Ids of the facts it can give."""
    read: Callable[[Material, Scene], Iterable[Evidence]]
    wants: Callable[[Material, Scene], Iterable[Want]] = nothing
    """What it needs that is not in the material yet; asked again after each round (two rounds at most)."""

"""Which exchanges the material holds, whose they are (the registry, a mirror, the realm, …), and the target they speak of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final
from weakref import WeakKeyDictionary

from app.model.evidence import Evidence, Of, Outcome, Price, Value
from app.model.exchange import Exchange
from app.model.material import Document, Material
from app.model.target import Target
from app.parsers.challenge import bearer_of
from app.parsers.exchanges import decode_exchanges
from app.parsers.hosts_toml import parse_hosts_toml
from app.parsers.redact import redact
from app.parsers.split_url import urlsplit
from app.parsers.transcript import read_transcript
from app.probes.base import Scene
from app.probes.harbor_common import HarborSide

_EXCERPT: Final = 1200
HUB_API: Final = "registry-1.docker.io"
HUB: Final = frozenset({"docker.io", HUB_API, "index.docker.io"})


@dataclass(frozen=True, slots=True)
class Place:
    """Host and port of a URL or an image; `scheme` is empty where nobody said."""

    host: str
    port: int | None = None
    scheme: str = ""

    @property
    def effective_port(self) -> int:
        return self.port or (80 if self.scheme == "http" else 443)

    def same(self, other: Place) -> bool:
        """The same socket: host, and port by the scheme's default. An unknown scheme agrees with both defaults."""
        if _hub(self.host) != _hub(other.host):
            return False
        if self.port == other.port:
            # `http://h` is port 80 and `https://h` port 443; an image without a port means 443.
            return self.port is not None or "http" not in (self.scheme, other.scheme) or self.scheme == other.scheme
        return self.effective_port == other.effective_port

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = self.port or (80 if self.scheme == "http" else None)
        return f"{host}:{port}" if port else host


def _hub(host: str) -> str:
    return "docker.io" if host in HUB else host


def place_of_url(url: str) -> Place | None:
    """Of a full or scheme-less URL; None where no host is known or the port is no number."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return Place(host.lower(), port, parts.scheme) if host else None


def place_of_authority(authority: str) -> Place | None:
    """Of `host[:port]` as an image names it."""
    return place_of_url(f"//{authority}")


@dataclass(frozen=True, slots=True)
class Image:
    """The parts of an image reference that its manifest URL shows."""

    repository: str
    reference: str


def image_of(scene: Scene) -> Image | None:
    """Repository and tag or digest of the incident's image, as its registry is asked for them."""
    text = scene.incident.image
    if not text:
        return None
    text = re.sub(r"^https?://", "", text)
    first, slash, rest = text.partition("/")
    named = bool(slash) and ("." in first or ":" in first or first == "localhost")
    path = rest if named else text
    if (not named or first in HUB) and "/" not in path:
        path = f"library/{path}"
    name, at, digest = path.partition("@")
    repository, colon, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
    if not colon:
        repository = name
    return Image(repository, digest if at else tag or "latest") if repository else None


@dataclass(frozen=True, slots=True)
class Seen:
    """One exchange with whose it is and where it was seen from."""

    exchange: Exchange
    place: Place | None
    of: Of
    target: Target
    node: str
    """Empty for the operator's desk."""
    source: str
    """Path of the document it came from."""


_KNOWN: WeakKeyDictionary[Material, tuple[Scene, Registry]] = WeakKeyDictionary()


def registry_of(material: Material, scene: Scene) -> Registry:
    """Read once for all probes of a round."""
    kept = _KNOWN.get(material)
    if kept is not None and kept[0] is scene:
        return kept[1]
    registry = Registry(material, scene)
    _KNOWN[material] = (scene, registry)
    return registry


class Registry:
    """What all probes of this area know: the incident's registry, the other hosts around it, and every exchange seen."""

    def __init__(self, material: Material, scene: Scene) -> None:
        self.material, self.scene = material, scene
        self.troubles: list[Evidence] = []
        raw = list(self._exchanges())
        self.name = self._name(raw)
        self.place = place_of_authority(self.name) if self.name else None
        self.mirrors = tuple(_mirrors(material, self.place))
        self.challenge = next(
            (
                found
                for exchange, _ in raw
                if self._here(exchange) and (found := bearer_of(exchange.headers.get("www-authenticate", "")))
            ),
            None,
        )
        self.realm = place_of_url(self.challenge.realm) if self.challenge and self.challenge.realm else None
        self.storage = tuple(
            place
            for exchange, _ in raw
            if exchange.purpose == "blob"
            and exchange.status in (301, 302, 303, 307, 308)
            and (place := place_of_url(exchange.headers.get("location", "")))
        )
        self.upstreams = tuple(_upstreams(material, scene))
        every = [self._seen(exchange, source) for exchange, source in raw]
        self.seen = tuple(seen for seen in every if seen.exchange.purpose != "proxy")
        self.by_proxy = tuple(seen for seen in every if seen.exchange.purpose == "proxy")
        """Asked only to hear the proxy: what is behind it is not what a runtime without it meets."""

    @property
    def is_harbor(self) -> bool:
        """Whether its challenge names Harbor's token service."""
        return self.challenge is not None and self.challenge.service == "harbor-registry"

    def _name(self, raw: list[tuple[Exchange, str]]) -> str:
        for given in (
            self.scene.incident.registry,
            self.scene.variables.get("image.host"),
            self.scene.variables.get("contacted.host"),
        ):
            if isinstance(given, str) and given:
                return given
        for exchange, _ in raw:
            place = place_of_url(exchange.url)
            if place and urlsplit(exchange.url).path.startswith("/v2"):
                return str(place)
        return next((str(place) for exchange, _ in raw if (place := place_of_url(exchange.url))), "")

    def _exchanges(self) -> Iterable[tuple[Exchange, str]]:
        for prefix, vantage in [
            ("registry", "operator"),
            *((f"nodes/{node}", f"node/{node}") for node in self.material.nodes()),
        ]:
            path = f"{prefix}/exchanges.json"
            text = self.material.text(path)
            if text is not None:
                try:
                    for exchange in decode_exchanges(text):
                        yield (exchange if exchange.vantage == vantage else replace(exchange, vantage=vantage)), path
                except ValueError as error:
                    self.troubles.append(unparsable("ping.get", path, str(error)))
            path = f"{prefix}/probe.txt"
            document = self.material.get(path)
            text = self.material.text(path)
            if document is not None and text is not None:
                for exchange in read_transcript(text, vantage, document.taken_at):
                    yield exchange, path

    def _here(self, exchange: Exchange) -> bool:
        place = place_of_url(exchange.url)
        return place is None or (self.place is not None and place.same(self.place))

    def _seen(self, exchange: Exchange, source: str) -> Seen:
        node = exchange.vantage.removeprefix("node/") if exchange.vantage.startswith("node/") else ""
        if node and stands_for_desk(self.scene, node):
            node = ""
        place = place_of_url(exchange.url)
        parts: dict[str, str | None] = {"node": node or None}
        if self._here(exchange):
            of = Of.HEALTHY if node and node in self.scene.incident.healthy_nodes else Of.THIS
            parts |= {"registry": self.name or None, "host": str(self.place) if self.place else None}
        else:
            assert place is not None  # noqa: S101 (an exchange without a host belongs to the registry)
            of, ours = self.role(place)
            parts |= {"registry": self.name if ours and self.name else str(place), "host": str(place)}
        return Seen(exchange, place, of, Target.of(**parts), node, source)

    def role(self, place: Place) -> tuple[Of, bool]:
        """Whose host it is, and whether it belongs to the incident's registry."""
        if self.realm and place.same(self.realm):
            return Of.REALM, True
        if any(place.same(mirror) for mirror in self.mirrors):
            return Of.MIRROR, True
        if any(place.same(storage) for storage in self.storage):
            return Of.STORAGE, True
        if any(place.same(upstream) for upstream in self.upstreams):
            return Of.UPSTREAM, True
        return Of.THIS, False

    @property
    def ours(self) -> list[Seen]:
        """Exchanges with the incident's registry itself, from everywhere."""
        return [seen for seen in self.seen if self._here(seen.exchange)]

    @property
    def realms(self) -> list[Seen]:
        """Exchanges with the token service, wherever it lives."""
        return [
            seen
            for seen in self.seen
            if seen.of is Of.REALM or (self._here(seen.exchange) and (self.realm is None or self.realm_is_here))
        ]

    @property
    def token_services(self) -> list[Seen]:
        """As `realms`, with the registry's own host even where the realm names another one."""
        return [seen for seen in self.seen if seen.of is Of.REALM or self._here(seen.exchange)]

    @property
    def realm_is_here(self) -> bool:
        return self.realm is not None and self.place is not None and self.realm.same(self.place)

    def target(self, **parts: str | None) -> Target:
        return Target.of(**({"registry": self.name or None} | parts))


def stands_for_desk(scene: Scene, node: str) -> bool:
    """A node that is no part of the incident was only asked because the desk cannot: what fails is a client elsewhere."""
    incident = scene.incident
    return incident.action in ("push", "login") and node not in (*incident.nodes, *incident.healthy_nodes)


def _mirrors(material: Material, registry: Place | None) -> Iterable[Place]:
    """Hosts that a node's runtime asks in place of the registry, from every hosts.toml and registries.yaml."""
    urls: list[str] = []
    for document in material.glob("nodes/*/hosts.toml"):
        namespace = document.path.rsplit("/", 2)[1]
        folder = place_of_authority(re.sub(r"_(\d+)_$", r":\1", namespace)) if namespace != "_default" else registry
        if registry is None or folder is None or not folder.same(registry):
            continue
        parsed = parse_hosts_toml(document.text)
        urls += [table.url for table in (*parsed.hosts, parsed.root) if table.url]
    for url in urls:
        place = place_of_url(url if "//" in url else f"https://{url}")
        if place and (registry is None or not place.same(registry)):
            yield place


def _upstreams(material: Material, scene: Scene) -> Iterable[Place]:
    """Hosts of Harbor's endpoints, by a document or by its answer to us. Docker Hub's API lives beside its web site."""
    rows, _ = HarborSide(material, scene).rows(("registries", "registry"), r"registries(?:/\d+)?")
    for endpoint in rows:
        place = place_of_url(str(endpoint.get("url", "")))
        if place is not None:
            yield upstream_place(place)


def upstream_place(place: Place) -> Place:
    """Where the registry API of an endpoint's URL answers."""
    return Place(HUB_API, None, "https") if place.host in HUB | {"hub.docker.com"} else place


def unparsable(probe: str, path: str, why: str, target: Target | None = None) -> Evidence:
    return Evidence(probe, target or Target(), "bundle", Outcome.UNPARSABLE, detail=f"{path}: {why}")


def evidence(probe: str, seen: Seen, facts: dict[str, Value], **more: Any) -> Evidence:
    """Evidence of one exchange."""
    exchange = seen.exchange
    return Evidence(
        probe,
        more.pop("target", seen.target),
        exchange.vantage,
        facts=facts,
        of=more.pop("of", seen.of),
        excerpt=more.pop("excerpt", summary(exchange)),
        taken_at=exchange.taken_at,
        price=more.pop("price", Price.CREDENTIAL if exchange.login else Price.FREE),
        command=more.pop("command", command_of(exchange)),
        **more,
    )


def united(members: Iterable[Evidence]) -> list[Evidence]:
    """Evidence with the same key as one record: what a later one says of the same fact counts."""
    found: dict[object, Evidence] = {}
    for member in members:
        one = member
        kept = found.get(one.key)
        if kept is not None:
            excerpt = kept.excerpt if one.excerpt in kept.excerpt else f"{kept.excerpt}\n{one.excerpt}"
            one = replace(
                kept,
                facts={**kept.facts, **one.facts},
                bounds={**kept.bounds, **one.bounds},
                roster={**kept.roster, **one.roster},
                partial=kept.partial | one.partial,
                detail="; ".join(dict.fromkeys(part for part in (kept.detail, one.detail) if part)),
                excerpt=excerpt[:_EXCERPT],
                taken_at=one.taken_at if one.taken_at is not None else kept.taken_at,
            )
        found[one.key] = one
    return list(found.values())


def summary(exchange: Exchange) -> str:
    """What came of an exchange, in a few lines."""
    lines = [f"{exchange.method} {shown(exchange.url)}"]
    if exchange.status is not None:
        lines.append(f"status {exchange.status}" + (f" after {exchange.ms:.0f} ms" if exchange.ms is not None else ""))
    for name in ("www-authenticate", "location", "server", "date"):
        if name in exchange.headers:
            value = exchange.headers[name]
            lines.append(f"{name}: {shown(value) if name == 'location' else value}")
    if exchange.error:
        lines.append(exchange.error)
    if exchange.body and not exchange.token:
        lines.append(exchange.body[:400])
    return redact("\n".join(lines))[:_EXCERPT]


def shown(url: str) -> str:
    """A URL without what may be a signature: only the query of a token service is kept, which holds no secret."""
    path, mark, query = url.partition("?")
    if not mark:
        return url
    kept = [part for part in query.split("&") if part.partition("=")[0] in ("service", "scope", "account")]
    return f"{path}?{'&'.join(kept)}" if len(kept) == query.count("&") + 1 else f"{path}?…"


def refused(probe: str, material: Material, prefix: str, cost: str, by_hand: str) -> Iterable[Evidence]:
    """Evidence for documents of core pods, `<prefix><pod>.json`, that could not be read: why, what it costs, and how else."""
    for document in material:
        if document.path.startswith(prefix) and document.outcome is not Outcome.OBSERVED:
            pod = document.path.removeprefix(prefix).removesuffix(".json")
            detail = f"{document.detail}; {cost}" if document.detail else cost
            yield Evidence(
                probe, Target.of(core_pod=pod), f"core-pod/{pod}", document.outcome, detail=detail, by_hand=by_hand,
                taken_at=document.taken_at, command=document.source,
            )  # fmt: skip


def command_of(exchange: Exchange) -> str:
    """The same by hand."""
    parts = ["curl -sv"]
    if exchange.method == "HEAD":
        parts.append("-I")
    elif exchange.method != "GET":
        parts.append(f"-X {exchange.method}")
    if exchange.login:
        parts.append("-u '<user>:<password>'")
    return f"{' '.join(parts)} '{shown(exchange.url)}'"


def observed(document: Document | None) -> str | None:
    """Text of a document that was read and exists."""
    return (
        document.text if document is not None and document.outcome is Outcome.OBSERVED and not document.absent else None
    )

"""What the failing texts themselves say: `text.*`, `pattern.*`, and what works beside them (MODES 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from app.model.evidence import Evidence, Outcome, Value
from app.model.material import Material
from app.model.target import INCIDENT, Target
from app.parsers.image_ref import bare_host, parse_image, same_host
from app.parsers.redact import redact
from app.parsers.urls import is_placeholder
from app.probes.base import Probe, Scene
from app.probes.incidents import sightings_of
from app.probes.seen import Seen, Sighting, look
from app.probes.text_pattern import (
    always,
    at_limit,
    baseline,
    by,
    cached_only,
    crictl,
    partly_done,
    seconds_to_fail,
    tries_of,
)
from app.probes.text_role import NodeView, credential_of, own_host, role_of, shape_by_plan, view_of

EXCERPT = 600
MOST_NODES = 32
"""Nodes for which a text gets a record of its own; beyond that it is told of the incident as a whole."""

Facts = dict[str, Value]


def _vantage(scene: Scene) -> str:
    return scene.vantage


def _records(material: Material, scene: Scene) -> Iterator[tuple[Target, Sighting]]:
    """One record for each text, and for each node on which it was seen where an incident has several texts."""
    found = sightings_of(material, scene.incident)
    several = len({index for index, _ in found}) > 1
    kept: dict[Target, Sighting] = {}
    for index, sighting in found:
        nodes = {item.node for number, item in found if number == index and item.node}
        by_node = several and 0 < len(nodes) <= MOST_NODES
        node = sighting.node if by_node or len(nodes) == 1 else None
        if by_node and not sighting.node:
            continue
        target = Target.of(text=str(index), node=node or None)
        earlier = kept.get(target)
        if earlier is None or (sighting.reading.time or 0.0) > (earlier.reading.time or 0.0):
            kept[target] = sighting
    yield from kept.items()


def _each(
    probe: str, facts: Callable[[Material, Scene, Sighting], Facts], material: Material, scene: Scene
) -> Iterator[Evidence]:
    for target, sighting in _records(material, scene):
        found = facts(material, scene, sighting)
        if found:
            yield Evidence(
                probe,
                target,
                _vantage(scene),
                facts=found,
                excerpt=redact(sighting.reading.message)[:EXCERPT],
                taken_at=sighting.reading.time if scene.vantage != "bundle" else scene.now,
                command=f"{sighting.path}" if sighting.path else "",
            )


def _parse(material: Material, scene: Scene, sighting: Sighting) -> Facts:
    del material
    reading = sighting.reading
    facts: Facts = {"text.signature": reading.tags, "text.message": redact(reading.message)[:EXCERPT]}
    if reading.client:
        facts["text.client"] = reading.client
    action = reading.action or scene.incident.action
    if action:
        facts["text.action"] = action
    if reading.status is not None:
        facts["text.status"] = reading.status
    if reading.time is not None:
        facts["text.time"] = reading.time
    return facts


def _url(material: Material, scene: Scene, sighting: Sighting) -> Facts:
    url = sighting.reading.url
    facts: Facts = {}
    if url.host:
        facts["text.url_host"] = url.host
    if url.scheme:
        facts["text.url_scheme"] = url.scheme
    if url.port is not None:
        facts["text.port"] = url.port
    if url.path_kind:
        facts["text.path_kind"] = url.path_kind
    shape = _shape(material, scene, sighting) or url.path_shape
    if shape:
        facts["text.path_shape"] = shape
    if url.by_digest is not None:
        facts["text.by_digest"] = url.by_digest
    return facts


def _shape(material: Material, scene: Scene, sighting: Sighting) -> str:
    if sighting.reading.url.path_shape != "ok" or not sighting.node:
        return ""
    return shape_by_plan(
        sighting.reading, view_of(material, scene, sighting.node), sighting.image or scene.incident.image or ""
    )


def _more(material: Material, scene: Scene, sighting: Sighting) -> Facts:
    del material, scene
    reading = sighting.reading
    facts: Facts = {"text.joined_errors": reading.joined_errors}
    if reading.typed_scheme:
        facts["text.typed_scheme"] = reading.typed_scheme
    if reading.names_image:
        facts["text.names_image"] = reading.names_image
    if reading.upload:
        facts["text.upload_began"] = True
    if reading.location_differs is not None:
        facts["text.location_differs"] = reading.location_differs
    if reading.path_owner:
        facts["text.path_owner"] = reading.path_owner
    return facts


def _realm(material: Material, scene: Scene, sighting: Sighting) -> Facts:
    del material
    url = sighting.reading.url
    if url.path_kind != "token" or not url.host:
        return {}
    facts: Facts = {"text.realm_placeholder": is_placeholder(url.host, own_host(scene, sighting))}
    outer = next((item for item in sighting.reading.urls if item.host and item.path_kind != "token"), None)
    own = outer.host if outer else own_host(scene, sighting)
    if own and (outer is None or outer.scheme == url.scheme):
        same = bare_host(own).lower() == bare_host(url.host).lower()
        facts["text.realm_other_port"] = same and not same_host(own, url.host, url.scheme)
    return facts


def _read_role(material: Material, scene: Scene) -> Iterator[Evidence]:
    views: dict[str, NodeView] = {}
    seen = look(material)

    def facts(material: Material, scene: Scene, sighting: Sighting) -> Facts:
        node = sighting.node or (
            scene.incident.nodes[0] if len(scene.incident.nodes) == 1 else _lone_node(material, seen)
        )
        if node not in views:
            views[node] = view_of(material, scene, node)
        view = views[node]
        found: Facts = {}
        role = role_of(material, scene, sighting, view)
        if role:
            found["text.host_role"] = role
        if sighting.reading.dial_ip:
            found["text.dial_ip"] = sighting.reading.dial_ip
        sent = credential_of(material, seen, scene, sighting, view)
        if sent:
            found["text.cred_sent"] = sent
        return found

    yield from _each("text.role", facts, material, scene)


def _lone_node(material: Material, seen: Seen) -> str:
    """The one node of which anything was copied, in a bundle whose pods name none."""
    nodes = material.nodes()
    return nodes[0] if len(nodes) == 1 and not any(pod.node for pod in seen.cluster.failing) else ""


def _read_pattern(material: Material, scene: Scene) -> Iterator[Evidence]:
    seen = look(material)
    tries = tries_of(seen, scene)
    facts: Facts = {}
    rate, n, k = always(tries, parse_image(scene.incident.image).name if scene.incident.image else "")
    if partly_done(seen):
        rate = False
    if rate is not None:
        facts["pattern.always"] = rate
    for fact, key, enough in (("pattern.by_path", "path", 3), ("pattern.by_account", "account", 2)):
        split = by(tries, key, enough)
        if split is not None:
            facts[fact] = split
    seconds = seconds_to_fail(seen.attempts)
    if seconds is not None:
        facts["pattern.seconds_to_fail"] = seconds
        facts["pattern.at_limit"] = at_limit(seconds)
    cached = cached_only(seen, scene)
    if cached is not None:
        facts["pattern.healthy_cached_only"] = cached
    if facts:
        excerpt = f"{k} of {n} tries failed" if n else ""
        yield Evidence("text.pattern", INCIDENT, _vantage(scene), facts=facts, excerpt=excerpt, taken_at=scene.now)


def _read_baseline(material: Material, scene: Scene) -> Iterator[Evidence]:
    facts = baseline(material, look(material), scene)
    if facts:
        yield Evidence(
            "baseline", INCIDENT, _vantage(scene), facts=facts, partial=frozenset({"change.recent"}), taken_at=scene.now
        )


def _read_tool(material: Material, scene: Scene) -> Iterator[Evidence]:
    ended = crictl(look(material))
    if ended:
        nodes = scene.incident.nodes or tuple(material.nodes())
        target = Target.of(node=nodes[0]) if len(nodes) == 1 else INCIDENT
        yield Evidence("tool.result", target, _vantage(scene), facts={"tool.crictl": ended}, taken_at=scene.now)


def _read_parse(material: Material, scene: Scene) -> Iterable[Evidence]:
    found = list(_each("text.parse", _parse, material, scene))
    if found or scene.incident.succeeded:
        return found
    return [
        Evidence(
            "text.parse",
            INCIDENT,
            _vantage(scene),
            Outcome.SKIPPED,
            detail="no failing text was given; one full line of the error tells most",
            by_hand="kubectl describe pod <pod> -n <namespace>",
            taken_at=scene.now,
        )
    ]


PROBES: tuple[Probe, ...] = (
    Probe(
        "text.parse",
        ("text.signature", "text.client", "text.action", "text.message", "text.status", "text.time"),
        _read_parse,
    ),
    Probe(
        "text.url",
        ("text.url_scheme", "text.url_host", "text.port", "text.path_kind", "text.path_shape", "text.by_digest"),
        partial(_each, "text.url", _url),
    ),
    Probe(
        "text.more",
        (
            "text.typed_scheme",
            "text.names_image",
            "text.joined_errors",
            "text.location_differs",
            "text.path_owner",
            "text.upload_began",
        ),
        partial(_each, "text.more", _more),
    ),
    Probe("text.realm", ("text.realm_placeholder", "text.realm_other_port"), partial(_each, "text.realm", _realm)),
    Probe("text.role", ("text.host_role", "text.dial_ip", "text.cred_sent"), _read_role),
    Probe(
        "text.pattern",
        (
            "pattern.always",
            "pattern.by_path",
            "pattern.by_account",
            "pattern.seconds_to_fail",
            "pattern.at_limit",
            "pattern.healthy_cached_only",
        ),
        _read_pattern,
    ),
    Probe(
        "baseline",
        ("other.nodes_ok", "other.images_ok", "other.accounts_ok", "other.clients_ok", "change.recent"),
        _read_baseline,
    ),
    Probe("tool.result", ("tool.crictl",), _read_tool),
)

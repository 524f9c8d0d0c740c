"""Clocks: offsets with their bounds, of nodes, of core pods, and between servers (node.md 6, harbor-and-kubernetes.md B).

No skew inside its bound is ever claimed: each offset carries the bound, and a spread is given only when it is real
or when every ready core was seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from app.model.evidence import Evidence, Of, Value
from app.model.material import Material
from app.model.target import Target
from app.parsers.clock import Offset, parse_ping_json, parse_time, parse_time_json, parse_timedatectl
from app.parsers.redact import redact
from app.ports import Command
from app.probes.base import KubeExec, NodeItem, Probe, Scene, Want
from app.probes.core_roster import core_version
from app.probes.registry_scene import refused, registry_of, united, unparsable
from app.probes.registry_token import Minted, date_gap, minted, ready_pods

_PRINTED: Final = re.compile(
    r"current time (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)) is (?:before|after)"
)
_EVENT_BOUND: Final = 5.0
"""Between the attempt that printed a time and the API server's stamp on its event."""
_TOKEN_BOUND: Final = 1.0
_DIRECT_BOUND: Final = 2.0
"""A pod's `issued_at` against our time of the request: whole seconds, and the request's own duration."""
_LEEWAY: Final = 60.0
"""What distribution forgives, and Harbor from 2.11 on; older ones forgive nothing (MODES: `clock.leeway`)."""
_PAIR: Final = 2
_NODES: Final = 3
_DATE_DOCUMENT: Final = "harbor/date-"


def measure(material: Material, scene: Scene) -> Iterable[Evidence]:
    """`clock.offset` of nodes, what events show, clocks of core pods and how far these are apart.

    A core's clock has a fact of its own: it stands on no node of the pull, and must not speak for one.
    """
    events = list(_events(material, scene))
    return [*united([*_nodes(material, scene), *_cores(material, scene)]), *events]


def _cores(material: Material, scene: Scene) -> Iterable[Evidence]:
    pods, troubles = _pods(material)
    yield from troubles
    cost = "this core's clock is known only from its tokens"
    yield from refused(
        "clock.measure", material, _DATE_DOCUMENT, cost, "kubectl exec <core pod> -c core -- date -u +%s"
    )
    registry = registry_of(material, scene)
    for pod, offset in pods.items():
        yield Evidence(
            "clock.measure", registry.target(core_pod=pod), f"core-pod/{pod}", facts={"clock.core_offset": offset.seconds},
            bounds={"clock.core_offset": offset.bound}, excerpt=f"{offset.seconds:+.3f} s, at most {offset.bound:.3f} s wrong", command="date -u +%s",
        )  # fmt: skip
    spread = core_spread(material, scene)
    if spread is not None:
        yield Evidence(
            "clock.measure", registry.target(), "operator", facts={"clock.core_spread": spread.seconds}, bounds={"clock.core_spread": spread.bound},
            excerpt=f"largest difference between cores {spread.seconds:.1f} s, at most {spread.bound:.1f} s wrong",
        )  # fmt: skip
    leeway = token_leeway(material, scene, harbor=spread is not None)
    if leeway is not None:
        yield Evidence(
            "clock.measure",
            registry.target(),
            "operator",
            facts={"clock.leeway": leeway.seconds},
            bounds={"clock.leeway": leeway.bound} if leeway.bound else {},
            excerpt=f"tokens are checked with {leeway.seconds:.0f} s of leeway"
            if not leeway.bound
            else f"the release is not known: tokens are checked with at most {leeway.seconds + leeway.bound:.0f} s of leeway",
        )


def _nodes(material: Material, scene: Scene) -> Iterable[Evidence]:
    for node in material.nodes():
        target = Target.of(node=node)
        of = Of.HEALTHY if node in scene.incident.healthy_nodes else Of.THIS
        facts: dict[str, Value] = {}
        bounds: dict[str, float] = {}
        path = f"nodes/{node}/time.json"
        document, text = material.get(path), material.text(path)
        if text is not None:
            try:
                offset = parse_time_json(text)
            except ValueError as error:
                yield unparsable("clock.measure", path, str(error), target)
            else:
                facts["clock.offset"], bounds["clock.offset"] = offset.seconds, offset.bound
                if offset.synced is not None:
                    facts["clock.synced"] = offset.synced
        for name in ("timesync.txt", "timedatectl.txt", "chrony.txt", "chronyc-tracking.txt"):
            synced = parse_timedatectl(material.text(f"nodes/{node}/{name}") or "")
            if synced is not None:
                facts.setdefault("clock.synced", synced)
        if facts:
            excerpt = f"{facts['clock.offset']:+.3f} s, at most {bounds['clock.offset']:.3f} s wrong" if bounds else ""
            yield Evidence(
                "clock.measure", target, f"node/{node}", facts=facts, bounds=bounds, of=of, excerpt=excerpt,
                taken_at=document.taken_at if document else None, command="date -u +%s.%N", by_hand="timedatectl; chronyc tracking",
            )  # fmt: skip


def _events(material: Material, scene: Scene) -> Iterable[Evidence]:
    """The time that a node printed in a certificate error, against the API server's stamp on that event; the newest of each node."""
    newest: dict[Target, Evidence] = {}
    for one in _printed_times(material, scene):
        kept = newest.get(one.target)
        if kept is None or (kept.taken_at or 0.0) <= (one.taken_at or 0.0):
            newest[one.target] = one
    return list(newest.values())


def _printed_times(material: Material, scene: Scene) -> Iterable[Evidence]:
    try:
        data: Any = material.json("events.json")
    except ValueError:
        return  # the probe of the pods says so
    items = data.get("items", []) if isinstance(data, dict) else data
    for event in items if isinstance(items, list) else ():
        if not isinstance(event, dict):
            continue
        message = str(event.get("message") or "")
        found = _PRINTED.search(message)
        stamp = parse_time((event.get("metadata") or {}).get("creationTimestamp"))
        printed = parse_time(found[1]) if found else None
        if printed is None or stamp is None:
            continue
        source = event.get("source") or {}
        node = str(source.get("host") or event.get("reportingInstance") or "") or (
            scene.incident.nodes[0] if len(scene.incident.nodes) == 1 else ""
        )
        yield Evidence(
            "clock.measure", Target.of(node=node or None), "operator", facts={"clock.event_gap": printed - stamp},
            bounds={"clock.event_gap": _EVENT_BOUND}, excerpt=redact(message[-300:]), taken_at=stamp,
        )  # fmt: skip


def _pods(material: Material) -> tuple[dict[str, Offset], list[Evidence]]:
    found: dict[str, Offset] = {}
    troubles = []
    for document in material.glob(f"{_DATE_DOCUMENT}*.json"):
        pod = document.path.removeprefix(_DATE_DOCUMENT).removesuffix(".json")
        try:
            found[pod] = parse_ping_json(document.text)
        except ValueError as error:
            troubles.append(unparsable("clock.measure", document.path, str(error), Target.of(core_pod=pod)))
    return found, troubles


@dataclass(frozen=True, slots=True)
class _Reading:
    """One reading of a core's clock against a common one. `pod` is empty where it is not known which core it was."""

    seconds: float
    bound: float
    pod: str


def core_spread(material: Material, scene: Scene) -> Offset | None:
    """The largest difference between the clocks of two cores.

    From exec where it is known, else from `issued_at` minus `Date`, else from tokens of the pods themselves; but what
    tokens show counts before exec, since tokens are what the other core judges. A small one counts only when all ready
    cores were read: of one backend reached, nothing follows.
    """
    roster = set(ready_pods(material))
    pods, _ = _pods(material)
    answers = minted(registry_of(material, scene))[0]
    groups = (
        [_Reading(offset.seconds, offset.bound, pod) for pod, offset in pods.items()],
        [_Reading(gap, _TOKEN_BOUND, one.seen.pod) for one in answers if (gap := date_gap(one.seen)) is not None],
        [reading for one in answers if (reading := _direct(one)) is not None],
    )
    spreads = [_spread(group, roster) for group in groups]
    for spread in spreads[1:]:
        if spread is not None and spread.seconds > spread.bound:
            return spread
    return min((spread for spread in spreads if spread is not None), key=lambda one: one.bound, default=None)


def _direct(one: Minted) -> _Reading | None:
    seen = one.seen
    if not seen.pod or seen.issued_at is None or seen.taken_at is None or seen.date is not None:
        return None
    return _Reading(seen.issued_at - seen.taken_at, _DIRECT_BOUND, seen.pod)


def _spread(readings: list[_Reading], roster: set[str]) -> Offset | None:
    if len(readings) < _PAIR:
        return None
    low, high = min(readings, key=lambda one: one.seconds), max(readings, key=lambda one: one.seconds)
    difference, bound = high.seconds - low.seconds, high.bound + low.bound
    pods = {one.pod for one in readings if one.pod}
    if difference > bound or (len(roster) >= _PAIR and roster <= pods):
        return Offset(difference, bound)
    return None


def token_leeway(material: Material, scene: Scene, *, harbor: bool = False) -> Offset | None:
    """Seconds by which a token's times may be off: 0 in Harbor 2.0 to 2.10, 60 from 2.11 and where distribution checks.

    Of a Harbor whose release is not known something between: a difference that no release forgives still counts.
    """
    try:
        data: Any = material.json("harbor/systeminfo.json")
    except ValueError:
        data = None
    if isinstance(data, list):
        data = data[0] if data else None
    told = str(data.get("harbor_version") or "") if isinstance(data, dict) else ""
    found = re.match(r"v?(\d+)\.(\d+)", told or _version_told(material, scene))
    if found:
        version = (int(found[1]), int(found[2]))
        return Offset(0.0 if (2, 0) <= version < (2, 11) else _LEEWAY, 0.0)
    challenge = registry_of(material, scene).challenge
    if challenge is not None and challenge.service != "harbor-registry":
        return Offset(_LEEWAY, 0.0)
    config = material.text("registry/config.yml") or ""
    if re.search(r"(?m)^\s+token:\s*(\{|$)", config) and "realm" in config:
        return Offset(_LEEWAY, 0.0)
    return Offset(_LEEWAY / 2, _LEEWAY / 2) if harbor or challenge is not None else None


def _version_told(material: Material, scene: Scene) -> str:
    """The release as `systeminfo` told it to a login of ours, else by core's image; empty where neither did."""
    for seen in registry_of(material, scene).seen:
        if urlsplit(seen.exchange.url).path.endswith("/systeminfo") and seen.exchange.status == 200:
            found = re.search(r'"harbor_version"\s*:\s*"([^"]+)"', seen.exchange.body)
            if found:
                return found[1]
    return core_version(material)


def servers(material: Material, scene: Scene) -> Iterable[Evidence]:
    """`clock.verifier_gap` and `clock.storage_gap`, from `Date` headers of answers that name both clocks."""
    registry = registry_of(material, scene)
    answers = [one for one in minted(registry)[0] if one.seen.issued_at is not None and one.seen.taken_at is not None]
    checks = [
        seen
        for seen in registry.ours
        if seen.exchange.taken_at is not None
        and parse_time(seen.exchange.headers.get("date")) is not None
        and seen.source.endswith("exchanges.json")
        and (not registry.realm_is_here)
    ]
    if answers and checks:
        gaps = [
            _gap(
                one.seen.issued_at,
                one.seen.taken_at,
                parse_time(seen.exchange.headers.get("date")),
                seen.exchange.taken_at,
            )
            for one in answers
            for seen in checks[-1:]
            if one.source.endswith("exchanges.json")
        ]
        known = [gap for gap in gaps if gap is not None]
        if known:
            widest = max(known, key=abs)
            yield Evidence(
                "clock.servers", registry.target(), "operator", facts={"clock.verifier_gap": widest}, bounds={"clock.verifier_gap": _DIRECT_BOUND},
                excerpt=f"token server minus registry: {widest:+.0f} s",
            )  # fmt: skip
    yield from _storage(material, scene)


def _storage(material: Material, scene: Scene) -> Iterable[Evidence]:
    registry = registry_of(material, scene)
    stores = [seen for seen in registry.seen if seen.of is Of.STORAGE and seen.source.endswith("exchanges.json")]
    for store in stores[-1:]:
        for seen in registry.ours[-1:]:
            gap = _gap(
                parse_time(seen.exchange.headers.get("date")),
                seen.exchange.taken_at,
                parse_time(store.exchange.headers.get("date")),
                store.exchange.taken_at,
            )
            if gap is not None:
                yield Evidence(
                    "clock.servers", registry.target(), store.exchange.vantage, facts={"clock.storage_gap": gap},
                    bounds={"clock.storage_gap": _DIRECT_BOUND}, excerpt=f"registry minus object store: {gap:+.0f} s",
                )  # fmt: skip


def _gap(one: float | None, one_at: float | None, other: float | None, other_at: float | None) -> float | None:
    """The first clock minus the second, each read at a time of ours."""
    if one is None or one_at is None or other is None or other_at is None:
        return None
    return (one - one_at) - (other - other_at)


def wants(material: Material, scene: Scene) -> Iterable[Want]:
    """The state of each sampled node's time service, and `date` in each ready core pod. Nodes are pinged in every round anyway."""
    for node in (*scene.incident.nodes[:_NODES], *scene.incident.healthy_nodes[:_NODES]):
        if material.get(f"nodes/{node}/timesync.txt") is None:
            yield NodeItem(node, Command("timesync"))
    place = scene.harbor
    if place is None or not place.kube or not place.namespace:
        return
    for pod in ready_pods(material):
        document = f"{_DATE_DOCUMENT}{pod}.json"
        if material.get(document) is None:
            yield KubeExec(place.namespace, pod, "core", "date", ("-u", "+%s"), document)


PROBES: tuple[Probe, ...] = (
    Probe(
        "clock.measure",
        ("clock.offset", "clock.synced", "clock.event_gap", "clock.core_offset", "clock.core_spread", "clock.leeway"),
        lambda material, scene: tuple(measure(material, scene)),
        wants,
    ),
    Probe(
        "clock.servers",
        ("clock.verifier_gap", "clock.storage_gap"),
        lambda material, scene: tuple(servers(material, scene)),
    ),
)

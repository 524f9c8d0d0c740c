"""The image's name and the account, taken apart and compared with what is known here (MODES 2, `image.*`, `account.*`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.model.evidence import Evidence, Value
from app.model.material import Material
from app.model.target import INCIDENT, Target
from app.parsers.image_ref import HUB, bare_host, parse_image, port_of
from app.parsers.redact import redact
from app.probes.base import Probe, Scene
from app.probes.hosts_known import harbor_names, registry_names, robot_prefix
from app.probes.incidents import sightings_of
from app.probes.pods import parse_json
from app.probes.seen import look

_ROBOT = "robot$"


def _images(material: Material, scene: Scene) -> list[str]:
    """The incident's image, and others that its texts name."""
    found = dict.fromkeys([scene.incident.image] if scene.incident.image else [])
    if not scene.incident.image:
        found.update(dict.fromkeys(item.image for _, item in sightings_of(material, scene.incident) if item.image))
    return [image for image in found if image][:20]


def _read_parse(material: Material, scene: Scene) -> Iterator[Evidence]:
    images = _images(material, scene)
    for image in images:
        reference = parse_image(image)
        facts: dict[str, Value] = {
            "image.parse_ok": reference.ok,
            "image.scheme_prefix": reference.scheme in ("http", "https"),
            "image.host": reference.host or HUB,
            "image.has_port": reference.has_port,
            "image.normalised_host": reference.normalised_host,
            "image.loopback": reference.loopback,
            "image.host_internal": reference.host_internal,
            "image.host_public": reference.host_public,
        }
        if reference.ok:
            facts["image.project"] = reference.project
            facts["image.one_segment"] = reference.one_segment
        yield _evidence("image.parse", scene, image, facts, reference.error or reference.reference)
    registry = scene.incident.registry
    if not images and registry:
        # A login, or a text that names only the registry: its host is known, no path is.
        reference = parse_image(f"{registry}/x")
        facts = {
            "image.host": registry,
            "image.has_port": reference.has_port,
            "image.normalised_host": reference.normalised_host,
            "image.loopback": reference.loopback,
            "image.host_internal": reference.host_internal,
            "image.host_public": reference.host_public,
        }
        yield Evidence("image.parse", INCIDENT, scene.vantage, facts=facts, excerpt=registry, taken_at=scene.now)


def _evidence(probe: str, scene: Scene, image: str, facts: dict[str, Value], excerpt: str) -> Evidence:
    target = INCIDENT if image == scene.incident.image or " " in image else Target.of(image=image)
    return Evidence(probe, target, scene.vantage, facts=facts, excerpt=redact(excerpt)[:300], taken_at=scene.now)


def _read_known(material: Material, scene: Scene) -> Iterator[Evidence]:
    for image in _images(material, scene):
        reference = parse_image(image)
        facts: dict[str, Value] = {}
        private = _known_private(material, image)
        if private is not None:
            facts["image.known_private"] = private
        other = _other_port(material, reference.normalised_host)
        if other is not None:
            facts["image.port_elsewhere"] = other or None
        if facts:
            yield _evidence("image.known", scene, image, facts, image)


def _known_private(material: Material, image: str) -> bool | None:
    """Whether the first part of a name that is read as Docker Hub's names a registry known here; None: none is known."""
    reference = parse_image(image)
    if reference.normalised_host != HUB or "/" not in reference.typed_path or reference.host:
        return None
    known = {bare_host(name).lower() for name in registry_names(material)} - {HUB}
    if not known:
        return None
    first = reference.typed_path.partition("/")[0].lower()
    return first in known or first in {name.partition(".")[0] for name in known if not re.fullmatch(r"[\d.]+", name)}


def _other_port(material: Material, host: str) -> int | None:
    """Another port of the image's host where a registry was seen to answer; 0: others were tried and none did."""
    name, own = bare_host(host).lower(), port_of(host) or 443
    looked = False
    for attempt in look(material).attempts:
        place = attempt.image.partition("/")[0]
        if attempt.succeeded and bare_host(place).lower() == name and port_of(place) not in (None, own):
            return port_of(place)
    for place in harbor_names(material):
        if bare_host(place).lower() == name and port_of(place) not in (None, own):
            return port_of(place)
    for path in ("registry/exchanges.json", *(f"nodes/{node}/exchanges.json" for node in material.nodes())):
        exchanges = parse_json(material.text(path) or "")
        for item in exchanges if isinstance(exchanges, list) else ():
            url = str(item.get("url") or "") if isinstance(item, dict) else ""
            place = url.partition("://")[2].partition("/")[0]
            port = port_of(place) or (80 if url.startswith("http://") else 443)
            if bare_host(place).lower() != name or port == own:
                continue
            looked = True
            headers = item.get("headers") if isinstance(item.get("headers"), dict) else {}
            if item.get("status") in (200, 401) and "docker-distribution-api-version" in headers:
                return port
    for path in ("registry/probe.txt", *(f"nodes/{node}/probe.txt" for node in material.nodes())):
        for url, status in _answers(material.text(path) or ""):
            place = url.partition("://")[2].partition("/")[0]
            port = port_of(place) or (80 if url.startswith("http://") else 443)
            if bare_host(place).lower() == name and port != own:
                looked = True
                if status in (200, 401) and "/v2/" in url:
                    return port
    return 0 if looked else None


def _answers(text: str) -> Iterator[tuple[str, int]]:
    """(URL, status) of the typed `curl`s of a transcript that show an answer."""
    for block in re.split(r"^(?=[#$] ?curl )", text, flags=re.M):
        url = re.search(r"https?://\S+", block.partition("\n")[0])
        status = re.search(r"^< HTTP/[\d.]+ (\d{3})", block, re.M)
        if url and (status or re.search(r'^\{"(repositories|errors)"', block, re.M)):
            yield url.group(), int(status.group(1)) if status else 200


def _read_account(material: Material, scene: Scene) -> Iterator[Evidence]:
    account = scene.variables.get("account")
    if not isinstance(account, str) or not account:
        return
    prefix = robot_prefix(material)
    facts: dict[str, Value] = {}
    robot = account.startswith((prefix or _ROBOT, _ROBOT))
    # A name that only begins like a robot's may be a robot's that was cut: neither yes nor no.
    if robot or not account.startswith("robot"):
        facts["account.robot"] = robot
    if prefix is not None and (robot or account.startswith("robot")):
        facts["account.prefix_ok"] = account.startswith(prefix)
    yield Evidence("account.parse", INCIDENT, scene.vantage, facts=facts, excerpt=redact(account), taken_at=scene.now)


PROBES: tuple[Probe, ...] = (
    Probe(
        "image.parse",
        (
            "image.parse_ok",
            "image.scheme_prefix",
            "image.host",
            "image.has_port",
            "image.normalised_host",
            "image.project",
            "image.one_segment",
            "image.loopback",
            "image.host_internal",
            "image.host_public",
        ),
        _read_parse,
    ),
    Probe("image.known", ("image.known_private", "image.port_elsewhere"), _read_known),
    Probe("account.parse", ("account.robot", "account.prefix_ok"), _read_account),
)

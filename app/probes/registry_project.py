"""`project.seen`: whether each of Harbor's cores knows the image's project, by what it answers to a request without a login.

A core that has the project says `unauthorized to access repository`, one that has not `project … not found`
(observed-harbor.md 0, 7.3). Over several fresh connections cores that work on different databases give both answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from app.model.evidence import Evidence, Of
from app.model.material import Material
from app.ports import HttpRequest
from app.probes.base import Fetch, Scene, Want
from app.probes.registry_scene import Image, Registry, evidence, image_of, registry_of
from app.probes.registry_wants import desk

PURPOSE: Final = "project"
TIMES: Final = 8
_DENIED: Final = re.compile(r"\b40[13]\b|nauthorized|denied|project \S+ not found")


def wants(material: Material, scene: Scene) -> Iterable[Want]:
    """A few plain requests for the manifest, where Harbor refuses and nothing but the answer's words tells more."""
    registry = registry_of(material, scene)
    image, place = image_of(scene), registry.place
    if image is None or place is None or not registry.is_harbor or "/" not in image.repository:
        return
    # Of a push that is only asked about, as after a change, nothing was said that could rule this out.
    if scene.incident.texts and not any(_DENIED.search(text) for text in scene.incident.texts):
        return
    if any(seen.exchange.purpose == PURPOSE for seen in registry.ours):
        return
    vantage, pem, name = desk(material, scene)
    url = f"https://{place}/v2/{_path(image)}"
    request = HttpRequest(url, vantage=vantage, purpose=PURPOSE, anchors_pem=pem, anchors_name=name)
    yield Fetch(request, times=TIMES)


def _path(image: Image) -> str:
    return f"{image.repository}/manifests/{image.reference}"


def known(registry: Registry) -> Iterable[Evidence]:
    """`project.known` by connection."""
    image = image_of(registry.scene)
    if image is None:
        return
    project = re.escape(image.repository.partition("/")[0])
    missing = re.compile(rf"project {project} not found")
    for number, seen in enumerate(registry.ours, 1):
        exchange = seen.exchange
        if exchange.purpose != PURPOSE or exchange.status not in (401, 403, 404):
            continue
        if not urlsplit(exchange.url).path.endswith(_path(image)):
            continue
        has = not missing.search(exchange.body)
        if has and "unauthorized to access repository" not in exchange.body:
            continue
        name = f"{exchange.vantage}-{exchange.connection or number}".replace("/", "-")
        yield evidence(
            "project.seen", seen, {"project.known": has}, target=registry.target(connection=name), of=Of.THIS
        )

"""What a failing push is asked: the login of who pushes, once, and with consent the start of an upload.

Source: harbor-and-kubernetes.md, upload-location-wrong-scheme-or-host; observed-harbor.md 6.1 and 6.2.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from app.model.case import Incident
from app.model.evidence import Price
from app.model.exchange import Exchange
from app.model.material import Material
from app.parsers.redact import redact
from app.parsers.texts import meaning_of
from app.ports import HttpRequest
from app.probes.base import PUSH_LOGIN, Fetch, Scene, Want
from app.probes.registry_manifest import location_is_right
from app.probes.registry_scene import HUB, Registry, image_of, registry_of
from app.probes.registry_wants import (
    ACCEPT,
    CONNECTIONS,
    answers,
    api_host,
    base_url,
    desk,
    may_send,
    scope_of,
    token_url,
)

ACCOUNT: Final = "account "
"""How the login of a push is named in an Exchange: `account ci-bot`."""


def upload_hosts(registry: str) -> tuple[str, ...]:
    """`host[:port]` under which the API of an image's registry is asked."""
    return tuple(sorted(HUB)) if registry in HUB else (registry,)


def _may_use(scene: Scene) -> bool:
    return scene.incident.action == "push" and (scene.push_login or scene.try_credentials or scene.try_upload)


def _tries(registry: Registry) -> list[Exchange]:
    return [
        seen.exchange
        for seen in registry.seen
        if seen.exchange.purpose == "token-login" and seen.exchange.login.startswith(ACCOUNT)
    ]


def _fetch(scene: Scene, request: HttpRequest, price: Price = Price.CREDENTIAL, times: int = 1) -> Fetch:
    return Fetch(request, secret=PUSH_LOGIN, image=scene.incident.image or "", price=price, times=times)


def login(material: Material, scene: Scene) -> Iterable[Want]:
    """The login of the push at the token service: without scope, and where that works with the one that a push needs."""
    if not _may_use(scene):
        return
    registry, image = registry_of(material, scene), image_of(scene)
    if registry.challenge is None or not may_send(registry):
        return
    vantage, pem, name = desk(material, scene)
    tries = _tries(registry)
    bare = [exchange for exchange in tries if "scope=" not in exchange.url]
    urls = []
    if not bare:
        urls.append(token_url(registry))
    elif bare[-1].status == 200 and image is not None and len(tries) == len(bare):
        urls.append(token_url(registry, scope_of(image, scene)))
    for url in urls:
        yield _fetch(
            scene, HttpRequest(url, vantage=vantage, purpose="token-login", anchors_pem=pem, anchors_name=name)
        )


def bearer(material: Material, scene: Scene) -> Iterable[Want]:
    """One token of that login over fresh connections to Harbor, for docker push cannot fall back to Basic."""
    if not _may_use(scene):
        return
    registry = registry_of(material, scene)
    if registry.place is None or not registry.is_harbor or not may_send(registry) or not _works(registry):
        return
    if any(seen.exchange.purpose == "bearer" for seen in registry.ours):
        return
    vantage, pem, name = desk(material, scene)
    request = HttpRequest(
        f"https://{api_host(registry.place)}/v2/", vantage=vantage, purpose="bearer", anchors_pem=pem, anchors_name=name
    )
    yield _fetch(scene, request, times=CONNECTIONS)


def _works(registry: Registry) -> bool:
    return any(exchange.status == 200 for exchange in _tries(registry) if "scope=" not in exchange.url)


def tag(material: Material, scene: Scene) -> Iterable[Want]:
    """Whether the tag is there already, by that login: only one that is there can be immutable."""
    if not _may_use(scene):
        return
    registry, image = registry_of(material, scene), image_of(scene)
    if image is None or registry.place is None or not may_send(registry) or not _works(registry):
        return
    url = f"{base_url(registry, registry.place)}/v2/{image.repository}/manifests/{image.reference}"
    vantage, pem, name = desk(material, scene)
    request = HttpRequest(
        url, method="HEAD", vantage=vantage, purpose="manifest-login", headers={"Accept": ACCEPT}, anchors_pem=pem, anchors_name=name
    )  # fmt: skip
    yield _fetch(scene, request)


def upload(material: Material, scene: Scene) -> Iterable[Want]:
    """The start of an upload, once, after the login worked: a login that was refused is not used again."""
    if not scene.try_upload or scene.incident.action != "push":
        return
    yield from login(material, scene)
    registry, image = registry_of(material, scene), image_of(scene)
    if image is None or registry.place is None or not answers(registry) or _uploads(registry):
        return
    url = f"{base_url(registry, registry.place)}/v2/{image.repository}/blobs/uploads/"
    vantage, pem, name = desk(material, scene)
    request = HttpRequest(url, method="POST", vantage=vantage, purpose="upload", anchors_pem=pem, anchors_name=name)
    if registry.challenge is not None:
        if _works(registry):
            yield _fetch(scene, request, Price.WRITE)
    elif _asks_for_basic(registry):
        yield _fetch(scene, request, Price.WRITE)
    elif any(exchange.status == 200 for exchange in _pings(registry)):
        yield Fetch(request, price=Price.WRITE)


def _pings(registry: Registry) -> list[Exchange]:
    return [seen.exchange for seen in registry.ours if seen.exchange.purpose == "ping"]


def _asks_for_basic(registry: Registry) -> bool:
    return any(
        exchange.status == 401 and exchange.headers.get("www-authenticate", "").lower().startswith("basic")
        for exchange in _pings(registry)
    )


def _uploads(registry: Registry) -> list[Exchange]:
    return [
        seen.exchange for seen in registry.ours if seen.exchange.purpose == "upload" and seen.exchange.method == "POST"
    ]


# --- what our own try shows of the incident -----------------------------------------------------------------------------


def with_own_try(material: Material, scene: Scene) -> Incident:
    """The incident with what our own try of its push met: the refusal as one more text, or that it was accepted.

    Only a push is tried. An accepted start counts as a success where nobody brought a text of a failure and the tag is
    known to be new: one that is there may be immutable, which is checked at a push's end.
    """
    incident = scene.incident
    if incident.action != "push" or scene.vantage == "bundle":
        return incident
    registry = registry_of(material, scene)
    texts = incident.texts
    for exchange in (*_uploads(registry), *_tries(registry)):
        said = refusal(exchange)
        if said and meaning_of(said) not in {meaning_of(text) for text in texts}:
            texts = (*texts, said)
    if texts != incident.texts:
        return replace(incident, texts=texts, succeeded=False)
    accepted = upload_accepted(material, scene) and _is_new(registry, scene)
    return replace(incident, succeeded=True) if accepted and not texts and not incident.succeeded else incident


def _is_new(registry: Registry, scene: Scene) -> bool:
    """The registry said that the tag is not there, to a login that may read."""
    image = image_of(scene)
    wanted = f"/v2/{image.repository}/manifests/{image.reference}" if image else ""
    answers_ = {
        seen.exchange.status
        for seen in registry.ours
        if wanted and seen.exchange.url.endswith(wanted) and seen.exchange.login.startswith(ACCOUNT)
    }
    return answers_ == {404}


def upload_accepted(material: Material, scene: Scene) -> bool | None:
    """Whether the last start of an upload was accepted and leads back to where it came from; None: not tried."""
    tries = [exchange for exchange in _uploads(registry_of(material, scene)) if exchange.status is not None]
    if not tries:
        return None
    return tries[-1].status == 202 and location_is_right(tries[-1]) is not False


def refusal(exchange: Exchange) -> str:
    """An answer that a push does not get past: method, URL, the registry's own code and words; empty for any other.

    A start that was accepted and leads to another place counts too: it says where a client would go on.
    """
    status = exchange.status
    if status == 202 and location_is_right(exchange) is False:
        return redact(f"POST {exchange.url} 202 Accepted: a client goes on with PATCH {exchange.headers['location']}")
    if status is None or status < 400:
        return ""
    head = f"{exchange.method} {exchange.url}"
    try:
        errors = json.loads(exchange.body).get("errors") or []
        said = [f"{one['code']}: {one['message']}" for one in errors if one.get("message")]
    except (ValueError, AttributeError, KeyError, TypeError):
        said = []
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    if said and exchange.purpose == "upload":
        return redact(f"{head}: {'; '.join(said)}")
    told = f": {'; '.join(said)}" if said else ""
    return redact(f"{head}: unexpected status code {status} {phrase}".rstrip() + told)

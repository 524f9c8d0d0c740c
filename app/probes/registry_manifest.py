"""`manifest.get`, `blob.get`, `upstream.get` and `upload.start`: what the registry says of the image and its parts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import unquote

from app.model.evidence import Evidence, Of, Price, Value
from app.model.exchange import Exchange
from app.model.target import Target
from app.parsers.challenge import bearer_of
from app.parsers.redact import redact
from app.parsers.split_url import urlsplit
from app.probes.registry_scene import Image, Registry, Seen, evidence, image_of, place_of_url, united, unparsable
from app.probes.registry_token import actions_for, minted

_MANIFEST: Final = re.compile(r"^(?:/.*?)?/v2/(.+)/manifests/([^/]+)$")
_BLOB: Final = re.compile(r"^(?:/.*?)?/v2/(.+)/blobs/(sha256:[^/]+)$")
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_SAYS: Final = (
    ("upstream-lacks", re.compile(r"resource not found: repo|repo \S+, tag \S+ not found")),
    (
        "policy-vul",
        re.compile(r"cannot be pulled due to configured policy|without vulnerability scanning|vulnerabilit"),
    ),
    ("policy-sign", re.compile(r"image is not signed|not signed (?:by|in)")),
    ("immutable", re.compile(r"immutable")),
    ("no-artifact", re.compile(r"artifact \S+ not found|manifest unknown")),
    ("no-repository", re.compile(r"repository \S+ not found|repository name not known|NAME_UNKNOWN")),
)
_INDEX: Final = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_SINGLE: Final = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_SCHEMA1: Final = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_CONFIGS: Final = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")


def manifest(registry: Registry) -> Iterable[Evidence]:
    """Status, code and kind of the image's manifest, from each vantage."""
    return united(_manifest(registry))


def _manifest(registry: Registry) -> Iterable[Evidence]:
    image = image_of(registry.scene)
    asked = [seen for seen in registry.ours if _about(seen.exchange, image)]
    used_login = any(seen.exchange.login or seen.exchange.bearer for seen in asked)
    for seen in asked:
        facts = _facts(seen.exchange, used_login=used_login)
        if facts:
            yield evidence("manifest.get", seen, facts, target=_target(registry, seen))
    by_head = {
        (seen.exchange.login, seen.exchange.bearer): seen.exchange.status
        for seen in asked
        if seen.exchange.method == "HEAD"
    }
    for seen in asked:
        exchange = seen.exchange
        head = by_head.get((exchange.login, exchange.bearer))
        if exchange.method == "GET" and exchange.status == 200 and head is not None:
            yield evidence(
                "manifest.get",
                seen,
                {"manifest.get_only": head in (404, 405, 500, 501)},
                target=_target(registry, seen),
            )
    yield from _at_mirrors(registry, image)
    yield from _anonymous_right(registry, image)
    text = registry.material.text("registry/manifest.json")
    if text:
        facts = content_facts(text, "")
        if facts:
            yield Evidence(
                "manifest.get",
                registry.target(image=registry.scene.incident.image),
                "operator",
                facts=facts,
                excerpt=redact(text[:600]),
            )
        else:
            yield unparsable(
                "manifest.get",
                "registry/manifest.json",
                "no manifest",
                registry.target(image=registry.scene.incident.image),
            )
    yield from _config_arch(registry)


def _at_mirrors(registry: Registry, image: Image | None) -> Iterable[Evidence]:
    """What a mirror says of the image; its path there ends in the image's own, behind whatever the mirror puts before it."""
    if image is None:
        return
    ending = f"/{image.repository}/manifests/{image.reference}"
    for seen in registry.seen:
        path = unquote(urlsplit(seen.exchange.url).path)
        if seen.of is Of.MIRROR and path.endswith(ending) and seen.exchange.method in ("GET", "HEAD"):
            facts = _facts(seen.exchange, used_login=False)
            if facts:
                yield evidence("manifest.get", seen, facts, target=_target(registry, seen))


def _target(registry: Registry, seen: Seen) -> Target:
    return Target.of(image=registry.scene.incident.image, node=seen.node or None, registry=registry.name or None)


def _about(exchange: Exchange, image: Image | None) -> bool:
    found = _MANIFEST.match(unquote(urlsplit(exchange.url).path))
    if not found or exchange.method not in ("GET", "HEAD"):
        return False
    # A name masked in a hand-made excerpt stands for the image's own.
    return image is None or (found[1] == image.repository and found[2] == image.reference) or "<" in found[1]


def _facts(exchange: Exchange, *, used_login: bool) -> dict[str, Value]:
    status = exchange.status
    if status is None:
        return {}
    facts: dict[str, Value] = {}
    authenticated = bool(exchange.login) or exchange.bearer
    challenged = bearer_of(exchange.headers.get("www-authenticate", "")) is not None
    if exchange.purpose == "manifest-anon" and exchange.bearer:
        facts["manifest.anon_status"] = status
        if status == 200 and not used_login:
            facts["manifest.status"] = status
    elif authenticated:
        # A Basic login that is answered by a Bearer challenge was not looked at: the client has to fetch a token first.
        if not (status == 401 and challenged and exchange.login and not exchange.bearer):
            facts["manifest.status"] = status
    elif status in (401, 403):
        if not challenged and not exchange.partial:
            facts["manifest.anon_status"] = status
    else:
        if not exchange.partial:
            facts["manifest.anon_status"] = status
        if (not used_login and status < 500) or status >= 500:
            facts["manifest.status"] = status
    if status == 401 and not facts:
        return {}
    return (
        facts
        | _errors(exchange)
        | (content_facts(exchange.body, exchange.headers.get("content-type", "")) if status == 200 else {})
    )


def _errors(exchange: Exchange) -> dict[str, Value]:
    if exchange.status is None or exchange.status < 400 or not exchange.body:
        return {}
    code = message = ""
    try:
        first = json.loads(exchange.body)["errors"][0]
        code, message = str(first.get("code") or ""), str(first.get("message") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        message = exchange.body[:300]
    said = f"{code} {message}"
    says = [tag for tag, pattern in _SAYS if pattern.search(said)]
    if "upstream-lacks" in says:
        says = [tag for tag in says if tag not in ("no-artifact", "no-repository")]
    facts: dict[str, Value] = {"manifest.message": redact(message), "manifest.says": tuple(says)}
    if code:
        facts["manifest.code"] = code
    return facts


def content_facts(body: str, content_type: str) -> dict[str, Value]:
    """Kind, platforms and config type of a manifest."""
    kind_of = content_type.partition(";")[0].strip()
    if "html" in kind_of or body.lstrip().lower().startswith(("<!doctype", "<html")):
        return {"manifest.kind": "html"}
    try:
        data: Any = json.loads(body) if body.strip() else {}
    except ValueError:
        data = {}
    if not isinstance(data, dict):
        data = {}
    media = str(data.get("mediaType") or kind_of)
    if media in _SCHEMA1 or data.get("schemaVersion") == 1:
        return {"manifest.kind": "schema1"}
    if media in _INDEX or isinstance(data.get("manifests"), list):
        facts: dict[str, Value] = {"manifest.kind": "index"}
        if isinstance(data.get("manifests"), list):
            facts["manifest.platforms"] = _platforms(data["manifests"])
        return facts
    if media in _SINGLE or isinstance(data.get("config"), dict):
        facts = {"manifest.kind": "single"}
        config = data.get("config")
        if isinstance(config, dict) and config.get("mediaType"):
            facts["manifest.config_is_image"] = config["mediaType"] in _CONFIGS
        return facts
    return {"manifest.kind": "other"} if data or kind_of else {}


def _platforms(entries: list[Any]) -> tuple[str, ...]:
    """Architectures of the Linux entries, as the node's `arch` is written; attestations (`unknown`) are no platform."""
    found = []
    for entry in entries:
        platform = entry.get("platform") if isinstance(entry, dict) else None
        if isinstance(platform, dict) and platform.get("os") == "linux" and platform.get("architecture"):
            found.append(str(platform["architecture"]))
    return tuple(dict.fromkeys(found))


def _anonymous_right(registry: Registry, image: Image | None) -> Iterable[Evidence]:
    """What an anonymous pull comes to, from the rights in an anonymous token: without `pull` it ends in 401.

    The challenge to a request without a header says nothing: Harbor sends it for public images too (A.2).
    """
    if image is None:
        return
    for one in minted(registry)[0]:
        if one.login or one.seen.subject or not one.seen.claims:
            continue
        actions = actions_for(one.seen, image.repository)
        if actions is not None and "pull" not in actions:
            yield Evidence(
                "manifest.get", registry.target(image=registry.scene.incident.image), one.vantage, facts={"manifest.anon_status": 401},
                taken_at=one.seen.taken_at, excerpt=f"anonymous token for the project allows {', '.join(actions) or 'nothing'}",
            )  # fmt: skip
            return


def _config_arch(registry: Registry) -> Iterable[Evidence]:
    """`manifest.config_arch` from the image's config blob, where one was read."""
    for seen in registry.seen:
        exchange = seen.exchange
        if (
            exchange.status != 200
            or exchange.purpose not in ("blob", "config", "other")
            or '"architecture"' not in exchange.body
        ):
            continue
        try:
            data: Any = json.loads(exchange.body)
        except ValueError:
            continue
        if isinstance(data, dict) and isinstance(data.get("architecture"), str) and "rootfs" in data:
            yield evidence(
                "manifest.get",
                seen,
                {"manifest.config_arch": data["architecture"]},
                target=_target(registry, seen),
                of=Of.THIS,
            )


# --- blobs ------------------------------------------------------------------------------------------------------------


def blob(registry: Registry) -> Iterable[Evidence]:
    """What became of a blob: its status at the registry, and of the redirect where there is one."""
    for seen in registry.ours:
        exchange = seen.exchange
        found = _BLOB.match(unquote(urlsplit(exchange.url).path))
        if not found or exchange.method not in ("GET", "HEAD") or exchange.status is None or exchange.status == 401:
            continue
        facts: dict[str, Value] = {"blob.status": exchange.status}
        if exchange.status in _REDIRECTS:
            state = _redirect_state(_followed(registry, seen))
            if state and (seen.node or not registry.scene.incident.nodes):
                facts["blob.redirect_state"] = state
            elif state:
                # The desk is not where the pull fails.
                more: dict[str, Value] = {"blob.redirect_state": state}
                yield evidence("blob.get", seen, more, target=_target(registry, seen), of=Of.ELSEWHERE)
            yield from _from_nodes(registry, seen)
        elif exchange.status == 200:
            facts["blob.redirect_state"] = "none"
        body = exchange.body_sha256 or _stored_digest(registry, seen)
        if body:
            right = body.removeprefix("sha256:") == found[2].removeprefix("sha256:")
            facts["blob.hash_ok" if seen.node else "blob.hash_ok_source"] = right
        yield evidence("blob.get", seen, facts, target=_target(registry, seen))


def _from_nodes(registry: Registry, seen: Seen) -> Iterable[Evidence]:
    """The same redirect followed from failing nodes, where another vantage was given it."""
    for node in registry.scene.incident.nodes:
        vantage = f"node/{node}"
        followed = _followed(registry, seen, vantage) if vantage != seen.exchange.vantage else []
        state = _redirect_state(followed)
        if state:
            target = Target.of(image=registry.scene.incident.image, node=node, registry=registry.name or None)
            facts: dict[str, Value] = {"blob.redirect_state": state}
            yield evidence("blob.get", followed[-1], facts, target=target, of=Of.THIS)


def _followed(registry: Registry, seen: Seen, vantage: str = "") -> list[Seen]:
    """Requests to the host that a redirect names, from the same vantage or another one."""
    place = place_of_url(seen.exchange.headers.get("location", ""))
    if place is None:
        return []
    return [
        other
        for other in registry.seen
        if other.exchange.vantage == (vantage or seen.exchange.vantage)
        and other.place is not None
        and other is not seen
        and other.place.same(place)
    ]


def _stored_digest(registry: Registry, seen: Seen) -> str:
    return next((other.exchange.body_sha256 for other in _followed(registry, seen) if other.exchange.body_sha256), "")


def _redirect_state(followed: Sequence[Seen]) -> str:
    for other in reversed(followed):
        exchange = other.exchange
        if exchange.status is not None:
            return "4xx" if 400 <= exchange.status < 500 else "ok" if exchange.status < 400 else ""
        if exchange.dns in ("nxdomain", "servfail", "timeout") or "resolve host" in exchange.error:
            return "dns"
        if exchange.tcp in ("refused", "timeout"):
            return exchange.tcp
        if (
            exchange.tls is not None
            and (exchange.tls.state != "ok" or exchange.tls.verified is False)
            and exchange.tls.chain
        ):
            return "tls"
    return ""


# --- upstream and upload ---------------------------------------------------------------------------------------------


def upstream(registry: Registry) -> Iterable[Evidence]:
    """What the real upstream of a proxy project says of the image, and of the same with `library/`."""
    image = image_of(registry.scene)
    if image is None:
        return
    rest = image.repository.partition("/")[2]
    for seen in registry.seen:
        if seen.of is not Of.UPSTREAM or seen.exchange.status is None:
            continue
        found = _MANIFEST.match(urlsplit(seen.exchange.url).path)
        if not found or found[2] != image.reference or (seen.exchange.status == 401 and not seen.exchange.bearer):
            continue
        if found[1] == rest:
            yield evidence("upstream.get", seen, {"upstream.status": seen.exchange.status}, of=Of.THIS)
        elif found[1] == f"library/{rest}":
            yield evidence(
                "upstream.get",
                seen,
                {"upstream.with_library": seen.exchange.status},
                of=Of.THIS,
                target=seen.target.joined(Target.of(**{"try": "library"})),
            )


def upload(registry: Registry) -> Iterable[Evidence]:
    """Whether the upload address that the registry gives is the scheme, host and port that was dialled."""
    for seen in registry.ours:
        exchange = seen.exchange
        if (
            exchange.method != "POST"
            or exchange.purpose != "upload"
            or exchange.status != 202
            or "location" not in exchange.headers
        ):
            continue
        right = location_is_right(exchange)
        if right is None:
            continue
        yield evidence(
            "upload.start", seen, {"upload.location_ok": right}, target=registry.target(), of=Of.THIS, price=Price.WRITE
        )


def location_is_right(exchange: Exchange) -> bool | None:
    """Whether `Location` has the scheme, host and port that were dialled, or none; None where that cannot be told."""
    there, here = place_of_url(exchange.headers.get("location", "")), place_of_url(exchange.url)
    if there is None:
        return True if "location" in exchange.headers else None
    if here is None or not here.scheme:
        return None
    return (
        (there.scheme or here.scheme) == here.scheme
        and there.host == here.host
        and there.effective_port == here.effective_port
    )

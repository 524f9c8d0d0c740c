"""`ping.get` and `realm.probe`: the API root of a registry and the token service it names (harbor-and-kubernetes.md A.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from app.model.evidence import Evidence, Of, Value
from app.model.exchange import Exchange
from app.model.target import Target
from app.parsers.challenge import bearer_of, parse_challenges
from app.parsers.split_url import urlsplit
from app.probes.registry_scene import Place, Registry, Seen, evidence, place_of_url, united

_TLS_WANTED: Final = re.compile(r"HTTP request (?:was sent )?to (?:an )?HTTPS (?:port|server)", re.IGNORECASE)
_REDIRECTS: Final = (301, 302, 303, 307, 308)


def ping(registry: Registry) -> Iterable[Evidence]:
    """Facts of `GET /v2/` without a header, from each vantage; also of mirrors (`of` mirror)."""
    return united([*_answers(registry), *_schemes(registry), *_port80(registry)])


def _answers(registry: Registry) -> Iterable[Evidence]:
    for seen in _last(
        seen
        for seen in registry.seen
        if seen.exchange.purpose == "ping" and seen.of in (Of.THIS, Of.HEALTHY, Of.MIRROR)
    ):
        facts = _answer(seen.exchange)
        if facts:
            yield evidence("ping.get", seen, facts)


def _last(members: Iterable[Seen]) -> list[Seen]:
    """The last answered one of each target and vantage, else the last one."""
    found: dict[tuple[Target, str, Of], Seen] = {}
    for seen in members:
        key = (seen.target, seen.exchange.vantage, seen.of)
        if key not in found or seen.exchange.status is not None:
            found[key] = seen
    return list(found.values())


def _answer(exchange: Exchange) -> dict[str, Value]:
    status, headers = exchange.status, exchange.headers
    if status is None or (status == 400 and _TLS_WANTED.search(exchange.body)):
        return {}
    facts: dict[str, Value] = {}
    challenge = bearer_of(headers.get("www-authenticate", ""))
    version = headers.get("docker-distribution-api-version", "")
    redirect = _redirect(exchange)
    whole = not exchange.partial
    if version.startswith("registry/") or challenge is not None:
        facts["ping.is_registry"] = True
    elif whole and status < 500 and status not in (401, 403, 429) and not redirect:
        facts["ping.is_registry"] = False
    if challenge is not None:
        facts["ping.is_harbor"] = challenge.service == "harbor-registry"
        facts["ping.realm"] = challenge.realm
    elif whole and status == 200 and version:
        facts["ping.is_harbor"] = False  # Harbor never answers this without a login
        facts["ping.realm"] = ""
    elif status == 401 and parse_challenges(headers.get("www-authenticate", "")):
        facts["ping.realm"] = ""
    facts["ping.redirect"] = redirect
    if "server" in headers:
        facts["ping.server"] = headers["server"]
    elif whole:
        facts["ping.server"] = ""
    return facts


def _redirect(exchange: Exchange) -> str:
    if exchange.status not in _REDIRECTS:
        return ""
    scheme = urlsplit(exchange.headers.get("location", "")).scheme
    return scheme if scheme in ("http", "https") else ""


def _schemes(registry: Registry) -> Iterable[Evidence]:
    """`ping.plain_http`: whether the registry's own port answers plain HTTP, from each vantage."""
    answers: dict[tuple[Target, str, Of], tuple[Seen, bool]] = {}
    for seen in registry.seen:
        if seen.of not in (Of.THIS, Of.HEALTHY, Of.MIRROR) or seen.place is None:
            continue
        speaks = speaks_plain_http(seen.exchange)
        if speaks is not None:
            answers[(seen.target, seen.exchange.vantage, seen.of)] = (seen, speaks)
    for (target, _, of), (seen, speaks) in answers.items():
        # The ports differ where `http://host` is asked: that is port 80 and has a fact of its own.
        if (
            registry.place is not None
            and of is not Of.MIRROR
            and seen.place is not None
            and not seen.place.same(registry.place)
        ):
            continue
        yield evidence("ping.get", seen, {"ping.plain_http": speaks}, target=target, of=of)


def speaks_plain_http(exchange: Exchange) -> bool | None:
    """Whether the port behind a URL speaks plain HTTP; None where the exchange does not tell."""
    scheme = urlsplit(exchange.url).scheme
    if exchange.proxy:
        return None
    if scheme == "http" and (exchange.status is not None or exchange.body):
        return not (exchange.status == 400 and _TLS_WANTED.search(exchange.body))
    if exchange.tls is not None and exchange.tls.state in ("ok", "alert"):
        return False
    return None


def _port80(registry: Registry) -> Iterable[Evidence]:
    """`ping.port80_http`: whether the same host serves on port 80 and does not merely send on to https."""
    place = registry.place
    if place is None or place.effective_port == 80:
        return
    for seen in _last(seen for seen in registry.seen if _is_port80(seen.place, place)):
        exchange = seen.exchange
        target = Target.of(node=seen.node or None, registry=registry.name, host=str(place))
        if exchange.status is not None:
            yield evidence(
                "ping.get", seen, {"ping.port80_http": _redirect(exchange) != "https"}, target=target, of=Of.THIS
            )
        elif exchange.tcp == "refused":
            yield evidence("ping.get", seen, {"ping.port80_http": False}, target=target, of=Of.THIS)


def _is_port80(place: Place | None, registry: Place) -> bool:
    return place is not None and place.host == registry.host and place.scheme == "http" and place.effective_port == 80


# --- realm ----------------------------------------------------------------------------------------------------------


def realm(registry: Registry) -> Iterable[Evidence]:
    """Where the token service is said to be, and what it answers from each vantage."""
    return united(_realm(registry))


def _realm(registry: Registry) -> Iterable[Evidence]:
    challenge, place = registry.challenge, registry.realm
    if challenge is not None and challenge.realm and registry.place is not None:
        source = next(
            (
                seen
                for seen in registry.ours
                if bearer_of(seen.exchange.headers.get("www-authenticate", "")) is not None
            ),
            None,
        )
        same = place is not None and place.host == registry.place.host
        yield Evidence(
            "realm.probe", registry.target(), source.exchange.vantage if source else "operator",
            facts={"realm.same_host": same}, excerpt=f"realm {challenge.realm}", taken_at=source.exchange.taken_at if source else None,
        )  # fmt: skip
    if place is not None and place.scheme in ("http", "https"):
        yield from _served(registry, place)
    for seen in _last(seen for seen in registry.realms if is_realm_url(registry, seen.exchange)):
        facts: dict[str, Value] = {}
        answer = realm_answer(seen.exchange)
        if answer:
            facts["realm.answer"] = answer
        if facts:
            yield evidence("realm.probe", seen, facts, target=_realm_target(registry, seen), of=_realm_of(seen))


def _realm_target(registry: Registry, seen: Seen) -> Target:
    place = registry.realm or registry.place
    return Target.of(node=seen.node or None, registry=registry.name or None, host=str(place) if place else None)


def _realm_of(seen: Seen) -> Of:
    """A realm's facts speak of the incident itself; what the desk alone saw of its reachability is the second vantage."""
    return Of.HEALTHY if seen.of is Of.HEALTHY else Of.THIS


def _served(registry: Registry, place: Place) -> Iterable[Evidence]:
    """Whether the realm's scheme is served at its port and whether it can be reached, by vantage."""
    for seen in _last(seen for seen in registry.seen if seen.place is not None and seen.place.host == place.host):
        exchange, other = seen.exchange, seen.place
        if other is None or other.effective_port != place.effective_port:
            continue
        facts: dict[str, Value] = {}
        plain = speaks_plain_http(exchange)
        if plain is not None:
            facts["realm.scheme_served"] = plain is (place.scheme == "http")
        elif exchange.tls is not None and exchange.tls.state == "plain-http":
            facts["realm.scheme_served"] = place.scheme == "http"
        target, of = _realm_target(registry, seen), _realm_of(seen)
        reached = _reached(exchange)
        if reached is not None and seen.node:
            facts["realm.reachable"] = reached
        elif reached is not None:
            yield evidence("realm.probe", seen, {"realm.reachable": reached}, target=target, of=Of.ELSEWHERE)
        if facts:
            yield evidence("realm.probe", seen, facts, target=target, of=of)


def _reached(exchange: Exchange) -> bool | None:
    if exchange.proxy:
        return None
    if exchange.status is not None:
        return True
    if exchange.tcp in ("refused", "timeout", "unreachable") or exchange.dns in ("nxdomain", "servfail", "timeout"):
        return False
    return None


def is_realm_url(registry: Registry, exchange: Exchange) -> bool:
    """Whether a request asked the token service that the challenge names."""
    if exchange.method != "GET" or exchange.purpose not in ("token", "token-login", "realm"):
        return False
    if registry.challenge is None or not registry.challenge.realm:
        return True
    asked, named = place_of_url(exchange.url), registry.realm
    return urlsplit(exchange.url).path == urlsplit(registry.challenge.realm).path and (
        asked is None or named is None or asked.same(named)
    )


def realm_answer(exchange: Exchange) -> str:
    """What a token service answered: `json`, `empty-401`, `html`, `400`, `500`, `redirect`; empty where it does not tell."""
    status = exchange.status
    if status is None:
        return ""
    kind = exchange.headers.get("content-type", "")
    if status in _REDIRECTS:
        return "redirect"
    if status >= 500:
        return "500"
    if status == 400:
        return "400"
    if exchange.token or (status == 200 and "json" in kind):
        return "json"
    if "html" in kind or exchange.body.lstrip().lower().startswith(("<!doctype", "<html")):
        return "html"
    if status == 401 and not exchange.body and (exchange.body_seen or exchange.headers.get("content-length") == "0"):
        return "empty-401"
    return ""
